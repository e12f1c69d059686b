"""Inputs of a kernel's known-answer test: docs/board-image.md, "Known-answer test".

The same numbers are made by the firmware in C, so nothing here may depend on numpy's own generators.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from host.pack.spec import DType, KernelSpec
from host.shapes import Sizes, array_shape


def xorshift32(seed: int) -> Iterator[int]:
    """Endless stream of 32-bit values; ``seed`` is not 0."""
    state = seed
    while True:
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        yield state


def inputs(spec: KernelSpec) -> dict[str, NDArray[np.generic]]:
    """The test's arrays by tensor name: every input that is not optional, and outputs that are read first."""
    stream = xorshift32(spec.test.seed)
    return {
        tensor.name: _fill(tensor.dtype, tensor.sizes(spec.test.symbols), stream)
        for tensor in spec.inputs + spec.outputs
        if not tensor.optional and (tensor.region < 2 or tensor.inout)
    }


def _fill(dtype: DType, shape: Sizes, stream: Iterator[int]) -> NDArray[np.generic]:
    if dtype.block > 1:
        blocks = dtype.nbytes(shape) // dtype.size
        raw = b"".join(_block(dtype, stream) for _ in range(blocks))
        return np.frombuffer(raw, np.uint8).reshape(array_shape(dtype, shape)).copy()
    count = dtype.nbytes(shape) // dtype.size
    values = np.fromiter(stream, np.uint32, count)
    return _elements(dtype, values).reshape(shape)


def _elements(dtype: DType, values: NDArray[np.uint32]) -> NDArray[np.generic]:
    if dtype.name == "f32":
        return (((values >> 8).astype(np.int64) - 2**23) * 2.0**-23).astype(dtype.numpy)
    if dtype.name == "f16":
        return (((values >> 21).astype(np.int64) - 1024) * 2.0**-10).astype(dtype.numpy)
    return values.astype(f"<u{dtype.size}").view(dtype.numpy)


def _block(dtype: DType, stream: Iterator[int]) -> bytes:
    scale = 0x2000 | (next(stream) & 0x3FF)
    return scale.to_bytes(2, "little") + bytes(next(stream) & 0xFF for _ in range(dtype.size - 2))
