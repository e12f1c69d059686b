"""host devices, flash, push, confirm, rollback, status, repl: a board and what is on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from host import flash as flashing
from host import ports
from host.board import connect, image_target
from host.boards import Board
from host.cli.app import host
from host.cli.options import board_option, command, port_option
from host.cli.output import Output, facts, table
from host.cli.packs import default_pack
from host.errors import UsageError


@command(host, "devices")
def devices(output: Output) -> None:
    """List serial ports that may be boards, and emulated boards that run."""
    found = ports.devices()
    rows = [
        (device.path, device.board or "", f"id:{device.serial}" if device.serial else "", device.description)
        for device in found
    ]
    listed = table("port", "board", "serial number", "description", rows=rows) if rows else "No device."
    output.result({"devices": [vars(device) for device in found]}, listed)


@command(host, "flash")
@board_option
@port_option
@click.option(
    "--uf2", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Firmware other than host build's."
)
@click.option("--drive", type=click.Path(file_okay=False, path_type=Path), help="Where the BOOTSEL drive is mounted.")
def flash(output: Output, board: Board, port: str | None, uf2: Path | None, drive: Path | None) -> None:
    """Put firmware on a board, and check that the board runs it."""
    firmware = flashing.read_firmware(board, uf2)
    patience = flashing.PERSON_SECONDS if sys.stderr.isatty() else 0.0
    with flashing.target(board, port, drive) as target, output.progress("copying") as progress:
        status = flashing.flash(board, firmware, target, output.note, progress, patience)
    data = {"board": board.name, "uf2": str(firmware.uf2), "version": status["version"], "build": status["build"]}
    output.result(data, f"{board.title} runs kern {status['version']}, build {status['build']}, as flashed.")


@command(host, "push")
@click.argument("pack", type=click.Path(exists=True, path_type=Path), required=False)
@port_option
@click.option(
    "--confirm/--no-confirm", default=True, help="Without: on trial, gone at the next reset unless confirmed."
)
def push(output: Output, pack: Path | None, port: str | None, confirm: bool) -> None:
    """Install a pack on a board, without a restart. PACK: a folder or archive; default: this folder's, else the
    project's.
    """
    from host.compatibility import check_wamr
    from host.pack import Pack

    opened = Pack.open(pack or default_pack())
    with connect(port) as link:
        found = link.status()
        target = image_target(opened, found)
        image = opened.image(target)
        check_wamr(opened.manifest, found["wamr"])
        with output.progress(f"pushing {opened.name} {opened.version}") as progress:
            installed = link.install(image, progress, confirm)
        kernels = link.kernels()
    data = {"pack": installed, "target": target, "kernels": list(kernels)}
    hint = [] if confirm else ["On trial: host confirm keeps it, host rollback or a reset goes back."]
    output.result(data, f"Active: {_title(installed)} ({target}), {', '.join(kernels)}", *hint)


@command(host, "confirm")
@port_option
def confirm(output: Output, port: str | None) -> None:
    """Keep the pack that a board has on trial."""
    with connect(port) as link:
        active = link.confirm()
    output.result({"pack": active}, f"Confirmed: {_title(active)}")


@command(host, "rollback")
@port_option
def rollback(output: Output, port: str | None) -> None:
    """Make the pack before the active one active again, within 300 s after it was replaced."""
    with connect(port) as link:
        active = link.rollback()
    output.result({"pack": active}, f"Active: {_title(active)}")


@command(host, "status")
@port_option
def status(output: Output, port: str | None) -> None:
    """Show what a board runs: firmware, pack, memory, faults."""
    with connect(port) as link:
        found = link.status()
        packs = link.packs()
        stats = link.stats()
    output.result({**found, "packs": packs, "stats": stats}, facts(_readable(found, packs, stats)))


def _title(pack: Mapping[str, Any]) -> str:
    return f"{pack['name']} {pack['version']}"


def _slot(pack: Mapping[str, Any]) -> str:
    if "error" in pack:
        return f"refused ({pack['error']}), in slot {pack['slot']}"
    trial = ", on trial" if pack["state"] == "trial" else ""
    interpreted = ", INTERPRETED" if pack["code"] == "interpreted" else ""
    return f"{_title(pack)}, {pack['image_size']} bytes in slot {pack['slot']}{interpreted}{trial}"


def _readable(
    status: Mapping[str, Any], packs: Sequence[Mapping[str, Any]], stats: Mapping[str, Any]
) -> dict[str, str]:
    active, previous = ([pack for pack in packs if (pack["state"] == "previous") is was] for was in (False, True))
    faults = ", ".join(f"{count} {name}" for name, count in stats["faults"].items() if count) or "none"
    return {
        "board": f"{status['board']} ({status['target']})",
        "firmware": f"kern {status['version']}, {status['variant']} build {status['build']}",
        "kernel ABI": f"{status['abi']}, AOT format {status['aot']}",
        "pack": _slot(active[0]) if active else "none",
        "previous pack": _slot(previous[0]) if previous else "none",
        "trusted keys": _trusted_keys(status["keys"]),
        "tensors": f"{status['arena']['free']} of {status['arena']['size']} bytes free",
        "runtime's pool": f"{status['pool']['free']} of {status['pool']['size']} bytes free",
        "deadline": f"{status['deadline_ms']} ms a call",
        "calls": f"{stats['calls']}; faults: {faults}; degraded: {stats['degraded']}",
    }


def _trusted_keys(keys: Mapping[str, Any]) -> str:
    revoked = f"; revoked: {' '.join(keys['revoked'])}" if keys["revoked"] else ""
    return f"{' '.join(keys['ids']) or 'none'} (key set {keys['version']}){revoked}"


@command(host, "repl")
@port_option
def repl(output: Output, port: str | None) -> int:
    """Type at a board's REPL (mpremote's; Ctrl-] leaves)."""
    if output.as_json or not sys.stdin.isatty():
        raise UsageError("repl is for a person at a terminal; programs can use host.connect(port).exec(code)")
    with ports.opened(port) as path:
        return subprocess.run([sys.executable, "-m", "mpremote", "connect", path, "repl"], check=False).returncode
