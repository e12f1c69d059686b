"""Kernels under Wasmtime: the same wasm that boards run ahead of time compiled, numpy in and numpy out.

    with Runtime() as runtime:
        runtime.install(pack)
        y = runtime.run("rope_f32", x, theta=10000.0)
        call = runtime.bind("rope_f32", runtime.tensor((1, 16, 4, 32)))
        call()

A call is laid out as docs/kernel-abi.md says. Time is limited by epochs: a thread ticks every 10 ms, and each call may
use its kernel's ``max_epoch_ticks``. Whatever goes wrong inside a kernel ends as a `KernelError`; an instance in which
something did is never used again. docs/runtime.md tells the rest.
"""

from __future__ import annotations

from host.runtime.bound import Bound
from host.runtime.call import Array, Params
from host.runtime.engine import KernelEngine, Settings
from host.runtime.instance import INFO, KernelInfo
from host.runtime.kernel import Kernel
from host.runtime.layout import ALIGN
from host.runtime.loaded import Loaded, PackLike, load
from host.runtime.measuring import (
    known_answer_sha256,
    module_info,
    prepared_call,
    public_call,
    repeated_call,
    run_counted,
    run_module,
)
from host.runtime.runtime import Runtime
from host.runtime.traps import TRAPS

__all__ = [
    "ALIGN",
    "INFO",
    "TRAPS",
    "Array",
    "Bound",
    "Kernel",
    "KernelEngine",
    "KernelInfo",
    "Loaded",
    "PackLike",
    "Params",
    "Runtime",
    "Settings",
    "known_answer_sha256",
    "load",
    "module_info",
    "prepared_call",
    "public_call",
    "repeated_call",
    "run_counted",
    "run_module",
]
