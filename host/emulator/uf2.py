"""UF2 files as the RP2040's boot ROM takes them: https://github.com/microsoft/uf2, data sheet section 2.8.4."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
_MAGIC = (0x0A324655, 0x9E5D5157)
_MAGIC_END = 0x0AB16F30
_NOT_MAIN_FLASH = 0x0001
_FAMILY_PRESENT = 0x2000
_PAYLOAD = 256  # bytes of each block that the boot ROM accepts
_HEADER = struct.Struct("<8I")


class BadUf2(Exception):
    """The boot ROM would take nothing of this file; the message says why."""


@dataclass(frozen=True)
class _Block:
    flags: int
    address: int
    size: int
    number: int
    total: int
    family: int
    data: bytes


def image(file: bytes, family: int, flash_address: int, flash_size: int) -> dict[int, bytes] | None:
    """The pages to program, by offset in flash, each of 256 bytes; None while blocks are missing.

    Blocks of another family are skipped, as the boot ROM does. Raises BadUf2 when nothing of the file is acceptable.
    """
    pages: dict[int, bytes] = {}
    numbers: set[int] = set()
    total = 0
    families: set[int] = set()
    for block in _blocks(file):
        families.add(block.family)
        if block.family != family or block.flags & _NOT_MAIN_FLASH:
            continue
        offset = block.address - flash_address
        if block.size != _PAYLOAD or offset % _PAYLOAD or not 0 <= offset < flash_size:
            raise BadUf2(f"block {block.number} has {block.size} bytes for address 0x{block.address:08x}")
        pages[offset] = block.data[: block.size]
        numbers.add(block.number)
        total = block.total
    if families and family not in families:
        raise BadUf2(f"family id 0x{min(families):08x} instead of 0x{family:08x}")
    return pages if total and numbers == set(range(total)) else None


def families(file: bytes) -> set[int]:
    """The family ids that blocks of ``file`` are for. Raises BadUf2 where there is something else than blocks."""
    return {block.family for block in _blocks(file)}


def _blocks(file: bytes) -> Iterator[_Block]:
    """Every whole block; raises BadUf2 where the magic numbers are wrong."""
    for start in range(0, len(file) - len(file) % BLOCK, BLOCK):
        magic0, magic1, flags, address, size, number, total, family = _HEADER.unpack_from(file, start)
        (end,) = struct.unpack_from("<I", file, start + BLOCK - 4)
        if (magic0, magic1) != _MAGIC or end != _MAGIC_END:
            raise BadUf2(f"no UF2 block at byte {start}")
        if not flags & _FAMILY_PRESENT:
            raise BadUf2(f"block {number} names no family")
        data = file[start + _HEADER.size : start + BLOCK - 4]
        yield _Block(flags, address, size, number, total, family, data)
