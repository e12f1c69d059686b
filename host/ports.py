"""Which board is meant: ``--port``, ``HOST_PORT``, or the only one there is.

/dev/ttyACM0, COM3      a serial port's path
id:E66118C4E3           the USB serial number
2e8a:0005[:E66118C4E3]  USB vendor and product, and serial number
emu:rpi_pico[:NAME]     an emulated board: the one that runs (`host emulate`), else one for as long as it is used
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from host import boards, emulator
from host.boards import Board, Uf2
from host.errors import DeviceError, NoDevice, UsageError

EMULATED = emulator.EMULATED
_START_SECONDS = 30.0
_POLL = 0.05
_USB = re.compile(r"([0-9a-f]{4}):([0-9a-f]{4})(?::(.+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Device:
    """A serial port with a board on it, or a running emulated board. ``boards`` are the kinds that it may be."""

    path: str
    description: str
    boards: tuple[str, ...] = ()
    vid: int | None = None
    pid: int | None = None
    serial: str | None = None

    def __str__(self) -> str:
        usb = f" {self.vid:04x}:{self.pid:04x}" if self.vid is not None and self.pid is not None else ""
        return f"{self.path}{usb}{f' id:{self.serial}' if self.serial else ''} ({self.description})"


def devices() -> list[Device]:
    """USB serial ports and running emulated boards, by path."""
    return sorted(_usb_devices() + _emulated_devices(), key=lambda device: device.path)


def _usb_devices() -> list[Device]:
    known = [boards.load(name) for name in boards.names()]
    return [
        Device(
            path=port.device,
            description=port.product or port.description,
            boards=tuple(board.name for board in known if f"{port.vid:04x}:{port.pid:04x}" in _usb_ids(board)),
            vid=port.vid,
            pid=port.pid,
            serial=port.serial_number,
        )
        for port in list_ports.comports()
        if port.vid is not None
    ]


def _usb_ids(board: Board) -> tuple[str, ...]:
    return board.usb.repl if board.usb else ()


def _emulated_devices() -> list[Device]:
    return [
        Device(
            path=found.address,
            description=f"emulated {boards.load(found.board).title} on {found.port}",
            boards=(found.board,),
        )
        for name in boards.names()
        if boards.load(name).emulator
        for found in emulator.all_running(name)
    ]


def resolve(port: str | None, board: str | None = None) -> str:
    """The path, or ``emu:BOARD``, that ``port`` means; without it, what ``HOST_PORT`` means, or the only device: of
    all, or of those that may be a ``board``.

    Raises UsageError for a form that is none of the module's, and where several devices match, which it lists;
    NoDevice where none does.
    """
    wanted = port or os.environ.get("HOST_PORT")
    if not wanted:
        return _only([device for device in devices() if board is None or board in device.boards], "")
    if wanted.startswith(EMULATED):
        return emulator.Running(*emulated_instance(wanted)).address
    if wanted.startswith("id:"):
        return _only([device for device in devices() if device.serial == wanted[3:]], wanted)
    usb = _USB.fullmatch(wanted)
    if usb:
        vid, pid, serial = int(usb[1], 16), int(usb[2], 16), usb[3]
        matching = [device for device in devices() if (device.vid, device.pid) == (vid, pid)]
        return _only([device for device in matching if serial in (None, device.serial)], wanted)
    if ":" in wanted and "://" not in wanted:
        raise UsageError(f"--port {wanted} is none of: a path, id:SERIAL, vid:pid[:serial] in hexadecimal, emu:BOARD")
    return wanted


def there(path: str) -> bool:
    """Whether a serial port is there now, as far as can be told without opening it: of a URL, and on Windows, it is
    not known, and taken to be so.
    """
    return "://" in path or os.name == "nt" or Path(path).exists()


def emulated_instance(port: str) -> tuple[str, str]:
    """Board and instance that ``emu:BOARD[:NAME]`` means."""
    name, _, instance = port.removeprefix(EMULATED).partition(":")
    board = boards.load(name)
    if board.emulator is None:
        raise UsageError(f"board {board.name} has no emulator")
    return board.name, emulator.instance_name(instance or emulator.DEFAULT)


def _only(found: list[Device], wanted: str) -> str:
    if len(found) == 1:
        return found[0].path
    if found:
        listed = "\n".join(f"  {device}" for device in found)
        reason = f"more than one device is {wanted}" if wanted else "there is more than one device"
        raise UsageError(f"{reason}; choose one with --port:\n{listed}")
    if wanted:
        raise NoDevice(f"no device {wanted}; `host devices` lists what there is")
    raise NoDevice("no board found; plug one in, or use --port emu:rpi_pico for an emulated one")


@contextmanager
def emulated(port: str) -> Iterator[emulator.Running]:
    """The emulated board that ``emu:BOARD`` means: the running one, else one that runs as long as this context."""
    board, instance = emulated_instance(port)
    running = emulator.find_running(board, instance)
    if running:
        yield running
    else:
        with emulator.make(board, instance) as started:
            yield started


@contextmanager
def opened(port: str | None) -> Iterator[str]:
    """The path of the serial port that ``port`` means, with an emulated board behind it if it means one."""
    meant = resolve(port)
    if not meant.startswith(EMULATED):
        yield meant
        return
    with emulated(meant) as running:
        try:
            yield str(_port_of(running))
        except DeviceError:
            running.check_power()  # why it is gone says more than that it is
            raise


def _port_of(running: emulator.Running) -> Path:
    """The emulated board's port, which it has some time after its start. Raises NoDevice when it has no firmware."""
    board = boards.load(running.board)
    if board.emulator == emulator.ESP_ROM:
        raise NoDevice(f"the emulated {running.board} is a boot ROM: it can be flashed, and runs nothing")
    if isinstance(board.boot, Uf2):
        end = time.monotonic() + _START_SECONDS
        while not running.bootsel_dir.is_dir():
            if running.port.exists() or time.monotonic() > end:
                return running.wait_for_port(0)
            time.sleep(_POLL)
    elif running.firmware.is_file():
        return running.wait_for_port(_START_SECONDS)
    state = "is in BOOTSEL, for it has" if isinstance(board.boot, Uf2) else "has"
    raise NoDevice(f"the emulated board {state} no firmware; flash it with: {running.flash_command}")
