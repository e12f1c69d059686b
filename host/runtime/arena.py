"""The memory that tensors lie in: one shared object that the linear memory of every instance maps at the same offset.

A tensor is a numpy view of the runtime's own mapping of that object, so it never goes stale, and kernels work on the
very same pages. Its room is given back when the last view of it is gone.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import weakref
from bisect import bisect_left
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.pack.linking import PAGE
from host.runtime.layout import ALIGN

Array = NDArray[Any]

PRIVATE = PAGE
"""Bytes of linear memory below the arena: an instance's own stack and data, and the descriptor of the call."""
END = 1 << 32
"""Where the arena ends: with linear memory itself. What nobody has touched takes no memory."""
LINE = 64
"""Tensors start at multiples of a cache line."""
_GIVE_BACK = 1 << 20  # bytes from which a block's pages go back to the system when it is freed


class Allocator:
    """Blocks of a range of offsets, the lowest that is free first."""

    def __init__(self, start: int, end: int) -> None:
        self._holes = [(start, end)]  # in order, no two of them adjacent
        self._sizes: dict[int, int] = {}

    def allocate(self, size: int, below: int) -> int:
        """Offset of a new block of ``size`` bytes that ends at ``below`` or before. Raises MemoryError."""
        size = max(LINE, -(-size // LINE) * LINE)
        for index, (start, end) in enumerate(self._holes):
            if start + size > below:
                break
            if start + size <= end:
                self._holes[index : index + 1] = [(start + size, end)] if start + size < end else []
                self._sizes[start] = size
                return start
        raise MemoryError(f"no room for {size} bytes below {below}")

    def free(self, offset: int) -> int:
        """Give a block back; returns its size."""
        size = self._sizes.pop(offset)
        start, end = offset, offset + size
        index = bisect_left(self._holes, (start, end))
        first, last = index, index
        if index < len(self._holes) and self._holes[index][0] == end:
            end, last = self._holes[index][1], index + 1
        if index and self._holes[index - 1][1] == start:
            start, first = self._holes[index - 1][0], index - 1
        self._holes[first:last] = [(start, end)]
        return size


class Arena:
    """The shared object, and the blocks in it. Offsets are those of linear memory."""

    def __init__(self) -> None:
        self.fd = _shared_object(END - PRIVATE)
        weakref.finalize(self, os.close, self.fd)
        self._map = mmap.mmap(self.fd, END - PRIVATE)
        self._origin: int = np.frombuffer(self._map, np.uint8).__array_interface__["data"][0] - PRIVATE
        self._allocator = Allocator(PRIVATE, END)
        self._freed: deque[int] = deque()  # by the garbage collector, which may run at any moment, `_lock` held or not
        self._lock = threading.Lock()
        self._process = os.getpid()  # a fork shares the memory, but not what is known of it

    def block(self, size: int, below: int = END) -> tuple[int, NDArray[np.uint8]]:
        """The offset of ``size`` bytes that end at ``below`` or before, and the bytes, of any content.

        They are free when nothing refers to the array or to a view of it. Raises MemoryError.
        """
        if os.getpid() != self._process:
            raise RuntimeError("tensors belong to the process that made the Runtime; a forked one needs its own")
        with self._lock:
            self._collect()
            offset = self._allocator.allocate(size, below)
        block = np.frombuffer(self._map, np.uint8, max(size, 1), offset - PRIVATE)
        weakref.finalize(block, self._freed.append, offset).atexit = False
        return offset, block[:size]

    def offset(self, array: Array) -> int | None:
        """Where an array lies in linear memory, if a kernel can use it there: contiguous and aligned."""
        if array.base is None:
            return None
        offset: int = array.__array_interface__["data"][0] - self._origin
        if PRIVATE <= offset < END and offset % ALIGN == 0 and array.flags.c_contiguous:
            return offset
        return None

    def _collect(self) -> None:
        while self._freed:
            offset = self._freed.popleft()
            size = self._allocator.free(offset)
            if size >= _GIVE_BACK and hasattr(mmap, "MADV_REMOVE"):
                start, end = -(-offset // PAGE) * PAGE, (offset + size) // PAGE * PAGE
                if start < end:
                    self._map.madvise(mmap.MADV_REMOVE, start - PRIVATE, end - start)


def _shared_object(size: int) -> int:
    """Descriptor of a file that only exists as memory, as far as the system has such files."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("kernel-arena", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
