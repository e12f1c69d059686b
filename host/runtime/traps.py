"""How a call ended, as a `KernelError`: the one table of Wasmtime's traps, and the kernels' own return codes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wasmtime import Trap, TrapCode

from host.errors import (
    EpochDeadline,
    IndirectCallTypeMismatch,
    IntegerDivideByZero,
    IntegerOverflow,
    InvalidConversion,
    KernelError,
    KernelTrap,
    MemoryAccessViolation,
    StackOverflow,
    UndefinedElement,
    Unreachable,
    by_code,
)

TRAPS: Mapping[TrapCode, type[KernelError]] = {
    TrapCode.STACK_OVERFLOW: StackOverflow,
    TrapCode.MEMORY_OUT_OF_BOUNDS: MemoryAccessViolation,
    TrapCode.HEAP_MISALIGNED: MemoryAccessViolation,
    TrapCode.TABLE_OUT_OF_BOUNDS: UndefinedElement,
    TrapCode.INDIRECT_CALL_TO_NULL: UndefinedElement,
    TrapCode.BAD_SIGNATURE: IndirectCallTypeMismatch,
    TrapCode.INTEGER_OVERFLOW: IntegerOverflow,
    TrapCode.INTEGER_DIVISION_BY_ZERO: IntegerDivideByZero,
    TrapCode.BAD_CONVERSION_TO_INTEGER: InvalidConversion,
    TrapCode.UNREACHABLE: Unreachable,
    TrapCode.INTERRUPT: EpochDeadline,
}
"""The error that each of Wasmtime's traps is. The traps that it has besides belong to features that are off."""

_CAUSE = re.compile(r"^ *([0-9]+: )?(wasm trap: )?")
_FAULT = re.compile(r"memory fault at wasm address 0x([0-9a-f]+)")


def from_trap(kernel_id: str, trap: Trap) -> KernelError:
    """The error for a trap; a `MemoryAccessViolation` has the offset when Wasmtime tells it.

    It does for single accesses, not for those of bulk memory instructions, and never the size.
    """
    code = trap.trap_code
    kind = TRAPS.get(code, KernelError) if code is not None else KernelError
    # Wasmtime shows a stack of functions, which have no names here, then the causes, a line each.
    message = trap.message
    _stack, _, causes = message.partition("Caused by:\n")
    told = "; ".join(_CAUSE.sub("", line) for line in causes.splitlines()) or message
    error = kind(f"{kernel_id}: {told}")
    error.kernel = kernel_id
    if isinstance(error, MemoryAccessViolation) and (fault := _FAULT.search(causes)):
        error.offset = int(fault[1], 16)
    return error


def from_code(kernel_id: str, code: int) -> KernelTrap:
    """The error for a return code other than 0."""
    kind = by_code(code) if code > 0 else KernelTrap
    if not issubclass(kind, KernelTrap):
        kind = KernelTrap
    error = kind(f"{kernel_id} returned {code} ({kind.__name__})", code)
    error.kernel = kernel_id
    return error
