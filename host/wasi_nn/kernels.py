"""Kernels as graphs: the inputs are the kernel's tensors in the order in which `Runtime.run` takes them.

    models = kernel_graphs(runtime.run, runtime.kernels())

A graph finds its kernel at each call, so a pack that is installed later is the pack that runs. Kernels have limits of
their own. What does not fit a kernel, its dtypes included, is seen when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from host.errors import KernelError
from host.wasi_nn.abi import Errno, NNError
from host.wasi_nn.graph import Array, Budget, Graph

MAX_INPUTS = 16

Run = Callable[..., Array]
"""Takes a kernel's id and its arrays, None for one that is absent; returns its first output."""


def kernel_graphs(run: Run, kernel_ids: Iterable[str]) -> dict[str, Graph]:
    """A graph of each kernel by its id, for a guest's ``models``; parameters are at their defaults."""
    return {kernel_id: KernelGraph(run, kernel_id) for kernel_id in kernel_ids}


class KernelGraph:
    """A kernel by its id. An input that is not set is absent; the one output is the kernel's first."""

    def __init__(self, run: Run, kernel_id: str) -> None:
        self._run = run
        self._kernel_id = kernel_id

    def check_input(self, index: int, tensor: Array) -> None:
        if index >= MAX_INPUTS:
            raise NNError(Errno.INVALID_ARGUMENT, f"input {index}, a kernel has at most {MAX_INPUTS}")

    def infer(self, inputs: Mapping[int, Array], budget: Budget) -> Sequence[Array]:
        # Copies, because a kernel writes its result to a tensor that it both reads and writes.
        arrays = [inputs[i].copy() if i in inputs else None for i in range(max(inputs, default=-1) + 1)]
        try:
            return [self._run(self._kernel_id, *arrays)]
        except (TypeError, ValueError) as error:
            raise NNError(Errno.INVALID_ARGUMENT, str(error)) from error
        except KernelError as error:
            raise NNError(Errno.RUNTIME_ERROR, f"{type(error).__name__}: {error}") from error
