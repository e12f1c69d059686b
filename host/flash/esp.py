"""Flash an ESP32 through its boot ROM's serial loader, by esptool.

esptool is a program of its own here, and only that: it is GPL, and this project is not. What it prints is turned into
progress and into errors that say what to do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import ports
from host.board import Progress
from host.boards import Board, Esptool
from host.errors import CheckFailed, DeviceError, DeviceTimeout, HostError, UsageError
from host.flash import started
from host.flash.firmware import Firmware
from host.flash.uf2 import Report
from host.link import why_not

BUTTONS = "hold BOOT, press and release RESET (or EN), release BOOT"

_CONNECTED = re.compile(r"^Connected to (\S+) on ", re.MULTILINE)
_FLASH_SIZE = re.compile(r"^Detected flash size: (\d+)(KB|MB)", re.MULTILINE)
_WRITTEN = re.compile(r"Writing at 0x[0-9a-f]+ .*?(\d+(?:\.\d+)?)%")
_VERIFIED = "Hash of data verified."
_FATAL = re.compile(r"(?:fatal|serial exception) error occurred: (.*)")
_UNITS = {"KB": 1024, "MB": 1024 * 1024}
_STAGES = {"Erasing flash": "erasing", "Verifying written data": "verifying"}


@dataclass(frozen=True)
class Settings:
    """How esptool is to go about it.

    ``baud``: speed to write at, default the board's. ``before`` and ``after``: how the chip is reset, of host.boards'
    RESETS_BEFORE and RESETS_AFTER, default by the lines DTR and RTS. ``erase``: all of the flash, with files and packs,
    not only what is written. ``stub``: by esptool's own loader, which is faster than the ROM's.
    """

    baud: int | None = None
    before: str | None = None
    after: str | None = None
    erase: bool = False
    stub: bool = True


DEFAULTS = Settings()


@dataclass(frozen=True)
class Target:
    """A chip's serial port. ``has_reset``: with the lines that reset it. ``runs``: it executes what is flashed."""

    port: str
    has_reset: bool = True
    runs: bool = True


@contextmanager
def target(board: Board, port: str | None) -> Iterator[Target]:
    """The board to flash; ``port`` is as for host.ports. Raises NoDevice or UsageError when it is not clear which."""
    meant = ports.resolve(port, board.name)
    if meant.startswith(ports.EMULATED):
        with ports.emulated(meant) as running:
            yield Target(str(running.wait_for_port()), has_reset=False, runs=False)
    else:
        yield Target(meant)


def flash(
    board: Board,
    firmware: Firmware,
    target: Target,
    report: Report,
    progress: Progress | None = None,
    settings: Settings = DEFAULTS,
) -> dict[str, Any] | None:
    """Put ``firmware`` on the board; its ``kern.status()`` as it runs, or None where that cannot be compared: nobody
    knows the file's build, or nothing runs afterwards.

    Nothing is written before the chip and the size of its flash are known to be the board's, which UsageError tells
    otherwise. Raises DeviceTimeout when no boot ROM answers, DeviceError when the line is bad, CheckFailed when what
    is in flash, or runs afterwards, is not ``firmware``.
    """
    assert isinstance(board.boot, Esptool)
    if settings.erase and not settings.stub:
        raise UsageError("the boot ROM cannot erase all of the flash; leave out --no-stub, or --erase")
    reset = "default-reset" if target.has_reset else "no-reset"
    before = settings.before or reset
    after = settings.after or ("hard-reset" if target.has_reset else "no-reset")
    report(f"looking at the chip on {target.port}")
    check_chip(board, board.boot, target.port, before, after)
    options = ["--chip", board.boot.chip, "--baud", str(settings.baud or board.boot.baud)]
    options += ["--before", before, "--after", after, *([] if settings.stub else ["--no-stub"])]
    write = ["write-flash", *(["--erase-all"] if settings.erase else []), hex(board.boot.offset), str(firmware.path)]
    said = _run(target.port, [*options, *write], _Shown(firmware.path, report, progress))
    if _VERIFIED not in said:
        raise CheckFailed(f"esptool could not verify what it wrote on {target.port}:\n{_end(said)}")
    if firmware.build is None or not target.runs or after == "no-reset":
        return None
    report("waiting for the board to start")
    return started.confirm(firmware, lambda: target.port if ports.there(target.port) else None)


def check_chip(board: Board, boot: Esptool, port: str, before: str, after: str) -> None:
    """Raise UsageError unless the chip on ``port`` is the board's, with as much flash. It stays in its boot ROM, to be
    written; one that is refused is reset by ``after``.
    """
    chip, size = _probe(port, before, "no-reset")
    if chip != board.chip:
        wrong = f"the chip on {port} is an {chip}; {board.name} has an {board.chip}"
    elif size < boot.flash_size:
        wrong = f"the flash on {port} has {size} bytes; {board.name} needs {boot.flash_size}"
    else:
        return
    with suppress(HostError):  # what is wrong with the chip matters more
        _probe(port, before, after)
    raise UsageError(f"{wrong}; nothing was written")


def chip_on(port: str) -> str:
    """The chip on the serial port ``port``, as esptool calls it. It runs again what it did."""
    return _probe(port, "default-reset", "hard-reset")[0]


def _probe(port: str, before: str, after: str) -> tuple[str, int]:
    """The chip and its flash's size, bytes (0: unknown)."""
    said = _run(port, ["--before", before, "--after", after, "--no-stub", "flash-id"], lambda _line: None)
    chip, size = _CONNECTED.search(said), _FLASH_SIZE.search(said)
    if chip is None:
        raise DeviceError(f"esptool did not tell which chip is on {port}:\n{_end(said)}")
    return chip[1], int(size[1]) * _UNITS[size[2]] if size else 0


class _Shown:
    """esptool's lines as progress and stages."""

    def __init__(self, file: Path, report: Report, progress: Progress | None) -> None:
        self._file = file
        self._size = file.stat().st_size
        self._report = report
        self._progress = progress
        self._writing = False

    def __call__(self, line: str) -> None:
        if written := _WRITTEN.search(line):
            if not self._writing:
                self._writing = True
                self._report(f"writing {self._file.name}")
            if self._progress:
                self._progress(round(self._size * float(written[1]) / 100), self._size)
        for start, stage in _STAGES.items():
            if line.startswith(start):
                self._report(stage)


def _run(port: str, words: Sequence[str], show: Callable[[str], None]) -> str:
    """Run esptool on ``port``; what it said. Raises a DeviceError or CheckFailed when it fails."""
    command = [sys.executable, "-m", "esptool", "--port", port, *words]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200", "NO_COLOR": "1"}
    lines: list[str] = []
    with subprocess.Popen(
        command, env=env, text=True, encoding="utf-8", errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            show(lines[-1])
    said = "\n".join(lines)
    if process.returncode != 0:
        raise _error(port, said)
    return said


def _error(port: str, said: str) -> DeviceError | CheckFailed:
    """What esptool's failure means, and what to do about it."""
    fatal = _FATAL.search(said)
    reason = fatal[1].strip() if fatal else _end(said)
    if "Could not open" in reason:
        return why_not(port)
    if _CONNECTED.search(said) is None:
        return DeviceTimeout(f"no boot ROM answers on {port}: {BUTTONS}, then try again\n(esptool: {reason})")
    if "MD5 of file does not match" in reason or "flash region is empty" in reason:
        return CheckFailed(f"what is in the flash on {port} is not what was sent: {reason}")
    state = "not written completely" if "will be erased" in said else "not written"
    return DeviceError(
        f"the chip on {port} was {state}; flash it again, with another cable or a lower --baud where bytes get lost\n"
        f"(esptool: {reason})"
    )


def _end(said: str) -> str:
    return "\n".join(said.splitlines()[-5:])
