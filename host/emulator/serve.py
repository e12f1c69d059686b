"""`host emulate`: an emulated board in the foreground until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from host.emulator.board import EmulatedBoard, Event
from host.errors import DeviceError

_FATAL = ("lockup", "crashed")


def _announce(board: EmulatedBoard) -> None:
    print(board.port, flush=True)


def serve(
    board: str,
    flash: Path | None = None,
    instance: str = "default",
    realtime: bool = True,
    on_ready: Callable[[EmulatedBoard], None] = _announce,
) -> None:
    """Run an emulated ``board`` until SIGINT or SIGTERM; what happens to it is told on stderr.

    ``on_ready`` is called once its port or its BOOTSEL drive is there; by default it prints the port's path. Raises
    DeviceBusy when it runs already, DeviceError when its processor locks up.
    """
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with EmulatedBoard(board, flash=flash, instance=instance, realtime=realtime) as running:
            told = 0
            ready = False
            while not stop.wait(0.1):
                events = running.events
                if not ready and any(event["event"] in ("connected", "bootsel") for event in events):
                    ready = True
                    on_ready(running)
                for event in events[told:]:
                    _report(running, event)
                told = len(events)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(board: EmulatedBoard, event: Event) -> None:
    name = event["event"]
    if name in _FATAL:
        registers = " ".join(f"{register}={value}" for register, value in event.get("registers", {}).items())
        raise DeviceError(f"the emulated {board.board} stopped ({name}): {event['message']} {registers}".rstrip())
    text = {
        "connected": f"serial port {board.port}; stop with Ctrl-C",
        "bootsel": f"in BOOTSEL: copy a UF2 file to {board.bootsel_dir}; stop with Ctrl-C",
        "uf2_programmed": f"{event.get('file')} programmed",
        "uf2_refused": f"{event.get('file')} ignored: {event.get('reason')}",
        "reset": f"reset ({event.get('cause')})",
        "unsupported": str(event.get("message")),
    }.get(name)
    if text:
        print(f"{board.board}: {text}", file=sys.stderr, flush=True)
