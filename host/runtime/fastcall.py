"""A kernel's entry point, called through Wasmtime's C API with buffers that are made once.

`Func.__call__` looks at the function's type and makes new buffers at every call, which costs many times what a small
kernel does. This does neither: the type, ``(i32) -> i32``, was checked when the kernel was compiled. It was written for
one major version of Wasmtime; under another, a warning says so once, and the public way is taken.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from wasmtime import Func, Store, Trap, WasmtimeError
from wasmtime import _ffi as ffi

WRITTEN_FOR = "50"

EntryPoint = Callable[[int], int]
"""Takes a descriptor's offset, returns the kernel's code. Raises Trap and WasmtimeError."""


def prepare(store: Store, function: Func, ticks: int) -> EntryPoint:
    """``function`` as something to call again and again, at most ``ticks`` of the engine's epoch each time.

    One thread may be in the call at a time, as in the store.
    """
    if _is_written_for(version("wasmtime")):
        return _unchecked(store, function, ticks)
    return _public(store, function, ticks)


@cache
def _is_written_for(installed: str) -> bool:
    fits = installed.split(".")[0] == WRITTEN_FOR
    if not fits:
        warnings.warn(
            f"fast calls were written for wasmtime {WRITTEN_FOR}, installed is {installed}: calls are slower",
            RuntimeWarning,
            stacklevel=2,
        )
    return fits


def _public(store: Store, function: Func, ticks: int) -> EntryPoint:
    def call(descriptor: int) -> int:
        store.set_epoch_deadline(ticks)
        code: int = function(store, descriptor)
        return code

    return call


def _unchecked(store: Store, function: Func, ticks: int) -> EntryPoint:
    # Functions of our own, with plain integers for pointers; `wasmtime` keeps its argument types.
    set_deadline = ffi.dll["wasmtime_context_set_epoch_deadline"]
    set_deadline.argtypes, set_deadline.restype = [ctypes.c_void_p, ctypes.c_uint64], None
    enter = ffi.dll["wasmtime_func_call_unchecked"]
    enter.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_size_t, ctypes.c_void_p]
    enter.restype = ctypes.c_void_p

    context = ctypes.c_void_p(ctypes.cast(store._context(), ctypes.c_void_p).value)
    deadline = ctypes.c_uint64(ticks)
    value = ffi.wasmtime_val_raw_t()  # the argument, then the result
    trap = ctypes.POINTER(ffi.wasm_trap_t)()
    one = ctypes.c_size_t(1)
    func_at, value_at, trap_at = (ctypes.byref(part) for part in (function._func, value, trap))

    def call(descriptor: int) -> int:
        value.i32 = descriptor
        set_deadline(context, deadline)
        error = enter(context, func_at, value_at, one, trap_at)
        if error:
            raise WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))
        if trap:
            raised = Trap._from_ptr(ctypes.cast(trap, ctypes.POINTER(ffi.wasm_trap_t)))
            ctypes.memset(trap_at, 0, ctypes.sizeof(trap))
            raise raised
        code: int = value.i32
        return code

    call.store = store  # type: ignore[attr-defined]  # the context is the store's, and goes with it
    return call
