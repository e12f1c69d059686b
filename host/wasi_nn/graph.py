"""What a backend is: it makes graphs of bytes, and a graph makes outputs of inputs.

A graph keeps nothing between calls, so that contexts, guests and threads may share it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from host.wasi_nn.abi import Errno, NNError

Array = NDArray[Any]


@dataclass(frozen=True)
class Budget:
    """What loading or computing may still use."""

    deadline: float
    """On `time.monotonic`'s clock, in seconds."""
    max_bytes: int
    """Of outputs."""

    @property
    def seconds(self) -> float:
        """Until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def check_time(self) -> None:
        """Raise NNError runtime_error after the deadline."""
        if self.seconds == 0:
            raise NNError(Errno.RUNTIME_ERROR, "the guest's time is used up")


class Graph(Protocol):
    """A model that is ready to run."""

    def check_input(self, index: int, tensor: Array) -> None:
        """Raise NNError invalid_argument for a tensor that cannot be input ``index``."""
        ...

    def infer(self, inputs: Mapping[int, Array], budget: Budget) -> Sequence[Array]:
        """Every output, in order, for inputs by index, which `check_input` has let pass and which are left unchanged.

        Raises NNError: runtime_error when an input is missing or computing fails, too_large, and so on.
        """
        ...


class Backend(Protocol):
    """Makes graphs of one encoding, for the CPU."""

    def load(self, builders: Sequence[bytes], budget: Budget) -> Graph:
        """Raises NNError invalid_argument for bytes that are no such model, unsupported_operation for a model that
        needs what the backend has not.
        """
        ...


@dataclass(frozen=True)
class TensorInfo:
    """What a graph says of one of its inputs."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    """None where any size will do."""

    def check(self, tensor: Array) -> None:
        """Raise NNError invalid_argument for another dtype, rank or size."""
        if tensor.dtype != self.dtype:
            raise NNError(Errno.INVALID_ARGUMENT, f"{self.name} is {tensor.dtype}, must be {self.dtype}")
        sizes = zip(tensor.shape, self.shape, strict=False)
        if tensor.ndim != len(self.shape) or any(want not in (None, have) for have, want in sizes):
            want = "[" + ", ".join("any" if size is None else str(size) for size in self.shape) + "]"
            raise NNError(Errno.INVALID_ARGUMENT, f"{self.name} has shape {list(tensor.shape)}, must be {want}")


def check_index(index: int, inputs: Sequence[TensorInfo], tensor: Array) -> None:
    """Raise NNError invalid_argument unless ``tensor`` can be input ``index`` of ``inputs``."""
    if index >= len(inputs):
        raise NNError(Errno.INVALID_ARGUMENT, f"input {index}, the graph has {len(inputs)}")
    inputs[index].check(tensor)


def only_builder(builders: Sequence[bytes]) -> bytes:
    """The one part of a model that has but one. Raises NNError invalid_argument for another number."""
    if len(builders) != 1:
        raise NNError(Errno.INVALID_ARGUMENT, f"{len(builders)} builders, this encoding has one")
    return builders[0]
