"""Firmware files: where they are, whether they are for the board, and what runs when they do."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from host.boards import Board, Esptool, Program, Uf2
from host.emulator import uf2
from host.errors import BuildError, UsageError
from host.firmware import build_folder
from host.firmware_ports import PORTS

_ESP_MAGIC = 0xE9
_ESP_HEADER = struct.Struct("<B11xH")  # the first bytes of a boot loader, which such a file begins with

_ELF_HEADER = struct.Struct("<4sBB10xHH")  # magic, class, byte order; type, machine
_ELF_TYPES = (2, 3)  # executable; position-independent executable
_ELF_MACHINES = {"thumb": (1, 40), "riscv32": (1, 243), "x86_64": (2, 62)}
"""ELF class (1: 32 bits, 2: 64) and machine of firmware, by what the id of the board's target begins with."""


@dataclass(frozen=True)
class Firmware:
    """A firmware file, and the build and version that ``kern.status()`` tells when it runs; None: nobody knows."""

    path: Path
    build: str | None
    version: str | None


def built_firmware(board: Board) -> Path:
    """Where `host build` puts the board's firmware file."""
    return build_folder(board) / PORTS[board.port].file


def read_firmware(board: Board, path: Path | None = None) -> Firmware:
    """The firmware in ``path``, or the one that `host build` made.

    Raises BuildError when it is not there, or firmware.json beside a UF2 or ELF file is not; UsageError when it is for
    another chip.
    """
    file = path or built_firmware(board)
    facts = file.with_name("firmware.json")
    if not file.is_file():
        raise BuildError(
            f"no firmware at {file}; make it with: host build {board.name}; or name a file: --firmware FILE"
        )
    if not isinstance(board.boot, Esptool) and not facts.is_file():
        raise BuildError(f"{facts} is missing, so nobody could tell whether the board runs {file.name}")
    match board.boot:
        case Uf2():
            _check_uf2(file, board, board.boot)
        case Esptool():
            _check_esp(file, board, board.boot)
        case Program():
            _check_elf(file, board)
    data = json.loads(facts.read_text()) if facts.is_file() else {}
    return Firmware(path=file, build=data.get("build_id"), version=data.get("version"))


def _check_uf2(file: Path, board: Board, boot: Uf2) -> None:
    try:
        families = uf2.families(file.read_bytes())
    except uf2.BadUf2 as error:
        raise UsageError(f"{file} is not a UF2 file: {error}") from error
    if boot.family_id not in families:
        found = ", ".join(f"{family:#010x}" for family in sorted(families)) or "none"
        raise UsageError(f"{file} is for UF2 family {found}; {board.name} ({board.chip}) takes {boot.family_id:#010x}")


def _check_esp(file: Path, board: Board, boot: Esptool) -> None:
    with file.open("rb") as data:
        header = data.read(_ESP_HEADER.size)
    if len(header) < _ESP_HEADER.size or header[0] != _ESP_MAGIC:
        raise UsageError(f"{file} is not a firmware file for an ESP32: it does not begin with {_ESP_MAGIC:#x}")
    _, chip_id = _ESP_HEADER.unpack(header)
    if chip_id != boot.chip_id:
        raise UsageError(f"{file} is for chip id {chip_id}; {board.name} ({board.chip}) has {boot.chip_id}")
    room = boot.flash_size - boot.offset
    if file.stat().st_size > room:
        raise UsageError(f"{file} has {file.stat().st_size} bytes; {board.name} has room for {room}")


def _check_elf(file: Path, board: Board) -> None:
    with file.open("rb") as data:
        header = data.read(_ELF_HEADER.size)
    if len(header) < _ELF_HEADER.size:
        raise UsageError(f"{file} is not an ELF file: it has {len(header)} bytes")
    magic, elf_class, order, kind, machine = _ELF_HEADER.unpack(header)
    if magic != b"\x7fELF" or order != 1 or kind not in _ELF_TYPES:
        raise UsageError(f"{file} is not an executable ELF file, little-endian")
    target = board.wamrc.target_id
    wanted = next(known for start, known in _ELF_MACHINES.items() if target.startswith(start))
    if (elf_class, machine) != wanted:
        raise UsageError(
            f"{file} is for ELF machine {machine}, {32 * elf_class} bits;"
            f" {board.name} ({target}) takes {wanted[1]}, {32 * wanted[0]} bits"
        )
