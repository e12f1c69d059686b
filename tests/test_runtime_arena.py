"""`host.runtime.arena`: the allocator against a model, and memory that comes and goes with its arrays."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from host.runtime import arena as arena_module
from host.runtime.arena import END, LINE, PRIVATE, Allocator, Arena

START, STOP = 64, 64 * 65


class AllocatorModel(RuleBasedStateMachine):
    """The model is a row of 64 lines, each free or the number of the block that has it."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(START, STOP)
        self.lines: list[int | None] = [None] * 64
        self.blocks: list[int] = []

    def _lowest(self, count: int, below: int) -> int | None:
        fitting = range(min(64, (below - START) // LINE) - count + 1)
        return next((at for at in fitting if self.lines[at : at + count] == [None] * count), None)

    @rule(size=st.integers(0, 40 * LINE), below=st.sampled_from([STOP, STOP // 2, 3 * LINE, STOP + LINE]))
    def allocate(self, size: int, below: int) -> None:
        count = max(1, -(-size // LINE))
        expected = self._lowest(count, below)
        if expected is None:
            with pytest.raises(MemoryError):
                self.allocator.allocate(size, below)
            return
        offset = self.allocator.allocate(size, below)
        assert offset == START + expected * LINE, "the lowest that is free"
        self.lines[expected : expected + count] = [offset] * count
        self.blocks.append(offset)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        offset = self.blocks.pop(data.draw(st.integers(0, len(self.blocks) - 1)))
        size = self.lines.count(offset) * LINE
        assert self.allocator.free(offset) == size
        self.lines = [None if owner == offset else owner for owner in self.lines]

    @invariant()
    def holes_are_what_is_free(self) -> None:
        holes = [line for start, end in self.allocator._holes for line in range(start, end, LINE)]
        assert holes == [START + at * LINE for at, owner in enumerate(self.lines) if owner is None]
        starts, ends = {start for start, _ in self.allocator._holes}, {end for _, end in self.allocator._holes}
        assert not starts & ends, "neighbours are joined"


TestAllocator = AllocatorModel.TestCase
TestAllocator.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_blocks_keep_what_was_written_and_do_not_overlap(sizes: list[int]) -> None:
    arena = Arena()
    blocks = [arena.block(size) for size in sizes]
    for number, (_, block) in enumerate(blocks):
        block[...] = number
    for number, (offset, block) in enumerate(blocks):
        assert offset % LINE == 0 and offset >= PRIVATE
        assert (block == number).all() and block.size == sizes[number]
        assert arena.offset(block) == offset


def test_a_block_is_free_when_its_last_view_is_gone() -> None:
    arena = Arena()
    offset, block = arena.block(4096)
    view = block[1024:].view(np.float32).reshape(2, -1)[1:]
    del block
    gc.collect()
    assert arena.block(64)[0] != offset, "the view needs it"
    del view
    gc.collect()
    assert arena.block(4096)[0] == offset


def test_pages_of_a_large_block_go_back_to_the_system() -> None:
    arena = Arena()
    _, block = arena.block(64 << 20)
    block[...] = 1
    used = os.fstat(arena.fd).st_blocks
    del block
    gc.collect()
    _, block = arena.block(64 << 20)
    assert os.fstat(arena.fd).st_blocks < used / 10
    assert not block.any()


def test_a_block_can_be_as_large_as_the_arena_and_no_larger() -> None:
    arena = Arena()
    offset, everything = arena.block(END - PRIVATE)
    assert offset == PRIVATE and everything.nbytes == END - PRIVATE
    with pytest.raises(MemoryError, match=f"no room for 64 bytes below {END}"):
        arena.block(1)


def test_other_arrays_and_views_that_kernels_cannot_use_have_no_offset() -> None:
    arena, other = Arena(), Arena()
    offset, block = arena.block(1024)
    assert arena.offset(block) == offset
    assert arena.offset(block[16:]) == offset + 16
    assert arena.offset(block[4:]) is None, "not aligned"
    assert arena.offset(block[::2]) is None, "not contiguous"
    assert arena.offset(np.zeros(4)) is None and arena.offset(np.zeros(8)[2:]) is None
    assert other.offset(block) is None


def test_memory_outlives_the_arena_as_long_as_it_is_used() -> None:
    arena = Arena()
    _, block = arena.block(1 << 20)
    block[...] = 7
    del arena
    gc.collect()
    assert (block == 7).all()


def test_threads_get_blocks_of_their_own() -> None:
    arena = Arena()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(300):
            _, block = arena.block(100 + number)
            block[...] = number
            if (block != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_without_memfd_a_file_that_has_no_name_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(arena_module.os, "memfd_create")
    monkeypatch.setattr(arena_module.tempfile, "tempdir", str(tmp_path))
    arena = Arena()
    _, block = arena.block(1 << 20)
    block[...] = 3
    assert (block == 3).all() and not list(tmp_path.iterdir())


def test_a_forked_process_cannot_hand_out_its_parent_s_memory() -> None:
    arena = Arena()
    child = os.fork()
    if child == 0:
        try:
            arena.block(64)
        except RuntimeError as error:
            os._exit(0 if "a forked one needs its own" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
