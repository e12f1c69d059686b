"""Look for holes in the bounds checks that wamrc compiles in, and for traps that WebAssembly does not have.

.venv/bin/python tools/bounds/bounds.py --modules 2000 --seed 1

Random loops over memory (loop_kernels.py) are compiled for Cortex-M33 with the flags of its boards and run under
unicorn; Wasmtime runs the same. Result, trap and all of memory must be equal. Exit code 0: they are; 1: the module and
the arguments that show a difference are printed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import loop_kernels
import wasmtime
from aot_machine import PAGE, Escape, Machine, Outcome

from host import boards, parts
from host.errors import BuildError, HostError

BOARD = "qemu_m33"
FUEL, INSTRUCTIONS = 20_000, 2_000_000
"""Of a call under Wasmtime, and under unicorn: enough for all that fits into the first."""
TRAPS = {
    wasmtime.TrapCode.UNREACHABLE: "unreachable",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "out of bounds",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "division by zero",
}


@dataclass(frozen=True)
class Difference:
    """What a call did, and what it should have done."""

    text: str
    function: int
    arguments: Sequence[int]
    what: str

    def __str__(self) -> str:
        return f"{self.text}\n;; f{self.function}({', '.join(map(hex, self.arguments))}): {self.what}"


@dataclass
class Counts:
    """What was tried."""

    modules: int = 0
    calls: int = 0
    trapped: int = 0
    endless: int = 0


class Reference:
    """The module under Wasmtime."""

    def __init__(self, engine: wasmtime.Engine, wasm: bytes) -> None:
        self.store = wasmtime.Store(engine)
        self.exports = wasmtime.Instance(self.store, wasmtime.Module(engine, wasm), []).exports(self.store)
        self.memory = self.exports["memory"]

    def call(self, function: int, arguments: Sequence[int], memory: bytes) -> Outcome | None:
        """None when it takes more than ``FUEL``."""
        self.memory.write(self.store, memory)
        self.store.set_fuel(FUEL)
        result, trap = None, None
        try:
            result = self.exports[f"f{function}"](self.store, *(_signed(word) for word in arguments)) & 0xFFFFFFFF
        except wasmtime.Trap as error:
            if error.trap_code == wasmtime.TrapCode.OUT_OF_FUEL:
                return None
            trap = TRAPS.get(error.trap_code, str(error.trap_code))
        return Outcome(result, trap, bytes(self.memory.read(self.store)))


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def compile_aot(wamrc: Path, wasm: bytes) -> bytes:
    """The module for the board. Raises BuildError."""
    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch) / "loops.wasm", Path(scratch) / "loops.aot"
        source.write_bytes(wasm)
        command = [wamrc, *boards.load(BOARD).wamrc.flags, "-o", made, source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"wamrc refuses a module: {done.stderr}")
        return made.read_bytes()


def compare(machine: Machine, expected: Outcome, function: int, arguments: Sequence[int], memory: bytes) -> str | None:
    """How the board's code differs from ``expected``, or None."""
    try:
        actual = machine.call(function, arguments, memory, INSTRUCTIONS)
    except Escape as error:
        return f"leaves its memory ({error}); Wasmtime: {_ending(expected)}"
    except TimeoutError:
        return f"does not end; Wasmtime: {_ending(expected)}"
    if (actual.result, actual.trap) != (expected.result, expected.trap):
        return f"{_ending(actual)}; Wasmtime: {_ending(expected)}"
    if actual.memory != expected.memory:
        at = next(n for n in range(PAGE) if actual.memory[n] != expected.memory[n])
        return f"memory at {at:#x} is {actual.memory[at]:#x}; Wasmtime: {expected.memory[at]:#x} ({_ending(expected)})"
    return None


def _ending(outcome: Outcome) -> str:
    return f"trap: {outcome.trap}" if outcome.trap else f"{outcome.result:#x}"


def check_module(
    wamrc: Path, engine: wasmtime.Engine, seed: int, functions: int, calls: int, counts: Counts
) -> list[Difference]:
    """Compile the module that ``seed`` makes, and call each of its functions; the first difference of each."""
    source = random.Random(seed)
    text, kernels = loop_kernels.module(source, functions)
    wasm = bytes(wasmtime.wat2wasm(text))
    machine, reference, memory = Machine(compile_aot(wamrc, wasm)), Reference(engine, wasm), source.randbytes(PAGE)
    counts.modules += 1
    found = []
    for number, kernel in enumerate(kernels):
        for _ in range(calls):
            arguments = loop_kernels.arguments(source, kernel)
            expected = reference.call(number, arguments, memory)
            if expected is None:
                counts.endless += 1
                continue
            counts.calls += 1
            counts.trapped += expected.trap is not None
            what = compare(machine, expected, number, arguments, memory)
            if what is not None:
                found.append(Difference(kernel.text, number, arguments, f"seed {seed}: {what}"))
                break
    return found


def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.consume_fuel = True
    return wasmtime.Engine(config)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the bounds checks of AOT code with Wasmtime's.")
    parser.add_argument("--modules", type=int, default=200, help="how many; default 200")
    parser.add_argument("--seed", type=int, default=1, help="of the first module; default 1")
    parser.add_argument("--functions", type=int, default=8, help="in each module; default 8")
    parser.add_argument("--calls", type=int, default=24, help="of each function; default 24")
    parser.add_argument("--wamrc", type=Path, help="another wamrc; default: ours")
    options = parser.parse_args()
    started, counts, found = time.monotonic(), Counts(), 0
    try:
        wamrc, wasmtime_engine = options.wamrc or parts.wamrc(), engine()
        for seed in range(options.seed, options.seed + options.modules):
            differences = check_module(wamrc, wasmtime_engine, seed, options.functions, options.calls, counts)
            found += len(differences)
            for difference in differences:
                print(difference)
    except HostError as error:
        print(f"bounds: {error}", file=sys.stderr)
        return error.exit_code
    seconds = time.monotonic() - started
    print(
        f"{counts.modules} modules, {counts.calls} calls in {seconds:.0f} s, {counts.trapped} of them traps;", end=" "
    )
    print(f"{counts.endless} left out that do not end; {found} functions differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
