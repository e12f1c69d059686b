"""Flash a board through its boot ROM's drive.

The same steps for a real board and an emulated one: reboot it into the boot ROM, wait for the drive, copy the UF2, wait
for the REPL, compare ``kern.status()`` with what was built. Only where the drive and the port are found differs.
"""

from __future__ import annotations

import os
import string
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

import serial

from host import emulator, ports
from host.board import Board, Progress
from host.boards import Board as BoardFacts
from host.errors import DeviceBusy, DeviceError, DeviceTimeout, NoDevice, UsageError
from host.flash import started
from host.flash.firmware import Firmware
from host.link import Link

Report = Callable[[str], None]
"""Called with a sentence that says what happens now, or what a person should do."""

_INFO = "INFO_UF2.TXT"
_VOLUMES = Path("/Volumes")  # macOS
_MOUNTS = Path("/proc/mounts")  # Linux
_COPY_CHUNK = 32 * 1024
_REBOOT_SECONDS = 8.0
PERSON_SECONDS = 60.0


class Target(Protocol):
    """A board as flashing sees it."""

    def drive(self) -> Path | None:
        """The boot ROM's drive, if it is there now."""

    def port(self) -> str | None:
        """Path of the REPL's serial port, if it is there now."""

    def alone(self) -> AbstractContextManager[None]:
        """Held from the reboot until the board is back, as far as two boards could be taken for each other."""


@contextmanager
def target(board: BoardFacts, port: str | None, drive: Path | None = None) -> Iterator[Target]:
    """The board to flash. ``port`` is as for host.ports; ``drive`` says where the drive is mounted."""
    meant = None
    in_boot_rom = drive is not None and board_id(drive) == board.uf2.board_id
    if port or not in_boot_rom:  # it has no port then: the only one that there is would be another board's
        with suppress(NoDevice):
            meant = ports.resolve(port, board.name)
    if meant and meant.startswith(ports.EMULATED):
        with ports.emulated(meant) as running:
            found = _Emulated(running)
            # it may have been started just now
            started.wait(lambda: found.drive() or found.port(), started.START_SECONDS)
            yield found
    else:
        yield Usb(board, meant, drive)


class _Emulated:
    def __init__(self, running: emulator.Running) -> None:
        self._running = running

    def drive(self) -> Path | None:
        folder = Path(self._running.bootsel_dir)
        return folder if (folder / _INFO).is_file() else None

    def port(self) -> str | None:
        return str(self._running.port) if self._running.port.exists() else None

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()


class Usb:
    """A board on USB: the one on ``port``, the one whose ``drive`` is named, or the only one that shows a drive."""

    _one_at_a_time = threading.Lock()
    """Two boards of a kind in their boot ROMs cannot be told apart: the RP2040's has no serial number."""

    def __init__(self, board: BoardFacts, port: str | None, drive: Path | None) -> None:
        self._board = board
        self._drive = drive
        self._path = port
        self._serial = next((device.serial for device in ports.devices() if device.path == port), None)
        self._others: set[Path | str] = set()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._one_at_a_time:
            if self._path is None:
                self._others = {device.path for device in self._devices()}
            elif self.port():  # it is not in its boot ROM, so the drives that are there are not its
                self._others = set(drives(self._board))
            yield

    def drive(self) -> Path | None:
        if self._drive:
            return self._drive if board_id(self._drive) == self._board.uf2.board_id else None
        found = [folder for folder in drives(self._board) if folder not in self._others]
        if len(found) > 1:
            raise UsageError(f"several boards show a drive: {', '.join(map(str, found))}; choose one with --drive")
        return found[0] if found else None

    def port(self) -> str | None:
        # a board may come back under another path, but not with another serial number
        usb = self._devices()
        if self._serial:
            return next((device.path for device in usb if device.serial == self._serial), None)
        if self._path:
            return self._path if ports.there(self._path) else None
        new = [device.path for device in usb if device.path not in self._others]
        return new[0] if len(new) == 1 else None

    def _devices(self) -> list[ports.Device]:
        real = (device for device in ports.devices() if not device.path.startswith(ports.EMULATED))
        return [device for device in real if self._board.name in device.boards]


def drives(board: BoardFacts) -> list[Path]:
    """Drives of boot ROMs of this kind, wherever they are mounted."""
    return [folder for folder in mounted() if board_id(folder) == board.uf2.board_id]


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
        yield from _VOLUMES.iterdir()
    else:
        for line in _MOUNTS.read_text().splitlines():
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
    NoDevice or DeviceTimeout when drive or board do not show up, UsageError when it is another board, and CheckFailed
    when something else than ``firmware`` runs afterwards.
    """
    with target.alone():
        drive = target.drive() or _reboot_to_drive(board, target, report, patience)
        report(f"copying {firmware.path.name} to {drive}")
        _copy(firmware.path, drive, progress)
        if not started.wait(lambda: target.drive() is None, started.START_SECONDS):
            raise DeviceTimeout(
                f"the boot ROM did not take {firmware.path.name}:"
                f" {drive} is still there after {started.START_SECONDS:g} s"
            )
        report("waiting for the board to start")
        port = started.wait(target.port, started.START_SECONDS)
    return started.confirm(firmware, lambda: target.port() or port)


def _reboot_to_drive(board: BoardFacts, target: Target, report: Report, patience: float) -> Path:
    port = target.port()
    if port:
        report(f"rebooting the board on {port} to its boot ROM")
        _reboot(board, port)
        if drive := started.wait(target.drive, _REBOOT_SECONDS):
            return drive
    advice = "hold BOOTSEL while you plug the board in; if drives are not mounted by themselves, mount it, pass --drive"
    if patience:
        report(f"no BOOTSEL drive yet: {advice}")
        if drive := started.wait(target.drive, patience):
            return drive
    others = [f"{folder} is {kind}'s" for folder in mounted() if (kind := board_id(folder))]
    raise NoDevice(f"no BOOTSEL drive of {board.uf2.board_id} showed up; {'; '.join([*others, advice])}")


def _reboot(board: BoardFacts, port: str) -> None:
    """By the REPL; where none answers, by opening the port at 1200 baud, a sign that much USB firmware heeds."""
    try:
        with Board(Link(port)) as link:
            machine = machine_of(link)
            if board.chip not in machine:
                raise UsageError(f"the board on {port} is a {machine}; {board.name} has the chip {board.chip}")
            link.reboot_to_bootsel()
    except (DeviceBusy, UsageError):
        raise
    except DeviceError:
        with suppress(OSError):
            serial.Serial(port, 1200).close()


def machine_of(link: Board) -> str:
    """What MicroPython says it runs on, as in ``Raspberry Pi Pico with RP2040``."""
    return str(link.eval("__import__('sys').implementation._machine"))


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
