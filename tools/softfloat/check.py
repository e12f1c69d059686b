"""Prove the soft-float routines against this machine's floats, bit for bit (docs/softfloat.md).

.venv/bin/python tools/softfloat/check.py            # about half a minute
.venv/bin/python tools/softfloat/check.py --long     # tens of millions of pairs, all words: hours

The routines run as ARM code under unicorn, and a part of the same operands on the emulated Pico's processor. Exit
code 0: no difference; 1: the first differences of each routine are printed.
"""

from __future__ import annotations

import argparse
import operator
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from program import SOURCES, EmulatedBoard, Program, Unicorn, Words, build

from host import project
from host.errors import HostError

Pairs = Iterator[tuple[Words, Words]]

SIGN, NAN = 0x80000000, 0x7FC00000
CHUNK = 1 << 20
SHOWN = 5


@dataclass(frozen=True)
class Effort:
    """How much is tried: random operands of each kind, how fine edges are, whether all words are swept."""

    random: int
    exponents: Sequence[int]
    sweep: bool
    board: int
    """Operands of each million or less that run on the emulated Pico as well."""


SHORT = Effort(1 << 18, (0, 1, 2, 24, 103, 126, 127, 128, 150, 253, 254, 255), False, 512)
LONG = Effort(1 << 23, (*range(0, 33), *range(96, 160), *range(222, 256)), True, 1024)


@dataclass(frozen=True)
class Difference:
    """Operands of a routine for which it gives something else than it should."""

    routine: str
    where: str
    a: int
    b: int
    result: int
    expected: int

    def __str__(self) -> str:
        call = f"{self.routine}({self.a:#010x}, {self.b:#010x})"
        return f"{call} = {self.result:#010x} under {self.where}, not {self.expected:#010x}"


# ---- what is expected ----


def floats(words: Words) -> NDArray[np.float32]:
    """Words as the floats that they are."""
    return words.view(np.float32)


def canonical(result: NDArray[np.float32]) -> Words:
    """The bits of a result, any NaN as the routines give it."""
    words = np.ascontiguousarray(result, np.float32).view(np.uint32)
    return np.where(np.isnan(result), np.uint32(NAN), words)


def arithmetic(function: Callable[..., Any]) -> Callable[[Words, Words], Words]:
    return lambda a, b: canonical(function(floats(a), floats(b)))


def comparison(function: Callable[..., Any]) -> Callable[[Words, Words], Words]:
    return lambda a, b: function(floats(a), floats(b)).astype(np.uint32)


def unordered(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.isnan(a) | np.isnan(b)


def from_f16(a: Words, _b: Words) -> Words:
    """numpy's, but a NaN is made quiet."""
    result = a.astype(np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    nan = (a & 0x8000) << 16 | 0x7FC00000 | (a & 0x3FF) << 13
    return np.where(a & 0x7FFF > 0x7C00, nan, result)


def to_f16(a: Words, _b: Words) -> Words:
    result = floats(a).astype(np.float16).view(np.uint16).astype(np.uint32)
    nan = a >> 16 & 0x8000 | 0x7E00 | a >> 13 & 0x3FF
    return np.where(np.isnan(floats(a)), nan, result)


def to_integer(dtype: type, low: float, high: float) -> Callable[[Words, Words], Words]:
    """What the conversion gives where WebAssembly's does not trap: ``low`` < a < ``high``; 0 stands for a elsewhere."""

    def expected(a: Words, _b: Words) -> Words:
        wide = floats(np.where(fitting(a, low, high), a, 0).astype(np.uint32)).astype(np.int64)
        return wide.astype(dtype).view(np.uint32)

    return expected


def fitting(a: Words, low: float, high: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        wide = floats(a).astype(np.float64)
    return (wide > low) & (wide < high)


COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.gt, operator.le, operator.ge)
REFERENCES: dict[str, Callable[[Words, Words], Words]] = {
    "sf_add": arithmetic(np.add),
    "sf_sub": arithmetic(np.subtract),
    "sf_mul": arithmetic(np.multiply),
    "sf_div": arithmetic(np.divide),
    **{f"sf_{function.__name__}": comparison(function) for function in COMPARISONS},
    "sf_unordered": comparison(unordered),
    **{f"compare_{n}": comparison(function) for n, function in enumerate((*COMPARISONS, unordered))},
    "sf_sqrt": arithmetic(lambda a, _b: np.sqrt(a)),
    "sf_from_i32": lambda a, _b: canonical(a.view(np.int32).astype(np.float32)),
    "sf_from_u32": lambda a, _b: canonical(a.astype(np.float32)),
    "sf_to_i32": to_integer(np.int32, -(2.0**31) - 1, 2.0**31),
    "sf_to_u32": to_integer(np.uint32, -1.0, 2.0**32),
    "sf_clz": lambda a, _b: (32 - np.frexp(a.astype(np.float64))[1]).astype(np.uint32),
    "sf_from_f16": from_f16,
    "sf_to_f16": to_f16,
}
RARE = {
    f"sf_{name}_rare": REFERENCES[f"sf_{name}"]
    for name in ("add", "mul", "div", "sqrt", "lt", "gt", "le", "ge", "from_f16", "to_f16")
}
"""The C part alone, which is right for usual operands as well."""
PAIRED = tuple(name for name in REFERENCES | RARE if not re.match(r"sf_(sqrt|clz|from|to)", name))
RANGES = {"sf_to_i32": (-(2.0**31) - 1, 2.0**31), "sf_to_u32": (-1.0, 2.0**32)}


# ---- operands ----


def edges(exponents: Sequence[int]) -> Words:
    """Floats of both signs with these exponents and the fractions at the ends and in the middle of their range."""
    fractions = (0, 1, 2, 3, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFD, 0x7FFFFE, 0x7FFFFF)
    positive = np.array([exponent << 23 | fraction for exponent in exponents for fraction in fractions], np.uint32)
    return np.concatenate([positive, positive | np.uint32(SIGN)])


def crossed(values: Words) -> Pairs:
    """Every pair of ``values``."""
    rows = max(1, CHUNK // len(values))
    for first in range(0, len(values), rows):
        a = values[first : first + rows]
        yield np.repeat(a, len(values)), np.tile(values, len(a))


def words(rng: np.random.Generator, count: int) -> Words:
    return rng.integers(0, 2**32, count, np.uint32)


def with_exponent(fraction: Words, exponent: NDArray[Any]) -> Words:
    """Sign and fraction of words, with other exponents, of which those out of range are brought to its ends."""
    return fraction & np.uint32(0x807FFFFF) | (np.clip(exponent, 0, 255).astype(np.uint32) << np.uint32(23))


def short(rng: np.random.Generator, a: Words) -> Words:
    """With a random number of the fraction's last bits cleared: results are often exact, or ties."""
    mask: Words = np.uint32(0xFFFFFFFF) << rng.integers(0, 24, len(a), np.uint32)
    return a & mask


def structured(rng: np.random.Generator, count: int) -> Pairs:
    """Batches of ``count`` pairs, one for each thing that can go wrong."""
    a, b = words(rng, count), words(rng, count)
    yield a, b
    # sums: exponents near each other, ties, and what nearly cancels
    exponent = (a >> 23 & 0xFF).astype(np.int64)
    near = exponent + rng.integers(-27, 28, count)
    yield a, with_exponent(b, near)
    yield short(rng, a), short(rng, with_exponent(b, near))
    yield a, a + rng.integers(0, 65, count, np.uint32) - np.uint32(32) ^ (b & np.uint32(SIGN))
    # products and quotients: at the ends of the range, exact ones and ties, and quotients between two floats
    ends = rng.choice(np.array([0, 1, -1, -23, -24, 254, 255, 253]), count) + rng.integers(-2, 3, count)
    yield a, with_exponent(b, ends + 127 - exponent)
    yield a, with_exponent(b, exponent + 127 - ends)
    yield short(rng, a), short(rng, with_exponent(b, ends + 127 - exponent))
    yield halfway(rng, count)


def halfway(rng: np.random.Generator, count: int) -> tuple[Words, Words]:
    """a and b whose quotient is as near as a can bring it to the middle between two floats."""
    divisor = rng.integers(1 << 23, 1 << 24, count)
    middle = rng.integers(1 << 24, 1 << 25, count) | 1
    product = divisor * middle  # 48 or 49 bits
    shift = np.where(product >> 48, 25, 24)
    dividend = np.minimum(product + (1 << shift - 1) >> shift, (1 << 24) - 1)
    exponents = rng.integers(100, 156, (2, count))
    a, b = (with_exponent((n & 0x7FFFFF).astype(np.uint32), exponents[k]) for k, n in enumerate((dividend, divisor)))
    return a, b


def consecutive(first: int, count: int) -> Iterator[Words]:
    """``count`` words from ``first`` on."""
    for start in range(first, first + count, CHUNK):
        yield np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32)


def pairs(effort: Effort) -> Pairs:
    """Operands of routines that have two."""
    yield from crossed(edges(effort.exponents))
    for seed in range(0, effort.random, CHUNK):
        yield from structured(np.random.default_rng(seed), min(CHUNK, effort.random))


def singles(name: str, effort: Effort) -> Iterator[Words]:
    """Operands of routine ``name``, which has one."""
    if name.startswith("sf_from_f16"):
        yield np.arange(1 << 16, dtype=np.uint32)
        return
    rng = np.random.default_rng(1)
    yield edges(range(256))
    if effort.sweep:
        yield from consecutive(0, 1 << 32)
        return
    if name == "sf_sqrt":
        yield from consecutive(127 << 23, 1 << 24)
    a = words(rng, effort.random)
    yield from (a, a >> rng.integers(0, 32, len(a), np.uint32), short(rng, a))
    yield with_exponent(a, rng.integers(100, 160, len(a)))


# ---- the check ----


def fit(name: str, a: Words) -> Words:
    """Conversions to integers are defined for what fits; 0 takes the place of the rest."""
    return np.where(fitting(a, *RANGES[name]), a, 0).astype(np.uint32) if name in RANGES else a


class Checker:
    """Compares what a program gives with the references."""

    def __init__(self, program: Program, effort: Effort) -> None:
        self.unicorn, self.board, self.effort = Unicorn(program), EmulatedBoard(program), effort
        self.compared = 0

    def check(self, name: str) -> list[Difference]:
        """The first differences of routine ``name``; none if it is exact."""
        sample: list[tuple[Words, Words]] = []
        for a, b in self._operands(name):
            found = self._differences(name, "unicorn", a, b, self.unicorn.apply(name, a, b))
            if found:
                return found
            step = max(1, len(a) // self.effort.board)
            sample.append((a[::step].copy(), b[::step].copy()))  # a view would keep all 2^32 words of a sweep
        a, b = (np.concatenate(column) for column in zip(*sample, strict=True))
        return self._differences(name, "rp2040js", a, b, self.board.apply([(name, a, b)])[0][0])

    def _operands(self, name: str) -> Pairs:
        if name in PAIRED:
            yield from pairs(self.effort)
        else:
            yield from ((fit(name, a), a) for a in singles(name, self.effort))

    def _differences(self, name: str, where: str, a: Words, b: Words, result: Words) -> list[Difference]:
        with np.errstate(all="ignore"):
            expected = (REFERENCES | RARE)[name](a, b)
        self.compared += len(a)
        wrong = np.flatnonzero(result != expected)[:SHOWN]
        return [Difference(name, where, *(int(column[n]) for column in (a, b, result, expected))) for n in wrong]


def division_bounds(sources: Path) -> tuple[float, float]:
    """What the two digits of a quotient leave at most, in units of each, over all 2^23 divisors.

    A digit is cut off by less than one, the reciprocal is short by something, and what it is multiplied by loses its
    last 8 bits. Infinite if a reciprocal is too great, or the error of a table's entry overflows.
    """
    text = (sources / "softfloat_armv6m.S").read_text()
    rows = text.partition("\nreciprocals:")[2].partition("\nroots:")[0]
    table = np.array([int(entry) for row in re.findall(r"\.byte (.*)", rows) for entry in row.split(",")], np.int64)
    divisor = np.arange(1 << 23, 1 << 24, dtype=np.int64)
    entry = table[(divisor >> 16) - 128]
    error = (1 << 32) - 2 * divisor * entry
    if np.abs(error).max() >= 1 << 31:
        return np.inf, np.inf
    reciprocal = (entry << 8) + ((error >> 9) * entry >> 15)
    short_by = 1 - reciprocal * divisor / 2.0**39
    if short_by.min() < 0 or reciprocal.max() >= 1 << 16:
        return np.inf, np.inf
    cut = 2.0**8 / divisor
    first = 1 + 2**12 * (short_by + cut / 2)
    second = 1 + 2**12 * (first * short_by + cut)
    return float(first.max()), float(second.max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--long", action="store_true", help="tens of millions of pairs, and all words where one operand is all"
    )
    parser.add_argument("--sources", type=Path, default=SOURCES, help="another folder with the routines")
    parser.add_argument("routines", nargs="*", help="only these; default: all")
    arguments = parser.parse_args()
    names = arguments.routines or [*REFERENCES, *(RARE if arguments.long else ())]
    wrong = False
    try:
        program = build(project.build_dir() / "softfloat", arguments.sources)
        checker = Checker(program, LONG if arguments.long else SHORT)
        first, second = division_bounds(arguments.sources)
        print(f"divider, all 2^23 divisors: the first digit leaves {first:.3f} at most, the second {second:.3f} of 1.5")
        wrong = second >= 1.5
        for name in names:
            started, before = time.monotonic(), checker.compared
            differences = checker.check(name)
            count, seconds = checker.compared - before, time.monotonic() - started
            print(f"{name:<14}{count:>12} operands {seconds:>7.1f} s", flush=True)
            print("".join(f"    {difference}\n" for difference in differences), end="")
            wrong |= bool(differences)
    except HostError as error:
        print(f"softfloat: {error}", file=sys.stderr)
        return error.exit_code
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
