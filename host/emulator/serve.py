"""`host emulate`: an emulated board in the foreground until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from host import boards
from host.emulator.board import EmulatedBoard
from host.emulator.esp_rom import EspRom
from host.emulator.instance import DEFAULT
from host.emulator.powered import Event
from host.emulator.program import ProgramBoard
from host.errors import DeviceError

ESP_ROM = "esp-rom"
PROGRAM = "program"
"""The kinds, in board.toml, of emulated boards that are an `EspRom` or a `ProgramBoard`; others: `EmulatedBoard`."""

Emulated = EmulatedBoard | EspRom | ProgramBoard

_FATAL = ("lockup", "crashed")
_READY = ("connected", "bootsel", "no_firmware")


def make(board: str, instance: str = DEFAULT, flash: Path | None = None, realtime: bool = True) -> Emulated:
    """The emulated ``board`` of the kind that it has, not yet powered."""
    kind = boards.load(board).emulator
    if kind == ESP_ROM:
        return EspRom(board, flash, instance)
    if kind == PROGRAM:
        return ProgramBoard(board, flash, instance)
    return EmulatedBoard(board, flash, instance, realtime)


def _announce(board: Emulated) -> None:
    print(board.port, flush=True)


def serve(
    board: str,
    flash: Path | None = None,
    instance: str = DEFAULT,
    realtime: bool = True,
    on_ready: Callable[[Emulated], None] = _announce,
) -> None:
    """Run an emulated ``board`` until SIGINT or SIGTERM; what happens to it is told on stderr.

    ``on_ready`` is called once its port is there, or it waits for firmware; by default it prints the port's path.
    Raises DeviceBusy when it runs already, DeviceError when its processor locks up or its program ends.
    """
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with make(board, instance, flash, realtime) as running:
            told = 0
            ready = False
            while not stop.wait(0.1):
                events = running.events
                if not ready and any(event["event"] in _READY for event in events):
                    ready = True
                    on_ready(running)
                for event in events[told:]:
                    _report(running, event)
                told = len(events)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(board: Emulated, event: Event) -> None:
    name = event["event"]
    if name in _FATAL:
        registers = " ".join(f"{register}={value}" for register, value in event.get("registers", {}).items())
        raise DeviceError(f"the emulated {board.board} stopped ({name}): {event['message']} {registers}".rstrip())
    text = _text(board, event)
    if text:
        print(f"{board.board}: {text}", file=sys.stderr, flush=True)


def _text(board: Emulated, event: Event) -> str | None:
    match event["event"]:
        case "connected":
            return f"serial port {board.port}; stop with Ctrl-C"
        case "bootsel":
            return f"in BOOTSEL: copy a UF2 file to {board.bootsel_dir}; stop with Ctrl-C"
        case "no_firmware":
            return f"no firmware; flash it with: {board.flash_command}; stop with Ctrl-C"
        case "firmware_taken":
            return "new firmware"
        case "uf2_programmed":
            return f"{event['file']} programmed"
        case "uf2_refused":
            return f"{event['file']} ignored: {event['reason']}"
        case "reset":
            return f"reset ({event.get('cause')})"
        case "unsupported":
            return str(event.get("message"))
        case "refused":
            return f"refused command {event['command']:#04x} (code {event['code']:#04x})"
        case _:
            return None
