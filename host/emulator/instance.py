"""Where a running emulated board is found: one folder for each instance, held by one process at a time.

<state>/emulator/<board>/<instance>/
    port        → /dev/pts/N, while the board's USB serial port exists
    RPI-RP2/    the boot ROM's drive, while the board is in BOOTSEL
    firmware.elf    firmware of a board that a program runs; incoming.elf: what is to replace it
    stderr.txt  what that program said
    flash.bin   its flash, unless another file is given
    info.json   who runs it, while it runs
    lock        held (flock) by the process that runs it
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from host import boards, project
from host.boards import Program, Uf2
from host.errors import CheckFailed, DeviceBusy, DeviceTimeout, NoDevice, UsageError

DEFAULT = "default"
EMULATED = "emu:"
"""What --port begins with where an emulated board is meant."""
_POLL = 0.02
_TRIES = 10  # a look whether a lock is held holds it for an instant


class Running:
    """An emulated board that runs, in this process or another."""

    def __init__(self, board: str, instance: str = DEFAULT) -> None:
        self.board = board
        self.instance = instance
        self.folder = project.state_dir() / "emulator" / board / instance

    @property
    def address(self) -> str:
        """What --port calls it: emu:BOARD[:NAME]."""
        return f"{EMULATED}{self.board}" + ("" if self.instance == DEFAULT else f":{self.instance}")

    @property
    def flash_command(self) -> str:
        """What a person types to put firmware on it."""
        return f"host flash --board {self.board} --port {self.address}"

    @property
    def port(self) -> Path:
        """Path of the serial port, the same after every reset; it exists while the port does."""
        return self.folder / "port"

    @property
    def bootsel_dir(self) -> Path:
        """Path of the boot ROM's drive; the folder exists while the board is in BOOTSEL."""
        return self.folder / boards.load(self.board).uf2.drive_label

    @property
    def firmware(self) -> Path:
        """Path of the firmware of a board that a program runs; the file exists once it was flashed."""
        return self.folder / "firmware.elf"

    @property
    def incoming(self) -> Path:
        """Path of the firmware that such a board takes, as soon as it is there: it becomes ``firmware`` and is run."""
        return self.folder / "incoming.elf"

    @property
    def stderr(self) -> Path:
        """Path of what the program wrote on standard error since it was started last."""
        return self.folder / "stderr.txt"

    @property
    def profile(self) -> Path:
        """Path of what the emulator's profiler counted last (tools/emulator/profiler.mjs)."""
        flash = Path(json.loads((self.folder / "info.json").read_text())["flash"])
        return flash.with_name(flash.name + ".profile.json")

    def wait_for_port(self, timeout: float = 30.0) -> Path:
        """``port``, as soon as it exists. Raises DeviceTimeout after ``timeout`` seconds."""
        return self._wait(self.port, self._has_port, timeout, "USB serial port")

    def wait_for_bootsel(self, timeout: float = 30.0) -> Path:
        """``bootsel_dir``, as soon as it exists. Raises DeviceTimeout after ``timeout`` seconds."""
        return self._wait(self.bootsel_dir, self.bootsel_dir.is_dir, timeout, "BOOTSEL drive")

    def program(self, firmware: Path, timeout: float = 30.0) -> str:
        """Flash a board in BOOTSEL, or one that a program runs, and return the path of its serial port, as soon as that
        exists.

        Raises DeviceTimeout when the drive or the port is not there after ``timeout`` seconds each.
        """
        if isinstance(boards.load(self.board).boot, Program):
            self.load(firmware, timeout)
        else:
            drive = self.wait_for_bootsel(timeout)
            (drive / firmware.name).write_bytes(firmware.read_bytes())
        return str(self.wait_for_port(timeout))

    def load(self, elf: Path, timeout: float = 30.0) -> None:
        """Have a board that a program runs take ``elf`` for its firmware, and run it. It is copied whole or not at all.

        Raises CheckFailed when the copy differs, DeviceTimeout when it is not taken within ``timeout`` seconds.
        """
        new = self.folder / f".incoming.{os.getpid()}"
        shutil.copyfile(elf, new)
        if _sha256(new) != _sha256(elf):
            new.unlink()
            raise CheckFailed(f"the copy of {elf} in {self.folder} is not what was copied")
        new.chmod(0o755)  # the unix port's is a program itself
        new.replace(self.incoming)
        end = time.monotonic() + timeout
        while self.incoming.exists():
            if time.monotonic() > end:
                self.incoming.unlink(missing_ok=True)
                raise DeviceTimeout(f"the emulated {self.board} did not take its firmware within {timeout:g} s")
            time.sleep(_POLL)

    def _has_port(self) -> bool:
        return self.port.exists()

    def check_power(self) -> None:
        """Raise NoDevice when waiting is in vain; with the reason, where this process runs the board."""
        if not Lock(self.folder / "lock").held():
            raise NoDevice(f"the emulated {self.board} ({self.instance}) does not run any more")

    def _wait(self, path: Path, there: Callable[[], bool], timeout: float, what: str) -> Path:
        end = time.monotonic() + timeout
        while not there():
            self.check_power()
            if time.monotonic() > end:
                raise DeviceTimeout(f"the emulated {self.board} has no {what} after {timeout:g} s")
            time.sleep(_POLL)
        return path


class Lock:
    """A lock file that names its holder. The kernel releases it when all that hold it are gone, however they end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: int | None = None

    def acquire(self, what: str) -> None:
        """Take the lock. Raises DeviceBusy, naming ``what`` and the process that holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        for attempt in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < _TRIES:
                    time.sleep(_POLL)
                    continue
                holder = os.pread(file, 32, 0).decode().strip()
                os.close(file)
                raise DeviceBusy(f"{what} is in use by process {holder or 'unknown'}") from None
            break
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self.file = file

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def held(self) -> bool:
        """Whether any process, this one included, holds the lock."""
        try:
            file = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False


def find_running(board: str, instance: str = DEFAULT) -> Running | None:
    """The instance of ``board`` that runs now, if it does. What a killed process left behind does not count."""
    found = Running(board, instance)
    return found if (found.folder / "info.json").exists() and Lock(found.folder / "lock").held() else None


def all_running(board: str) -> list[Running]:
    """Every instance of ``board`` that runs now, by name."""
    folder = project.state_dir() / "emulator" / board
    names = sorted(path.parent.name for path in folder.glob("*/info.json"))
    return [running for name in names if (running := find_running(board, name))]


def instance_name(name: str) -> str:
    """``name``, if an instance may be called so. Raises UsageError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UsageError(f"{name!r} is no name for an emulated board: letters, digits, '_' and '-'")
    return name


def publish(running: Running, flash: Path) -> None:
    """Write info.json: pid, board, instance, port, flash, and bootsel_dir of a board that has one."""
    info = {
        "pid": os.getpid(),
        "board": running.board,
        "instance": running.instance,
        "port": str(running.port),
        "flash": str(flash),
    }
    if isinstance(boards.load(running.board).boot, Uf2):
        info["bootsel_dir"] = str(running.bootsel_dir)
    new = running.folder / f".info.{os.getpid()}"
    new.write_text(json.dumps(info, indent=2) + "\n")
    new.rename(running.folder / "info.json")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
