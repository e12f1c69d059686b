"""Symbolic shapes: which calls agree with a kernel's description, and what the others are told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_builds import SPECS

from host.pack.spec import DTYPES, Dim, KernelSpec, KnownAnswer, Limits, Region, Tensor
from host.shapes import array_shape, element_shape, output_shape, solve

ROPE, RMSNORM, SWIGLU = (SPECS[id] for id in ("rope_f32", "rmsnorm_f32", "swiglu_f32"))
N = Dim("n")

sizes = st.integers(1, 50)


def kernel(inputs: list[Tensor], outputs: list[Tensor]) -> KernelSpec:
    """A kernel of one symbol, n."""
    return KernelSpec(
        id="k",
        op="k",
        category="test",
        entry_point="k_forward",
        symbols=("n",),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        scratch=(),
        params=(),
        limits=Limits(1, 1, 0),
        fallback=None,
        test=KnownAnswer(1, {"n": 1}),
    )


def tensor(name: str, region: Region, *dims: Dim, dtype: str = "f32", **flags: bool) -> Tensor:
    return Tensor(name, region, DTYPES[dtype], (dims,), **flags)


@given(batch=sizes, seq=sizes, heads=sizes, half=sizes)
def test_symbols_outputs_and_scratch_follow_from_the_inputs(batch: int, seq: int, heads: int, half: int) -> None:
    x = (batch, seq, heads, 2 * half)
    solved = solve(ROPE, {"x": x, "freqs": None})
    assert solved.symbols == {"batch": batch, "seq": seq, "heads": heads, "dim": 2 * half}
    assert solved.shapes == {"x": x, "y": x, "angles": (half, 6)}


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


@pytest.mark.parametrize(
    "spec, shapes, message",
    [
        (RMSNORM, {"x": (2, 8), "weight": (9,)}, "rmsnorm_f32: dimension 0 (dim) of weight is 9, must be 8"),
        (SWIGLU, {"gate": (2, 3), "up": (5,)}, "swiglu_f32: dimension 0 (n) of up is 5, must be 6"),
        (ROPE, {"x": (1, 2, 8)}, "x has shape (1, 2, 8), must be (batch, seq, heads, dim)"),
        (ROPE, {"x": (1, 2, 1, 7)}, "dim is 7, but angles needs dim/2 to be a whole number"),
        (ROPE, {"x": (1, 0, 1, 8)}, "x has seq = 0, must be at least 1"),
        (
            ROPE,
            {"x": (1, 2, 1, 8), "freqs": (4, 2)},
            "freqs has shape (4, 2), must be (seq, dim/2) = (2, 4) or (seq, dim/2, 2) = (2, 4, 2)",
        ),
        (ROPE, {"x": (1, 2, 1, 8), "y": (1, 2, 2, 8)}, "dimension 2 (heads) of y is 2, must be 1"),
        (RMSNORM, {"x": (), "weight": (1,)}, "x has shape (), must be (*rows, dim)"),
    ],
)
def test_a_wrong_shape_is_told_which_dimension_and_what_it_must_be(
    spec: KernelSpec, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        solve(spec, shapes)


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
