"""Kernels of a few instructions, written as text, and packs of one kernel."""

from __future__ import annotations

import struct

import numpy as np
from kernel_builds import bare_manifest
from numpy.typing import NDArray
from wasmtime import wat2wasm

from host import errors
from host.pack.flavours import FLAVOURS
from host.pack.manifest import Manifest, ManifestKernel, Module
from host.pack.spec import DTYPES, Dim, DType, KernelSpec, KnownAnswer, Limits, Param, Region, Tensor

N = (Dim("n"),)
F32 = DTYPES["f32"]
X = {"x": np.zeros(1, np.float32)}

# y[0] = how many calls this instance has had; `what` chooses what goes wrong after that.
FAULTY = """
  (global $calls (mut i32) (i32.const 0))
  (type $none (func))
  (table 4 funcref)
  (elem (i32.const 0) $nothing)
  (func $nothing)
  (func $deeper (param i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "faulty_forward") (param $desc i32) (result i32)
    (local $what i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (f32.store (i32.load offset=16 (local.get $desc)) (f32.convert_i32_u (global.get $calls)))
    (local.set $what (i32.load offset=4 (i32.load offset=32 (local.get $desc))))
    (block $end (block $undefined (block $mismatch (block $deep (block $nan (block $overflow (block $zero
    (block $unreachable (block $write (block $read (block $forever
    (br_table $end $forever $read $write $unreachable $zero $overflow $nan $deep $mismatch $undefined $end
      (local.get $what)))
    (loop $again (br $again)))
    (return (i32.load (i32.const -4))))
    (i32.store (i32.const 0x7fffffff) (i32.const 1)))
    (unreachable))
    (return (i32.div_s (i32.const 1) (i32.sub (local.get $what) (local.get $what)))))
    (return (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $what) (i32.const 7)))))
    (return (i32.trunc_f32_s (f32.div (f32.const 0) (f32.convert_i32_u (i32.sub (local.get $what) (i32.const 7)))))))
    (return (call $deeper (i32.const 0))))
    (return (call_indirect (param i32) (result i32) (i32.const 0) (i32.const 0))))
    (call_indirect (type $none) (i32.const 2)))
    (select (i32.sub (local.get $what) (i32.const 100)) (i32.const 0)
      (i32.gt_u (local.get $what) (i32.const 100))))"""

# y[0] += x[0]
ADD = """
  (func (export "add_forward") (param $desc i32) (result i32)
    (f32.store (i32.load offset=16 (local.get $desc))
      (f32.add (f32.load (i32.load offset=16 (local.get $desc))) (f32.load (i32.load (local.get $desc)))))
    (i32.const 0))"""

# y[0] = x[0]
COPY = """
  (func (export "copy_forward") (param $desc i32) (result i32)
    (i32.store (i32.load offset=16 (local.get $desc)) (i32.load (i32.load (local.get $desc))))
    (i32.const 0))"""

# The same, but v128.
COPY_WIDE = """
  (func (export "copy_forward") (param $desc i32) (result i32)
    (v128.store (i32.load offset=16 (local.get $desc)) (v128.load (i32.load (local.get $desc))))
    (i32.const 0))"""

FOREVER = "(loop $again (br $again))"
INFO = struct.pack("<II24s24s", 56, 1, b"copy", b"1.0.0")


# What FAULTY does for each value of its parameter, and the error that this is.
FAULTS = {
    1: errors.EpochDeadline,
    2: errors.MemoryAccessViolation,
    3: errors.MemoryAccessViolation,
    4: errors.Unreachable,
    5: errors.IntegerDivideByZero,
    6: errors.IntegerOverflow,
    7: errors.InvalidConversion,
    8: errors.StackOverflow,
    9: errors.IndirectCallTypeMismatch,
    10: errors.UndefinedElement,
    101: errors.InvalidInput,
    102: errors.InvalidOutput,
    103: errors.InvalidParams,
    104: errors.KernelOutOfMemory,
    105: errors.KernelNotImplemented,
    106: errors.KernelInternalError,
    107: errors.KernelTrap,
}


def module(
    functions: str = COPY,
    *,
    init: str = "(i32.const 0)",
    cleanup: str = "",
    info: bytes = INFO,
    info_at: str = "(i32.const 512)",
) -> bytes:
    """A kernel's module: ``functions`` and what every kernel exports."""
    at_512 = "".join(f"\\{byte:02x}" for byte in info)
    text = f"""(module
  (memory (export "memory") 1)
  (data (i32.const 512) "{at_512}")
  (global (export "__heap_base") i32 (i32.const 1024))
  (func (export "kernel_init") (param $at i32) (param $len i32) (result i32) {init})
  (func (export "kernel_info") (result i32) {info_at})
  (func (export "kernel_cleanup") {cleanup})
  {functions})"""
    return bytes(wat2wasm(text))


def one_input_spec(name: str, *params: Param, dtype: DType = F32, pages: int = 4, ticks: int = 1000) -> KernelSpec:
    """y[n] from x[n]."""
    return KernelSpec(
        id=name,
        op=name,
        category="test",
        entry_point=f"{name}_forward",
        symbols=("n",),
        inputs=(Tensor("x", Region.INPUT_A, dtype, (N,)),),
        outputs=(Tensor("y", Region.OUTPUT, dtype, (N,)),),
        scratch=(),
        params=params,
        limits=Limits(pages, ticks, 4),
        fallback=None,
        test=KnownAnswer(1, {"n": 4}),
    )


class OnePack:
    """A pack of one kernel; ``modules`` are by flavour."""

    name = "one"
    version = "1.0.0"
    security_counter = 1

    def __init__(self, spec: KernelSpec, *, wasmtime_min_version: str = "50.0.0", **modules: bytes) -> None:
        self.kernels = {spec.id: spec}
        self._modules = modules
        offered = {flavour: Module(f"{flavour}.wasm", "", FLAVOURS[flavour]) for flavour in modules}
        self._kernel = ManifestKernel(spec, offered, wasmtime_min_version, "2.4.3", {})

    @property
    def manifest(self) -> Manifest:
        return bare_manifest(self.name, self.version, [self._kernel])

    def kernel(self, kernel_id: str) -> ManifestKernel:
        return self._kernel

    def wasm(self, kernel_id: str, flavour: str) -> bytes:
        return self._modules[flavour]


def arrays(*shapes: tuple[int, ...]) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
