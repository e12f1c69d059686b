"""What a numpy user would write instead of a kernel: the formulas in float32, vectorised, into arrays that are there.

`host.reference` has the same formulas in float64, to be judged by; these are to be timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import formats
from host.pack.spec import DType, KernelSpec

Array = NDArray[Any]
F32 = NDArray[np.float32]
Call = Callable[[], Array]
"""Computes a kernel's output, the same array each time."""


def prepared_call(spec: KernelSpec, inputs: Mapping[str, Array], output: Array) -> Call | None:
    """The operation of ``spec`` in numpy, on ``inputs`` by tensor name, parameters being at their defaults.

    None where numpy has no answer here. Where ``output`` is read first, it is among ``inputs``.
    """
    make = _CALLS.get(spec.op)
    return None if make is None else make(spec, inputs, output)


def quantize(x: F32, dtype: DType) -> Array:
    """As `host.formats.quantize`; by the package gguf where it is installed."""
    try:
        from gguf import quants
    except ImportError:
        return formats.quantize(x, dtype)
    return quants.quantize(x, _gguf_type(dtype))


def dequantize(stored: Array, dtype: DType) -> F32:
    """As `host.formats.dequantize`; by the package gguf where it is installed."""
    try:
        from gguf import quants
    except ImportError:
        return formats.dequantize(stored, dtype)
    return quants.dequantize(stored, _gguf_type(dtype))


def _gguf_type(dtype: DType) -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType.Q8_0 if dtype.name == "q8" else GGMLQuantizationType.Q4_0


def _rope(spec: KernelSpec, inputs: Mapping[str, Array], y: Array) -> Call:
    x = inputs["x"]
    dtype = spec.outputs[0].dtype
    theta = np.float32(_default(spec, "theta"))

    def turned(x: F32, y: F32) -> F32:
        """A pair is a complex number here, and a rotation a product."""
        seq, half = x.shape[1], x.shape[3] // 2
        rates = theta ** (np.arange(half, dtype=np.float32) / np.float32(-half))
        angles = np.outer(np.arange(seq, dtype=np.float32), rates)
        turns = np.empty(angles.shape, np.complex64)
        np.cos(angles, out=turns.real)
        np.sin(angles, out=turns.imag)
        np.multiply(x.view(np.complex64), turns[:, None], out=y.view(np.complex64))
        return y

    def call() -> Array:
        if dtype.name == "f32":
            return turned(x, y)
        floats = dequantize(x, dtype) if dtype.block > 1 else x.astype(np.float32)
        floats = turned(floats, floats)
        y[...] = quantize(floats, dtype) if dtype.block > 1 else floats
        return y

    return call


def _rmsnorm(spec: KernelSpec, inputs: Mapping[str, Array], y: Array) -> Call:
    x, weight = inputs["x"], inputs["weight"]
    eps = np.float32(_default(spec, "eps"))

    def call() -> Array:
        floats = x.astype(np.float32, copy=False)
        out = y if y.dtype == np.float32 else floats
        mean = np.einsum("rd,rd->r", floats, floats) / np.float32(x.shape[1])
        np.multiply(floats, (1 / np.sqrt(mean + eps))[:, None], out=out)
        out *= weight
        if out is not y:
            y[...] = out
        return y

    return call


def _swiglu(spec: KernelSpec, inputs: Mapping[str, Array], y: Array) -> Call:
    gate, up = inputs["gate"], inputs["up"]

    def call() -> Array:
        floats = gate.astype(np.float32, copy=False)
        silu = np.negative(floats)
        np.exp(silu, out=silu)
        silu += 1
        np.divide(floats, silu, out=silu)
        np.multiply(silu, up, out=y, casting="same_kind")
        return y

    return call


def _kv_pack(spec: KernelSpec, inputs: Mapping[str, Array], y: Array) -> Call:
    return lambda: quantize(inputs["x"], spec.outputs[0].dtype)


def _kv_unpack(spec: KernelSpec, inputs: Mapping[str, Array], y: Array) -> Call:
    return lambda: dequantize(inputs["x"], spec.inputs[0].dtype)


def _lora_apply(spec: KernelSpec, inputs: Mapping[str, Array], y: Array) -> Call:
    scale = np.float32(_default(spec, "scale"))

    def call() -> Array:
        # numpy multiplies matrices of f16 without BLAS, 100 times slower.
        x, a, b = (inputs[name].astype(np.float32, copy=False) for name in ("x", "a", "b"))
        delta = (x @ a) @ b
        delta *= scale
        np.add(y, delta, out=y, casting="same_kind")
        return y

    return call


def _default(spec: KernelSpec, name: str) -> float:
    return next(param.default for param in spec.params if param.name == name)


_CALLS: Mapping[str, Callable[[KernelSpec, Mapping[str, Array], Array], Call]] = {
    "rope": _rope,
    "rmsnorm": _rmsnorm,
    "swiglu": _swiglu,
    "kv_pack": _kv_pack,
    "kv_unpack": _kv_unpack,
    "lora_apply": _lora_apply,
}
