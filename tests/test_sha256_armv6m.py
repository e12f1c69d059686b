"""The board's SHA-256, in its assembly: run as ARM code under unicorn."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from unicorn import UC_ARCH_ARM, UC_MODE_MCLASS, UC_MODE_THUMB, Uc
from unicorn.arm_const import (
    UC_ARM_REG_LR,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_R4,
    UC_ARM_REG_R5,
    UC_ARM_REG_R6,
    UC_ARM_REG_R7,
    UC_ARM_REG_R8,
    UC_ARM_REG_R9,
    UC_ARM_REG_R10,
    UC_ARM_REG_R11,
    UC_ARM_REG_SP,
    UC_CPU_ARM_CORTEX_M0,
)

KERN = Path(__file__).resolve().parent.parent / "firmware" / "kern"
CODE, MESSAGE, DIGEST, STACK, RETURN = 0x10000000, 0x20000000, 0x20010000, 0x20020000, 0x30000000
KEPT = (UC_ARM_REG_R4, UC_ARM_REG_R5, UC_ARM_REG_R6, UC_ARM_REG_R7)
KEPT += (UC_ARM_REG_R8, UC_ARM_REG_R9, UC_ARM_REG_R10, UC_ARM_REG_R11)
Digest = Callable[[bytes, int], bytes]


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> Digest:
    """SHA-256 of a message that lies so many bytes from a multiple of 4. The call has to keep what the ABI says."""
    elf = tmp_path_factory.mktemp("sha256") / "sha256.elf"
    flags = ["-mcpu=cortex-m0plus", "-mthumb", "-Os", "-std=c11", "-nostartfiles", "--specs=nosys.specs"]
    link = [f"-Wl,-Ttext=0x{CODE:x}", "-Wl,-e,sha256", "-o", elf]
    sources = [KERN / "sha256.c", KERN / "crypto" / "sha256_armv6m.S"]
    subprocess.run(["arm-none-eabi-gcc", *flags, f"-I{KERN}", *sources, *link], check=True, capture_output=True)
    image = elf.with_suffix(".bin")
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", elf, image], check=True)
    symbols = subprocess.run(["arm-none-eabi-nm", elf], check=True, capture_output=True, text=True).stdout
    found = re.search(r"^([0-9a-f]{8}) T sha256$", symbols, re.MULTILINE)
    assert found
    entry = int(found[1], 16)
    uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(UC_CPU_ARM_CORTEX_M0)
    for start, size in [(CODE, 0x10000), (MESSAGE, STACK - MESSAGE), (RETURN, 0x1000)]:
        uc.mem_map(start, size)
    uc.mem_write(CODE, image.read_bytes())

    def digest(message: bytes, offset: int) -> bytes:
        uc.mem_write(MESSAGE + offset, message)
        arguments = {UC_ARM_REG_R0: MESSAGE + offset, UC_ARM_REG_R1: len(message), UC_ARM_REG_R2: DIGEST}
        kept = {register: 0x01010101 * n for n, register in enumerate(KEPT, 1)} | {UC_ARM_REG_SP: STACK}
        for register, value in (arguments | kept | {UC_ARM_REG_LR: RETURN | 1}).items():
            uc.reg_write(register, value)
        uc.emu_start(entry | 1, RETURN)
        assert {register: uc.reg_read(register) for register in kept} == kept
        return bytes(uc.mem_read(DIGEST, 32))

    return digest


def test_assembly_computes_what_everyone_else_does(digest: Digest) -> None:
    source = random.Random(5)
    for size in [*range(201), 1000, 4096, 10240, 65535]:
        message = source.randbytes(size)
        assert digest(message, size % 4) == hashlib.sha256(message).digest(), size


def test_assembly_takes_a_block_from_any_address(digest: Digest) -> None:
    message = random.Random(6).randbytes(300)
    assert {digest(message, offset) for offset in range(4)} == {hashlib.sha256(message).digest()}
