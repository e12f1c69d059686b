"""The arena on the board: nothing is freed that can still be seen, everything else is, and nothing is copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.board import Board
from host.errors import BoardError

AGENT = Path(__file__).with_name("arena_agent.py.txt")
OPERATIONS = int(os.environ.get("ARENA_OPERATIONS", "2000"))  # the long form sets more


@pytest.fixture
def repl(board: Board) -> Board:
    """A board with kern imported, and fill() to take all of the arena that can be had."""
    board.exec("""
import gc, kern, micropython, uctypes
def fill():
    taken, size = [], 16384
    while size:
        try: taken.append(kern.tensor((size,), 'u8', b'\\xee' * size))
        except MemoryError: size //= 2
    return sum((t.nbytes + 15) // 16 * 16 for t in taken)
""")
    return board


def arena_free(board: Board) -> int:
    """Bytes free once all garbage is collected."""
    board.exec("gc.collect()")  # in a frame of its own, which may have words of former ones
    return int(board.eval("(gc.collect(), kern.status()['arena']['free'])[1]"))


VIEWS = [
    "memoryview(t)",
    "memoryview(t)[100:]",
    "memoryview(memoryview(t)[8:900])[10:20]",
    "memoryview(kern.rope(t))[16:]",
    "uctypes.bytearray_at(uctypes.addressof(t), t.nbytes)",
]


@pytest.mark.parametrize("view", VIEWS)
def test_a_block_stays_while_it_can_be_seen(repl: Board, view: str) -> None:
    before = arena_free(repl)
    repl.exec(f"t = kern.tensor((1, 1, 4, 64), 'f32', bytes(range(256)) * 4); v = {view}; was = bytes(v); del t")
    assert repl.eval("fill()") == before - 1024
    assert repl.eval("bytes(v) == was")
    repl.exec("del v, was")
    assert arena_free(repl) == before
    assert repl.eval("fill()") == before


def test_a_ring_buffer_keeps_the_block_that_it_is_in(repl: Board) -> None:
    """It has the address of a slice and nothing else."""
    before = arena_free(repl)
    repl.exec("t = kern.tensor((1024,), 'u8'); r = micropython.RingIO(memoryview(t)[500:]); del t")
    repl.exec("r.write(b'still here')")
    assert repl.eval("fill()") == before - 1024
    assert repl.eval("r.read()") == b"still here"


def test_a_view_can_be_written_and_given_to_kernels_when_its_tensor_is_gone(repl: Board) -> None:
    repl.exec("t = kern.tensor((4,), 'f32', [1] * 4); w = memoryview(t); del t; gc.collect(); fill()")
    repl.exec("gc.collect(); x = kern.tensor((2, 4), 'f32', [1] * 8); w[:] = bytes(x)[16:]; y = kern.rmsnorm(x, w)")
    assert repl.eval("[round(v) for row in y.tolist() for v in row]") == [1] * 8


def test_there_is_no_freeing_a_tensor_that_is_in_use(repl: Board) -> None:
    """Not even by calling what the garbage collector calls."""
    repl.exec("t = kern.tensor((4,), data=[1, 2, 3, 4]); t.__del__(); kern.tensor((4,))")
    assert repl.eval("t.tolist()") == [1, 2, 3, 4]


def test_what_is_free_after_a_collection_is_used_from_its_start(repl: Board) -> None:
    """Else a tensor that lies above garbage splits the arena for as long as it is there."""
    before = arena_free(repl)
    repl.exec("garbage = kern.tensor((20000,), 'u8'); del garbage")
    repl.exec("gc.collect(); x = kern.tensor((16,), 'u8')")
    room = before - 16
    assert repl.eval(f"kern.tensor(({room},), 'u8').nbytes") == room


def test_memory_error_tells_what_is_free_after_collection(repl: Board) -> None:
    repl.exec("kept, garbage, more = [kern.tensor((size,), 'u8') for size in (40000, 40000, 16)]; del garbage")
    free = arena_free(repl)
    repl.exec("x = kern.tensor((30000,), 'u8'); del x")
    with pytest.raises(BoardError, match=rf"MemoryError: arena: 60000 bytes wanted, {free} free, 4\d+ in one piece"):
        repl.exec("kern.tensor((60000,), 'u8')")


def test_soft_reset_gives_everything_back_and_forgets_the_former_heap(repl: Board) -> None:
    before = repl.status()["arena"]["free"]
    repl.exec("t = kern.tensor((50000,), 'u8'); v = memoryview(t)[100:]; del t")
    repl.exec("f = kern.bind('rope_f32', [[[[1, 2]]]])")
    assert repl.status()["arena"]["free"] < before - 50000
    repl.soft_reset()
    assert repl.status()["arena"]["free"] == before
    repl.exec("import kern; t = kern.tensor((100000,), 'u8')")
    assert repl.status()["arena"]["free"] == before - 100000


def test_nothing_is_copied_between_kernels(repl: Board) -> None:
    repl.exec("x = kern.tensor((1, 1, 32, 64)); w = kern.tensor((64,), 'f32', [1] * 64)")
    before = arena_free(repl)
    repl.exec("f = kern.bind('rope_f32', x); g = kern.bind('rmsnorm_f32', f.out, w)")
    repl.exec("h = kern.bind('rope_f32', g.out, out=x)")
    taken = before - arena_free(repl)
    assert 2 * 8192 < taken < 3 * 8192, "two results; descriptors and scratch are smaller"
    repl.exec("at = [uctypes.addressof(t) for t in (x, f.out, g.out)]")
    repl.exec("view = memoryview(x); del x; view[:] = bytes(kern.tensor((2048,), 'f32', [2] * 2048)); f(); g(); h()")
    assert repl.eval("[uctypes.addressof(t) for t in (h.out, f.out, g.out)] == at")
    assert repl.eval("[round(v, 3) for v in h.out.tolist()[0][0][31]]") == [1] * 64
    assert repl.eval("bytes(view) == bytes(h.out)"), "what was written to the input is where the last kernel wrote"


def test_a_call_costs_no_more_for_large_tensors_than_its_kernel_does(repl: Board) -> None:
    repl.exec("""
import time
def beside(heads):  # cycles of a call apart from the kernel's
    x = kern.tensor((1, 1, heads, 64))
    y = kern.tensor(x.shape)
    f = kern.bind('rope_f32', x, out=y)
    for call in (f, lambda: kern.rope(x, out=y)):
        call()
        gc.collect()
        start = time.ticks_us()
        for _ in range(10): call()
        yield 125 * (time.ticks_us() - start) // 10 - f.cycles
small, large = list(beside(1)), list(beside(64))
""")
    small, large = repl.eval("(small, large)")
    for one, other in zip(small, large, strict=True):
        assert abs(one - other) < 4000, "a copy of 16 KB takes over 8000 cycles"


def test_random_use_leaves_nothing_behind(repl: Board) -> None:
    """Tensors, views, views of views, chained and bound kernels, in any order; blocks have what was written to them."""
    repl.exec(AGENT.read_text())
    repl.exec("random.seed(1); run(100); clear()")  # loads the kernels
    free, pool = arena_free(repl), repl.status()["pool"]["free"]
    for done in range(0, OPERATIONS, 100):
        repl.exec(f"run({min(100, OPERATIONS - done)})", timeout=60)
    assert repl.eval("full") > 0, "the arena was never full"
    repl.exec("clear()")
    assert (arena_free(repl), repl.status()["pool"]["free"]) == (free, pool)
    repl.exec("clear()")
    assert repl.eval("fill()") == free
