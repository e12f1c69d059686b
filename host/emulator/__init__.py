"""Emulated boards: a Raspberry Pi Pico that programs talk to as to a real one, and ESP32s that can be flashed.

    with EmulatedBoard("rpi_pico") as board:      # or `host emulate rpi_pico` in another terminal
        serial.Serial(board.program(uf2))

docs/emulator.md says what is emulated and how well.
"""

from host.emulator.board import EmulatedBoard, Event
from host.emulator.esp_rom import EspRom, Noise
from host.emulator.instance import DEFAULT, Running, all_running, find_running, instance_name
from host.emulator.serve import ESP_ROM, make, serve

__all__ = [
    "DEFAULT",
    "ESP_ROM",
    "EmulatedBoard",
    "EspRom",
    "Event",
    "Noise",
    "Running",
    "all_running",
    "find_running",
    "instance_name",
    "make",
    "serve",
]
