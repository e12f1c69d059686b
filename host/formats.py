"""GGUF's Q8_0 and Q4_0 in numpy: blocks of 32 elements along the last dimension, with one f16 scale each.

For finite blocks these are the bytes that the package `gguf` writes; where that leaves it to the processor what comes
out (NaN, infinities, scales whose reciprocal overflows), it is what kernels_aot/include/kernel_blocks.h says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.pack.spec import DType
from host.shapes import array_shape, element_shape

F32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_BLOCK = 32


def quantize(x: F32, dtype: DType) -> Bytes:
    """``x`` f32 [..., dim] as q8 or q4: u1, the last dimension in bytes. Raises ValueError for partial blocks."""
    dtype.nbytes(x.shape)
    blocks = np.ascontiguousarray(x, np.float32).reshape(-1, _BLOCK)
    with np.errstate(all="ignore"):
        scale, quants = (_q8 if dtype.name == "q8" else _q4)(blocks)
        half = scale.astype(np.float16)
    half[np.isnan(half)] = np.nan  # one NaN for all
    return np.concatenate([half.view(np.uint8), quants], axis=1).reshape(array_shape(dtype, x.shape))


def dequantize(stored: Bytes, dtype: DType) -> F32:
    """The f32 elements of a q8 or q4 array, whose last dimension is in bytes."""
    shape = element_shape(dtype, stored.shape)
    blocks = np.ascontiguousarray(stored).reshape(-1, dtype.size)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    quants = blocks[:, 2:]
    if dtype.name == "q8":
        values = quants.view(np.int8)
    else:
        values = np.concatenate([quants & 15, quants >> 4], axis=1).astype(np.int8) - np.int8(8)
    with np.errstate(all="ignore"):
        elements: F32 = (scale * values.astype(np.float32)).reshape(shape)
    return elements


def elements(stored: NDArray[Any], dtype: DType) -> NDArray[np.float64]:
    """The elements of an array of any ``dtype``, in float64."""
    values = dequantize(stored, dtype) if dtype.block > 1 else stored
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return values.astype(np.float64)


def _q8(blocks: F32) -> tuple[F32, Bytes]:
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    product = blocks * _reciprocal(scale)
    magnitude = np.abs(product)
    whole = np.floor(magnitude)
    rounded = np.copysign(whole + np.floor(2 * (magnitude - whole)), product)  # halves away from zero
    return scale, _where_finite(scale, rounded, 0).astype(np.int8).view(np.uint8)


def _q4(blocks: F32) -> tuple[F32, Bytes]:
    largest = np.abs(blocks).argmax(axis=1)[:, None]
    scale = np.take_along_axis(blocks, largest, axis=1) / np.float32(-8)
    shifted = np.trunc(blocks * _reciprocal(scale) + np.float32(8.5))
    quants: Bytes = np.minimum(_where_finite(scale, shifted, 8), 15).astype(np.uint8)
    return scale, quants[:, :16] | quants[:, 16:] << np.uint8(4)


def _reciprocal(scale: F32) -> F32:
    """1 / scale, or 0 where no quant but 0 has a meaning."""
    reciprocal = np.float32(1) / scale
    return np.where(np.isfinite(scale) & np.isfinite(reciprocal), reciprocal, np.float32(0))


def _where_finite(scale: F32, quants: F32, zero: int) -> F32:
    return np.where(np.isfinite(scale), quants, np.float32(zero))
