"""One board to flash, or several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import boards, ports
from host.board import Progress, connect
from host.boards import Board, Esptool, Program, Uf2
from host.errors import BuildError, DeviceError, HostError, NoDevice
from host.flash import esp, program, uf2
from host.flash.firmware import Firmware, built_firmware, read_firmware
from host.flash.uf2 import Report


@dataclass(frozen=True)
class Flashed:
    """What became of one board. ``status``: its ``kern.status()``, or None where what runs was not compared."""

    status: dict[str, Any] | None = None
    error: HostError | None = None


@dataclass(frozen=True)
class Job:
    """A board, and the firmware for it. ``port`` is as for host.ports; ``drive``: where its boot ROM's is mounted."""

    board: Board
    firmware: Firmware
    port: str | None = None
    drive: Path | None = None
    settings: esp.Settings = esp.DEFAULTS

    @property
    def place(self) -> str:
        """Where the board is, for people."""
        return self.port or str(self.drive or "the only one")

    def run(self, report: Report, progress: Progress | None = None, patience: float = 0.0) -> dict[str, Any] | None:
        """Flash the board; as ``flash`` of host.flash.uf2, esp or program, whichever it needs."""
        match self.board.boot:
            case Uf2():
                with uf2.target(self.board, self.port, self.drive) as drive:
                    return uf2.flash(self.board, self.firmware, drive, report, progress, patience)
            case Esptool():
                with esp.target(self.board, self.port) as chip:
                    return esp.flash(self.board, self.firmware, chip, report, progress, self.settings)
            case Program():
                with program.target(self.board, self.port) as running:
                    return program.flash(self.firmware, running, report, progress)


def find_jobs(chosen: Sequence[Board], files: Mapping[str, Path], settings: esp.Settings = esp.DEFAULTS) -> list[Job]:
    """A job for every board that is there: of a ``chosen`` kind, or else of a kind that there is firmware for.

    ``files`` are firmware files by the board's name; default: what `host build` made. A device that may be of several
    kinds is asked. Raises NoDevice when there is no board, BuildError when there is no firmware.
    """
    kinds = list(chosen) or [
        board for board in map(boards.load, boards.names()) if board.name in files or built_firmware(board).is_file()
    ]
    if not kinds:
        raise BuildError("there is no firmware: make it with host build BOARD, or name it: --firmware BOARD=FILE")
    firmware = {kind.name: read_firmware(kind, files.get(kind.name)) for kind in kinds}
    jobs = []
    for device in ports.devices():
        kind = _kind(device, kinds)
        if kind:
            jobs.append(Job(kind, firmware[kind.name], device.path, settings=settings))
    for kind in kinds:
        if isinstance(kind.boot, Uf2):
            jobs += [Job(kind, firmware[kind.name], drive=drive) for drive in uf2.drives(kind)]
    if not jobs:
        names = ", ".join(kind.name for kind in kinds)
        raise NoDevice(f"no board found of: {names}; `host devices` lists what there is")
    return jobs


def _kind(device: ports.Device, kinds: Sequence[Board]) -> Board | None:
    """Which of ``kinds`` the device is, if any; it is asked when its USB ids do not tell."""
    possible = [kind for kind in kinds if kind.name in device.boards]
    if not possible or len(device.boards) == 1:
        return possible[0] if possible else None
    try:
        if isinstance(possible[0].boot, Uf2):
            with connect(device.path) as link:
                said = uf2.machine_of(link)
        else:
            said = esp.chip_on(device.path)
    except HostError:
        return possible[0]  # its own job finds out what is wrong, and tells
    return next((kind for kind in possible if said.endswith(kind.chip)), None)


def flash_all(
    jobs: Sequence[Job], report: Callable[[Job, str], None], progress: Callable[[Job], Progress] | None = None
) -> list[Flashed]:
    """Run all ``jobs`` at once; what became of each, in their order. One that fails does not stop the others."""

    def run(job: Job) -> Flashed:
        try:
            return Flashed(job.run(lambda text: report(job, text), progress(job) if progress else None))
        except HostError as error:
            return Flashed(error=error)
        except OSError as error:  # a port or drive that went away in the middle of something
            return Flashed(error=DeviceError(f"{job.place}: {error}"))

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))
