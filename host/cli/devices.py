"""host devices, flash, push, confirm, rollback, status, repl: a board and what is on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from host import boards, ports
from host.boards import RESETS_AFTER, RESETS_BEFORE, Board, Esptool, Uf2
from host.cli.app import host
from host.cli.options import command, complete_board, load_board, port_option
from host.cli.output import Output, error_object, facts, table
from host.cli.packs import default_pack
from host.errors import HostError, UsageError

if TYPE_CHECKING:
    from host.flash import Job


@command(host, "devices")
def devices(output: Output) -> None:
    """List serial ports that may be boards, and emulated boards that run."""
    found = ports.devices()
    rows = [
        (device.path, " or ".join(device.boards), f"id:{device.serial}" if device.serial else "", device.description)
        for device in found
    ]
    listed = table("port", "board", "serial number", "description", rows=rows) if rows else "No device."
    output.result({"devices": [vars(device) for device in found]}, listed)


@command(host, "flash")
@click.option("--board", "kind", callback=load_board, shell_complete=complete_board, help="Kind of board.")
@port_option
@click.option("--all", "everything", is_flag=True, help="Every board that is there: of --board, or with firmware.")
@click.option(
    "--firmware", "files", multiple=True, metavar="[BOARD=]FILE", help="Firmware other than host build's; repeatable."
)
@click.option("--drive", type=click.Path(file_okay=False, path_type=Path), help="Where the BOOTSEL drive is mounted.")
@click.option("--baud", type=click.IntRange(min=9600), help="ESP32: speed to write at. Default: the board's.")
@click.option("--erase", is_flag=True, help="ESP32: erase all of the flash first, with files and packs.")
@click.option("--before", type=click.Choice(RESETS_BEFORE), help="ESP32: reset into the boot ROM.")
@click.option("--after", type=click.Choice(RESETS_AFTER), help="ESP32: reset afterwards.")
@click.option("--no-stub", is_flag=True, help="ESP32: by the ROM's own loader, slower.")
def flash(
    output: Output,
    kind: Board | None,
    port: str | None,
    everything: bool,
    files: tuple[str, ...],
    drive: Path | None,
    no_stub: bool,
    **settings: Any,
) -> int:
    """Put firmware on a board, or on all of them, and check that it runs."""
    from host.flash import Job, Settings, find_jobs, read_firmware

    named = dict(_named_file(text, kind) for text in files)
    chosen = [kind] if kind else []
    how = Settings(**settings, stub=not no_stub)
    if everything:
        if port or drive:
            raise UsageError("--all is every board: it takes no --port and no --drive")
        return _flash_all(output, find_jobs(chosen, named, how))
    if kind is None:
        raise UsageError("say which kind of board with --board, or --all for every board that is there")
    if how != Settings() and not isinstance(kind.boot, Esptool):
        raise UsageError(f"{kind.name} is not flashed by esptool: no --baud, --erase, --before, --after, --no-stub")
    if drive and not isinstance(kind.boot, Uf2):
        raise UsageError(f"{kind.name} shows no drive when it is flashed: no --drive")
    _flash_one(output, Job(kind, read_firmware(kind, named.get(kind.name)), port, drive, how))
    return 0


def _named_file(text: str, kind: Board | None) -> tuple[str, Path]:
    """Board and file of a --firmware; without BOARD=, the file is for --board."""
    name, equals, file = text.partition("=")
    if equals and name in boards.names():
        if kind and kind.name != name:
            raise UsageError(f"--firmware {text} is for {name}, and --board is {kind.name}")
        return name, Path(file)
    if kind is None:
        raise UsageError(f"--firmware {text}: say for which board, as in --firmware BOARD={text}")
    return kind.name, Path(text)


def _flash_one(output: Output, job: Job) -> None:
    from host.flash.uf2 import PERSON_SECONDS

    patience = PERSON_SECONDS if sys.stderr.isatty() else 0.0
    with output.progress("writing") as progress:
        status = job.run(output.note, progress, patience)
    output.result(_flashed(job, status), f"{job.board.title} {_outcome(status)}")


def _flash_all(output: Output, jobs: Sequence[Job]) -> int:
    from host.flash import flash_all

    with output.bars() as add:
        results = flash_all(jobs, lambda job, text: output.note(f"{job.place}: {text}"), lambda job: add(job.place))
    told = [
        {"place": job.place, **_flashed(job, result.status), **_failed(result.error)}
        for job, result in zip(jobs, results, strict=True)
    ]
    rows = [
        (job.place, job.board.name, "FAILED" if result.error else "ok", result.error or _outcome(result.status))
        for job, result in zip(jobs, results, strict=True)
    ]
    failed = sum(result.error is not None for result in results)
    summary = f"{len(jobs) - failed} of {len(jobs)} flashed."
    output.result({"boards": told, "failed": failed}, table("where", "board", "", "result", rows=rows), summary)
    return 1 if failed else 0


def _flashed(job: Job, status: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "board": job.board.name,
        "firmware": str(job.firmware.path),
        "version": job.firmware.version,
        "build": job.firmware.build,
        "runs": status is not None,
    }


def _failed(error: HostError | None) -> dict[str, Any]:
    return error_object(type(error).__name__, str(error), error.exit_code) if error else {"error": None}


def _outcome(status: Mapping[str, Any] | None) -> str:
    if status:
        return f"runs kern {status['version']}, build {status['build']}, as flashed."
    return "has the firmware in its flash, verified; what runs was not compared."


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
    from host.board import connect, image_target
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
    from host.board import connect

    with connect(port) as link:
        active = link.confirm()
    output.result({"pack": active}, f"Confirmed: {_title(active)}")


@command(host, "rollback")
@port_option
def rollback(output: Output, port: str | None) -> None:
    """Make the pack before the active one active again, within 300 s after it was replaced."""
    from host.board import connect

    with connect(port) as link:
        active = link.rollback()
    output.result({"pack": active}, f"Active: {_title(active)}")


@command(host, "status")
@port_option
def status(output: Output, port: str | None) -> None:
    """Show what a board runs: firmware, pack, memory, faults."""
    from host.board import connect

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
