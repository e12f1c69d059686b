"""Symbolic shapes: which calls agree with a kernel's description, and what the others are told."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_builds import SPECS

from host.pack.spec import DTYPES, Dim, KernelSpec, KnownAnswer, Limits, Region, Tensor
from host.shapes import array_shape, element_shape, output_shape, solve

ROPE, RMSNORM, SWIGLU = (SPECS[id] for id in ("rope_f32", "rmsnorm_f32", "swiglu_f32"))
N = Dim("n")

sizes = st.integers(1, 50)


def kernel(inputs: list[Tensor], outputs: list[Tensor], scratch: Sequence[Tensor] = ()) -> KernelSpec:
    """A kernel with these tensors, whose symbols are n and m."""
    return KernelSpec(
        id="k",
        op="k",
        category="test",
        entry_point="k_forward",
        symbols=("n", "m"),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        scratch=tuple(scratch),
        params=(),
        limits=Limits(1, 1, 0),
        fallback=None,
        test=KnownAnswer(1, {"n": 1}),
    )


def tensor(name: str, region: Region, *dims: Dim, dtype: str = "f32", **flags: bool) -> Tensor:
    return Tensor(name, region, DTYPES[dtype], (dims,), **flags)


def alternatives(name: str, region: Region, *shapes: tuple[Dim, ...], **flags: bool) -> Tensor:
    return Tensor(name, region, DTYPES["f32"], shapes, **flags)


@given(batch=sizes, seq=sizes, heads=sizes, half=sizes)
def test_symbols_and_outputs_follow_from_the_inputs(batch: int, seq: int, heads: int, half: int) -> None:
    x = (batch, seq, heads, 2 * half)
    solved = solve(ROPE, {"x": x, "freqs": None})
    assert solved.symbols == {"batch": batch, "seq": seq, "heads": heads, "dim": 2 * half}
    assert solved.shapes["x"] == solved.shapes["y"] == x
    assert "freqs" not in solved.shapes


@given(half=sizes)
def test_scratch_follows_from_the_symbols(half: int) -> None:
    scratch = tensor("s", Region.SCRATCH, Dim("n", 1, 2), Dim(None, 6))
    spec = kernel([tensor("x", Region.INPUT_A, N)], [tensor("y", Region.OUTPUT, N)], [scratch])
    assert solve(spec, {"x": (2 * half,)}).shapes["s"] == (half, 6)


@pytest.mark.parametrize("freqs", [(3, 4), (3, 4, 2)])
def test_each_alternative_shape_is_accepted(freqs: tuple[int, ...]) -> None:
    assert solve(ROPE, {"x": (2, 3, 1, 8), "freqs": freqs}).shapes["freqs"] == freqs


@given(leading=st.lists(sizes, max_size=4), dim=sizes)
def test_leading_dimensions_are_multiplied_and_kept_in_the_output(leading: list[int], dim: int) -> None:
    x = (*leading, dim)
    solved = solve(RMSNORM, {"x": x, "weight": (dim,)})
    product = 1
    for size in leading:
        product *= size
    assert solved.symbols == {"rows": product, "dim": dim}
    assert output_shape(RMSNORM, {"x": x, "weight": (dim,)}) == x


def test_a_scalar_has_one_element_where_all_dimensions_are_leading() -> None:
    solved = solve(SWIGLU, {"gate": (), "up": ()})
    assert (solved.symbols, solved.shapes["y"]) == ({"n": 1}, ())


def test_tensors_with_leading_dimensions_agree_in_their_product() -> None:
    assert solve(SWIGLU, {"gate": (2, 3), "up": (6,)}).shapes["y"] == (2, 3)


X = tensor("x", Region.INPUT_A, N)
TWO = kernel(
    [X, alternatives("w", Region.INPUT_B, (Dim("n", 1, 2),), (N, Dim(None, 3)), optional=True)],
    [tensor("y", Region.OUTPUT, N)],
)
CONSTANT = kernel(
    [tensor("x", Region.INPUT_A, N, Dim(None, 3)), tensor("w", Region.INPUT_B, Dim("n", 1, 2), optional=True)],
    [tensor("y", Region.OUTPUT, Dim("n", 2))],
)
ROWS = kernel(
    [tensor("x", Region.INPUT_A, Dim("m"), N, leading=True), tensor("w", Region.INPUT_B, N, optional=True)],
    [tensor("y", Region.OUTPUT, Dim("m"), N, leading=True)],
)
EITHER = kernel(
    [X, alternatives("w", Region.INPUT_B, (N, N), (N, Dim(None, 2)), leading=True, optional=True)],
    [tensor("y", Region.OUTPUT, N)],
)
FIRST = kernel([alternatives("x", Region.INPUT_A, (N,), (N, Dim(None, 2)))], [tensor("y", Region.OUTPUT, N)])
INPUT_Q8 = kernel([tensor("x", Region.INPUT_A, N, dtype="q8")], [tensor("y", Region.OUTPUT, N)])
OUTPUT_Q4 = kernel([X], [tensor("y", Region.OUTPUT, N, dtype="q4")])
TWICE_Q4 = kernel([X], [tensor("y", Region.OUTPUT, Dim(None, 2), Dim("n", 3), dtype="q4")])
FLAT_Q8 = kernel(
    [tensor("x", Region.INPUT_A, N, leading=True)], [tensor("y", Region.OUTPUT, N, dtype="q8", leading=True)]
)
SCRATCH_Q8 = kernel([X], [tensor("y", Region.OUTPUT, N)], [tensor("s", Region.SCRATCH, Dim("n", 1, 2), dtype="q8")])


@pytest.mark.parametrize(
    "spec, shapes, message",
    [
        # Another rank.
        (ROPE, {"x": (1, 2, 8)}, "rope_f32: x has shape (1, 2, 8), must be (batch, seq, heads, dim)"),
        (RMSNORM, {"x": (), "weight": (1,)}, "rmsnorm_f32: x has shape (), must be (*rows, dim)"),
        (RMSNORM, {"x": (2, 8), "weight": (1, 8)}, "rmsnorm_f32: weight has shape (1, 8), must be (dim,)"),
        (CONSTANT, {"x": (2, 3), "y": ()}, "k: y has shape (), must be (n*2,)"),
        (FIRST, {"x": (2, 2, 2)}, "k: x has shape (2, 2, 2), must be (n,) or (n, 2)"),
        # Tensors that disagree about a symbol.
        (RMSNORM, {"x": (2, 8), "weight": (9,)}, "rmsnorm_f32: dimension 0 (dim) of weight is 9, must be 8"),
        (SWIGLU, {"gate": (2, 3), "up": (5,)}, "swiglu_f32: dimension 0 (n) of up is 5, must be 6"),
        # Leading dimensions.
        (SWIGLU, {"gate": (6,), "up": (2, 4)}, "swiglu_f32: leading dimensions (2, 4) of up make n = 8, must be 6"),
        (SWIGLU, {"gate": (6,), "up": ()}, "swiglu_f32: leading dimensions () of up make n = 1, must be 6"),
        (ROWS, {"x": (2, 3, 8), "y": (2, 4, 8)}, "k: leading dimensions (2, 4) of y make m = 8, must be 6"),
        (ROWS, {"x": (2, 3, 8), "y": (2, 3, 9)}, "k: dimension 2 (n) of y is 9, must be 8"),
        (ROWS, {"x": (8,), "y": (2,)}, "k: dimension 0 (n) of y is 2, must be 8"),
        # An output that is given.
        (ROPE, {"x": (1, 2, 1, 8), "y": (1, 2, 2, 8)}, "rope_f32: dimension 2 (heads) of y is 2, must be 1"),
        (CONSTANT, {"x": (2, 3), "y": (5,)}, "k: dimension 0 (n*2) of y is 5, must be 4"),
        # A constant, and nothing at all.
        (CONSTANT, {"x": (2, 4)}, "k: dimension 1 (3) of x is 4, must be 3"),
        (ROPE, {"x": (1, 0, 1, 8)}, "rope_f32: x has seq = 0, must be at least 1"),
        (ROWS, {"x": (2, 0, 8)}, "k: x has m = 0, must be at least 1"),
        # A dimension that is not whole.
        (ROPE, {"x": (1, 2, 1, 7)}, "rope_f32: dim is 7, but work needs dim/2 to be a whole number"),
        (SCRATCH_Q8, {"x": (7,)}, "k: n is 7, but s needs n/2 to be a whole number"),
        (CONSTANT, {"x": (3, 3), "w": (2,)}, "k: n is 3, but w needs n/2 to be a whole number"),
        # None of several shapes.
        (
            ROPE,
            {"x": (1, 2, 1, 8), "freqs": (4, 2)},
            "rope_f32: freqs has shape (4, 2), must be (seq, dim/2) = (2, 4) or (seq, dim/2, 2) = (2, 4, 2)",
        ),
        (TWO, {"x": (5,), "w": (2,)}, "k: w has shape (2,), must be (n/2,) or (n, 3) = (5, 3)"),
        (EITHER, {"x": (4,), "w": (2, 2, 3)}, "k: w has shape (2, 2, 3), must be (*n, n) = (4, 4) or (*n, 2) = (4, 2)"),
        # Rows that are not whole blocks.
        (INPUT_Q8, {"x": (33,)}, "k: n is 33, x needs a multiple of 32"),
        (OUTPUT_Q4, {"x": (33,)}, "k: n is 33, y needs a multiple of 32"),
        (OUTPUT_Q4, {"x": (33,), "y": (33,)}, "k: n is 33, y needs a multiple of 32"),
        (TWICE_Q4, {"x": (11,)}, "k: the last dimension of y is 33, must be a multiple of 32"),
        (SCRATCH_Q8, {"x": (32,)}, "k: the last dimension of s is 16, must be a multiple of 32"),
        (FLAT_Q8, {"x": (2, 48)}, "k: the last dimension of y is 48, must be a multiple of 32"),
        (FLAT_Q8, {"x": ()}, "k: n is 1, y needs a multiple of 32"),
    ],
)
def test_a_wrong_shape_is_told_which_dimension_what_it_was_and_what_it_must_be(
    spec: KernelSpec, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        solve(spec, shapes)


@pytest.mark.parametrize(
    "spec, shapes",
    [
        (TWO, {"x": (5,), "w": (5, 3)}),  # the other alternative would need half of 5
        (TWO, {"x": (4,), "w": (2,)}),
        (EITHER, {"x": (4,), "w": (2, 2, 4)}),
        (EITHER, {"x": (4,), "w": (2, 2, 2)}),
        (FLAT_Q8, {"x": (3, 64)}),
        (SCRATCH_Q8, {"x": (64,)}),
        (TWICE_Q4, {"x": (32,)}),
        (ROWS, {"x": (8,), "w": (8,), "y": (8,)}),
    ],
)
def test_a_shape_that_fits_is_taken(spec: KernelSpec, shapes: dict[str, tuple[int, ...]]) -> None:
    assert solve(spec, shapes).shapes.items() >= shapes.items()


@given(n=sizes, other=st.lists(sizes, max_size=3).map(tuple))
def test_every_breach_says_the_kernel_the_tensor_and_both_numbers(n: int, other: tuple[int, ...]) -> None:
    """Whatever shape is given for the second tensor."""
    try:
        solve(RMSNORM, {"x": (2, n), "weight": other})
    except ValueError as error:
        if len(other) == 1:
            assert str(error) == f"rmsnorm_f32: dimension 0 (dim) of weight is {other[0]}, must be {n}"
        else:
            assert f"weight has shape ({', '.join(map(str, other))}), must be (dim,)" in str(error)
    else:
        assert other == (n,)


def test_missing_and_unknown_tensors_are_named() -> None:
    with pytest.raises(TypeError, match="rmsnorm_f32: input weight is missing"):
        solve(RMSNORM, {"x": (1, 8)})
    with pytest.raises(TypeError, match="swiglu_f32 has no tensor 'bias'; its tensors: gate, up, y"):
        solve(SWIGLU, {"gate": (1,), "up": (1,), "bias": (1,)})


def test_an_output_that_is_read_first_is_checked_like_an_input() -> None:
    spec = kernel([tensor("x", Region.INPUT_A, N)], [tensor("y", Region.OUTPUT, N, inout=True)])
    assert solve(spec, {"x": (3,), "y": (3,)}).shapes["y"] == (3,)
    with pytest.raises(ValueError, match=re.escape("dimension 0 (n) of y is 4, must be 3")):
        solve(spec, {"x": (3,), "y": (4,)})


def test_dimensions_can_be_multiples_and_constants() -> None:
    spec = kernel([tensor("x", Region.INPUT_A, N)], [tensor("y", Region.OUTPUT, Dim("n", 3, 2), Dim(None, 5))])
    assert output_shape(spec, {"x": (4,)}) == (6, 5)


@given(rows=sizes, blocks=sizes, dtype=st.sampled_from(["q8", "q4", "f32", "u8"]))
def test_array_shape_is_the_inverse_of_element_shape(rows: int, blocks: int, dtype: str) -> None:
    kind = DTYPES[dtype]
    elements = (rows, blocks * kind.block)
    assert element_shape(kind, array_shape(kind, elements)) == elements


def test_a_row_that_is_not_whole_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of q8 has 35 bytes, must be a multiple of 34"):
        element_shape(DTYPES["q8"], (2, 35))
