"""Small networks with quantised weights, from GGUF files: linear layers with an activation between one and the next.

WASI-NN's encoding ``ggml`` means llama.cpp elsewhere, and a language model that is prompted. This is not that. It is a
convention of this project over the same files:

- ``general.architecture`` is ``mlp``, ``mlp.activation`` one of none, relu and silu;
- tensors ``layers.0.weight`` [out, in], ``layers.0.bias`` [out] (may be absent), ``layers.1.weight`` and so on, of
  types F32, F16, Q8_0 and Q4_0; each layer takes what the last gives; other tensors there are not;
- input 0 is f32 [batch, in], output 0 f32 [batch, out]: ``activation(x @ weight.T + bias)`` for every layer but the
  last, which has no activation. All is computed in f32.

Weights stay quantised in memory; a few rows at a time are unpacked, in each call.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from host.formats import F32, dequantize
from host.pack.spec import DTYPES, DType
from host.wasi_nn import gguf_file
from host.wasi_nn.abi import Errno, NNError
from host.wasi_nn.graph import Array, Budget, Graph, TensorInfo, check_index, only_builder

_TYPES = {0: "f32", 1: "f16", 2: "q4", 8: "q8"}
"""dtypes by ggml's number."""
_CHUNK = 1 << 20
"""How many elements of a weight are unpacked at a time, about."""


_ACTIVATIONS: Mapping[str, Callable[[F32], F32]] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "silu": lambda x: np.divide(x, np.float32(1) + np.exp(-x), dtype=np.float32),
}


class GgufBackend:
    """Needs nothing but numpy."""

    def open(self, path: str | os.PathLike[str]) -> Graph:
        """A graph for a guest's ``models``, of a file. Raises NNError as `load` does."""
        return self.load([Path(path).read_bytes()], Budget(math.inf, 0))

    def load(self, builders: Sequence[bytes], budget: Budget) -> Graph:
        """Raises NNError: invalid_argument for bytes that are no GGUF or break the convention, unsupported_operation
        for another architecture, activation or type of tensor.
        """
        try:
            file = gguf_file.read(only_builder(builders))
            activation = _known(file, "mlp.activation", _ACTIVATIONS)
            return _Mlp(_layers(file), _ACTIVATIONS[activation])
        except ValueError as error:
            raise NNError(Errno.INVALID_ARGUMENT, str(error)) from error


@dataclass(frozen=True)
class _Layer:
    weight: Array
    """[out, in], the last dimension in bytes where it is quantised."""
    dtype: DType
    bias: F32 | None
    inputs: int

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0])

    def apply(self, x: F32, budget: Budget) -> F32:
        result = np.empty((len(x), self.outputs), np.float32)
        rows = max(1, _CHUNK // self.inputs)
        for row in range(0, self.outputs, rows):
            budget.check_time()
            part = _unpack(self.weight[row : row + rows], self.dtype)
            np.matmul(x, part.T, out=result[:, row : row + rows])
        return result if self.bias is None else np.add(result, self.bias, out=result)


class _Mlp:
    def __init__(self, layers: Sequence[_Layer], activation: Callable[[F32], F32]) -> None:
        self._layers = layers
        self._activation = activation
        self._inputs = [TensorInfo("input", np.dtype("<f4"), (None, layers[0].inputs))]

    def check_input(self, index: int, tensor: Array) -> None:
        check_index(index, self._inputs, tensor)

    def infer(self, inputs: Mapping[int, Array], budget: Budget) -> Sequence[Array]:
        if 0 not in inputs:
            raise NNError(Errno.RUNTIME_ERROR, "input 0 is not set")
        x = inputs[0]
        if (size := 4 * len(x) * max(layer.outputs for layer in self._layers)) > budget.max_bytes:
            raise NNError(Errno.TOO_LARGE, f"a layer's outputs have {size} bytes, {budget.max_bytes} are left")
        with np.errstate(all="ignore"):  # infinities and NaN are results like others
            for layer in self._layers[:-1]:
                x = self._activation(layer.apply(x, budget))
            return [self._layers[-1].apply(x, budget)]


def _known(file: gguf_file.GgufFile, key: str, known: Mapping[str, object]) -> str:
    """The value of ``key`` in an ``mlp``, which has to be one of ``known``."""
    architecture = file.metadata.get("general.architecture")
    if architecture != "mlp":
        raise NNError(Errno.UNSUPPORTED_OPERATION, f"the architecture is {architecture!r}, this backend runs 'mlp'")
    value = file.metadata.get(key)
    if not isinstance(value, str) or value not in known:
        raise NNError(Errno.UNSUPPORTED_OPERATION, f"{key} is {value!r}, must be one of {', '.join(known)}")
    return value


def _layers(file: gguf_file.GgufFile) -> list[_Layer]:
    layers: list[_Layer] = []
    names = set(file.tensors)
    while (weight := f"layers.{len(layers)}.weight") in names:
        bias = f"layers.{len(layers)}.bias"
        layers.append(_layer(file, weight, bias if bias in names else None))
        names -= {weight, bias}
    if names or not layers:
        raise ValueError(f"tensors that belong to no layer: {', '.join(sorted(names)) or 'none, but no layer either'}")
    for number, (layer, after) in enumerate(pairwise(layers)):
        if layer.outputs != after.inputs:
            raise ValueError(f"layer {number} gives {layer.outputs} values, the next takes {after.inputs}")
    return layers


def _layer(file: gguf_file.GgufFile, weight: str, bias: str | None) -> _Layer:
    shape = file.tensors[weight].shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{weight} has shape {list(shape)}, must be [out, in]")
    stored, dtype = _tensor(file, weight)
    if bias is None:
        return _Layer(stored, dtype, None, shape[1])
    if file.tensors[bias].shape != shape[:1]:
        raise ValueError(f"{bias} has shape {list(file.tensors[bias].shape)}, must be [{shape[0]}]")
    return _Layer(stored, dtype, _unpack(*_tensor(file, bias)), shape[1])


def _tensor(file: gguf_file.GgufFile, name: str) -> tuple[Array, DType]:
    """A tensor as stored: a view of the file, the last dimension in bytes where it is quantised."""
    entry = file.tensors[name]
    if entry.ggml_type not in _TYPES:
        raise NNError(Errno.UNSUPPORTED_OPERATION, f"{name} has ggml type {entry.ggml_type}")
    dtype = DTYPES[_TYPES[entry.ggml_type]]
    size = dtype.nbytes(entry.shape)
    if entry.offset + size > len(file.data):
        raise ValueError(f"{name} is cut short: {size} bytes at {entry.offset}, there are {len(file.data)}")
    stored = np.frombuffer(file.data, np.uint8, size, entry.offset).view(dtype.numpy)
    return stored.reshape(*entry.shape[:-1], -1), dtype


def _unpack(stored: Array, dtype: DType) -> F32:
    return dequantize(stored, dtype) if dtype.block > 1 else stored.astype(np.float32)
