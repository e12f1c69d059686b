"""The board's SHA-256, in its assembly: run as ARM code under unicorn."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable

import pytest
from c_parts import KERN
from conftest import ROOT
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
)

sys.path.insert(0, str(ROOT / "tools" / "softfloat"))

from program import ARRAY, DATA, RAM, STACK, Unicorn, link

MESSAGE, DIGEST, RETURN = (DATA + n * ARRAY for n in range(3))
KEPT = (UC_ARM_REG_R4, UC_ARM_REG_R5, UC_ARM_REG_R6, UC_ARM_REG_R7)
KEPT += (UC_ARM_REG_R8, UC_ARM_REG_R9, UC_ARM_REG_R10, UC_ARM_REG_R11)
Digest = Callable[[bytes, int], bytes]


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> Digest:
    """SHA-256 of a message that lies so many bytes from a multiple of 4. The call has to keep what the ABI says."""
    elf = tmp_path_factory.mktemp("sha256") / "sha256.elf"
    sources = [KERN / "sha256.c", KERN / "crypto" / "sha256_armv6m.S"]
    program = link(elf, f"-I{KERN}", *sources, f"-Wl,-Ttext=0x{RAM:x}", "-Wl,-e,sha256")
    entry, uc = program.symbols["sha256"], Unicorn(program).uc

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
