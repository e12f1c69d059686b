"""The numbers and layouts of ``wasi_ephemeral_nn``, the witx form of WASI-NN, which guests of wasi-nn 0.x import.

Functions, record layouts and error numbers are those of Wasmtime's crates/wasi-nn/witx/wasi-nn.witx and of WAMR 2.4.3's
core/iwasm/libraries/wasi-nn/include/wasi_nn.h and wasi_nn_types.h, which agree; WAMR names WebAssembly/wasi-nn's own
wasi-nn.witx at commit 71320d95. In encodings the two part: Wasmtime's witx has no ggml and 5 is autodetect, WAMR, after
WebAssembly/wasi-nn's wit/wasi-nn.wit, has ggml at 5 and autodetect at 6. Here it is as in WAMR.

A list is two u32, offset and length; a result is written to a pointer that comes last, and the errno is returned.
All integers are little-endian, and none needs to be aligned.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np

from host.errors import HostError

MODULE = "wasi_ephemeral_nn"

FUNCTIONS: Mapping[str, int] = {
    "load": 5,  # builders, how many, encoding, target, where the graph goes
    "load_by_name": 3,  # name, its length, where the graph goes
    "init_execution_context": 2,  # graph, where the context goes
    "set_input": 3,  # context, index, tensor
    "compute": 1,  # context
    "get_output": 5,  # context, index, buffer, its size, where the number of bytes goes
}
"""Every function and how many i32 it takes; each returns an i32, the errno."""

U32 = struct.Struct("<I")
LIST = struct.Struct("<II")
"""Offset and length: a graph builder, in bytes."""
TENSOR = struct.Struct("<IIB3xII")
"""Dimensions (offset, number of u32), type, data (offset, bytes)."""


class Errno(IntEnum):
    """``$nn_errno``."""

    SUCCESS = 0
    INVALID_ARGUMENT = 1
    INVALID_ENCODING = 2
    MISSING_MEMORY = 3
    BUSY = 4
    RUNTIME_ERROR = 5
    UNSUPPORTED_OPERATION = 6
    TOO_LARGE = 7
    NOT_FOUND = 8


class Encoding(IntEnum):
    """``$graph_encoding``."""

    OPENVINO = 0
    ONNX = 1
    TENSORFLOW = 2
    PYTORCH = 3
    TENSORFLOWLITE = 4
    GGML = 5
    AUTODETECT = 6


class Target(IntEnum):
    """``$execution_target``."""

    CPU = 0
    GPU = 1
    TPU = 2


class TensorType(IntEnum):
    """``$tensor_type``."""

    F16 = 0
    F32 = 1
    F64 = 2
    U8 = 3
    I32 = 4
    I64 = 5


DTYPES: Mapping[TensorType, np.dtype[Any]] = {
    TensorType.F16: np.dtype("<f2"),
    TensorType.F32: np.dtype("<f4"),
    TensorType.F64: np.dtype("<f8"),
    TensorType.U8: np.dtype("u1"),
    TensorType.I32: np.dtype("<i4"),
    TensorType.I64: np.dtype("<i8"),
}
"""The elements of each type of tensor, in row-major order."""


class NNError(HostError):
    """A WASI-NN call that fails: ``errno`` is what the guest gets, the message is for the host's log."""

    def __init__(self, errno: Errno, message: str) -> None:
        super().__init__(message)
        self.errno = errno
