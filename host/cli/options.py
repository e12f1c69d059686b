"""What commands share: ``--json``, ``--port``, and names that the shell can complete."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click
from click.shell_completion import CompletionItem

from host import boards
from host.cli.output import Output

Function = Callable[..., Any]


def command(group: click.Group, name: str) -> Callable[[Function], click.Command]:
    """Make a function a command of ``group``. It gets an Output first, and may return the exit code."""

    def decorate(function: Function) -> click.Command:
        @functools.wraps(function)
        def run(as_json: bool, **arguments: Any) -> Any:
            return function(Output(as_json), **arguments)

        json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
        return group.command(name)(json_option(run))

    return decorate


def complete_board(context: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Names of boards, for the shell."""
    return [CompletionItem(name) for name in boards.names() if name.startswith(typed)]


def _complete_port(context: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    from host import ports

    known = {device.path: device.description for device in ports.devices()}
    known |= {ports.EMULATED + name: "emulated" for name in boards.names() if boards.load(name).emulator}
    return [CompletionItem(path, help=text) for path, text in known.items() if path.startswith(typed)]


def load_board(context: click.Context, param: click.Parameter, name: str | None) -> boards.Board | None:
    """The facts of the board ``name``; None for an option that was not given."""
    return boards.load(name) if name else None


board_argument = click.argument("board", callback=load_board, shell_complete=complete_board)
"""The facts of the board that the first word names."""

_PORT = "Path, id:SERIAL, vid:pid[:serial] or emu:BOARD[:NAME]. Default: HOST_PORT, else the only device."

port_option = click.option("--port", shell_complete=_complete_port, help=_PORT)
"""Which board; see host.ports."""

ports_option = click.option(
    "--port", "given", multiple=True, shell_complete=_complete_port, help=f"{_PORT} May be repeated."
)
"""Which boards; none given means one, as for ``port_option``."""

pack_option = click.option(
    "--pack",
    type=click.Path(exists=True, path_type=Path),
    help="Folder or archive; default: this folder's, else the project's.",
)
"""Which pack; see host.cli.packs.default_pack."""
