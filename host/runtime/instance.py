"""A kernel's instance, in a store and a linear memory of its own, with the kernel's limits, initialised.

One thread may use it at a time. After an error nothing is known of its state, and it is never used again.
"""

from __future__ import annotations

import ctypes
import math
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from wasmtime import Func, Instance, Memory, Module, Store, Trap, WasmtimeError
from wasmtime import Global as WasmGlobal

from host.errors import KernelError, LoadError, MalformedPack
from host.pack.linking import PAGE
from host.pack.spec import KernelSpec, Region, Tensor, param_bits
from host.runtime import fastcall, layout
from host.runtime.arena import PRIVATE, Arena
from host.runtime.call import Array, Plan, is_read
from host.runtime.engine import KernelEngine
from host.runtime.memory import making, raise_interruption
from host.runtime.traps import from_code, from_trap

INFO = struct.Struct("<II24s24s")
"""What kernel_info points to: size, ABI version, name, version."""

_MOST_FRAMES = 64
_Export = TypeVar("_Export")


@dataclass(frozen=True)
class KernelInfo:
    """What a module's ``kernel_info`` says of it."""

    abi_version: int
    name: str
    version: str


@dataclass(frozen=True)
class Frame:
    """Where the calls of one plan lie in an instance's own memory.

    ``reads`` and ``writes`` are views by tensor name of what goes in and what comes out.
    """

    block: bytes
    reads: tuple[tuple[str, Array], ...]
    writes: tuple[tuple[str, Array], ...]


class KernelInstance:
    """An instance whose memory maps ``arena`` above its private part, or has nothing but its own without one."""

    def __init__(self, engine: KernelEngine, module: Module, spec: KernelSpec, arena: Arena | None) -> None:
        self._spec = spec
        # One tick more than the budget: the first comes at any moment, and a call gets its budget in full.
        self._ticks = spec.limits.max_epoch_ticks + 1
        self.store = Store(engine.wasmtime)
        self.store.set_limits(
            memory_size=spec.limits.max_memory_pages * PAGE,
            table_elements=spec.limits.max_table_elements,
            instances=1,
            memories=1,
        )
        if engine.settings.counted:
            self.store.set_fuel(2**62)
        self.store.set_epoch_deadline(self._ticks)
        try:
            with making(arena) as made:
                self._exports = Instance(self.store, module, []).exports(self.store)
                self._memory = made()
        except (WasmtimeError, Trap) as error:
            raise_interruption()
            raise LoadError(f"{spec.id}: {error}") from error
        self._wasm_memory = self._export("memory", Memory)
        self.entry_point = self._export(spec.entry_point, Func)
        self._enter = fastcall.prepare(self.store, self.entry_point, self._ticks)
        self._frames: dict[Plan, Frame] = {}
        self.block_at = layout.align(self._heap_base())
        self._block_address = self._memory.base + self.block_at
        engine.instances.add(self)
        self._initialise()

    @property
    def size(self) -> int:
        """Bytes of linear memory."""
        return self._memory.size

    @property
    def fuel(self) -> int:
        """What is left of it."""
        return self.store.get_fuel()

    def reserve(self, size: int) -> None:
        """Make linear memory at least ``size`` bytes. Raises MemoryError beyond the kernel's limit."""
        if size <= self._memory.size:
            return
        pages, have = -(-size // PAGE), self._memory.size // PAGE
        try:
            self._wasm_memory.grow(self.store, pages - have)
        except WasmtimeError as error:
            raise_interruption()
            limit = self._spec.limits.max_memory_pages
            raise MemoryError(
                f"{self._spec.id}: the call needs {pages} pages of memory, the limit is {limit}"
            ) from error

    def enter(self, block: bytes) -> None:
        """Call the entry point with this descriptor and params block, which were made for `block_at`.

        Raises a KernelError for a trap or a return code other than 0.
        """
        ctypes.memmove(self._block_address, block, len(block))
        try:
            code = self._enter(self.block_at)
        except Trap as trap:
            raise from_trap(self._spec.id, trap) from trap
        except WasmtimeError as error:
            raise LoadError(f"{self._spec.id}: {error}") from error
        if code:
            raise_interruption()  # its memory.grow may have failed for that
            raise from_code(self._spec.id, code)

    def frame(self, plan: Plan) -> Frame:
        """Room for a call in the instance's own memory. Raises MemoryError when it would be beyond the limit."""
        frame = self._frames.get(plan)
        if frame is None:
            if len(self._frames) >= _MOST_FRAMES:
                self._frames.clear()
            frame = self._frames[plan] = self._make_frame(plan)
        return frame

    def _make_frame(self, plan: Plan) -> Frame:
        end = self.block_at + layout.PARAMS_AT + len(plan.params)
        places: dict[Region, tuple[int, int]] = {}
        for region, part in plan.regions.items():
            places[region] = layout.align(end), part.size
            end = layout.align(end) + part.size
        self.reserve(end)
        views = [
            (tensor, self._view(tensor, places[region][0] + offset, plan))
            for region, part in plan.regions.items()
            for tensor, offset in part.tensors
        ]
        return Frame(
            layout.block(self.block_at, places, plan.params),
            tuple((tensor.name, view) for tensor, view in views if is_read(tensor)),
            tuple((tensor.name, view) for tensor, view in views if tensor.region is Region.OUTPUT),
        )

    def _view(self, tensor: Tensor, offset: int, plan: Plan) -> Array:
        """A tensor in this instance's memory. It must not outlive the instance."""
        shape = plan.shapes[tensor.name]
        dtype = np.dtype(tensor.dtype.numpy)
        data = (ctypes.c_uint8 * (math.prod(shape) * dtype.itemsize)).from_address(self._memory.base + offset)
        return np.ndarray(shape, dtype, memoryview(data))

    def cleanup(self) -> None:
        """Call kernel_cleanup, after which the instance is of no more use. What it ends with is nobody's concern."""
        with suppress(KernelError):
            self._run(self._export("kernel_cleanup", Func))

    def info(self) -> KernelInfo:
        """What kernel_info says. Raises MalformedPack when that is not in the form of docs/kernel-abi.md."""
        offset = self._run(self._export("kernel_info", Func)) & 0xFFFFFFFF
        if offset % 4 or offset + INFO.size > self._memory.size:
            raise MalformedPack(f"{self._spec.id}: kernel_info returns {offset}, where no struct can be")
        fields = INFO.unpack(ctypes.string_at(self._memory.base + offset, INFO.size))
        size, abi_version, name, version = fields
        if size != INFO.size:
            raise MalformedPack(f"{self._spec.id}: kernel_info has size {size}, must be {INFO.size}")
        return KernelInfo(abi_version, *(_text(self._spec, field) for field in (name, version)))

    def _heap_base(self) -> int:
        base: int = self._export("__heap_base", WasmGlobal).value(self.store) & 0xFFFFFFFF
        params = 4 * (len(self._spec.symbols) + len(self._spec.params))
        if self._memory.size != PRIVATE or layout.align(base) + layout.PARAMS_AT + params > PRIVATE:
            raise LoadError(
                f"{self._spec.id}: stack and data are {base} bytes in {self._memory.size // PAGE} pages of memory; "
                "they must leave room for a descriptor in 1"
            )
        return base

    def _initialise(self) -> None:
        """Call kernel_init with every parameter's default."""
        defaults = b"".join(param_bits(param, param.default) for param in self._spec.params)
        ctypes.memmove(self._block_address, defaults, len(defaults))
        try:
            code = self._run(self._export("kernel_init", Func), self.block_at if defaults else 0, len(defaults))
        except KernelError as error:
            raise LoadError(f"kernel_init of {error}") from error
        if code != 0:
            raise LoadError(f"{self._spec.id}: kernel_init returned {code}")

    def _run(self, function: Func, *arguments: int) -> Any:
        """Call any export under the kernel's limits. Raises a KernelError for a trap."""
        self.store.set_epoch_deadline(self._ticks)
        try:
            return function(self.store, *arguments)
        except Trap as trap:
            raise from_trap(self._spec.id, trap) from trap
        except WasmtimeError as error:
            raise LoadError(f"{self._spec.id}: {error}") from error

    def _export(self, name: str, kind: type[_Export]) -> _Export:
        value = self._exports[name]
        assert isinstance(value, kind)  # compiling made sure
        return value


def _text(spec: KernelSpec, field: bytes) -> str:
    """Text of kernel_info: ASCII, NUL at its end."""
    text, nul, rest = field.partition(b"\0")
    if not nul or any(rest) or not text.isascii():
        raise MalformedPack(f"{spec.id}: kernel_info has {field!r} where a text must be")
    return text.decode("ascii")
