"""Cross-check: the same calls on a board and under Wasmtime must give the same bits, near a float64 reference.

Two results are equal when their bits are, or when both are NaN (WebAssembly leaves the payload open), or when both
sides end the call with the same error. Apart from that, each side's result is held against `host.reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from host import formats, reference
from host.check_cases import MAX_BYTES, MAX_ELEMENTS, Array, Case, cases
from host.distributions import Distances, Errors
from host.errors import CheckFailed, KernelError
from host.pack.spec import KernelSpec
from host.reference import REFERENCES, Reference
from host.runtime import PackLike, Runtime

Progress = Callable[[str, int, int], None]
"""Called with a kernel's id, how many of its cases are done, and how many there are."""

EXAMPLES = 10
"""Mismatches that a kernel's report keeps; the rest are only counted."""


class BoardLike(Protocol):
    """Something that runs kernels of the installed pack: a board, or a `Runtime` behind `Local`."""

    def run(self, kernel_id: str, inputs: list[Array | None], params: dict[str, float | int | bool]) -> Array:
        """The kernel's output. Raises a KernelError when the call fails."""
        ...


@dataclass(frozen=True)
class Local:
    """A `Runtime` as a `BoardLike`."""

    runtime: Runtime

    def run(self, kernel_id: str, inputs: list[Array | None], params: dict[str, float | int | bool]) -> Array:
        # Copies, since a kernel may work in one of them.
        copies = [None if array is None else array.copy() for array in inputs]
        return self.runtime.run(kernel_id, *copies, out=None, **params)


@dataclass(frozen=True)
class Mismatch:
    """Where two results differ: bit patterns in hex, or the names of errors (then ``index`` is None)."""

    kernel: str
    case: int
    title: str
    index: tuple[int, ...] | None
    board: str
    host: str

    def __str__(self) -> str:
        where = "" if self.index is None else f" at {list(self.index)}"
        return f"{self.kernel} case {self.case} ({self.title}){where}: board {self.board}, host {self.host}"


@dataclass(frozen=True)
class KernelReport:
    """One kernel's part of the check.

    ``mismatches`` counts elements (or whole calls, where one side failed) that differ between board and host, and
    ``distances`` has how far the elements among them are apart; ``board_errors`` and ``host_errors`` are each side's
    against the reference, None when the kernel has none. ``dtype`` is the output's.
    """

    id: str
    dtype: str
    cases: int
    elements: int
    mismatches: int
    distances: Distances
    board_errors: Errors | None
    host_errors: Errors | None
    examples: tuple[Mismatch, ...]

    @property
    def board_outside(self) -> int:
        """Elements of the board's results beyond the reference's bound."""
        return self.board_errors.outside if self.board_errors else 0

    @property
    def host_outside(self) -> int:
        """Elements of the host's results beyond the reference's bound."""
        return self.host_errors.outside if self.host_errors else 0

    @property
    def largest_error(self) -> float | None:
        """The largest error of the host's results as a fraction of the bound, None when there is no reference."""
        return self.host_errors.largest if self.host_errors else None

    @property
    def passed(self) -> bool:
        """No bits differ, and no result is outside its bound."""
        return not (self.mismatches or self.board_outside or self.host_outside)


@dataclass(frozen=True)
class Report:
    """What a check found. ``code`` is how the board ran the kernels: "aot", or "interpreted" by a debug build."""

    board: str
    pack: str
    code: str
    kernels: tuple[KernelReport, ...]

    @property
    def mismatches(self) -> int:
        return sum(kernel.mismatches for kernel in self.kernels)

    @property
    def passed(self) -> bool:
        """Every kernel did."""
        return all(kernel.passed for kernel in self.kernels)

    @property
    def exit_code(self) -> int:
        return 0 if self.passed else CheckFailed.exit_code

    def to_json(self) -> dict[str, Any]:
        return {
            "board": self.board,
            "pack": self.pack,
            "code": self.code,
            "kernels": [
                {
                    "id": kernel.id,
                    "cases": kernel.cases,
                    "elements": kernel.elements,
                    "mismatches": kernel.mismatches,
                    "outside_bound": {"board": kernel.board_outside, "host": kernel.host_outside},
                    "largest_error": kernel.largest_error,
                    "examples": [str(example) for example in kernel.examples],
                }
                for kernel in self.kernels
            ],
            "mismatches": self.mismatches,
            "error_code": None if self.passed else CheckFailed.__name__,
            "exit": self.exit_code,
        }


def run_check(
    board: BoardLike,
    runtime: Runtime,
    pack: PackLike,
    *,
    board_name: str,
    code: str = "aot",
    seed: int = 1,
    count: int = 200,
    max_bytes: int = MAX_BYTES,
    max_elements: int = MAX_ELEMENTS,
    references: Mapping[str, Reference] = REFERENCES,
    progress: Progress | None = None,
    done: Callable[[KernelReport], None] | None = None,
) -> Report:
    """Run ``count`` cases of every kernel of ``pack``, which both sides have installed, and compare.

    ``done`` gets each kernel's report at once: a board that goes away takes the whole with it.
    """
    kernels = []
    for spec in pack.kernels.values():
        tally = _Tally(spec, references)
        for case in cases(spec, seed, count, max_bytes, max_elements):
            tally.add(case, _outcome(board, case), _outcome(Local(runtime), case))
            if progress is not None:
                progress(spec.id, case.index + 1, count)
        kernels.append(tally.report())
        if done is not None:
            done(kernels[-1])
    return Report(board_name, f"{pack.name} {pack.version}", code, tuple(kernels))


def compare(board: Array, host: Array) -> NDArray[np.bool_]:
    """Where two arrays of one shape and dtype differ in their bits, NaN payloads (and signs of NaN) apart."""
    bits = f"<u{host.dtype.itemsize}"
    different: NDArray[np.bool_] = board.view(bits) != host.view(bits)
    if host.dtype.kind == "f":
        different &= ~(np.isnan(board) & np.isnan(host))
    return different


def _outcome(side: BoardLike, case: Case) -> Array | str:
    """A call's output, or the name of the error it ended with."""
    try:
        return side.run(case.kernel, list(case.inputs), dict(case.params))
    except KernelError as error:
        return type(error).__name__


class _Tally:
    """Counts one kernel's cases."""

    def __init__(self, spec: KernelSpec, references: Mapping[str, Reference]) -> None:
        self._spec = spec
        self._references = references
        self._cases = self._elements = self._mismatches = 0
        self._distances = Distances()
        self._board_errors: Errors | None = None
        self._host_errors: Errors | None = None
        self._examples: list[Mismatch] = []

    def add(self, case: Case, board: Array | str, host: Array | str) -> None:
        self._cases += 1
        if isinstance(board, str) or isinstance(host, str):
            if not (isinstance(board, str) and isinstance(host, str) and board == host):
                self._mismatch(case, None, _describe(board), _describe(host))
            return
        self._elements += host.size
        if board.shape != host.shape or board.dtype != host.dtype:
            self._mismatch(case, None, _describe(board), _describe(host))
            return
        different = compare(board, host)
        self._distances += Distances.of(board[different], host[different])
        for index in np.argwhere(different):
            at = tuple(int(i) for i in index)
            self._mismatch(case, at, _hex(board[at]), _hex(host[at]))
        self._hold_against_reference(case, board, host)

    def report(self) -> KernelReport:
        return KernelReport(
            self._spec.id,
            self._spec.outputs[0].dtype.name,
            self._cases,
            self._elements,
            self._mismatches,
            self._distances,
            self._board_errors,
            self._host_errors,
            tuple(self._examples),
        )

    def _mismatch(self, case: Case, index: tuple[int, ...] | None, board: str, host: str) -> None:
        self._mismatches += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append(Mismatch(case.kernel, case.index, case.title, index, board, host))

    def _hold_against_reference(self, case: Case, board: Array, host: Array) -> None:
        names = [tensor.name for tensor in self._spec.arguments]
        arrays = {name: array for name, array in zip(names, case.inputs, strict=True) if array is not None}
        expected = reference.expected(case.kernel, arrays, case.params, self._references)
        if expected is None:
            return
        dtype = self._spec.outputs[0].dtype
        self._board_errors = (self._board_errors or Errors()) + Errors.of(formats.elements(board, dtype), expected)
        self._host_errors = (self._host_errors or Errors()) + Errors.of(formats.elements(host, dtype), expected)


def _describe(outcome: Array | str) -> str:
    return outcome if isinstance(outcome, str) else f"{outcome.dtype}{list(outcome.shape)}"


def _hex(value: np.generic) -> str:
    return "0x" + value.tobytes()[::-1].hex()
