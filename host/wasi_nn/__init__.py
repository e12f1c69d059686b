"""WASI-NN: wasm guests that load models and run them, by ONNX Runtime, by kernels, or from GGUF files.

docs/wasi-nn.md says what a guest can do, and who has to be trusted for it.
"""

from host.wasi_nn.abi import Encoding, Errno, NNError, Target, TensorType
from host.wasi_nn.gguf import GgufBackend
from host.wasi_nn.graph import Backend, Budget, Graph
from host.wasi_nn.guest import Guest, default_backends
from host.wasi_nn.kernels import KernelGraph, kernel_graphs
from host.wasi_nn.onnx import OnnxBackend
from host.wasi_nn.session import GuestLimits

__all__ = [
    "Backend",
    "Budget",
    "Encoding",
    "Errno",
    "GgufBackend",
    "Graph",
    "Guest",
    "GuestLimits",
    "KernelGraph",
    "NNError",
    "OnnxBackend",
    "Target",
    "TensorType",
    "default_backends",
    "kernel_graphs",
]
