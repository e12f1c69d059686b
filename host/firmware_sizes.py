"""Which part of the firmware takes how much flash and RAM, read from the linker's map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from host.boards import Board


@dataclass(frozen=True)
class Size:
    """Bytes. Initialised data and code that runs from RAM count in both."""

    flash: int
    ram: int


RUNTIME = ("module kern", "WAMR", "exact floats", "Ed25519")
"""What makes kernels run; their references and MicroPython apart."""

FLASH_BUDGET = 64 * 1024
"""What ``runtime``, the sum of these, may take of flash."""

_PARTS = (
    ("module kern", r"/firmware/kern/(?!wamr_platform)|libkern_engine\.a\((engine|instance|module_check|interpreted)"),
    ("WAMR", r"libkern_wamr\.a|^interpreter\.o|libkern_engine\.a\((platform|pool|runtime|symbols)"),
    ("exact floats", r"libkern_softfloat\.a|libkern_engine\.a\(floats"),
    ("Ed25519", r"libkern_crypto\.a"),
    ("kernel references", r"natives/"),
    ("MicroPython", r""),
)
"""Part and a pattern of its objects' paths; the first that matches counts.
MicroPython is the rest: newlib too, and sha256, which its hashlib has anyway."""

_NOT_LOADED = (".debug_", ".comment", ".ARM.attributes", ".riscv.attributes")
"""How sections begin that stay in the ELF file; the map has them at address 0."""

_INPUT = re.compile(
    r"^ (?P<section>[.*\w-]\S*)\s+0x(?P<address>[0-9a-f]+)\s+0x(?P<size>[0-9a-f]+) (?P<object>\S.*)$", re.M
)


@dataclass(frozen=True)
class Placed:
    """An input section and where the linker put it."""

    section: str
    address: int
    size: int
    part: str


def placed_sections(text: str) -> Iterator[Placed]:
    """Every input section of a GNU ld map file, with the part of the firmware that it belongs to."""
    used = text.partition("Linker script and memory map")[2].partition("\nCross Reference Table")[0]
    joined = re.sub(r"^( \S+)\n\s+(?=0x)", r"\1 ", used, flags=re.M)
    for match in _INPUT.finditer(joined):
        if match["section"].startswith(_NOT_LOADED):
            continue
        part = next(name for name, pattern in _PARTS if re.search(pattern, match["object"]))
        yield Placed(match["section"], int(match["address"], 16), int(match["size"], 16), part)


def read_map(text: str, board: Board) -> dict[str, Size]:
    """Sizes by part, RAM that kernels use, and the sums ``runtime`` and ``total``; of a GNU ld map file."""
    flash: dict[str, int] = dict.fromkeys((name for name, _ in _PARTS), 0)
    ram = dict(flash)
    for placed in placed_sections(text):
        in_flash = board.flash.address <= placed.address < board.flash.address + board.flash.size
        in_ram = 0 <= placed.address - board.memory.ram_address < board.memory.ram
        uninitialised = placed.section.startswith((".bss", ".uninitialized", ".heap", ".stack", "COMMON"))
        flash[placed.part] += placed.size if in_flash or (in_ram and not uninitialised) else 0
        ram[placed.part] += placed.size if in_ram and not placed.section.startswith((".heap", ".stack")) else 0
    memory = board.memory
    sizes = {part: Size(flash[part], ram[part]) for part in flash}
    sizes["arena"] = Size(0, memory.arena_size)
    sizes["WAMR pool"] = Size(0, memory.pool_size)
    sizes["kernel stack"] = Size(0, memory.stack_size)
    runtime = {part: sizes[part] for part in RUNTIME}
    return {**runtime, "runtime": _sum(runtime.values()), **sizes, "total": _sum(sizes.values())}


def _sum(sizes: Iterable[Size]) -> Size:
    listed = list(sizes)
    return Size(sum(size.flash for size in listed), sum(size.ram for size in listed))
