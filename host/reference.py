"""What kernels ought to compute: their formulas in float64 numpy, and how far a result may be from that.

The bounds follow from the operations that docs/kernels.md lists for each kernel, every one of them rounded once:
a relative error of at most ``U`` = 2^-24 for each, the 2 ulp (4 ``U``) that sine, cosine and exp promise, and 2^-150
for each rounding that meets a denormal. They hold for every finite result and intermediate value; where an
intermediate one overflows in f32, the bound is infinite.
"""

from __future__ import annotations

import runpy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import formats
from host.errors import UsageError
from host.pack.spec import DTYPES

F64 = NDArray[np.float64]

U = 2.0**-24
"""Unit roundoff of f32."""
TINY = 2.0**-149
"""The smallest f32 above 0; rounding in the denormals is off by half of it."""
HUGE = float(np.finfo(np.float32).max) * (1 - 2.0**-20)
"""Beyond this, rounding may overflow."""


@dataclass(frozen=True)
class Expected:
    """A result in float64, element by element, and the bound on |result - value|; infinite where there is none."""

    value: F64
    bound: F64


Reference = Callable[[Mapping[str, NDArray[Any]], Mapping[str, Any]], Expected]


def rope(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
    """y_a = x_a cos - x_b sin, y_b = x_a sin + x_b cos.

    x [batch, seq, heads, dim]; freqs [seq, dim/2] in radians, [seq, dim/2, 2] as cosine and sine, or absent: then
    the angle is (pos + s) theta^(-2i/dim). Bound: (|x_a cos| + |x_b sin|) 6 U, of which 4 U are those of cosine and
    sine, absent when they are given; for computed angles also the error of the angle here, 2^-50 of it.
    """
    x = inputs["x"].astype(np.float64)
    seq, dim = x.shape[1], x.shape[3]
    freqs = inputs.get("freqs")
    angle_error: F64 | float = 0.0
    roundings = 6.1
    if freqs is not None and freqs.ndim == 3:
        cos, sin = freqs[..., 0].astype(np.float64), freqs[..., 1].astype(np.float64)
        roundings = 2.1
    elif freqs is not None:
        cos, sin = np.cos(freqs.astype(np.float64)), np.sin(freqs.astype(np.float64))
    else:
        theta = float(np.float32(params["theta"]))
        angle = (params["pos"] + np.arange(seq))[:, None] * theta ** (-2.0 * np.arange(dim // 2) / dim)
        cos, sin = np.cos(angle), np.sin(angle)
        angle_error = (np.abs(angle) * 2.0**-50)[None, :, None, :]
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    halves = slice(dim // 2), slice(dim // 2, None)
    one, other = (slice(0, None, 2), slice(1, None, 2)) if params["interleaved"] else halves
    value, bound = np.empty_like(x), np.empty_like(x)
    a, b = x[..., one], x[..., other]
    for where, first, second in ((one, a * cos, -b * sin), (other, a * sin, b * cos)):
        size = np.abs(first) + np.abs(second)
        value[..., where] = first + second
        limit = roundings * U * size + TINY + (np.abs(a) + np.abs(b)) * angle_error
        bound[..., where] = np.where(size > HUGE, np.inf, limit)
    return Expected(value, bound)


def rmsnorm(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
    """y = x / sqrt(mean(x^2) + eps) * weight, over the last dimension.

    Each of the 8 partial sums adds ceil(dim / 8) squares, and 3 additions join them. Half of the relative error under
    the root is left, and 1 U each for root, reciprocal and two products. A denormal square loses at most 2^-150.
    """
    x, weight = inputs["x"].astype(np.float64), inputs["weight"].astype(np.float64)
    dim = x.shape[-1]
    total = np.sum(x * x, axis=-1, keepdims=True)
    under_root = total / dim + float(np.float32(params["eps"]))
    scaled = x / np.sqrt(under_root)
    value = scaled * weight
    relative = (-(-dim // 8) + 7) * U + TINY / under_root
    limit = (relative / 2 + 4 * U) * 1.02 * np.abs(value) + TINY * (1 + np.abs(weight))
    # inf * (a product that f32 rounds to 0) is NaN there.
    vanishing = np.isinf(weight) & (np.abs(scaled) < 2 * TINY)
    overflow = (np.isfinite(total) & (total > HUGE)) | (np.isfinite(value) & (np.abs(value) > HUGE))
    return Expected(value, np.where(overflow | vanishing | (relative > 0.01), np.inf, limit))


def swiglu(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
    """y = gate / (1 + exp(-gate)) * up.

    4 U from exp, and 1 U each for the product with it, sum, quotient and the product with up; silu is rounded to f32
    before that.
    """
    gate, up = inputs["gate"].astype(np.float64), inputs["up"].astype(np.float64)
    silu = gate / (1 + np.exp(-gate))
    value = silu * up
    limit = 8.1 * U * np.abs(value) + TINY * (1 + np.abs(up))
    vanishing = np.isinf(up) & (np.abs(silu) < 2 * TINY)
    overflow = np.isfinite(value) & (np.abs(value) > HUGE)
    return Expected(value, np.where(overflow | vanishing, np.inf, limit))


def lora_apply(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
    """y + scale * ((x A) B).

    A sum of n products, begun with 0, is off by at most n U of the sum of their magnitudes; the product with scale
    and the last sum add 1 U each. A product that is a denormal loses at most 2^-150.
    """
    x, a, b, y = (inputs[name].astype(np.float64) for name in ("x", "a", "b", "y"))
    scale = float(np.float32(params["scale"]))
    d_in, rank = a.shape
    value = y + scale * _product(_product(x, a), b)
    largest_h = _product(np.abs(x), np.abs(a))
    size = abs(scale) * _product(largest_h, np.abs(b))
    limit = 1.02 * U * ((d_in + rank + 2) * size + np.abs(y))
    tiny = TINY * (2 + abs(scale) * (rank + d_in * np.abs(b).sum(axis=0)))
    unscaled = _product(largest_h, np.abs(b))
    overflow = (largest_h.max(axis=-1, keepdims=True) > HUGE) | (unscaled > HUGE) | (size + np.abs(y) > HUGE)
    return Expected(value, np.where(overflow, np.inf, limit + tiny))


def _product(a: F64, b: F64) -> F64:
    return np.asarray(np.einsum("...ij,jk->...ik", np.atleast_2d(a), b).reshape(*a.shape[:-1], b.shape[-1]))


def kv_pack(dtype: str) -> Reference:
    """Blocks exactly as GGUF has them, so their elements too."""

    def reference(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
        stored = formats.quantize(inputs["x"], DTYPES[dtype])
        return _exact(formats.elements(stored, DTYPES[dtype]))

    return reference


def kv_unpack(dtype: str) -> Reference:
    """An element is its quant times the scale; that is exact in f32."""

    def reference(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
        return _exact(formats.elements(inputs["x"], DTYPES[dtype]))

    return reference


def _exact(value: F64) -> Expected:
    return Expected(value, np.zeros_like(value))


def in_f16(reference: Reference) -> Reference:
    """``reference`` on f16 inputs, its f32 result rounded to f16: half a unit in the last place more."""

    def rounded(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
        exact = reference(inputs, params)
        size = np.abs(exact.value)
        bound = exact.bound + np.maximum((size + exact.bound) * 2.0**-11, 2.0**-25)
        # From 65520 on it is infinity that is nearest.
        beyond = np.isfinite(size) & (size - exact.bound > 65520)
        near = np.isfinite(size) & (size + exact.bound >= 65519) & ~beyond
        value = np.where(beyond, np.copysign(np.inf, exact.value), exact.value)
        return Expected(value, np.where(near, np.inf, np.where(beyond, 0.0, bound)))

    return rounded


def in_q8(reference: Reference) -> Reference:
    """``reference`` on Q8_0 rows, its f32 result packed again.

    A quant is off by half of the scale, which is the largest magnitude of the block through 127; rounding the scale to
    f16 moves an element by up to 127 times that error.
    """

    def packed(inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Expected:
        exact = reference({**inputs, "x": formats.dequantize(inputs["x"], DTYPES["q8"])}, params)
        blocks = exact.value.reshape(*exact.value.shape[:-1], -1, DTYPES["q8"].block)
        errors = exact.bound.reshape(blocks.shape)
        largest = (np.abs(blocks) + errors).max(axis=-1, keepdims=True)
        bound = errors + 1.001 * largest * (1 / 254 + 2.0**-11) + 127 * 2.0**-25
        usable = np.isfinite(blocks).all(axis=-1, keepdims=True) & (largest / 127 < 65504)
        return Expected(exact.value, np.where(usable, bound, np.inf).reshape(exact.bound.shape))

    return packed


REFERENCES: Mapping[str, Reference] = {
    "rope_f32": rope,
    "rope_f16": in_f16(rope),
    "rope_q8": in_q8(rope),
    "rmsnorm_f32": rmsnorm,
    "rmsnorm_f16": in_f16(rmsnorm),
    "swiglu_f32": swiglu,
    "swiglu_f16": in_f16(swiglu),
    "kv_pack_q4": kv_pack("q4"),
    "kv_pack_q8": kv_pack("q8"),
    "kv_unpack_q4": kv_unpack("q4"),
    "kv_unpack_q8": kv_unpack("q8"),
    "lora_apply_f32": lora_apply,
    "lora_apply_f16": in_f16(lora_apply),
}
"""References by kernel id."""


def read(file: Path) -> Mapping[str, Reference]:
    """The ``REFERENCES`` of a Python file, which is run, with all that it does.

    Raises UsageError when it has none, or fails.
    """
    try:
        found = runpy.run_path(str(file)).get("REFERENCES")
    except Exception as error:
        raise UsageError(f"{file}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping) or not all(map(callable, found.values())):
        raise UsageError(f"{file} has no REFERENCES, a dictionary of functions by kernel id")
    return found


def expected(
    kernel_id: str,
    inputs: Mapping[str, NDArray[Any]],
    params: Mapping[str, Any],
    references: Mapping[str, Reference] = REFERENCES,
) -> Expected | None:
    """What a kernel should give for arrays by name and all its parameters; None when it has no reference.

    Arrays are as a call has them: those of block formats are of u1.
    """
    reference = references.get(kernel_id)
    if reference is None:
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        return reference(inputs, params)


def outside(value: F64, expected: Expected) -> NDArray[np.bool_]:
    """Where elements break the bound. NaN must be NaN and an infinity that infinity, unless there is no bound."""
    with np.errstate(all="ignore"):
        near = np.abs(value - expected.value) <= expected.bound
    same = (value == expected.value) | (np.isnan(value) & np.isnan(expected.value))
    beyond: NDArray[np.bool_] = ~(near | same | np.isposinf(expected.bound))
    return beyond
