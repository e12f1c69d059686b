"""Emulated boards: a Raspberry Pi Pico that programs talk to as to a real one, boards that QEMU or another program
runs, and ESP32s that can be flashed.

    with EmulatedBoard("rpi_pico") as board:      # or `host emulate rpi_pico` in another terminal
        serial.Serial(board.program(uf2))

docs/emulator.md says what is emulated and how well.
"""

from host.emulator.board import EmulatedBoard
from host.emulator.esp_rom import EspRom, Noise
from host.emulator.instance import DEFAULT, EMULATED, Running, all_running, find_running, instance_name
from host.emulator.powered import Event
from host.emulator.program import ProgramBoard
from host.emulator.serve import ESP_ROM, PROGRAM, Emulated, make, serve

__all__ = [
    "DEFAULT",
    "EMULATED",
    "ESP_ROM",
    "PROGRAM",
    "Emulated",
    "EmulatedBoard",
    "EspRom",
    "Event",
    "Noise",
    "ProgramBoard",
    "Running",
    "all_running",
    "find_running",
    "instance_name",
    "make",
    "serve",
]
