"""Every error that the host and a board raise, in one hierarchy.

    HostError
    ├── KernelError          a call of a kernel ended badly; the next call is not affected
    │   └── KernelTrap       the kernel itself returned a code other than 0
    ├── PackError            a pack was refused; what was installed before is unchanged
    └── DeviceError          the way to a board is missing, busy or broken

``KernelError`` and ``PackError`` exist under the same names on a board, as ``kern.KernelError`` and so on. Classes with
a ``code`` are those that cross the border: the firmware's ``kern_errors.h`` is generated from this file, so a
name or a number is written once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class HostError(Exception):
    """Base of everything that this project raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(HostError):
    """What the user asked for makes no sense; the message says what was wrong and what was expected."""

    exit_code = 2


class BuildError(HostError):
    """A tool that builds wasm, AOT or firmware failed; the message carries what it printed."""


class PartMissing(BuildError):
    """A third-party part or a system tool is not there; the message says how to get it."""


class CheckFailed(HostError):
    """A comparison that had to hold did not."""


# ---- kernels -------------------------------------------------------------------------------------


class KernelError(HostError):
    """A call of a kernel ended badly. The call's resources are freed and the next call works.

    ``kernel`` is the kernel's id, where it was the call itself that failed.
    """

    code: ClassVar[int] = -1
    kernel: str | None = None


class EpochDeadline(KernelError):
    """The kernel ran longer than its budget and was stopped."""

    code = -2


class MemoryAccessViolation(KernelError):
    """The kernel reached outside its linear memory: at ``offset``, over ``size`` bytes, where that is known."""

    code = -3

    def __init__(self, message: str = "", offset: int | None = None, size: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.size = size


class IntegerOverflow(KernelError):
    """An integer division or conversion has no representable result."""

    code = -4


class IntegerDivideByZero(KernelError):
    """An integer was divided by zero."""

    code = -5


class InvalidConversion(KernelError):
    """A NaN was converted to an integer."""

    code = -6


class Unreachable(KernelError):
    """The kernel executed ``unreachable``."""

    code = -7


class StackOverflow(KernelError):
    """The kernel's stack (32 KB on a board) is used up."""

    code = -8


class IndirectCallTypeMismatch(KernelError):
    """An indirect call met a function of another type."""

    code = -9


class UndefinedElement(KernelError):
    """An indirect call met an empty or missing table element."""

    code = -10


class NativeFault(KernelError):
    """The processor faulted inside the kernel, as a Cortex-M0+ does at a misaligned access."""

    code = -11


class NoSuchKernel(KernelError):
    """The active pack has no kernel for this operation and these dtypes."""

    code = -12


class LoadError(KernelError):
    """The runtime could not load or instantiate the kernel."""

    code = -13


class KernelTrap(KernelError):
    """The kernel returned an error code of its own (``trap_code``, 1 to 6, or an unknown one)."""

    code = -14

    def __init__(self, message: str = "", trap_code: int | None = None) -> None:
        super().__init__(message)
        self.trap_code = trap_code


class InvalidInput(KernelTrap):
    """Return code 1: an input region is missing, misaligned or of the wrong size."""

    code = 1


class InvalidOutput(KernelTrap):
    """Return code 2: the output region is missing, misaligned, of the wrong size or overlaps an input."""

    code = 2


class InvalidParams(KernelTrap):
    """Return code 3: a parameter has no meaning for this kernel."""

    code = 3


class KernelOutOfMemory(KernelTrap):
    """Return code 4: the scratch region is too small."""

    code = 4


class KernelNotImplemented(KernelTrap):
    """Return code 5: the kernel does not implement what was asked."""

    code = 5


class KernelInternalError(KernelTrap):
    """Return code 6: the kernel found itself in a state that cannot be."""

    code = 6


# ---- packs ---------------------------------------------------------------------------------------


class PackError(HostError):
    """A pack was refused. What was installed before is unchanged."""

    code: ClassVar[int] = -32
    exit_code = 5


class MalformedPack(PackError):
    """The bytes are not a well-formed pack or board image; the message names the field."""

    code = -33


class NoTrustedKey(PackError):
    """No trusted key has the id that the signature names."""

    code = -34


class BadSignature(PackError):
    """The signature does not match what it signs."""

    code = -35


class HashMismatch(PackError):
    """A file's or a kernel's bytes do not have the sha256 that was signed."""

    code = -36


class WrongTarget(PackError):
    """The image is for another instruction set or float ABI."""

    code = -37


class KernelAbiMismatch(PackError):
    """The image was built for another version of the kernel ABI."""

    code = -38


class AotVersionMismatch(PackError):
    """The image holds AOT code of another format version."""

    code = -39


class RuntimeTooOld(PackError):
    """The pack needs a newer runtime."""

    code = -40


class RuntimeTooNew(PackError):
    """The pack does not support a runtime as new as this."""

    code = -41


class MissingFeature(PackError):
    """The pack needs a feature that this runtime does not have."""

    code = -42


class DowngradeRefused(PackError):
    """The pack's security counter is lower than one already confirmed."""

    code = -43


class PackTooLarge(PackError):
    """The image does not fit a slot, or a kernel's private memory does not fit its page."""

    code = -44


class HealthCheckFailed(PackError):
    """A kernel's known-answer test gave another answer."""

    code = -45


class NoPack(PackError):
    """No pack is installed."""

    code = -46


class NoPreviousPack(PackError):
    """There is no previous pack to go back to."""

    code = -47


class FlashError(PackError):
    """The flash could not be erased or written as asked."""

    code = -48


class KeyRevoked(PackError):
    """Too few trusted keys signed, and one that did is revoked."""

    code = -49


class PackOnTrial(PackError):
    """The active pack is on trial; confirm it or go back first."""

    code = -50


# ---- devices -------------------------------------------------------------------------------------


class DeviceError(HostError):
    """The way to a board is missing, busy or broken."""

    exit_code = 3


class NoDevice(DeviceError):
    """No such board or port, or it went away."""

    exit_code = 3


class DeviceBusy(DeviceError):
    """Another program holds the port or the emulated board."""

    exit_code = 4


class DeviceTimeout(DeviceError):
    """The board did not answer in time."""

    exit_code = 6


class BoardError(DeviceError):
    """The board answered with a Python error that is not one of the above; the message is its traceback."""

    exit_code = 1


def board_errors() -> Iterator[type[KernelError] | type[PackError]]:
    """Every class that a board raises under the same name, parents first, ordered by declaration."""

    def walk(cls: type[KernelError] | type[PackError]) -> Iterator[type[KernelError] | type[PackError]]:
        yield cls
        for child in cls.__subclasses__():
            yield from walk(child)

    yield from walk(KernelError)
    yield from walk(PackError)


def by_code(code: int) -> type[KernelError] | type[PackError]:
    """The class for a board's or a kernel's error code; ``KernelTrap`` for an unknown positive one."""
    for cls in board_errors():
        if cls.code == code:
            return cls
    return KernelTrap if code > 0 else KernelError


def by_name(name: str) -> type[KernelError] | type[PackError] | None:
    """The class of that name, if a board can raise it."""
    return next((cls for cls in board_errors() if cls.__name__ == name), None)
