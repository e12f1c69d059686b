"""AOT code of a module without imports, run as ARM code under unicorn with a linear memory between unmapped pages."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unicorn import UC_ARCH_ARM, UC_HOOK_CODE, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, UcError
from unicorn.arm_const import (
    UC_ARM_REG_LR,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_R3,
    UC_ARM_REG_SP,
    UC_CPU_ARM_CORTEX_M33,
)

PAGE = 65536
CODE, HELPERS, INSTANCE, MEMORY, STACK = 0x10000000, 0x20000000, 0x30000000, 0x40000000, 0x60000000
CODE_SIZE, INSTANCE_SIZE, STACK_SIZE = 1 << 20, 1 << 16, 1 << 16
RETURN = HELPERS + 0x8000

# Where AOT code for 32 bits looks for what it needs (WAMR's aot_runtime.h and wasm_exec_env.h).
ENV_INSTANCE, ENV_SYMBOLS = 8, 32
FUNCTIONS, EXCEPTION, MEMORY_INFO, EXTRA = 40, 104, 344, 464
PAGES, DATA_SIZE, DATA, BOUNDS = 16, 24, 32, 80
ACCESS_SIZES = (1, 2, 4, 8, 16)
# Tables that the fields point to, in the instance's region.
ENVIRONMENT, SYMBOLS, STACK_SIZES, POINTERS = 0x1000, 0x2000, 0x3000, 0x4000

SECTION_TEXT, SECTION_FUNCTIONS, SECTION_CUSTOM = 2, 3, 100
NATIVE_SYMBOLS = 1
ARGUMENTS = (UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3)
TRAPS = {0: "unreachable", 2: "out of bounds", 4: "division by zero", 11: "stack overflow"}
"""WAMR's exception ids, of those that the modules here can cause."""


class Escape(Exception):
    """The code touched what is not its memory, or ran where there is no code of its own."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended: a result or a trap, and what memory holds then."""

    result: int | None
    trap: str | None
    memory: bytes


def sections(data: bytes) -> list[tuple[int, bytes]]:
    """Ids and bodies of an AOT file's sections: after magic and version, each has id and size, aligned to 4 bytes."""
    found, offset = [], 8
    while offset + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, offset)
        found.append((kind, data[offset + 8 : offset + 8 + size]))
        offset = (offset + 8 + size + 3) & ~3
    return found


def symbols(section: bytes) -> list[str]:
    """The table of symbols that a file wants, in its order; the file has the last first."""
    count, offset, names = struct.unpack_from("<I", section, 4)[0], 8, []
    for _ in range(count):
        offset = (offset + 1) & ~1
        size = struct.unpack_from("<H", section, offset)[0]
        names.append(section[offset + 2 : offset + 2 + size].rstrip(b"\0").decode())
        offset += 2 + size
    return names[::-1]


class Machine:
    """A processor with one module's code. Its functions are called by number."""

    def __init__(self, aot: bytes) -> None:
        self.uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS, UC_CPU_ARM_CORTEX_M33)
        for address, size in ((CODE, CODE_SIZE), (HELPERS, PAGE), (INSTANCE, INSTANCE_SIZE), (STACK, STACK_SIZE)):
            self.uc.mem_map(address, size)
        self.uc.mem_map(MEMORY, PAGE)
        self.trap: str | None = None
        self.escape: str | None = None
        self.names: list[str] = []
        self._load(aot)
        self.uc.hook_add(UC_HOOK_CODE, self._help, begin=HELPERS, end=HELPERS + 0x7FFF)

    def call(self, function: int, arguments: Sequence[int], memory: bytes, instructions: int) -> Outcome:
        """Call a function of up to four i32. Raises Escape, and TimeoutError after so many instructions."""
        uc, self.trap, self.escape = self.uc, None, None
        uc.mem_write(MEMORY, memory)
        uc.mem_write(INSTANCE + EXCEPTION, bytes(4))
        words = [INSTANCE + ENVIRONMENT, *arguments]
        for register, value in zip(ARGUMENTS, words, strict=False):
            uc.reg_write(register, value)
        rest = words[len(ARGUMENTS) :]
        top = STACK + STACK_SIZE - 64
        uc.mem_write(top, struct.pack(f"<{len(rest)}I", *rest))
        uc.reg_write(UC_ARM_REG_SP, top)
        uc.reg_write(UC_ARM_REG_LR, RETURN | 1)
        try:
            uc.emu_start(self.functions[function], RETURN, count=instructions)
        except UcError as error:
            raise Escape(str(error)) from error
        if self.escape:
            raise Escape(self.escape)
        if uc.reg_read(UC_ARM_REG_SP) != top:
            raise TimeoutError
        result = None if self.trap else uc.reg_read(UC_ARM_REG_R0)
        return Outcome(result, self.trap, bytes(uc.mem_read(MEMORY, len(memory))))

    def _load(self, aot: bytes) -> None:
        for kind, body in sections(aot):
            if kind == SECTION_TEXT:
                code = 4 + struct.unpack_from("<I", body)[0]
                self.uc.mem_write(CODE, body)
            elif kind == SECTION_FUNCTIONS:
                offsets = struct.unpack_from(f"<{len(body) // 16}I", body)
            elif kind == SECTION_CUSTOM and struct.unpack_from("<I", body)[0] == NATIVE_SYMBOLS:
                self.names = symbols(body)
        self.functions = [(CODE + code + offset) | 1 for offset in offsets]
        self._words(POINTERS, self.functions)
        self._words(SYMBOLS, [self._symbol(n, name) for n, name in enumerate(self.names)])
        self.uc.mem_write(HELPERS, b"\x70\x47" * 0x4000)  # bx lr
        self._words(ENVIRONMENT + ENV_INSTANCE, [INSTANCE])
        self._words(ENVIRONMENT + ENV_SYMBOLS, [INSTANCE + SYMBOLS])
        self._words(FUNCTIONS, [INSTANCE + POINTERS])
        self._words(EXTRA, [INSTANCE + STACK_SIZES])
        self._words(MEMORY_INFO + PAGES, [1])
        self._words(MEMORY_INFO + DATA_SIZE, [PAGE])
        self._words(MEMORY_INFO + DATA, [MEMORY])
        for n, size in enumerate(ACCESS_SIZES):
            self._words(MEMORY_INFO + BOUNDS + 8 * n, [PAGE - size])

    def _words(self, offset: int, words: Sequence[int]) -> None:
        self.uc.mem_write(INSTANCE + offset, struct.pack(f"<{len(words)}I", *words))

    def _symbol(self, number: int, name: str) -> int:
        constant = name.partition("#")
        return int(constant[2]) & 0xFFFFFFFF if constant[0] == "i32" else (HELPERS + 4 * number) | 1

    # ---- what the runtime does for the code

    def _help(self, uc: Uc, address: int, _size: int, _data: object) -> None:
        name = self.names[(address - HELPERS) // 4]
        helper: Callable[[int, int, int], None] | None = getattr(self, f"_{name}", None)
        if helper is None:
            raise AssertionError(f"the code calls {name}")
        helper(*(uc.reg_read(register) for register in ARGUMENTS[:3]))

    def _aot_set_exception_with_id(self, _instance: int, number: int, _unused: int) -> None:
        self.trap = TRAPS.get(number, str(number))
        self.uc.mem_write(INSTANCE + EXCEPTION, b"x")

    def _memset(self, to: int, value: int, size: int) -> None:
        if self._inside(to, size):
            self.uc.mem_write(to, bytes([value & 0xFF]) * size)

    def _memmove(self, to: int, source: int, size: int) -> None:
        if self._inside(to, size) and self._inside(source, size):
            self.uc.mem_write(to, bytes(self.uc.mem_read(source, size)))

    def _inside(self, address: int, size: int) -> bool:
        if address in range(MEMORY, MEMORY + PAGE + 1 - size):
            return True
        self.escape = f"bulk memory of {size} bytes at linear memory's {address - MEMORY}"
        self.uc.emu_stop()
        return False
