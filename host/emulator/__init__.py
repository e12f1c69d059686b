"""Emulated boards: a Raspberry Pi Pico that a program talks to as it would to a real one.

    with EmulatedBoard("rpi_pico") as board:      # or `host emulate rpi_pico` in another terminal
        (board.wait_for_bootsel() / "firmware.uf2").write_bytes(uf2)
        serial.Serial(str(board.wait_for_port()))

docs/emulator.md says what is emulated and how well.
"""

from host.emulator.board import EmulatedBoard, Event
from host.emulator.instance import Running, find_running
from host.emulator.serve import serve

__all__ = ["EmulatedBoard", "Event", "Running", "find_running", "serve"]
