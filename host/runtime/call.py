"""From a call's arguments to its plan: which array is which tensor, whether they fit, and what the kernel is told."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from host.pack.spec import DType, KernelSpec, Region, Tensor, params_block
from host.runtime.layout import RegionLayout, regions
from host.shapes import array_shape, element_shape, solve

Array = NDArray[Any]
Params = Mapping[str, float | int | bool]

_MOST_PLANS = 256


@dataclass(frozen=True, eq=False)
class Plan:
    """A call of given shapes and parameters, wherever its tensors will lie. ``shapes`` are those of numpy arrays."""

    params: bytes
    regions: Mapping[Region, RegionLayout]
    shapes: Mapping[str, tuple[int, ...]]


class Planner:
    """Makes a kernel's plans, each once."""

    def __init__(self, spec: KernelSpec) -> None:
        self._spec = spec
        self._arguments = {tensor.name: tensor for tensor in spec.arguments}
        self._order = tuple(self._arguments)
        self._inout = {tensor.name for tensor in spec.arguments if tensor.inout}
        self._dtypes: dict[str, DType] = {tensor.name: tensor.dtype for tensor in spec.tensors}
        self._plans: dict[Hashable, Plan] = {}

    def sort(
        self, positional: Sequence[ArrayLike | None], named: Mapping[str, Any]
    ) -> tuple[dict[str, Array], dict[str, float | int | bool]]:
        """Split a call's arguments into arrays by tensor name and parameters. Lists become arrays."""
        order = self._order
        if named and self._inout:
            order = tuple(name for name in order if name not in named or name not in self._inout)
        if len(positional) > len(order):
            raise TypeError(f"{self._spec.id} takes {len(order)} inputs, got {len(positional)}")
        given: dict[str, ArrayLike | None] = dict(zip(order, positional, strict=False))
        params = {}
        for name, value in named.items():
            if name in given:
                raise TypeError(f"{self._spec.id}: input {name} is given twice")
            if name in self._arguments:
                given[name] = value
            else:
                params[name] = value
        arrays = {
            name: value if isinstance(value, np.ndarray) else np.asarray(value, self._dtypes[name].numpy)
            for name, value in given.items()
            if value is not None
        }
        return arrays, params

    def plan(self, arrays: Mapping[str, Array], params: Params) -> Plan:
        """The plan of a call. Raises TypeError and ValueError for what does not fit."""
        key = (
            *[(name, array.shape, array.dtype) for name, array in arrays.items()],
            # Zeros are all equal, but their signs are not.
            *[(name, value) if value else (name, repr(value), None) for name, value in params.items()],
        )
        try:
            plan = self._plans.get(key)
        except TypeError:  # a parameter's value that cannot be in a key
            return self._make(arrays, params)
        if plan is None:
            plan = self._make(arrays, params)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _make(self, arrays: Mapping[str, Array], params: Params) -> Plan:
        for name, array in arrays.items():
            self._check_dtype(name, array)
        solved = solve(self._spec, {name: self._shape(name, array) for name, array in arrays.items()})
        return Plan(
            params_block(self._spec, solved.symbols, params),
            regions(self._spec, solved),
            {name: array_shape(self._dtypes[name], shape) for name, shape in solved.shapes.items()},
        )

    def _check_dtype(self, name: str, array: Array) -> None:
        dtype = self._dtypes.get(name)
        if dtype is not None and array.dtype != np.dtype(dtype.numpy):
            expected = np.dtype(dtype.numpy)
            raise TypeError(f"{self._spec.id}: {name} has dtype {array.dtype}, must be {expected} ({dtype.name})")

    def _shape(self, name: str, array: Array) -> tuple[int, ...]:
        """The shape in elements of an argument. Raises ValueError, naming it, for a row that is not whole blocks."""
        dtype = self._dtypes.get(name)
        if dtype is None:
            return array.shape
        try:
            return element_shape(dtype, array.shape)
        except ValueError as error:
            raise ValueError(f"{self._spec.id}: {name}: {error}") from error


def is_read(tensor: Tensor) -> bool:
    """Whether a call begins with what is in the tensor."""
    return tensor.region < Region.OUTPUT or tensor.inout
