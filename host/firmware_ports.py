"""How the firmware is built for each of MicroPython's ports: all by cmake, with firmware/kern as a user module."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from host import firmware_files, parts, project, steps
from host.boards import Board
from host.errors import BuildError

Show = Callable[[str], None]
"""Told what a tool prints, line by line."""


class Port(ABC):
    """One of MicroPython's ports. ``parts`` are those it needs beside MicroPython's own; ``file`` is the name, in the
    firmware's folder, of what is flashed; ``in_flash`` whether it runs from the board's flash, so that its size counts.
    """

    parts: tuple[str, ...] = ()
    file: str
    in_flash = True

    @abstractmethod
    def source(self) -> Path:
        """Folder of the port's CMakeLists.txt."""

    @abstractmethod
    def compiler(self, board: Board) -> str:
        """The C compiler's command, whose version is one of the firmware's inputs."""

    @abstractmethod
    def definitions(self, board: Board, folder: Path) -> Mapping[str, object]:
        """cmake's variables beside those of firmware/kern; ``folder`` is the firmware's."""

    def generated(self, board: Board) -> Mapping[str, str]:
        """Generated files beside those that every firmware has: names and contents."""
        return {}

    @abstractmethod
    def prepare(self, board: Board, folder: Path) -> None:
        """Write what else the build wants to find in the firmware's ``folder``."""

    @abstractmethod
    def finish(self, board: Board, elf: Path, file: Path, show: Show) -> None:
        """Make ``file`` of what was built. Raises BuildError when it has no room on the board."""


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


class Own(Port):
    """A port of this repository, in firmware/NAME, with what firmware/port_common has for all of them. Its firmware is
    the ELF file, without debugging information.
    """

    file = "firmware.elf"

    def __init__(self, name: str, compiler: str, in_flash: bool = True) -> None:
        self.name = name
        self.in_flash = in_flash
        self._compiler = compiler

    def source(self) -> Path:
        return project.root() / "firmware" / self.name

    def compiler(self, board: Board) -> str:
        return self._compiler

    def definitions(self, board: Board, folder: Path) -> Mapping[str, object]:
        return {"MICROPY_DIR": parts.path("micropython"), "CMAKE_C_COMPILER": self.compiler(board)}

    def prepare(self, board: Board, folder: Path) -> None:
        pass

    def finish(self, board: Board, elf: Path, file: Path, show: Show) -> None:
        # debugging information has paths of this machine
        steps.run([self.compiler(board).replace("gcc", "strip"), "--strip-debug", "-o", file, elf], show)


class Qemu(Own):
    """Machines that QEMU emulates."""

    def compiler(self, board: Board) -> str:
        riscv = board.wamrc.target_id.startswith("riscv")
        return "riscv64-unknown-elf-gcc" if riscv else super().compiler(board)

    def generated(self, board: Board) -> Mapping[str, str]:
        return {"memory.ld": firmware_files.memory_regions(board)}


PORTS: Mapping[str, Port] = {
    "rp2": Rp2(),
    "unix": Own("unix", "gcc", in_flash=False),
    "qemu": Qemu("qemu", "arm-none-eabi-gcc"),
}
"""By the name that board.toml has."""


def write_changed(path: Path, data: bytes) -> None:
    """Write unless it is the same already, so that ninja rebuilds only what a change concerns."""
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
