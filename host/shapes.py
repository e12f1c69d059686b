"""Symbolic shapes: what the dimensions of a call are, and whether its tensors agree about them.

A symbol's value comes from the first required input that has it alone as a dimension; every other dimension is then
checked against it. Shapes here count elements; an array of a block format (q8, q4) has bytes in its last dimension,
which `element_shape` and `array_shape` translate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from host.pack.spec import Dim, DType, KernelSpec, Shape, Tensor

Sizes = tuple[int, ...]
"""An actual shape, in elements."""


@dataclass(frozen=True)
class Solved:
    """A call whose shapes agree: the value of each symbol, and the shape of each tensor that takes part.

    Optional inputs that are absent have no entry in ``shapes``; outputs and scratch have theirs.
    """

    symbols: Mapping[str, int]
    shapes: Mapping[str, Sizes]


def solve(spec: KernelSpec, shapes: Mapping[str, Sizes | None]) -> Solved:
    """Find the symbols of a call of ``spec`` from the shapes of its tensors, and check every dimension.

    ``shapes`` has each input by name (None or no entry: absent) and may have outputs, which are then checked too.
    Raises TypeError for a tensor that is missing or unknown, ValueError for a dimension that does not fit; the message
    says which, what it was and what it had to be.
    """
    given = {name: shape for name, shape in shapes.items() if shape is not None}
    _check_names(spec, given)
    symbols: dict[str, int] = {}
    for tensor in spec.inputs:
        if not tensor.optional:
            _bind(spec, tensor, given[tensor.name], symbols)
    solved = {}
    for tensor in spec.inputs + spec.outputs:
        if tensor.name in given:
            _check(spec, tensor, given[tensor.name], symbols)
            solved[tensor.name] = given[tensor.name]
        elif not tensor.optional:
            solved[tensor.name] = _output_shape(spec, tensor, given, symbols)
    for tensor in spec.scratch:
        solved[tensor.name] = _evaluate(spec, tensor, tensor.shapes[0], symbols)
    for tensor in spec.tensors:
        if tensor.name in solved:
            _check_blocks(spec, tensor, solved[tensor.name], symbols)
    return Solved(symbols, solved)


def output_shape(spec: KernelSpec, shapes: Mapping[str, Sizes | None], name: str | None = None) -> Sizes:
    """Shape of the output ``name`` (the first when None) for inputs of ``shapes``. Raises as `solve` does."""
    return solve(spec, shapes).shapes[name or spec.outputs[0].name]


def element_shape(dtype: DType, array: Sizes) -> Sizes:
    """The shape in elements of an array of ``dtype``. Raises ValueError for a row that is not whole blocks."""
    if dtype.block == 1:
        return array
    if not array or array[-1] % dtype.size:
        last = array[-1] if array else 0
        raise ValueError(f"a row of {dtype.name} has {last} bytes, must be a multiple of {dtype.size}")
    return (*array[:-1], array[-1] // dtype.size * dtype.block)


def array_shape(dtype: DType, elements: Sizes) -> Sizes:
    """The shape of a numpy array that holds a tensor of ``elements``; the inverse of `element_shape`."""
    return elements if dtype.block == 1 else (*elements[:-1], elements[-1] // dtype.block * dtype.size)


def _check_names(spec: KernelSpec, given: Mapping[str, Sizes]) -> None:
    known = [tensor.name for tensor in spec.inputs + spec.outputs]
    for name in given:
        if name not in known:
            raise TypeError(f"{spec.id} has no tensor {name!r}; its tensors: {', '.join(known)}")
    for tensor in spec.inputs:
        if not tensor.optional and tensor.name not in given:
            raise TypeError(f"{spec.id}: input {tensor.name} is missing")
    for tensor in spec.outputs:
        if tensor.inout and tensor.name not in given:
            raise TypeError(f"{spec.id}: {tensor.name} is read first, and is missing")


def _fold(spec: KernelSpec, tensor: Tensor, shape: Shape, actual: Sizes) -> Sizes:
    """``actual`` with as many dimensions as ``shape``: leading ones multiplied where the tensor says so."""
    if tensor.leading and len(actual) >= len(shape) - 1:
        lead = len(actual) - (len(shape) - 1)
        return (math.prod(actual[:lead]), *actual[lead:])
    if len(actual) != len(shape):
        options = " or ".join(_show_symbolic(tensor, shape) for shape in tensor.shapes)
        raise ValueError(f"{spec.id}: {tensor.name} has shape {_show(actual)}, must be {options}")
    return actual


def _bind(spec: KernelSpec, tensor: Tensor, actual: Sizes, symbols: dict[str, int]) -> None:
    """Give the symbols that stand alone in ``tensor`` and have no value yet theirs."""
    shape = tensor.shapes[0]
    for dim, size in zip(shape, _fold(spec, tensor, shape, actual), strict=True):
        if dim.symbol is not None and dim.mul == dim.div == 1 and dim.symbol not in symbols:
            if size < 1:
                raise ValueError(f"{spec.id}: {tensor.name} has {dim.symbol} = {size}, must be at least 1")
            symbols[dim.symbol] = size


def _value(spec: KernelSpec, tensor: Tensor, dim: Dim, symbols: Mapping[str, int]) -> int:
    if dim.symbol is None:
        return dim.mul
    product = symbols[dim.symbol] * dim.mul
    if product % dim.div:
        raise ValueError(
            f"{spec.id}: {dim.symbol} is {symbols[dim.symbol]}, but {tensor.name} needs {dim} to be a whole number"
        )
    return product // dim.div


def _evaluate(spec: KernelSpec, tensor: Tensor, shape: Shape, symbols: Mapping[str, int]) -> Sizes:
    return tuple(_value(spec, tensor, dim, symbols) for dim in shape)


def _check(spec: KernelSpec, tensor: Tensor, actual: Sizes, symbols: Mapping[str, int]) -> None:
    """That ``actual`` is one of the tensor's shapes."""
    if len(tensor.shapes) == 1:
        _check_dims(spec, tensor, actual, symbols)
    elif not any(_matches(spec, tensor, shape, actual, symbols) for shape in tensor.shapes):
        options = " or ".join(_show_alternative(spec, tensor, shape, symbols) for shape in tensor.shapes)
        raise ValueError(f"{spec.id}: {tensor.name} has shape {_show(actual)}, must be {options}")


def _matches(spec: KernelSpec, tensor: Tensor, shape: Shape, actual: Sizes, symbols: Mapping[str, int]) -> bool:
    with suppress(ValueError):  # another rank, or a dimension that is not whole
        return _fold(spec, tensor, shape, actual) == _evaluate(spec, tensor, shape, symbols)
    return False


def _check_dims(spec: KernelSpec, tensor: Tensor, actual: Sizes, symbols: Mapping[str, int]) -> None:
    shape = tensor.shapes[0]
    more = len(actual) - len(shape)  # leading dimensions beyond one
    for index, (dim, size) in enumerate(zip(shape, _fold(spec, tensor, shape, actual), strict=True)):
        expected = _value(spec, tensor, dim, symbols)
        if size == expected:
            continue
        if tensor.leading and index == 0 and more:
            leading = _show(actual[: more + 1])
            raise ValueError(
                f"{spec.id}: leading dimensions {leading} of {tensor.name} make {dim} = {size}, must be {expected}"
            )
        raise ValueError(f"{spec.id}: dimension {index + more} ({dim}) of {tensor.name} is {size}, must be {expected}")


def _check_blocks(spec: KernelSpec, tensor: Tensor, actual: Sizes, symbols: Mapping[str, int]) -> None:
    """That each row of a block format is whole blocks."""
    last, block = actual[-1] if actual else 1, tensor.dtype.block
    if last % block == 0:
        return
    dim = tensor.shapes[0][-1]
    if len(tensor.shapes) == 1 and dim == Dim(dim.symbol) and last == _value(spec, tensor, dim, symbols):
        raise ValueError(f"{spec.id}: {dim} is {last}, {tensor.name} needs a multiple of {block}")
    raise ValueError(f"{spec.id}: the last dimension of {tensor.name} is {last}, must be a multiple of {block}")


def _output_shape(spec: KernelSpec, tensor: Tensor, given: Mapping[str, Sizes], symbols: Mapping[str, int]) -> Sizes:
    """An output's shape; its leading dimensions are those of the input whose product they are."""
    sizes = _evaluate(spec, tensor, tensor.shapes[0], symbols)
    if not tensor.leading:
        return sizes
    for source in spec.inputs:
        if source.leading and source.name in given and source.shapes[0][0] == tensor.shapes[0][0]:
            actual = given[source.name]
            return actual[: len(actual) - len(source.shapes[0]) + 1] + sizes[1:]
    return sizes


def _show(sizes: Sizes) -> str:
    return "(" + ", ".join(map(str, sizes)) + ("," if len(sizes) == 1 else "") + ")"


def _show_alternative(spec: KernelSpec, tensor: Tensor, shape: Shape, symbols: Mapping[str, int]) -> str:
    """``(seq, dim/2) = (2, 4)``, without the numbers where they are not whole."""
    text = _show_symbolic(tensor, shape)
    with suppress(ValueError):
        text += f" = {_show(_evaluate(spec, tensor, shape, symbols))}"
    return text


def _show_symbolic(tensor: Tensor, shape: Shape) -> str:
    names = [str(dim) for dim in shape]
    if tensor.leading:
        names[0] = f"*{names[0]}"
    return "(" + ", ".join(names) + ("," if len(names) == 1 else "") + ")"
