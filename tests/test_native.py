"""Native operations: only those that were allowed, only when asked for as such, and right."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from host import errors
from host.native import OPERATIONS, PREFIX, NativeOps
from host.pack import schema

F64 = NDArray[np.float64]


@pytest.fixture
def ops() -> NativeOps:
    """With every operation allowed."""
    made = NativeOps()
    for name in OPERATIONS:
        made.allow(name)
    return made


def numbers(*shape: int, dtype: str = "f4", scale: float = 1.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(sum(shape))
    return (scale * rng.standard_normal(shape)).astype(dtype)


def attention(q: F64, k: F64, v: F64, causal: bool = False) -> F64:
    """Straightforward, one head, in float64."""
    q, k, v = (np.asarray(array, np.float64) for array in (q, k, v))
    y = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        seen = len(k) - len(q) + i + 1 if causal else len(k)
        scores = k[:seen] @ q[i] / q.shape[1] ** 0.5
        weights = np.exp(scores - scores.max())
        y[i] = weights @ v[:seen] / weights.sum()
    return y


# ---- opting in -----------------------------------------------------------------------------------


def test_nothing_is_allowed_to_begin_with() -> None:
    ops = NativeOps()
    assert ops.allowed == ()
    with pytest.raises(errors.NoSuchKernel, match="the native operation 'attention' is not allowed"):
        ops.run("native:attention", numbers(2, 4), numbers(2, 4), numbers(2, 4))


def test_only_what_was_allowed_runs() -> None:
    ops = NativeOps()
    ops.allow("attention")
    ops.allow("attention")
    assert ops.allowed == ("attention",)
    assert ops.run("native:attention", numbers(2, 4), numbers(2, 4), numbers(2, 4)).shape == (2, 4)
    with pytest.raises(errors.NoSuchKernel, match="'matmul' is not allowed"):
        ops.run("native:matmul", numbers(2, 2), numbers(2, 2))


def test_unknown_names_are_told_what_there_is(ops: NativeOps) -> None:
    for refused in (lambda: ops.allow("conv"), lambda: ops.run("native:conv")):
        with pytest.raises(errors.NoSuchKernel, match=r"no native operation 'conv'; there are: attention, matmul$"):
            refused()


def test_no_kernel_can_have_the_name_of_a_native_operation() -> None:
    pattern = schema.load(schema.KERNELS)["$defs"]["name"]["pattern"]
    assert all(re.search(pattern, name) and not re.search(pattern, PREFIX + name) for name in OPERATIONS)


# ---- attention -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "d", "dv"), [(1, 1, 1, 1), (5, 5, 8, 8), (3, 9, 4, 7), (600, 600, 16, 16)])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_the_formula(ops: NativeOps, n: int, m: int, d: int, dv: int, causal: bool) -> None:
    q, k, v = numbers(n, d), numbers(m, d), numbers(m, dv)
    y = ops.run("native:attention", q, k, v, causal=causal)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, attention(q, k, v, causal), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_in_f16_is_computed_in_f32(ops: NativeOps, causal: bool) -> None:
    q, k, v = (numbers(40, 64, dtype="f2", scale=4) for _ in range(3))
    y = ops.run("native:attention", q, k, v, causal=causal)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.astype("f8"), attention(q, k, v, causal), rtol=2**-11 * 1.01, atol=1e-4)


def test_attention_of_many_heads_is_that_of_each(ops: NativeOps) -> None:
    q, k, v = numbers(2, 3, 5, 8), numbers(2, 1, 6, 8), numbers(6, 4)
    y = ops.run("native:attention", q, k, v)
    assert y.shape == (2, 3, 5, 4)
    for batch, head in np.ndindex(2, 3):
        expected = attention(q[batch, head], k[batch, 0], v)
        np.testing.assert_allclose(y[batch, head], expected, rtol=1e-5, atol=1e-5)


def test_large_scores_do_not_overflow(ops: NativeOps) -> None:
    q, k, v = numbers(4, 8, scale=1e4), numbers(6, 8, scale=1e4), numbers(6, 3)
    y = ops.run("native:attention", q, k, v)
    np.testing.assert_allclose(y, attention(q, k, v), rtol=1e-5, atol=1e-5)


def test_a_causal_query_does_not_depend_on_later_keys(ops: NativeOps) -> None:
    q, k, v = numbers(300, 8), numbers(300, 8), numbers(300, 8)
    before = ops.run("native:attention", q, k, v, causal=True)
    k[200:], v[200:] = 1e6, -1e6
    after = ops.run("native:attention", q, k, v, causal=True)
    assert np.array_equal(before[:200], after[:200])
    assert not np.array_equal(before[200:], after[200:])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 4), (3, 5), (3, 4)), r"must be \[..., n, d\]"),
        (((2, 4), (3, 4), (2, 4)), r"must be \[..., n, d\]"),
        (((4,), (3, 4), (3, 4)), r"must be \[..., n, d\]"),
        (((2, 4), (0, 4), (0, 4)), "at least one key"),
        (((2, 2, 4), (3, 3, 4), (3, 4)), "broadcast"),
    ],
)
def test_shapes_of_attention_must_fit(ops: NativeOps, shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.run("native:attention", *(numbers(*shape) for shape in shapes))


def test_causal_attention_needs_a_key_for_every_query(ops: NativeOps) -> None:
    with pytest.raises(ValueError, match=r"more queries \(3\) than keys \(2\)"):
        ops.run("native:attention", numbers(3, 4), numbers(2, 4), numbers(2, 4), causal=True)


# ---- matmul --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "k", "n"), [(1001, 1001, 1001), (1, 1200, 1000), (1200, 2, 1000)])
def test_matmul_is_the_product(ops: NativeOps, m: int, k: int, n: int) -> None:
    a, b = numbers(m, k), numbers(k, n)
    y = ops.run("native:matmul", a, b)
    assert (y.shape, y.dtype) == ((m, n), np.float32)
    expected = np.einsum("ij,jk->ik", a[:3].astype("f8"), b.astype("f8"))
    np.testing.assert_allclose(y[:3], expected, rtol=1e-4, atol=k * 1e-6)


def test_smaller_products_are_for_a_kernel(ops: NativeOps) -> None:
    with pytest.raises(ValueError, match=r"not above 1000 x 1000: that is for a kernel"):
        ops.run("native:matmul", numbers(1000, 1000), numbers(1000, 1000))


def test_shapes_of_matmul_must_fit(ops: NativeOps) -> None:
    for a, b in [((1001, 1001), (1000, 1001)), ((1001, 1001), (1001,)), ((2, 1001, 1001), (1001, 1001))]:
        with pytest.raises(ValueError, match=r"must be \[m, k\] and \[k, n\]"):
            ops.run("native:matmul", np.zeros(a, "f4"), np.zeros(b, "f4"))


# ---- calls ---------------------------------------------------------------------------------------


def test_the_result_goes_to_out_even_where_an_input_is(ops: NativeOps) -> None:
    q, k, v = numbers(3, 4), numbers(3, 4), numbers(3, 4)
    expected = ops.run("native:attention", q, k, v)
    assert ops.run("native:attention", q, k, v, out=q) is q
    assert np.array_equal(q, expected)
    with pytest.raises(ValueError, match=r"out must be an array of float32, shape \(3, 4\)"):
        ops.run("native:attention", q, k, v, out=np.zeros((3, 5), "f4"))
    with pytest.raises(ValueError, match="out must be an array of float32"):
        ops.run("native:attention", q, k, v, out=np.zeros((3, 4)))


def test_lists_are_converted_and_arrays_of_other_dtypes_refused(ops: NativeOps) -> None:
    assert ops.run("native:attention", [[1.0]], [[1.0]], [[2.5]]).tolist() == [[2.5]]
    with pytest.raises(TypeError, match="v has dtype float64, must be float32 or float16"):
        ops.run("native:attention", numbers(1, 1), numbers(1, 1), np.zeros((1, 1)))
    with pytest.raises(TypeError, match="k has dtype float16, q float32"):
        ops.run("native:attention", numbers(1, 1), numbers(1, 1, dtype="f2"), numbers(1, 1))
    with pytest.raises(TypeError, match="a has dtype float16, must be float32"):
        ops.run("native:matmul", numbers(2, 2, dtype="f2"), numbers(2, 2, dtype="f2"))


def test_arguments_and_parameters_are_those_of_the_operation(ops: NativeOps) -> None:
    with pytest.raises(TypeError, match="native:attention takes q, k, v, got 2 arguments"):
        ops.run("native:attention", numbers(1, 1), numbers(1, 1))
    with pytest.raises(TypeError, match="native:attention has no parameter 'casual'; its parameters: causal"):
        ops.run("native:attention", numbers(1, 1), numbers(1, 1), numbers(1, 1), casual=True)
    with pytest.raises(TypeError, match="native:matmul has no parameter 'x'; its parameters: none"):
        ops.run("native:matmul", numbers(1, 1), numbers(1, 1), x=1)
