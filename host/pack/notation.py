"""Kernels in the notation that pack.toml and kernels.json share, read into and written from the dataclasses of spec.py.

What is read here has the structure that a schema in schema.py allows; ``kernel`` checks what a schema cannot say. All
functions that read raise ValueError, the field's name first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from host.pack.spec import (
    DTYPES,
    Backward,
    Dim,
    KernelSpec,
    KnownAnswer,
    Limits,
    Param,
    Region,
    Shape,
    Tensor,
    param_bits,
)

Json = dict[str, Any]
MAX_RECORDS = 8
"""Tensors of a kernel, each alternative shape counted."""
_DIM = re.compile(r"([a-z][a-z0-9_]*)(?:\*([0-9]+))?(?:/([0-9]+))?")
_F32_MAX = (2 - 2**-23) * 2.0**127
_RESERVED = "out"  # a keyword of every call


def kernel(
    data: Mapping[str, Any],
    *,
    op: str,
    params: Sequence[Param],
    fallback: str | None,
    sha256: str | None,
    bench: Mapping[str, int] | None,
) -> KernelSpec:
    """The kernel that ``data`` describes; what the two notations write differently comes as keywords.

    ``bench`` was read by `symbol_values`.
    """
    test = data["test"]
    limits = data["resource_limits"]
    spec = KernelSpec(
        id=data["id"],
        op=op,
        category=data["category"],
        entry_point=data["entry_point"],
        symbols=tuple(data["symbols"]),
        inputs=tuple(_tensor(entry) for entry in data["inputs"]),
        outputs=tuple(_tensor(entry) for entry in data["outputs"]),
        scratch=tuple(_tensor(entry) for entry in data.get("scratch", ())),
        params=tuple(params),
        limits=Limits(limits["max_memory_pages"], limits["max_epoch_ticks"], limits["max_table_elements"]),
        fallback=fallback,
        test=KnownAnswer(test["seed"], symbol_values(test["symbols"], data["symbols"], "test.symbols"), sha256),
        backward=_backward(data["backward"]) if "backward" in data else None,
        bench=bench,
        error_bound=data.get("error_bound"),
    )
    _check(spec)
    backward = spec.of_backward()
    if backward is not None:
        try:
            _check(backward)
        except ValueError as error:
            raise ValueError(f"backward: {error}") from error
    return spec


def param(name: str, data: Mapping[str, Any]) -> Param:
    """The parameter with ``type`` and ``default`` as in ``data``; an f32's default becomes a float."""
    kind, default = data["type"], data["default"]
    wanted = {"f32": (int, float), "bool": (bool,)}.get(kind, (int,))
    if not isinstance(default, wanted) or (kind != "bool" and isinstance(default, bool)):
        raise ValueError(f"params.{name}.default: {default!r} is no {kind}")
    if kind == "f32":
        if not abs(default) <= _F32_MAX:
            raise ValueError(f"params.{name}.default: {default!r} is not a finite f32")
        default = float(default)
    result = Param(name, kind, default)
    try:
        param_bits(result, default)
    except ValueError as error:
        raise ValueError(f"params.{name}.default: {error}") from error
    return result


def symbol_values(values: Mapping[str, int], symbols: Sequence[str], field: str) -> dict[str, int]:
    """``values``, if they are one for each of ``symbols`` and no other."""
    for name in symbols:
        if name not in values:
            raise ValueError(f"{field}: has no value for {name!r}")
    for name in values:
        if name not in symbols:
            raise ValueError(f"{field}: {name!r} is not among the symbols")
    return dict(values)


def tensor_data(tensor: Tensor) -> Json:
    """The tensor as both notations write it."""
    shapes = [_shape_data(shape, tensor.leading) for shape in tensor.shapes]
    data: Json = {"name": tensor.name, "region": tensor.region.name.lower(), "dtype": tensor.dtype.name}
    data |= {"shape": shapes[0]} if len(shapes) == 1 else {"shapes": shapes}
    if tensor.optional:
        data["optional"] = True
    if tensor.inout:
        data["inout"] = True
    return data


def backward_data(backward: Backward) -> Json:
    """The tensors of ``kernel_backward`` as both notations write them."""
    data: Json = {
        "inputs": [tensor_data(tensor) for tensor in backward.inputs],
        "outputs": [tensor_data(tensor) for tensor in backward.outputs],
    }
    if backward.scratch:
        data["scratch"] = [tensor_data(tensor) for tensor in backward.scratch]
    return data


def limits_data(limits: Limits) -> Json:
    """The limits as both notations write them."""
    return {
        "max_memory_pages": limits.max_memory_pages,
        "max_epoch_ticks": limits.max_epoch_ticks,
        "max_table_elements": limits.max_table_elements,
    }


def unique(names: Iterable[str], what: str) -> None:
    """Raises ValueError, naming it, for a name that comes twice."""
    name, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ValueError(f"{what}: {name!r} comes {count} times")


def _backward(data: Mapping[str, Any]) -> Backward:
    return Backward(
        inputs=tuple(_tensor(entry) for entry in data["inputs"]),
        outputs=tuple(_tensor(entry) for entry in data["outputs"]),
        scratch=tuple(_tensor(entry) for entry in data.get("scratch", ())),
    )


def _tensor(data: Mapping[str, Any]) -> Tensor:
    texts = [data["shape"]] if "shape" in data else data["shapes"]
    stars = {str(shape[0]).startswith("*") for shape in texts}
    if len(stars) > 1:
        raise ValueError(f"{data['name']}: either all of its shapes take leading dimensions (*) or none")
    return Tensor(
        name=data["name"],
        region=Region[data["region"].upper()],
        dtype=DTYPES[data["dtype"]],
        shapes=tuple(_shape(shape, data["name"]) for shape in texts),
        leading=stars == {True},
        optional=data.get("optional", False),
        inout=data.get("inout", False),
    )


def _shape(entries: Sequence[int | str], name: str) -> Shape:
    """``["*rows", "dim/2", 2]`` as dims; the star is the tensor's ``leading``."""
    texts = [entries[0].removeprefix("*") if isinstance(entries[0], str) else entries[0], *entries[1:]]
    return tuple(_dim(entry, name) for entry in texts)


def _dim(entry: int | str, name: str) -> Dim:
    if isinstance(entry, int):
        return Dim(None, entry)
    match = _DIM.fullmatch(entry)
    if match is None:
        raise ValueError(f"{name}: {entry!r} is no dimension")
    dim = Dim(match[1], int(match[2] or 1), int(match[3] or 1))
    if dim.mul > 0xFFFF or dim.div > 0xFF:
        raise ValueError(f"{name}: {entry!r}: a multiplier is at most 65535, a divisor at most 255")
    return dim


def _shape_data(shape: Shape, leading: bool) -> list[int | str]:
    entries: list[int | str] = [dim.mul if dim.symbol is None else str(dim) for dim in shape]
    return [f"*{entries[0]}", *entries[1:]] if leading else entries


def _check(spec: KernelSpec) -> None:
    unique((tensor.name for tensor in spec.tensors), "tensors")
    unique((*spec.symbols, *(param.name for param in spec.params)), "symbols and params")
    keywords = [tensor.name for tensor in spec.arguments] + [param.name for param in spec.params]
    unique([*keywords, _RESERVED], "tensors and params, which share a call's keywords,")
    if sum(len(tensor.shapes) for tensor in spec.tensors) > MAX_RECORDS:
        raise ValueError(f"tensors: more than {MAX_RECORDS}, alternative shapes counted")
    for tensor in spec.tensors:
        _check_symbols(spec, tensor)
    for symbol in spec.symbols:
        required = (tensor.shapes[0] for tensor in spec.inputs if not tensor.optional)
        if not any(Dim(symbol) in shape for shape in required):
            raise ValueError(f"symbols: {symbol!r} is not by itself a dimension of an input that is always given")


def _check_symbols(spec: KernelSpec, tensor: Tensor) -> None:
    for shape in tensor.shapes:
        if tensor.leading and shape[0] != Dim(shape[0].symbol):
            raise ValueError(f"{tensor.name}: a dimension with * is a symbol by itself")
        for dim in shape:
            if dim.symbol is not None and dim.symbol not in spec.symbols:
                raise ValueError(f"{tensor.name}: {dim.symbol!r} is not among the symbols")
