"""Linear memories that we make for Wasmtime, so that kernels can share an arena.

Each has address space of its own for all that wasm32 can address and a guard behind it, and never leaves it. At its
bottom are pages of its own; above `arena.PRIVATE` it maps the arena, or, without one, more pages of its own. What is
beyond the memory's size is not accessible, so that a kernel which goes there traps as Wasmtime intends.

Wasmtime asks for a memory by a callback while it makes an instance, on the thread that does so; `making` says which
kind that one gets. An exception must not leave a callback: it would be lost, and nothing returned, which means success.
Wasmtime tells of an error, and `raise_interruption` has what is none, such as a KeyboardInterrupt, go on.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wasmtime import Config
from wasmtime import _ffi as ffi

from host.runtime.arena import PRIVATE, Arena

_MAP_FIXED = 0x10  # Python's mmap has no name for it; Linux and the BSDs agree on the number
_NO_ACCESS = 0
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class LinearMemory:
    """Address space for ``capacity`` bytes and a guard, and what is mapped at its bottom, until the object is gone.

    ``base`` is an address, ``size`` what the instance may access, in bytes.
    """

    def __init__(self, capacity: int, guard: int, arena: Arena | None) -> None:
        self.base = _map(None, capacity + guard, _NO_ACCESS, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        unmap = weakref.finalize(self, _munmap, self.base, capacity + guard)
        unmap.atexit = False  # a daemon thread may still be in a call
        self.capacity = capacity
        self.size = 0
        self._arena = arena

    def grow(self, size: int) -> None:
        """Make ``size`` bytes accessible, which is no less than now. Raises OSError."""
        start = self.size
        shared_from = size if self._arena is None else min(max(start, PRIVATE), size)
        if start < shared_from:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
            _map(self.base + start, shared_from - start, _READ_WRITE, flags)
        if self._arena is not None and max(start, PRIVATE) < size:
            at = max(start, PRIVATE)
            _map(self.base + at, size - at, _READ_WRITE, mmap.MAP_SHARED | _MAP_FIXED, self._arena.fd, at - PRIVATE)
        self.size = size


def _map(address: int | None, size: int, access: int, flags: int, fd: int = -1, offset: int = 0) -> int:
    found = _mmap(address, size, access, flags, fd, offset)
    if found in (None, _FAILED):
        error = ctypes.get_errno()
        raise OSError(error, f"{os.strerror(error)}: {size} bytes of linear memory")
    return int(found)


class _Making(threading.local):
    """The memory of the instance that this thread is making, and what it is to map; what interrupted a callback."""

    allowed = False
    arena: Arena | None = None
    memory: LinearMemory | None = None
    interruption: BaseException | None = None


_making = _Making()
_memories: weakref.WeakValueDictionary[int, LinearMemory] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


@contextmanager
def making(arena: Arena | None) -> Iterator[Callable[[], LinearMemory]]:
    """Make an instance in this context and call what it gives for the memory of that instance.

    The memory must be kept for as long as the store is in use.
    """

    def made() -> LinearMemory:
        assert _making.memory is not None
        return _making.memory

    _making.allowed, _making.arena = True, arena
    try:
        yield made
    finally:
        _making.allowed, _making.arena, _making.memory = False, None, None


def raise_interruption() -> None:
    """Raise what interrupted a callback on this thread, if anything did; to be called where Wasmtime failed."""
    interruption, _making.interruption = _making.interruption, None
    if interruption is not None:
        raise interruption


def use_our_memories(config: Config) -> None:
    """Have Wasmtime take its linear memories from here. An engine of ``config`` makes instances only in `making`."""
    config.memory_init_cow = False  # it maps images into memories, which only Wasmtime's own can have
    ffi.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(_creator))


def _result(action: Callable[[], None]) -> int:
    """What a callback returns: 0, or Wasmtime's error for the exception that ``action`` raised."""
    try:
        action()
    except BaseException as error:
        if not isinstance(error, Exception):
            _making.interruption = error
        text = ctypes.create_string_buffer(str(error).encode())
        return ctypes.cast(ffi.wasmtime_error_new(text), ctypes.c_void_p).value or 0
    return 0


def _get(number: int, size: Any, capacity: Any) -> int:
    memory = _memories[number]
    size[0], capacity[0] = memory.size, memory.capacity
    return memory.base


def _grow(number: int, size: int) -> int:
    return _result(lambda: _memories[number].grow(size))


def _new(_env: Any, _type: Any, minimum: int, _maximum: int, reserved: int, guard: int, out: Any) -> int:
    def make() -> None:
        if not _making.allowed or _making.memory is not None:
            raise MemoryError("a kernel's instance has one memory")
        memory = LinearMemory(reserved, guard, _making.arena)
        memory.grow(minimum)
        number = next(_numbers)
        _memories[number] = _making.memory = memory
        # No finalizer: the memory goes when its Python object does.
        ctypes.memset(out, 0, ctypes.sizeof(ffi.wasmtime_linear_memory_t))
        out[0].env, out[0].get_memory, out[0].grow_memory = number, _get_memory, _grow_memory

    return _result(make)


# Made once and kept: Wasmtime holds pointers to them.
_get_memory: Any = ffi.wasmtime_memory_get_callback_t(_get)
_grow_memory: Any = ffi.wasmtime_memory_grow_callback_t(_grow)
_new_memory: Any = ffi.wasmtime_new_memory_callback_t(_new)
_creator = ffi.wasmtime_memory_creator_t()
_creator.new_memory = _new_memory
