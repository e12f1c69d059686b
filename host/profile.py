"""Where an emulated board's cycles go during calls of a kernel: by function and by what led there, counted exactly.

The emulator counts every block of instructions with the calls that led to it (tools/emulator/profiler.mjs). Here the
addresses become names: the firmware's from its ELF file and the linker's map, a kernel's from where its body lies in
the slot.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import boards, firmware
from host.bench import arguments_of
from host.board import Board
from host.errors import UsageError
from host.firmware_sizes import placed_sections
from host.firmware_variants import VARIANTS
from host.pack import Pack, body_offsets, decode_image

KERNEL = "kernel"
"""The part that AOT code belongs to."""

_AGENT = Path(__file__).with_name("bench_agent.py.txt")
_TIMEOUT = 300.0
_ROM = "boot ROM"


@dataclass(frozen=True)
class Function:
    """A function's own cycles, those of functions that it calls not included. ``part`` is what it belongs to."""

    name: str
    part: str
    cycles: int


@dataclass(frozen=True)
class Profile:
    """``cycles`` in all for ``calls`` calls, asleep or awake. ``stacks`` has the cycles of each chain of functions,
    outermost first. What a Python program around the calls took is among them. ``last_call`` is what the board itself
    counted for the last call (``Bound.cycles``)."""

    kernel: str
    calls: int
    elements: int
    cycles: int
    last_call: int
    functions: tuple[Function, ...]
    stacks: dict[tuple[str, ...], int]

    def parts(self) -> list[tuple[str, int]]:
        """Cycles by part, most first."""
        sums: Counter[str] = Counter()
        for function in self.functions:
            sums[function.part] += function.cycles
        return sums.most_common()

    def collapsed(self) -> str:
        """The stacks as flame graph tools read them: ``outer;inner cycles``, a line each."""
        return "".join(f"{';'.join(stack)} {cycles}\n" for stack, cycles in sorted(self.stacks.items()))

    def speedscope(self) -> dict[str, Any]:
        """The stacks in the file format of https://www.speedscope.app."""
        names = sorted({name for stack in self.stacks for name in stack})
        index = {name: number for number, name in enumerate(names)}
        stacks = sorted(self.stacks.items())
        return {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "name": f"{self.calls} calls of {self.kernel}",
            "shared": {"frames": [{"name": name} for name in names]},
            "profiles": [
                {
                    "type": "sampled",
                    "name": self.kernel,
                    "unit": "none",
                    "startValue": 0,
                    "endValue": sum(self.stacks.values()),
                    "samples": [[index[name] for name in stack] for stack, _ in stacks],
                    "weights": [cycles for _, cycles in stacks],
                }
            ],
        }


def run_profile(board: Board, counted: Path, pack: Pack, kernel: str, calls: int, reference: bool = False) -> Profile:
    """Profile ``calls`` calls of a kernel on its benchmark's sizes; ``counted`` is where the emulator puts its counts.

    ``reference``: the firmware's own implementation instead. Raises NoSuchKernel, NoPack, and UsageError when the board
    runs another pack, or firmware that was not built here.
    """
    spec = pack.kernel(kernel).spec
    status = board.require_pack(pack)
    symbols = _symbols(status, pack)
    sizes = spec.bench or spec.test.symbols
    counted.unlink(missing_ok=True)
    board.exec(_AGENT.read_text())
    last_call = board.eval(f"profile({kernel!r}, {arguments_of(spec, sizes)}, {reference}, {calls})", _TIMEOUT)
    data = json.loads(counted.read_text())
    elements = math.prod(spec.outputs[0].sizes(sizes))
    functions, stacks = _named(data["samples"], symbols)
    return Profile(kernel, calls, elements, data["cycles"], last_call, functions, stacks)


def _named(samples: Iterable[Any], symbols: Symbols) -> tuple[tuple[Function, ...], dict[tuple[str, ...], int]]:
    own: Counter[tuple[str, str]] = Counter()
    stacks: Counter[tuple[str, ...]] = Counter()
    for stack, pc, cycles in samples:
        own[symbols.find(pc)] += cycles
        # A return address is behind the call, which may be its function's last instruction.
        names = [symbols.find((address & ~1) - (0 if address & 1 else 2))[0] for address in stack]
        names.append(symbols.find(pc)[0])
        stacks[tuple(name for name, _ in itertools.groupby(names))] += cycles
    functions = tuple(Function(name, part, cycles) for (name, part), cycles in own.most_common())
    return functions, dict(stacks)


class Symbols:
    """Names by address. Ranges do not overlap."""

    def __init__(self, ranges: Iterable[tuple[int, int, str, str]]) -> None:
        """Each of ``ranges``: first address, size in bytes, name, part."""
        self._ranges = sorted(ranges)
        self._starts = [start for start, *_ in self._ranges]

    def find(self, address: int) -> tuple[str, str]:
        """Name and part of the function at ``address``."""
        if address < 0x4000:
            return _ROM, _ROM
        index = bisect.bisect_right(self._starts, address) - 1
        if index >= 0:
            start, size, name, part = self._ranges[index]
            if address < start + size:
                return name, part
        return f"0x{address:08x}", "unknown"


def _symbols(status: dict[str, Any], pack: Pack) -> Symbols:
    board = boards.load(status["board"])
    elf = firmware.built_elf(board, VARIANTS[status["variant"]], status["build"])
    nm = ["arm-none-eabi-nm", "--defined-only", str(elf)]
    listed = subprocess.run(nm, capture_output=True, text=True, check=True).stdout
    return Symbols([*_firmware_ranges(listed, elf.with_name(elf.name + ".map").read_text()), *_kernels(status, pack)])


def _firmware_ranges(listed: str, map_text: str) -> Iterable[tuple[int, int, str, str]]:
    """Functions of the firmware: names of nm, up to the next one or the end of the linker's section."""
    sections = sorted(
        (placed for placed in placed_sections(map_text) if placed.size), key=lambda placed: placed.address
    )
    starts = [placed.address for placed in sections]
    names: dict[int, str] = {}
    for line in listed.splitlines():
        address, kind, name = line.split()
        if kind in "tTwW" and "$" not in name:  # $t and the like mark kinds of code
            names.setdefault(int(address, 16) & ~1, name)
    addresses = sorted(names)
    for start, following in itertools.pairwise([*addresses, 1 << 32]):
        section = sections[bisect.bisect_right(starts, start) - 1]
        end = min(following, section.address + section.size)
        if end > start:
            yield start, end - start, names[start], section.part


def _kernels(status: dict[str, Any], pack: Pack) -> Iterable[tuple[int, int, str, str]]:
    flash = boards.load(status["board"]).flash
    slot = flash.address + {"a": flash.slot_a, "b": flash.slot_b}[status["pack"]["slot"]]
    image = pack.image(status["target"])
    for kernel, offset in zip(decode_image(image).kernels, body_offsets(image), strict=True):
        yield slot + offset, len(kernel.body), f"{kernel.spec.id} (AOT)", KERNEL


def save(profile: Profile, path: Path) -> None:
    """Write ``path``: speedscope's format where its name ends in .json, else collapsed stacks. Raises UsageError."""
    text = json.dumps(profile.speedscope()) + "\n" if path.suffix == ".json" else profile.collapsed()
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
