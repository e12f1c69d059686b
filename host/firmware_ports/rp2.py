"""MicroPython's port rp2."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from host import firmware_files, parts, project, steps
from host.boards import Board
from host.errors import BuildError
from host.firmware_ports.port import Port, Show, write_changed


class Rp2(Port):
    """RP2040 and RP2350."""

    parts = ("pico-sdk", "tinyusb", "mbedtls")
    file = "firmware.uf2"

    def source(self) -> Path:
        return parts.path("micropython") / "ports" / "rp2"

    def compiler(self, board: Board) -> str:
        return "arm-none-eabi-gcc"

    def definitions(self, board: Board, folder: Path) -> Mapping[str, object]:
        return {
            "MICROPY_BOARD": board.micropython_board,
            "MICROPY_BOARD_DIR": folder / "board",
            "MICROPY_FROZEN_MANIFEST": folder / "board" / "manifest.py",
            "PICO_BUILD_DOCS": 0,
            "PICO_NO_PICOTOOL": 1,
            "PICO_CLIB": "newlib",
        }

    def generated(self, board: Board) -> Mapping[str, str]:
        script = self.source() / f"memmap_mp_{board.chip.lower()}.ld"
        return {"memmap.ld": firmware_files.linker_script(script, board)}

    def prepare(self, board: Board, folder: Path) -> None:
        # MicroPython looks for pins.csv in the board's own folder only.
        pins = self.source() / "boards" / board.micropython_board / "pins.csv"
        for path in (*(project.root() / "firmware" / "rp2").iterdir(), pins):
            write_changed(folder / "board" / path.name, path.read_bytes())

    def finish(self, board: Board, elf: Path, file: Path, show: Show) -> None:
        binary = elf.with_suffix(".bin")
        size = binary.stat().st_size
        if size > board.flash.firmware_size:
            raise BuildError(f"firmware has {size} bytes, {board.name} has room for {board.flash.firmware_size}")
        tool = parts.path("micropython") / "tools" / "uf2conv.py"
        options: list[str | Path] = ["-c", "-f", hex(board.uf2.family_id), "-b", hex(board.flash.address), "-o", file]
        steps.run([sys.executable, tool, *options, binary], show)
