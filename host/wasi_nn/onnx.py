"""ONNX models, by ONNX Runtime on the CPU. It is optional: ``pip install 'host[nn]'``.

A model is bytes and nothing but those bytes: external data is refused, whatever path it names, so that a guest cannot
read the host's files. Time is limited, both of loading and of computing, by what ONNX Runtime offers for it: it looks
between one node and the next. Its memory is not limited; docs/wasi-nn.md says what that means for whom to trust.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from host.wasi_nn.abi import Errno, NNError
from host.wasi_nn.graph import Array, Budget, Graph, TensorInfo, check_index, only_builder

_log = logging.getLogger(__name__)

INSTALL = "ONNX Runtime is not installed: pip install 'host[nn]'"
_DTYPES = {
    "tensor(float16)": "<f2",
    "tensor(float)": "<f4",
    "tensor(double)": "<f8",
    "tensor(uint8)": "u1",
    "tensor(int32)": "<i4",
    "tensor(int64)": "<i8",
}
_FATAL = 4
_PROVIDERS = ("CPUExecutionProvider",)


class OnnxBackend:
    """Each graph computes in ``threads`` threads; 0 leaves their number to ONNX Runtime."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def open(self, path: str | os.PathLike[str]) -> Graph:
        """A graph for a guest's ``models``, of a file and without a limit of time. Raises NNError as `load` does."""
        return self.load([Path(path).read_bytes()], Budget(math.inf, 0))

    def load(self, builders: Sequence[bytes], budget: Budget) -> Graph:
        """Raises NNError: invalid_argument for bytes that are no valid model, unsupported_operation for operators or
        tensor types that there are not, or without ONNX Runtime.
        """
        ort = _runtime()
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL  # what is wrong is in the exceptions
        options.intra_op_num_threads = self._threads
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # Where external data would be looked for: no file can lie below this one.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        model = only_builder(builders)
        state = ort.capi.onnxruntime_pybind11_state
        try:
            with _ended_at(budget, lambda: options.set_load_cancellation_flag(True)):
                return _OnnxGraph(ort, ort.InferenceSession(model, options, _PROVIDERS, enable_fallback=0))
        except NNError:
            raise
        except state.NotImplemented as error:
            raise NNError(Errno.UNSUPPORTED_OPERATION, str(error)) from error
        except Exception as error:  # ONNX Runtime's have no base of their own; a name may also not be UTF-8
            budget.check_time()
            raise NNError(Errno.INVALID_ARGUMENT, str(error)) from error


class _OnnxGraph:
    def __init__(self, ort: Any, session: Any) -> None:
        self._ort = ort
        self._session = session
        self._inputs = [_info(value) for value in session.get_inputs()]
        self._outputs = [_info(value).name for value in session.get_outputs()]

    def check_input(self, index: int, tensor: Array) -> None:
        check_index(index, self._inputs, tensor)

    def infer(self, inputs: Mapping[int, Array], budget: Budget) -> Sequence[Array]:
        missing = [info.name for index, info in enumerate(self._inputs) if index not in inputs]
        if missing:
            raise NNError(Errno.RUNTIME_ERROR, f"not set: {', '.join(missing)}")
        feed = {self._inputs[index].name: tensor for index, tensor in inputs.items()}
        options = self._ort.RunOptions()
        options.log_severity_level = _FATAL
        try:
            with _ended_at(budget, lambda: setattr(options, "terminate", True)):
                outputs: list[Array] = self._session.run(self._outputs, feed, options)
        except self._ort.capi.onnxruntime_pybind11_state.InvalidArgument as error:
            raise NNError(Errno.INVALID_ARGUMENT, str(error)) from error
        except Exception as error:  # ONNX Runtime's have no base of their own
            raise NNError(Errno.RUNTIME_ERROR, str(error)) from error
        return outputs


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        _log.warning(INSTALL)
        raise NNError(Errno.UNSUPPORTED_OPERATION, INSTALL) from error
    return onnxruntime


def _info(value: Any) -> TensorInfo:
    """An input or output of the model. Raises NNError unsupported_operation for a type that no tensor here has."""
    if value.type not in _DTYPES:
        raise NNError(Errno.UNSUPPORTED_OPERATION, f"{value.name} is a {value.type}; WASI-NN has no such tensor")
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInfo(value.name, np.dtype(_DTYPES[value.type]), shape)


@contextmanager
def _ended_at(budget: Budget, end: Callable[[], None]) -> Iterator[None]:
    """Call ``end`` from another thread when the budget's time is up before the block is left."""
    timer = threading.Timer(min(budget.seconds, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
