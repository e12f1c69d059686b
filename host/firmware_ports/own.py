"""Ports of this repository: QEMU's machines, and a Linux process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from host import firmware_files, parts, project, steps
from host.boards import Board
from host.firmware_ports.port import Port, Show


class Own(Port):
    """A port of this repository, in firmware/NAME, with what firmware/port_common has for all of them. Its firmware is
    the ELF file, without debugging information.
    """

    file = "firmware.elf"

    def __init__(self, name: str, compiler: str, measured: bool = True) -> None:
        self.name = name
        self.measured = measured
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
