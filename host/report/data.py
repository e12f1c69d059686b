"""What a report holds. Field names are those of its JSON, which report.schema.json describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from host.bench import Speed
from host.check import KernelReport
from host.distributions import DISTANCE_LIMITS, ERROR_LIMITS, Distances, Errors
from host.errors import CheckFailed, HostError

SCHEMA_ID = "urn:kern:check-report.schema.json:1"


@dataclass(frozen=True)
class Settings:
    """Which cases were made: the same settings and kernels give the same. ``pack`` and ``reference`` are paths."""

    seed: int
    count: int
    max_bytes: int
    max_elements: int
    pack: str | None
    reference: str | None

    def repeat(self, port: str, kernel: str) -> tuple[str, ...]:
        """The command that makes one kernel's cases again."""
        options = {"--pack": self.pack, "--reference": self.reference}
        given = [word for name, value in options.items() if value is not None for word in (name, value)]
        sized = ("--seed", str(self.seed), "--count", str(self.count))
        return ("host", "check", "--port", port, "--kernel", kernel, *sized, *given)


@dataclass(frozen=True)
class Here:
    """Versions on the computer that compared. ``wamrc`` is the one that packs are built with; None without one."""

    host: str
    wasmtime: str
    wamrc: str | None
    numpy: str
    python: str
    os: str


@dataclass(frozen=True)
class PackIdentity:
    """The pack that was checked; ``signed_by`` has the ids of the trusted keys that signed."""

    name: str
    version: str
    author: str
    created_at: str | None
    manifest_sha256: str
    security_counter: int
    signing_key: str
    key_id: str
    signed_by: tuple[str, ...]


@dataclass(frozen=True)
class Firmware:
    """What ``kern.status()`` says of a board's firmware."""

    version: str
    build: str
    variant: str
    target: str
    abi: int
    aot: int
    wamr: str


@dataclass(frozen=True)
class Failure:
    """The error that ended a board's check: its class in host.errors, what it said, and its exit code."""

    error: str
    message: str
    exit: int

    @classmethod
    def of(cls, error: HostError) -> Failure:
        return cls(type(error).__name__, str(error), error.exit_code)


@dataclass(frozen=True)
class Example:
    """One difference: see `host.check.Mismatch`."""

    case: int
    title: str
    index: tuple[int, ...] | None
    board: str
    host: str


@dataclass(frozen=True)
class KernelResult:
    """One kernel on one board. ``speed`` is None where it was not measured, ``repeat`` checks the kernel again."""

    id: str
    dtype: str
    passed: bool
    cases: int
    elements: int
    mismatches: int
    distances: Distances
    board_errors: Errors | None
    host_errors: Errors | None
    examples: tuple[Example, ...]
    speed: Speed | None
    repeat: tuple[str, ...]

    @classmethod
    def of(cls, kernel: KernelReport, speed: Speed | None, repeat: tuple[str, ...]) -> KernelResult:
        examples = tuple(Example(m.case, m.title, m.index, m.board, m.host) for m in kernel.examples)
        return cls(
            kernel.id,
            kernel.dtype,
            kernel.passed,
            kernel.cases,
            kernel.elements,
            kernel.mismatches,
            kernel.distances,
            kernel.board_errors,
            kernel.host_errors,
            examples,
            speed,
            repeat,
        )


@dataclass(frozen=True)
class BoardResult:
    """One board. When an ``error`` ended its check, it has the kernels before; what was not learned is None."""

    port: str
    board: str | None = None
    title: str | None = None
    firmware: Firmware | None = None
    code: str | None = None
    error: Failure | None = None
    kernels: tuple[KernelResult, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Its check came to an end, and nothing was wrong."""
        return self.error is None and all(kernel.passed for kernel in self.kernels)


@dataclass(frozen=True)
class CheckReport:
    """A check of one pack on one board or several. ``kernels`` are the ids of what was to be checked."""

    created_at: str
    command: Sequence[str]
    settings: Settings
    here: Here
    pack: PackIdentity
    kernels: tuple[str, ...]
    boards: tuple[BoardResult, ...]

    @property
    def passed(self) -> bool:
        """Every board did."""
        return all(board.passed for board in self.boards)

    @property
    def exit_code(self) -> int:
        """Of `host check`: that of the error when there is one board and it could not be checked."""
        if self.passed:
            return 0
        error = self.boards[0].error
        return error.exit if error and len(self.boards) == 1 else CheckFailed.exit_code

    def to_json(self) -> dict[str, Any]:
        """The document that report.schema.json describes."""
        fields = asdict(self)
        boards = [
            {**data, "passed": board.passed} for data, board in zip(fields.pop("boards"), self.boards, strict=True)
        ]
        return {
            "$schema": SCHEMA_ID,
            **fields,
            "passed": self.passed,
            "exit": self.exit_code,
            "error_limits": ERROR_LIMITS,
            "distance_limits": DISTANCE_LIMITS,
            "boards": boards,
        }
