"""Put firmware on a board through its boot ROM's drive, and check that the board then runs it.

The same steps for a real board and an emulated one: reboot it into the boot ROM, wait for the drive, copy the UF2, wait
for the REPL, compare ``kern.status()`` with what was built. Only where the drive and the port are found differs.
"""

from __future__ import annotations

import json
import os
import string
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import serial

from host import emulator, ports, project
from host.board import Board, Progress
from host.boards import Board as BoardFacts
from host.errors import (
    BoardError,
    BuildError,
    CheckFailed,
    DeviceBusy,
    DeviceError,
    DeviceTimeout,
    NoDevice,
    UsageError,
)
from host.link import Link

Report = Callable[[str], None]
"""Called with a sentence that says what happens now, or what a person should do."""

_INFO = "INFO_UF2.TXT"
_COPY_CHUNK = 32 * 1024
_REBOOT_SECONDS = 8.0
PERSON_SECONDS = 60.0
START_SECONDS = 30.0
_POLL = 0.1

T = TypeVar("T")


@dataclass(frozen=True)
class Firmware:
    """A UF2 file and what ``kern.status()`` says when it runs."""

    uf2: Path
    build: str
    version: str


class Target(Protocol):
    """A board as flashing sees it."""

    def drive(self) -> Path | None:
        """The boot ROM's drive, if it is there now."""

    def port(self) -> str | None:
        """Path of the REPL's serial port, if it is there now."""


def read_firmware(board: BoardFacts, uf2: Path | None = None) -> Firmware:
    """The firmware in ``uf2``, or the one that `host build` made. Raises BuildError when it is not there."""
    path = uf2 or project.build_dir() / "firmware" / board.name / "firmware.uf2"
    facts = path.with_name("firmware.json")
    if not path.is_file():
        raise BuildError(f"no firmware at {path}; make it with: host build {board.name}")
    if not facts.is_file():
        raise BuildError(f"{facts} is missing, so nobody could tell whether the board runs {path.name}")
    data = json.loads(facts.read_text())
    return Firmware(uf2=path, build=data["build_id"], version=data["version"])


@contextmanager
def target(board: BoardFacts, port: str | None, drive: Path | None = None) -> Iterator[Target]:
    """The board to flash. ``port`` is as for host.ports; ``drive`` says where the drive is mounted."""
    meant = None
    with suppress(NoDevice):  # a board that is in its boot ROM already has no port
        meant = ports.resolve(port)
    if meant and meant.startswith(ports.EMULATED):
        with ports.emulated(meant) as running:
            found = _Emulated(running)
            _wait(lambda: found.drive() or found.port(), START_SECONDS)  # it may have been started just now
            yield found
    else:
        yield _Usb(board, meant, drive)


class _Emulated:
    def __init__(self, running: emulator.Running) -> None:
        self._running = running

    def drive(self) -> Path | None:
        folder = Path(self._running.bootsel_dir)
        return folder if (folder / _INFO).is_file() else None

    def port(self) -> str | None:
        return str(self._running.port) if self._running.port.exists() else None


class _Usb:
    def __init__(self, board: BoardFacts, port: str | None, drive: Path | None) -> None:
        self._board = board
        self._drive = drive
        self._path = port
        self._serial = next((device.serial for device in ports.devices() if device.path == self._path), None)

    def drive(self) -> Path | None:
        folders = [self._drive] if self._drive else list(mounted())
        found = [folder for folder in folders if board_id(folder) == self._board.uf2.board_id]
        if len(found) > 1:
            raise UsageError(f"several boards show a drive: {', '.join(map(str, found))}; choose one with --drive")
        return found[0] if found else None

    def port(self) -> str | None:
        # a board may come back under another path, but not with another serial number
        usb = [device for device in ports.devices() if device.board == self._board.name]
        if self._serial:
            return next((device.path for device in usb if device.serial == self._serial), None)
        if self._path:
            return self._path if Path(self._path).exists() or os.name == "nt" else None
        return usb[0].path if len(usb) == 1 else None


def board_id(folder: Path) -> str | None:
    """The Board-ID in a drive's INFO_UF2.TXT; None where there is no such file."""
    try:
        lines = (folder / _INFO).read_text(errors="replace").splitlines()
    except OSError:  # also a drive that went away while it was read
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Board-ID:")), None)


def mounted() -> Iterator[Path]:
    """Every place where a removable drive may be mounted."""
    if sys.platform == "win32":
        yield from (Path(f"{letter}:/") for letter in string.ascii_uppercase)
    elif sys.platform == "darwin":
        yield from Path("/Volumes").iterdir()
    else:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, kind, *_ = line.split(" ")
            if kind in ("vfat", "msdos", "fuseblk"):
                yield Path(place.encode().decode("unicode_escape"))  # a space is \040 there


def flash(
    board: BoardFacts,
    firmware: Firmware,
    target: Target,
    report: Report,
    progress: Progress | None = None,
    patience: float = PERSON_SECONDS,
) -> dict[str, Any]:
    """Put ``firmware`` on the board and return its ``kern.status()`` as it runs.

    ``patience`` is how many seconds a person has to press BOOTSEL when the board cannot be rebooted from here. Raises
    NoDevice or DeviceTimeout when drive or board do not show up, and CheckFailed when something else than ``firmware``
    runs afterwards.
    """
    drive = target.drive() or _reboot_to_drive(target, report, patience)
    report(f"copying {firmware.uf2.name} to {drive}")
    _copy(firmware.uf2, drive, progress)
    if not _wait(lambda: target.drive() is None, START_SECONDS):
        raise DeviceTimeout(
            f"the boot ROM did not take {firmware.uf2.name}: {drive} is still there after {START_SECONDS:g} s"
        )
    report("waiting for the board to start")
    status = _status_when_up(target)
    if (status["build"], status["version"]) != (firmware.build, firmware.version):
        raise CheckFailed(
            f"the board runs build {status['build']} (version {status['version']}),"
            f" and flashed was {firmware.build} ({firmware.version})"
        )
    return status


def _reboot_to_drive(target: Target, report: Report, patience: float) -> Path:
    port = target.port()
    if port:
        report(f"rebooting the board on {port} to its boot ROM")
        _reboot(port)
        if drive := _wait(target.drive, _REBOOT_SECONDS):
            return drive
    advice = "hold BOOTSEL while you plug the board in; if drives are not mounted by themselves, mount it, pass --drive"
    if patience:
        report(f"no BOOTSEL drive yet: {advice}")
        if drive := _wait(target.drive, patience):
            return drive
    raise NoDevice(f"no BOOTSEL drive showed up; {advice}")


def _reboot(port: str) -> None:
    """By the REPL; where none answers, by opening the port at 1200 baud, a sign that much USB firmware heeds."""
    try:
        with Board(Link(port)) as board:
            board.reboot_to_bootsel()
    except DeviceBusy:
        raise
    except DeviceError:
        with suppress(OSError):
            serial.Serial(port, 1200).close()


def _copy(source: Path, drive: Path, progress: Progress | None) -> None:
    """Copy in pieces, each on the drive before the next: a progress bar that does not lie."""
    total = source.stat().st_size
    done = 0
    try:
        with source.open("rb") as data, (drive / source.name).open("wb") as out:
            while piece := data.read(_COPY_CHUNK):
                out.write(piece)
                out.flush()
                os.fsync(out.fileno())
                done += len(piece)
                if progress:
                    progress(done, total)
    except OSError as error:
        if done < total:  # the boot ROM reboots on the last block, which may fail the final sync
            raise NoDevice(f"{drive} went away after {done} of {total} bytes: {error}") from error


def _status_when_up(target: Target) -> dict[str, Any]:
    """The board's status as soon as its REPL answers."""
    end = time.monotonic() + START_SECONDS
    while True:
        port = _wait(target.port, end - time.monotonic())
        if not port:
            raise DeviceTimeout(f"the board did not come back within {START_SECONDS:g} s")
        try:
            with Board(Link(port, timeout=3.0)) as board:
                return board.status()
        except BoardError as error:
            raise CheckFailed(f"what runs on the board has no kern:\n{error}") from error
        except DeviceError:
            if time.monotonic() > end:
                raise
            time.sleep(_POLL)


def _wait(found: Callable[[], T | None], seconds: float) -> T | None:
    """What ``found`` gives as soon as it gives something; None after ``seconds``."""
    end = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > end:
            return None
        time.sleep(_POLL)
    return result
