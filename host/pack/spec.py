"""What a kernel is: its tensors, symbolic shapes, parameters and limits.

These dataclasses are what ``pack.toml``, ``kernels.json`` and a board image's table all say in their own notation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

import numpy as np

ParamType = Literal["f32", "i32", "u32", "bool"]
KERNEL_ABI_VERSION = 1
"""docs/kernel-abi.md."""
AOT_FORMAT_VERSION = 6
"""``AOT_CURRENT_VERSION`` of the WAMR in tools/parts.toml."""
BYTECODE_TARGET = "wasm32"
"""Target of a board image whose bodies are the portable modules, for any board whose firmware has an interpreter."""
BYTECODE_AOT_VERSION = 0
"""The AOT format version in the header of such an image, which has no AOT code."""
TICK_MS = 10
"""Length of one epoch tick, on the host and in a board's limits."""


class Region(IntEnum):
    """A region of the descriptor; the value is its number in a board image."""

    INPUT_A = 0
    INPUT_B = 1
    OUTPUT = 2
    SCRATCH = 3


@dataclass(frozen=True)
class DType:
    """An element type. Block formats hold ``block`` elements in ``size`` bytes; others have block 1."""

    name: str
    code: int
    block: int
    size: int
    numpy: str

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor of ``shape`` (in elements). Raises ValueError when a row does not fill its blocks."""
        if self.block > 1 and (not shape or shape[-1] % self.block):
            last = shape[-1] if shape else 0
            raise ValueError(
                f"the last dimension of a {self.name} tensor is {last}, must be a multiple of {self.block}"
            )
        elements = 1
        for dim in shape:
            elements *= dim
        return elements // self.block * self.size


DTYPES: Mapping[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("f32", 1, 1, 4, "<f4"),
        DType("f16", 2, 1, 2, "<f2"),
        DType("i8", 3, 1, 1, "i1"),
        DType("u8", 4, 1, 1, "u1"),
        DType("i16", 5, 1, 2, "<i2"),
        DType("u16", 6, 1, 2, "<u2"),
        DType("i32", 7, 1, 4, "<i4"),
        DType("u32", 8, 1, 4, "<u4"),
        DType("q8", 16, 32, 34, "u1"),
        DType("q4", 17, 32, 18, "u1"),
    )
}
"""Element types by name. A q8 or q4 array in numpy is of u1, its last dimension in bytes."""

PARAM_TYPES: Mapping[ParamType, int] = {"f32": 1, "i32": 2, "u32": 3, "bool": 4}
"""Parameter types and their numbers in a board image."""


@dataclass(frozen=True)
class Dim:
    """``symbol * mul / div``, which must come out whole; a constant is ``mul`` with no symbol."""

    symbol: str | None
    mul: int = 1
    div: int = 1

    def value(self, symbols: Mapping[str, int]) -> int:
        """The dimension where every symbol has the value given, rounded down."""
        return (1 if self.symbol is None else symbols[self.symbol]) * self.mul // self.div

    def __str__(self) -> str:
        if self.symbol is None:
            return str(self.mul)
        return self.symbol + (f"*{self.mul}" if self.mul != 1 else "") + (f"/{self.div}" if self.div != 1 else "")


Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of a kernel. ``shapes`` has more than one entry where alternatives are accepted.

    With ``leading``, the first dim takes the product of all leading dimensions, none included.
    """

    name: str
    region: Region
    dtype: DType
    shapes: tuple[Shape, ...]
    leading: bool = False
    optional: bool = False
    inout: bool = False

    def sizes(self, symbols: Mapping[str, int], alternative: int = 0) -> tuple[int, ...]:
        """The shape, in elements, where every symbol has the value given."""
        return tuple(dim.value(symbols) for dim in self.shapes[alternative])


@dataclass(frozen=True)
class Param:
    """A scalar parameter, 32 bits in the params block."""

    name: str
    type: ParamType
    default: float | int | bool


@dataclass(frozen=True)
class Limits:
    """What one call may use."""

    max_memory_pages: int
    max_epoch_ticks: int
    max_table_elements: int


@dataclass(frozen=True)
class KnownAnswer:
    """The known-answer test: PRNG seed, value of each symbol, and sha256 (hex) of the output once known."""

    seed: int
    symbols: Mapping[str, int]
    sha256: str | None = None


@dataclass(frozen=True)
class Backward:
    """The tensors of a kernel's ``kernel_backward``, which has the kernel's own symbols, params and limits."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    scratch: tuple[Tensor, ...] = ()


BACKWARD_ENTRY = "kernel_backward"
"""The export that computes a kernel's gradients."""


@dataclass(frozen=True)
class KernelSpec:
    """One kernel of a pack.

    ``bench`` gives each symbol the value at which the kernel is measured; ``error_bound`` says to people how far a
    result may be from the exact one. A board knows neither, nor ``backward``.
    """

    id: str
    op: str
    category: str
    entry_point: str
    symbols: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    scratch: tuple[Tensor, ...]
    params: tuple[Param, ...]
    limits: Limits
    fallback: str | None
    test: KnownAnswer
    backward: Backward | None = None
    bench: Mapping[str, int] | None = None
    error_bound: str | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in table order: inputs, outputs, scratch."""
        return self.inputs + self.outputs + self.scratch

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """What a call takes by position: outputs that are read first, then inputs."""
        return tuple(tensor for tensor in self.outputs if tensor.inout) + self.inputs

    def of_backward(self) -> KernelSpec | None:
        """``kernel_backward`` as a kernel of its own; None when there is none."""
        if self.backward is None:
            return None
        return replace(
            self,
            entry_point=BACKWARD_ENTRY,
            inputs=self.backward.inputs,
            outputs=self.backward.outputs,
            scratch=self.backward.scratch,
            backward=None,
        )


def params_block(kernel: KernelSpec, symbols: Mapping[str, int], params: Mapping[str, float | int | bool]) -> bytes:
    """The params block of a call: every symbol's value, then every parameter (its default when not given).

    Raises TypeError for a parameter the kernel does not have and ValueError for one that does not fit its type.
    """
    unknown = sorted(set(params) - {param.name for param in kernel.params})
    if unknown:
        known = ", ".join(param.name for param in kernel.params) or "none"
        raise TypeError(f"{kernel.id} has no parameter {unknown[0]!r}; its parameters: {known}")
    words = [np.array(symbols[name], "<u4").tobytes() for name in kernel.symbols]
    words += [param_bits(param, params.get(param.name, param.default)) for param in kernel.params]
    return b"".join(words)


def param_bits(param: Param, value: float | int | bool) -> bytes:
    """The four bytes of ``value`` as ``param`` holds it."""
    if param.type == "f32":
        return np.array(value, "<f4").tobytes()
    low, high = {"i32": (-(2**31), 2**31 - 1), "u32": (0, 2**32 - 1), "bool": (0, 1)}[param.type]
    if int(value) != value or not low <= value <= high:
        raise ValueError(f"parameter {param.name} is {value!r}, must be a {param.type} from {low} to {high}")
    return (int(value) & 0xFFFFFFFF).to_bytes(4, "little")
