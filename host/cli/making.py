"""host doctor, boards, build, emulate, completion: this machine and what it makes."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import rich_click as click
from click.shell_completion import get_completion_class

from host import boards
from host.boards import Board, Uf2
from host.cli.app import host
from host.cli.options import board_argument, command
from host.cli.output import Output, facts, sizes_table, table
from host.cli.packs import default_key


@command(host, "doctor")
def doctor(output: Output) -> int:
    """Show every part that is needed: where it is, its version, or what to do about it."""
    from host.doctor import diagnose

    found = diagnose()
    rows = [(item.status, item.name, item.version or item.wanted, item.remedy or item.where or "") for item in found]
    bad = [item for item in found if item.status != "ok"]
    summary = f"{len(bad)} of {len(found)} need something." if bad else f"All {len(found)} are there."
    output.result(
        {"parts": [dataclasses.asdict(item) for item in found], "ok": not bad},
        table("", "what", "version", "where, or what to do", rows=rows),
        summary,
    )
    return 1 if bad else 0


@command(host, "boards")
def list_boards(output: Output) -> None:
    """List the boards there are, with what has been built and run where."""
    known = [boards.load(name) for name in boards.names()]
    names = ("name", "title", "chip", "target", "emulator", "status")
    rows = [
        (board.name, board.title, board.chip, _target(board), board.emulator or "", board.summary) for board in known
    ]
    told = [
        {**dict(zip(names, row, strict=True)), "run_on": board.status.run_on, "needs": board.status.needs}
        for board, row in zip(known, rows, strict=True)
    ]
    output.result({"boards": told}, table(*names, rows=rows))


def _target(board: Board) -> str:
    return board.kern.wamrc.target_id if board.kern else ""


@command(host, "build")
@board_argument
@click.option(
    "--debug", "variant", flag_value="debug", default="release", help="With WAMR's interpreter, assertions and log."
)
@click.option("--bench", "variant", flag_value="bench", help="With a native reference of every kernel, for host bench.")
def build(output: Output, board: Board, variant: str) -> None:
    """Build firmware for BOARD that trusts your keys."""
    from host import firmware
    from host.firmware_variants import VARIANTS
    from host.pack import keys, keyset

    if not keys.public_keys():
        default_key(output)
    key_set = keyset.current()
    built = firmware.build_firmware(board, key_set, VARIANTS[variant])
    data = {
        "board": board.name,
        "variant": variant,
        "version": built.version,
        "build": built.build_id,
        "file": str(built.file),
        "keys": [public.key_id.hex() for public in key_set.trust],
    }
    sizes = firmware.size_report(board, VARIANTS[variant])
    shown = ("", sizes_table(sizes)) if sizes else ()
    output.result({**data, "sizes": sizes}, facts({**data, "keys": " ".join(data["keys"])}), *shown)


@command(host, "emulate")
@board_argument
@click.option("--name", default="default", help="Of several emulated boards of a kind, which; as in emu:BOARD:NAME.")
@click.option("--flash", type=click.Path(dir_okay=False, path_type=Path), help="File with its flash; made if need be.")
def emulate(output: Output, board: Board, name: str, flash: Path | None) -> None:
    """Run an emulated BOARD until Ctrl-C; its serial port is printed first."""
    from host import emulator

    def announce(running: emulator.Running) -> None:
        data = {"board": board.name, "name": running.instance, "port": str(running.port)}
        if isinstance(board.boot, Uf2):
            data["bootsel"] = str(running.bootsel_dir)
        output.result(data, str(running.port))
        sys.stdout.flush()

    emulator.serve(board.name, flash, instance=emulator.instance_name(name), on_ready=announce)


@host.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL, as for: eval "$(host completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None  # click has these three
    click.echo(found(host, {}, "host", "_HOST_COMPLETE").source())
