"""Soft float for the emulators: built as for the board, with a loop in ARM code that calls one for arrays."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from unicorn import UC_ARCH_ARM, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, UcError
from unicorn.arm_const import (
    UC_ARM_REG_R4,
    UC_ARM_REG_R5,
    UC_ARM_REG_R6,
    UC_ARM_REG_R7,
    UC_ARM_REG_R8,
    UC_ARM_REG_SP,
    UC_CPU_ARM_CORTEX_M0,
)

from host import parts, project
from host.errors import BuildError

sys.path.insert(0, str(project.root() / "tests"))
from c_parts import run

Words = NDArray[np.uint32]
Call = tuple[str, Words, Words]
"""A function's name and its operands, of which it may ignore the second."""

SOURCES = project.root() / "firmware" / "softfloat"
HERE = Path(__file__).resolve().parent
LIBGCC = {
    "sf_add": "__aeabi_fadd",
    "sf_sub": "__aeabi_fsub",
    "sf_mul": "__aeabi_fmul",
    "sf_div": "__aeabi_fdiv",
    "sf_sqrt": "sqrtf",
    "sf_eq": "__aeabi_fcmpeq",
    "sf_lt": "__aeabi_fcmplt",
    "sf_gt": "__aeabi_fcmpgt",
    "sf_le": "__aeabi_fcmple",
    "sf_ge": "__aeabi_fcmpge",
    "sf_unordered": "__aeabi_fcmpun",
    "sf_from_i32": "__aeabi_i2f",
    "sf_from_u32": "__aeabi_ui2f",
    "sf_to_i32": "__aeabi_f2iz",
    "sf_to_u32": "__aeabi_f2uiz",
    "sf_clz": "__clzsi2",
    "sf_from_f16": "__gnu_h2f_ieee",
    "sf_to_f16": "__gnu_f2h_ieee",
}
"""What does the same in libgcc, or for the square root in newlib."""

RAM, STACK = 0x20000000, 0x20008000
"""The program's address, and the end of its stack; on the board's emulator operands and results follow."""
DATA, ARRAY = 0x30000000, 1 << 22
"""Where unicorn has two operands and results, and the bytes of each."""
BATCH = ARRAY // 4
BOARD_BATCH = 8192


@dataclass(frozen=True)
class Program:
    """A linked program: its bytes from ``RAM`` on, and its symbols' addresses."""

    image: Path
    symbols: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of the routines in RAM, tables and literals included."""
        return self.symbols["hot_end"] - self.symbols["hot_start"]


def build(folder: Path, sources: Path = SOURCES) -> Program:
    """Link the routines of ``sources`` with the loop and libgcc into ``folder``. Raises BuildError."""
    files = [HERE / "harness.S", sources / "softfloat_armv6m.S", sources / "softfloat_rare.c"]
    wanted = [f"-Wl,-u,{name}" for name in LIBGCC.values()]
    return link(folder / "softfloat.elf", f"-I{sources}", f"-Wl,-T,{HERE / 'harness.ld'}", *wanted, *files, "-lm")


def link(elf: Path, *arguments: str | Path) -> Program:
    """Compile and link for a Cortex-M0+; the arguments have to put the program at ``RAM``. Raises BuildError."""
    elf.parent.mkdir(parents=True, exist_ok=True)
    image = elf.with_suffix(".bin")
    flags = ["-mcpu=cortex-m0plus", "-mthumb", "-Os", "-std=c11", "-Wall", "-Wextra", "-Werror"]
    run(["arm-none-eabi-gcc", *flags, "-nostartfiles", "--specs=nosys.specs", *arguments, "-o", elf])
    run(["arm-none-eabi-objcopy", "-O", "binary", elf, image])
    listed = run(["arm-none-eabi-nm", elf]).stdout.decode()
    symbols = re.findall(r"^([0-9a-f]{8}) \w (\w+)$", listed, re.MULTILINE)
    return Program(image, {name: int(address, 16) for address, name in symbols})


class Unicorn:
    """A Cortex-M0 without timing. Calls of ``apply`` take milliseconds for a million elements."""

    def __init__(self, program: Program) -> None:
        self.symbols = program.symbols
        self.uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS, UC_CPU_ARM_CORTEX_M0)
        self.uc.mem_map(RAM, STACK - RAM)
        self.uc.mem_map(DATA, 3 * ARRAY)
        self.uc.mem_write(RAM, program.image.read_bytes())

    def apply(self, name: str, a: Words, b: Words) -> Words:
        """The results of function ``name`` for the elements of ``a`` and ``b``. AssertionError if it breaks the ABI."""
        return np.concatenate([self._batch(name, *pair) for pair in _batches(a, b, BATCH)])

    def _batch(self, name: str, a: Words, b: Words) -> Words:
        arrays = [DATA + n * ARRAY for n in range(3)]
        self.uc.mem_write(arrays[0], a.tobytes())
        self.uc.mem_write(arrays[1], b.tobytes())
        registers = (UC_ARM_REG_R5, UC_ARM_REG_R6, UC_ARM_REG_R7)
        for register, address in zip(registers, arrays, strict=True):
            self.uc.reg_write(register, address)
        self.uc.reg_write(UC_ARM_REG_R4, self.symbols[name] | 1)
        self.uc.reg_write(UC_ARM_REG_R8, len(a))
        self.uc.reg_write(UC_ARM_REG_SP, STACK)
        try:
            self.uc.emu_start(self.symbols["run"] | 1, self.symbols["done"])
        except UcError as error:
            raise AssertionError(f"{name} does not come back: {error}") from error
        ends = [self.uc.reg_read(register) - address for register, address in zip(registers, arrays, strict=True)]
        assert ends == [4 * len(a)] * 3, f"{name} changes a register that it has to keep"
        assert self.uc.reg_read(UC_ARM_REG_SP) == STACK, f"{name} leaves the stack pointer elsewhere"
        return np.frombuffer(bytes(self.uc.mem_read(arrays[2], 4 * len(a))), np.uint32)


class EmulatedBoard:
    """The emulated Pico's processor, from ``tools/emulator``."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def apply(self, calls: Sequence[Call]) -> list[tuple[Words, Words]]:
        """For each of ``calls`` the results, and the cycles of each from its first instruction until it is back."""
        batches = [("nothing", np.zeros(1, np.uint32), np.zeros(1, np.uint32))]
        batches += [(name, *pair) for name, a, b in calls for pair in _batches(a, b, BOARD_BATCH)]
        words = np.frombuffer(self._run(batches), np.uint32)
        around, at, result = words[1] - np.uint32(RETURN_CYCLES), 2, []
        for _, a, _ in calls:
            starts = range(0, len(a), BOARD_BATCH)
            counts = [min(BOARD_BATCH, len(a) - start) for start in starts]
            blocks = [words[at + 2 * start : at + 2 * (start + n)] for start, n in zip(starts, counts, strict=True)]
            results, cycles = (
                np.concatenate([block[half * n : (half + 1) * n] for block, n in zip(blocks, counts, strict=True)])
                for half in range(2)
            )
            result.append((results, cycles - around))
            at += 2 * len(a)
        return result

    def _run(self, batches: Sequence[Call]) -> bytes:
        """What run.mjs makes of ``batches``."""
        symbols = self.program.symbols
        jobs = b"".join(
            np.concatenate([np.array([symbols[name], len(a)], np.uint32), a, b]).tobytes() for name, a, b in batches
        )
        node = shutil.which("node")
        if node is None:
            raise BuildError("node is not there; tools/setup.sh installs it")
        finished = subprocess.run(
            [node, str(HERE / "run.mjs"), str(self.program.image), str(symbols["timed"]), str(STACK)],
            input=jobs,
            capture_output=True,
            env={**os.environ, "RP2040JS_DIR": str(parts.path("rp2040js"))},
            check=False,
        )
        if finished.returncode != 0:
            names = ", ".join(dict.fromkeys(name for name, _, _ in batches[1:]))
            raise AssertionError(f"one of {names} does not come back: {finished.stderr.decode()[-2000:]}")
        return finished.stdout


RETURN_CYCLES = 2
"""Of ``bx lr``, which is all that the harness's function ``nothing`` does."""


def _batches(a: Words, b: Words, size: int) -> list[tuple[Words, Words]]:
    a, b = np.ascontiguousarray(a, np.uint32), np.ascontiguousarray(b, np.uint32)
    return [(a[n : n + size], b[n : n + size]) for n in range(0, len(a), size)]
