"""What a command shows: results on stdout, everything on the way there on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

_WIDTH_OF_A_FILE = 120  # columns, where there is no terminal to ask


def console(*, stderr: bool = False) -> Console:
    """A console that wraps for a terminal and leaves text to others as it is. rich honours NO_COLOR."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, markup=False, width=None if stream.isatty() else _WIDTH_OF_A_FILE)


class Output:
    """Where one command's result goes: as JSON, one object, or as people read it."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def result(self, data: Mapping[str, Any], *people: RenderableType) -> None:
        """Show a command's result, once: ``data`` as JSON, or ``people`` one below the other."""
        if self.as_json:
            click.echo(json.dumps(data, default=_plain))
            return
        for part in people:
            console().print(part, soft_wrap=isinstance(part, str))

    def note(self, text: str) -> None:
        """Say what happens, on stderr."""
        console(stderr=True).print(text, soft_wrap=True)

    @contextmanager
    def progress(self, text: str, unit: str = "bytes") -> Iterator[Callable[[int, int], None]]:
        """A progress bar for the context, on a terminal only. Yields a function of the amounts done and in all."""
        with self.bars(unit) as add:
            yield add(text)

    @contextmanager
    def bars(self, unit: str = "bytes") -> Iterator[Callable[[str], Callable[[int, int], None]]]:
        """Several bars, as ``progress``. Yields a function that adds one, with its text."""
        shown = console(stderr=True)
        amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        with Progress(*columns, console=shown, disable=not shown.is_terminal, transient=True) as bar:

            def add(text: str) -> Callable[[int, int], None]:
                task = bar.add_task(text, total=None)
                return lambda done, total: bar.update(task, completed=done, total=total)

            yield add


def table(*columns: str, rows: Iterator[tuple[Any, ...]] | list[tuple[Any, ...]], title: str | None = None) -> Table:
    """A plain table; a column whose heading ends with ``>`` is set to the right."""
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(str, row))
    return shown


def sizes_table(sizes: Mapping[str, Mapping[str, int]]) -> Table:
    """Bytes of flash and RAM by part of a firmware."""
    rows = [(part, size["flash"], size["ram"]) for part, size in sizes.items()]
    return table("bytes of", "flash>", "ram>", rows=rows)


def facts(data: Mapping[str, Any]) -> Table:
    """Names and values, one a line."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in data.items():
        shown.add_row(name, str(value))
    return shown


def error_object(name: str, message: str, code: int) -> dict[str, Any]:
    """What programs get of an error: its class, what it says, and the exit code."""
    return {"error": name, "message": message, "exit": code}


def _plain(value: object) -> Any:
    """What json does not know: a path is its text, a set or tuple-like its list, a number of numpy's a number."""
    if hasattr(value, "item"):
        return value.item()
    return str(value)
