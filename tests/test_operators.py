"""What AOT code leaves to the board's runtime gives on the emulated board what Wasmtime gives, bit by bit."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import have_pack
from numpy.typing import NDArray

from host import errors, pack
from host.board import Board
from host.pack import keys
from host.runtime import Runtime

pytestmark = pytest.mark.every_board

FOLDER = Path(__file__).parent / "operators"
FLOATS = [
    "add",
    "sub",
    "mul",
    "div",
    "sqrt",
    "abs",
    "neg",
    "copysign",
    "ceil",
    "floor",
    "trunc",
    "nearest",
    "min",
    "max",
]
OTHERS = ["compare", "to_i32", "to_u32", "to_i64", "to_u64", "from_i32", "from_u32", "from_i64", "from_u64"]
OTHERS += ["i32.div_s", "i32.div_u", "i32.rem_s", "i32.rem_u", "i64.div_s", "i64.div_u", "i64.rem_s", "i64.rem_u"]
OTHERS += ["i64.mul", "i64.shl", "i64.shr_s", "i64.shr_u", "i64.or and", "i32 bits", "i64 bits"]
OPERATORS = FLOATS + OTHERS
AWKWARD = [
    *(0, 1, 2, 3, 7, 31, 32, 63, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x34000000, 0x3F000000, 0x3F7FFFFF),
    *(0x3F800000, 0x3F800001, 0x3FC00000, 0x40200000, 0x4AFFFFFF, 0x4B000001, 0x4EFFFFFF, 0x4F000000, 0x4F7FFFFF),
    *(0x5EFFFFFF, 0x5F7FFFFF, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7FFFFFFF),
]


@pytest.fixture(scope="module")
def operators_pack(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """The pack whose kernels apply one operator."""
    folder = tmp_path_factory.mktemp("operators")
    return pack.Pack.open(pack.build_pack(FOLDER, folder, keys.default_or_create()))


@pytest.fixture
def pair(board: Board, operators_pack: pack.Pack, core_pack_again: None) -> Iterator[tuple[Board, Runtime]]:
    """Board and Wasmtime with that pack."""
    with Runtime() as runtime:
        runtime.install(operators_pack)
        have_pack(board, operators_pack)
        yield board, runtime


def operands() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Every pair of awkward words of both signs, and random ones."""
    words = np.array([word | sign for word in AWKWARD for sign in (0, 0x80000000)], np.uint32)
    pairs = np.array(np.meshgrid(words, words), np.uint32).reshape(2, -1)
    random = np.random.default_rng(7).integers(0, 2**32, (2, 1000), np.uint32)
    a, b = np.concatenate([pairs, random], 1)
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


APPLY = """
import binascii, kern
def apply(op):
    y = memoryview(kern.run('operators', a, b, op=op))
    for at in range(0, len(y), 3072):
        print(binascii.b2a_base64(y[at:at + 3072]).decode())
"""
"""``apply(op)`` prints what the operator makes of the tensors a and b, which are sent once: that takes time."""


def send(board: Board, name: str, words: NDArray[np.uint32]) -> None:
    """Make the words a tensor on the board."""
    board.exec(f"{name} = kern.tensor({words.shape}, 'u32'); view = memoryview({name})")
    data = words.tobytes()
    for at in range(0, len(data), 768):
        part = base64.b64encode(data[at : at + 768])
        board.exec(f"view[{at}:{min(at + 768, len(data))}] = binascii.a2b_base64({part!r})")


def same(name: str, a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Equal, or both NaN where the operator gives a float."""
    nan = np.isnan(a.view("<f4")) & np.isnan(b.view("<f4")) if name in FLOATS else np.zeros(a.shape, bool)
    return bool(np.all((a == b) | nan))


def test_every_operator_gives_the_same_bits_on_the_board(pair: tuple[Board, Runtime]) -> None:
    board, runtime = pair
    a, b = operands()
    board.exec(APPLY)
    send(board, "a", a)
    send(board, "b", b)
    differ = []
    for op, name in enumerate(OPERATORS):
        expected = runtime.run("operators", a, b, op=op)
        if not same(name, np.frombuffer(base64.b64decode(board.exec(f"apply({op})")), "<u4"), expected):
            differ.append(name)
    assert not differ


@pytest.mark.parametrize("size", [8, 61, 4096])
def test_bulk_memory_gives_the_same_bytes_on_the_board(pair: tuple[Board, Runtime], size: int) -> None:
    board, runtime = pair
    x = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    assert np.array_equal(board.run("bulk", [x], {}), runtime.run("bulk", x))


def test_bulk_memory_beyond_the_end_is_a_memory_access_violation(pair: tuple[Board, Runtime]) -> None:
    x = np.zeros(64, np.uint8)
    for beyond in (0x1A000 - 63, 0x7FFFFFFF, 0xFFFFFFFF):
        with pytest.raises(errors.MemoryAccessViolation):
            pair[0].run("bulk", [x], {"beyond": beyond})
