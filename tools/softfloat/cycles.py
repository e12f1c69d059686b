"""Measure the soft-float routines and libgcc's on the emulated Pico and write the table of docs/softfloat.md.

.venv/bin/python tools/softfloat/cycles.py           # writes the table
.venv/bin/python tools/softfloat/cycles.py --check   # writes nothing; exit code 1 if the table is out of date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from check import SHORT, crossed, edges
from program import LIBGCC, EmulatedBoard, Program, Words, build

from host import project
from host.errors import HostError

DOCUMENT = project.root() / "docs" / "softfloat.md"
BEGIN, END = (f"<!-- {mark} cycles: tools/softfloat/cycles.py -->\n" for mark in ("begin", "end"))
COUNT = 8192


def normal(rng: np.random.Generator) -> Words:
    """Floats of the standard normal distribution."""
    return rng.standard_normal(COUNT).astype(np.float32).view(np.uint32)


def positive(rng: np.random.Generator) -> Words:
    return normal(rng) & np.uint32(0x7FFFFFFF)


def whole(rng: np.random.Generator) -> Words:
    """Integers of a normal distribution whose deviation is 100 000."""
    return np.rint(rng.standard_normal(COUNT) * 1e5).astype(np.int32).view(np.uint32)


def large(rng: np.random.Generator) -> Words:
    """The same distribution's floats."""
    return (rng.standard_normal(COUNT) * 1e5).astype(np.float32).view(np.uint32)


def halves(rng: np.random.Generator) -> Words:
    return rng.standard_normal(COUNT).astype(np.float16).view(np.uint16).astype(np.uint32)


ORDINARY: dict[str, Callable[[np.random.Generator], Words]] = {
    "sf_sqrt": positive,
    "sf_from_i32": whole,
    "sf_from_u32": lambda rng: np.abs(whole(rng).view(np.int32)).view(np.uint32),
    "sf_to_i32": large,
    "sf_to_u32": lambda rng: large(rng) & np.uint32(0x7FFFFFFF),
    "sf_clz": lambda rng: np.abs(whole(rng).view(np.int32)).view(np.uint32),
    "sf_from_f16": halves,
}
"""Operands of the routines that do not get those of ``normal``."""


@dataclass(frozen=True)
class Cycles:
    """Of a routine, from its first instruction until it is back.

    Over ordinary operands, but for ``rare``: the most over zeros, denormals, infinities, NaN and other edges.
    """

    mean: float
    least: int
    most: int
    rare: int
    libgcc: float


def measure(program: Program) -> dict[str, Cycles]:
    """Cycles of every routine that libgcc has as well."""
    rare_a, rare_b = (np.concatenate(column) for column in zip(*crossed(edges(SHORT.exponents[::3])), strict=True))
    calls = []
    for pair in LIBGCC.items():
        rng = np.random.default_rng(8)
        a, b = ORDINARY.get(pair[0], normal)(rng), normal(rng)
        calls += [(name, a, b) for name in pair] + [(pair[0], rare_a, rare_b)]
    cycles = [taken for _, taken in EmulatedBoard(program).apply(calls)]
    return {
        name: Cycles(float(ours.mean()), int(ours.min()), int(ours.max()), int(rare.max()), float(theirs.mean()))
        for name, ours, theirs, rare in zip(LIBGCC, cycles[::3], cycles[1::3], cycles[2::3], strict=True)
    }


def table(program: Program) -> str:
    lines = ["| routine | cycles, mean | least to most | rare, most | libgcc, mean | times faster |\n"]
    lines.append("|" + " --- |" * 6 + "\n")
    for name, cycles in measure(program).items():
        span = f"{cycles.least} to {cycles.most}" if cycles.least < cycles.most else str(cycles.most)
        ratio = cycles.libgcc / cycles.mean
        lines.append(f"| `{name}` | {cycles.mean:.1f} | {span} | {cycles.rare} | {cycles.libgcc:.1f} | {ratio:.1f} |\n")
    return "".join(lines) + f"\nThe routines take {program.size} bytes of RAM.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only tell whether the table is up to date")
    arguments = parser.parse_args()
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    try:
        new = before + BEGIN + table(build(project.build_dir() / "softfloat")) + END + rest.split(END)[1]
    except HostError as error:
        print(f"softfloat: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.check:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
