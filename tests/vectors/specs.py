"""Hypothesis strategies for kernels as a pack may describe them."""

from __future__ import annotations

from hypothesis import strategies as st

from host.pack.spec import (
    DTYPES,
    PARAM_TYPES,
    Backward,
    Dim,
    KernelSpec,
    KnownAnswer,
    Limits,
    Param,
    ParamType,
    Region,
    Shape,
    Tensor,
)

U32 = st.integers(0, 2**32 - 1)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,14}", fullmatch=True).filter(lambda name: name != "out")
IDS = st.from_regex(r"[a-z][a-z0-9_]{0,22}", fullmatch=True)
SHA256 = st.binary(min_size=32, max_size=32)
PROSE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)


def dims(symbols: tuple[str, ...]) -> st.SearchStrategy[Dim]:
    """A constant, or a symbol times and through something."""
    constant = st.builds(Dim, st.none(), st.integers(1, 0xFFFF))
    if not symbols:
        return constant
    return constant | st.builds(Dim, st.sampled_from(symbols), st.integers(1, 0xFFFF), st.integers(1, 0xFF))


def shapes(symbols: tuple[str, ...]) -> st.SearchStrategy[Shape]:
    return st.lists(dims(symbols), min_size=1, max_size=4).map(tuple)


@st.composite
def tensors(draw: st.DrawFn, name: str, region: Region, symbols: tuple[str, ...]) -> Tensor:
    return Tensor(
        name=name,
        region=region,
        dtype=draw(st.sampled_from(list(DTYPES.values()))),
        shapes=tuple(draw(st.lists(shapes(symbols), min_size=1, max_size=2))),
        optional=draw(st.booleans()) if region < Region.OUTPUT else False,
        inout=draw(st.booleans()) if region is Region.OUTPUT else False,
    )


@st.composite
def params(draw: st.DrawFn, name: str) -> Param:
    kind = draw(st.sampled_from(list(PARAM_TYPES)))
    values: dict[ParamType, st.SearchStrategy[float | int | bool]] = {
        "f32": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "i32": st.integers(-(2**31), 2**31 - 1),
        "u32": U32,
        "bool": st.booleans(),
    }
    return Param(name, kind, draw(values[kind]))


@st.composite
def calls(draw: st.DrawFn, names: list[str], symbols: tuple[str, ...]) -> Backward:
    """The tensors of an entry point, four at most: the first input is where every symbol's value comes from."""
    own = tuple(Dim(symbol) for symbol in symbols) or (Dim(None, draw(st.integers(1, 0xFFFF))),)
    first = Tensor(
        names[0],
        draw(st.sampled_from([Region.INPUT_A, Region.INPUT_B])),
        draw(st.sampled_from(list(DTYPES.values()))),
        (own,),
        leading=bool(symbols) and draw(st.booleans()),
    )
    more = [draw(tensors(names[1], Region.INPUT_B, symbols))] if draw(st.booleans()) else []
    outputs = [draw(tensors(names[2], Region.OUTPUT, symbols))]
    scratch = [draw(tensors(names[3], Region.SCRATCH, symbols))] if draw(st.booleans()) else []
    return Backward((first, *more), tuple(outputs), tuple(scratch))


def sizes(symbols: tuple[str, ...]) -> st.SearchStrategy[dict[str, int]]:
    """A value for each symbol."""
    return st.fixed_dictionaries({symbol: st.integers(1, 2**32 - 1) for symbol in symbols})


@st.composite
def kernels(draw: st.DrawFn, id: str) -> KernelSpec:
    """A kernel that pack.toml, kernels.json and, but for what no board knows, a board image can all say."""
    names = draw(st.lists(NAMES, min_size=11, max_size=11, unique=True))
    symbols = tuple(names[: draw(st.integers(0, 4))])
    forward = draw(calls(names[4:8], symbols))
    return KernelSpec(
        id=id,
        op=draw(NAMES),
        category=draw(PROSE),
        entry_point=draw(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,22}", fullmatch=True)),
        symbols=symbols,
        inputs=forward.inputs,
        outputs=forward.outputs,
        scratch=forward.scratch,
        params=tuple(draw(params(name)) for name in names[8 : 8 + draw(st.integers(0, 3))]),
        limits=Limits(draw(st.integers(1, 0xFFFF)), draw(st.integers(1, 2**32 - 1)), draw(st.integers(0, 0xFFFF))),
        fallback=draw(st.none() | IDS),
        test=KnownAnswer(
            draw(st.integers(1, 2**32 - 1)),
            draw(sizes(symbols)),
            draw(SHA256).hex(),
        ),
        backward=draw(st.none() | calls(draw(st.permutations(names[4:8])), symbols)),
        bench=draw(st.none() | sizes(symbols)),
        error_bound=draw(st.none() | PROSE),
    )
