"""host check: a board, or several, against Wasmtime and a float64 reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click import get_current_context
from rich.console import RenderableType

from host.cli.app import host
from host.cli.options import command, pack_option, ports_option
from host.cli.output import Output, error_object, table
from host.cli.packs import current_source, default_pack
from host.errors import CheckFailed, HostError, UsageError

if TYPE_CHECKING:
    from host.bench import Speed
    from host.check import KernelReport, Report
    from host.pack import Pack
    from host.reference import Reference
    from host.report import BoardResult, Settings
    from host.runtime import Runtime


@command(host, "check")
@ports_option
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same cases.")
@click.option("--count", default=200, show_default=True, type=click.IntRange(min=1), help="Cases for each kernel.")
@click.option("--kernel", "only", multiple=True, metavar="ID", help="Check only this kernel; may be repeated.")
@pack_option
@click.option(
    "--reference",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python file with REFERENCES, which is run; default: reference.py, for the pack of this folder.",
)
@click.option(
    "--report",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Write a page about the check, and FILE.json beside it; measures cycles too.",
)
def check(
    output: Output,
    given: Sequence[str],
    seed: int,
    count: int,
    only: Sequence[str],
    pack: Path | None,
    reference: Path | None,
    page: Path | None,
) -> int:
    """Compare a board with Wasmtime, bit by bit, and both with a float64 reference.

    MicroPython on the board starts anew. The exit code is 1 when a bit differs, or a result is further from the
    reference than it may be. Of several boards, one that cannot be checked does not stop the others.
    """
    from host import ports, report
    from host.check_cases import MAX_BYTES, MAX_ELEMENTS
    from host.pack import Pack
    from host.reference import REFERENCES, read
    from host.runtime import Runtime
    from host.security_counters import MemoryCounters

    if len(set(given)) < len(given):
        raise UsageError(f"--port names a board twice: {', '.join(given)}")
    if page:
        report.require_place(page)
    created_at = report.now()
    opened = Pack.open(pack or default_pack())
    own = reference or (None if pack else _references_here())
    if own:
        output.note(f"Running {own} for its references")
    checked = _only(opened, only)
    with Runtime(counters=MemoryCounters()) as runtime, output.bars("cases") as add:
        runtime.install(opened)
        checking = _Checking(
            runtime, opened, checked, {**REFERENCES, **(read(own) if own else {})}, seed, count, cycles=page is not None
        )
        found = {port: _Found() for port in given or [ports.resolve(None)]}
        results = {port: checking.result(port, add(f"checking {port}"), found[port]) for port in found}
    if page:
        settings = report.Settings(seed, count, MAX_BYTES, MAX_ELEMENTS, _text(pack), _text(reference))
        made = report.CheckReport(
            created_at=created_at,
            command=("host", *get_current_context().obj),
            settings=settings,
            here=report.made_here(),
            pack=report.pack_identity(opened),
            kernels=tuple(checked.kernels),
            boards=tuple(_board_result(port, results[port], found[port], settings) for port in found),
        )
        output.note(f"Report: {page}, and its data in {report.write(made, page)}")
    return _show(output, results)


@dataclass
class _Found:
    """What is known of a board until its check ends: ``kern.status()``, the kernels that are through, and what they
    take by id, once that was measured.
    """

    status: Mapping[str, Any] | None = None
    kernels: list[KernelReport] = field(default_factory=list)
    speeds: Mapping[str, Speed] = field(default_factory=dict)


@dataclass(frozen=True)
class _Checking:
    """What every board is checked with: the kernels ``checked`` of ``pack``, which ``runtime`` has."""

    runtime: Runtime
    pack: Pack
    checked: Pack
    references: Mapping[str, Reference]
    seed: int
    count: int
    cycles: bool

    def result(self, port: str, progress: Callable[[int, int], None], found: _Found) -> Report | HostError:
        """The check of a board, or what ended it; ``found`` is filled meanwhile."""
        try:
            return self._check(port, progress, found)
        except HostError as error:
            return error

    def _check(self, port: str, progress: Callable[[int, int], None], found: _Found) -> Report:
        from host.bench import aot_speeds
        from host.board import connect
        from host.check import run_check

        ids = list(self.checked.kernels)
        with connect(port) as board:
            board.soft_reset()  # tensors that a session at the REPL left would take the largest cases' room
            found.status = status = board.require_pack(self.pack)
            code = status["pack"]["code"]
            report = run_check(
                board,
                self.runtime,
                self.checked,
                board_name=status["board"],
                code=code,
                seed=self.seed,
                count=self.count,
                references=self.references,
                progress=lambda id, done, _: progress(ids.index(id) * self.count + done, len(ids) * self.count),
                done=found.kernels.append,
            )
            if self.cycles and code == "aot":
                found.speeds = aot_speeds(board, self.checked)
        return report


def _board_result(port: str, result: Report | HostError, found: _Found, settings: Settings) -> BoardResult:
    from host import report

    error = result if isinstance(result, HostError) else None
    return report.board_result(port, found.status, found.kernels, found.speeds, settings, error)


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _references_here() -> Path | None:
    """reference.py of the pack in the current folder."""
    source = current_source()
    file = source / "reference.py" if source else None
    return file if file and file.is_file() else None


def _only(pack: Pack, ids: Sequence[str]) -> Pack:
    """``pack`` with nothing but the kernels named; all when none is."""
    for kernel in ids:
        pack.kernel(kernel)
    kept = tuple(kernel for kernel in pack.manifest.kernels if not ids or kernel.spec.id in ids)
    return dataclasses.replace(pack, manifest=dataclasses.replace(pack.manifest, kernels=kept))


def _show(output: Output, results: Mapping[str, Report | HostError]) -> int:
    """The result, and the exit code. The error of an only board is raised."""
    first, *others = results.values()
    if not others:
        if isinstance(first, HostError):
            raise first
        output.result(first.to_json(), *_check_tables(first))
        return first.exit_code
    told: list[dict[str, Any]] = []
    shown: list[RenderableType] = []
    for port, result in results.items():
        if isinstance(result, HostError):
            name, code = type(result).__name__, result.exit_code
            told.append({"port": port, **error_object(name, str(result), code)})
            shown.append(f"{port} could not be checked: {name}: {result}")
        else:
            told.append({"port": port, **result.to_json()})
            shown += [port, *_check_tables(result)]
    passed = sum(not isinstance(each, HostError) and each.passed for each in results.values())
    code = 0 if passed == len(results) else CheckFailed.exit_code
    data = {"boards": told, "error_code": CheckFailed.__name__ if code else None, "exit": code}
    output.result(data, *shown, f"{passed} of {len(results)} boards passed.")
    return code


def _check_tables(report: Report) -> list[RenderableType]:
    rows = [
        (
            kernel.id,
            kernel.cases,
            kernel.elements,
            kernel.mismatches,
            kernel.board_outside + kernel.host_outside,
            "-" if kernel.largest_error is None else f"{kernel.largest_error:.2f}",
        )
        for kernel in report.kernels
    ]
    examples = [str(example) for kernel in report.kernels for example in kernel.examples]
    verdict = "The same bits everywhere." if report.passed else f"{report.mismatches} MISMATCHES"
    return [
        f"{report.board} against Wasmtime, {report.pack}" + (", INTERPRETED" if report.code == "interpreted" else ""),
        table("kernel", "cases>", "elements>", "mismatches>", "outside bound>", "largest error / bound>", rows=rows),
        *examples,
        verdict,
    ]
