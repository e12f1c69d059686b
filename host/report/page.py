"""The page of a report, from its JSON and nothing else: one file that needs no network and runs no script."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from host.report import plots
from host.report.plots import Bar
from host.report.text import visible

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A plot, what it is of, and for whom: boards with the same figures share one. ``facts`` are below it."""

    kernel: str
    boards: tuple[str, ...]
    plot: Markup
    facts: str


@dataclass(frozen=True)
class Cell:
    """A kernel on a board in the matrix: passed, failed or not run."""

    state: str
    text: str


def render(report: Json) -> str:
    """The page as HTML. Whatever a pack or a board said is escaped."""
    boards = report["boards"]
    return (
        _template().render(
            report=report,
            names=[_name(board) for board in boards],
            kernels=report["kernels"],
            matrix=[(kernel, [_cell(board, kernel) for board in boards]) for kernel in report["kernels"]],
            failures=[(board, kernel) for board in boards for kernel in board["kernels"] if not kernel["passed"]],
            distances=list(_distance_figures(report)),
            errors=list(_error_figures(report)),
            error_labels=_error_labels(report["error_limits"]),
            speeds=list(_speeds(report)),
        )
        + "\n"
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("host.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {"command": shlex.join, "count": "{:,}".format, "kind": _name, "place": _place}
    return environment.get_template("page.html")


def _name(board: Json) -> str:
    """A board's kind; of one that never said it, its port."""
    return str(board["board"] or board["port"])


def _place(board: Json) -> str:
    """Which board it is, among others of its kind."""
    return f"{board['board']} on {board['port']}" if board["board"] else str(board["port"])


def _cell(board: Json, kernel_id: str) -> Cell:
    kernel = _kernel(board, kernel_id)
    if kernel is None:
        return Cell("absent", "not run")
    if kernel["passed"]:
        return Cell("passed", "same bits")
    outside = sum(kernel[side]["counts"][-1] for side in ("board_errors", "host_errors") if kernel[side])
    wrong = {"differ": kernel["mismatches"], "outside the bound": outside}
    return Cell("failed", ", ".join(f"{count:,} {what}" for what, count in wrong.items() if count))


def _kernel(board: Json, kernel_id: str) -> Json | None:
    return next((kernel for kernel in board["kernels"] if kernel["id"] == kernel_id), None)


# ---- plots ---------------------------------------------------------------------------------------


def _error_figures(report: Json) -> Iterator[Figure]:
    """The board's errors against the reference, of each kernel that has one."""
    labels = _error_labels(report["error_limits"])
    for kernel, boards, errors in _shared(report, "board_errors"):
        counts = errors["counts"]
        compared = sum(counts)
        bars = [Bar(label, count, _percent(count, compared)) for label, count in zip(labels, counts, strict=True)]
        bars[-1] = Bar(labels[-1], counts[-1], f"{counts[-1]:,}", alarm=True)
        facts = [f"{compared:,} elements", *_largest(errors)]
        facts += [f"{errors['not_finite']:,} NaN or infinite, as they must be"] if errors["not_finite"] else []
        facts += [f"{errors['unbounded']:,} without a bound"] if errors["unbounded"] else []
        told = "; ".join(f"{bar.label}: {bar.count:,}" for bar in bars if bar.count)
        plot = plots.histogram(f"{kernel}: error as a fraction of the bound", told, bars)
        yield Figure(kernel, boards, plot, ", ".join(facts))


def _distance_figures(report: Json) -> Iterator[Figure]:
    """How far board and Wasmtime are apart, of each kernel where elements differ."""
    limits = report["distance_limits"]
    labels = [*_up_to(limits), f">{_short(limits[-1])}", "NaN"]
    dtypes = {kernel["id"]: kernel["dtype"] for board in report["boards"] for kernel in board["kernels"]}
    for kernel, boards, distances in _shared(report, "distances"):
        counts = [*distances["counts"], distances["nan"]]
        if any(counts):
            bars = [Bar(label, n, f"{n:,}", alarm=True) for label, n in zip(labels, counts, strict=True)]
            told = "; ".join(f"{bar.label}: {bar.count:,}" for bar in bars if bar.count)
            unit = "ULPs" if dtypes[kernel].startswith("f") else "steps of the stored integers"
            plot = plots.histogram(f"{kernel}: distance from Wasmtime in {unit}", told, bars)
            yield Figure(kernel, boards, plot, f"{sum(counts):,} elements differ, by so many {unit}")


def _shared(report: Json, field: str) -> Iterator[tuple[str, tuple[str, ...], Json]]:
    """A kernel's ``field`` that is not None, and the boards whose it is: once for boards that say the same."""
    for kernel_id in report["kernels"]:
        sharing: dict[str, list[tuple[Json, str]]] = {}
        for board in report["boards"]:
            kernel = _kernel(board, kernel_id)
            if kernel and kernel[field]:
                sharing.setdefault(repr(kernel[field]), []).append((kernel[field], _place(board)))
        for same in sharing.values():
            yield kernel_id, tuple(place for _, place in same), same[0][0]


def _largest(errors: Json) -> list[str]:
    """The largest error in words; of results that must be exact, no fraction can be told."""
    if errors["largest"]:
        return [f"largest {errors['largest']:,.2f} of the bound"]
    return [] if errors["counts"][-1] else ["all exact"]


def _error_labels(limits: Sequence[float]) -> list[str]:
    """What is below each bin: 0, 1/256, … 1, >1."""
    return ["0", *(f"1/{round(1 / limit)}" if limit < 1 else "1" for limit in limits[1:]), ">1"]


def _up_to(limits: Sequence[int]) -> list[str]:
    """The last number of each bin, with a sign before it where there are others in it: 1, 2, ≤4, …"""
    before = [0, *limits]
    return [f"{'' if limit - low == 1 else '≤'}{_short(limit)}" for low, limit in zip(before, limits, strict=False)]


def _short(number: int) -> str:
    return f"{number >> 10}k" if number >= 1 << 10 else str(number)


def _percent(count: int, total: int) -> str:
    """What fits above a bar."""
    share = 100 * count / total if total else 0
    return "" if not count else "<1%" if share < 1 else f"{share:.0f}%"


# ---- cycles --------------------------------------------------------------------------------------


def _speeds(report: Json) -> Iterator[tuple[str, list[tuple[Json | None, Markup]]]]:
    """For each kernel that any board measured, the boards' speeds, with a gauge each: the slowest kernel's is full."""
    rows = {
        kernel_id: [(_kernel(board, kernel_id) or {}).get("speed") for board in report["boards"]]
        for kernel_id in report["kernels"]
    }
    most = max((speed["cycles_per_element"] for row in rows.values() for speed in row if speed), default=0.0)
    for kernel_id, row in rows.items():
        if any(row):
            yield (
                kernel_id,
                [(speed, plots.gauge(speed["cycles_per_element"], most) if speed else Markup()) for speed in row],
            )
