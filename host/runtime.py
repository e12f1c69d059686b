"""Kernels under Wasmtime: the same wasm that boards run ahead of time compiled, numpy in and numpy out.

    with Runtime() as runtime:
        runtime.install(pack)
        y = runtime.run("rope_f32", x, theta=10000.0)

A call is laid out as docs/kernel-abi.md says: above the kernel's own stack and data come descriptor, params block and
the four regions. Time is limited by epochs: a thread ticks every 10 ms, and each call may use its kernel's
``max_epoch_ticks``. Whatever goes wrong inside a kernel ends as a `KernelError`; an instance in which something did is
never used again.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from wasmtime import Config, Engine, Func, Instance, Memory, Module, Store, Trap, TrapCode, WasmtimeError
from wasmtime import Global as WasmGlobal

from host import known_answer
from host.errors import (
    EpochDeadline,
    HealthCheckFailed,
    IndirectCallTypeMismatch,
    IntegerDivideByZero,
    IntegerOverflow,
    InvalidConversion,
    KernelError,
    KernelTrap,
    LoadError,
    MemoryAccessViolation,
    NoPack,
    NoSuchKernel,
    StackOverflow,
    UndefinedElement,
    Unreachable,
    by_code,
)
from host.pack.spec import TICK_MS, DType, KernelSpec, Region, Tensor, params_block
from host.shapes import Solved, array_shape, element_shape, solve

Array = NDArray[Any]
Params = Mapping[str, float | int | bool]
_Export = TypeVar("_Export")

PAGE = 65536
"""Bytes of a page of linear memory."""
ALIGN = 16
"""Every tensor, the descriptor and the params block start at a multiple of this."""

TRAPS: Mapping[TrapCode, type[KernelError]] = {
    TrapCode.STACK_OVERFLOW: StackOverflow,
    TrapCode.MEMORY_OUT_OF_BOUNDS: MemoryAccessViolation,
    TrapCode.HEAP_MISALIGNED: MemoryAccessViolation,
    TrapCode.TABLE_OUT_OF_BOUNDS: UndefinedElement,
    TrapCode.INDIRECT_CALL_TO_NULL: UndefinedElement,
    TrapCode.BAD_SIGNATURE: IndirectCallTypeMismatch,
    TrapCode.INTEGER_OVERFLOW: IntegerOverflow,
    TrapCode.INTEGER_DIVISION_BY_ZERO: IntegerDivideByZero,
    TrapCode.BAD_CONVERSION_TO_INTEGER: InvalidConversion,
    TrapCode.UNREACHABLE: Unreachable,
    TrapCode.INTERRUPT: EpochDeadline,
}
"""The error that each of Wasmtime's traps is."""


class PackLike(Protocol):
    """What `Runtime.install` needs of a pack; `host.pack.Pack` is one."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def kernels(self) -> Mapping[str, KernelSpec]: ...
    def wasm(self, kernel_id: str) -> bytes: ...


class Runtime:
    """A Wasmtime engine, its clock, and the kernels of the pack that is installed."""

    def __init__(self) -> None:
        self._engine = _engine()
        self._ticker = _Ticker(self._engine)
        self._pack: PackLike | None = None
        self._kernels: dict[str, _Kernel] = {}
        self._calls = 0
        self._faults: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the clock. No kernel may be called afterwards."""
        self._ticker.stop()
        self._kernels = {}

    def install(self, pack: PackLike) -> None:
        """Compile every kernel of ``pack``, run the known-answer tests, and put it in place of the current pack.

        Raises LoadError or HealthCheckFailed; the pack that was installed before then stays.
        """
        kernels = {id: _Kernel(self._engine, pack.wasm(id), spec) for id, spec in pack.kernels.items()}
        for kernel in kernels.values():
            expected = kernel.spec.test.sha256
            if expected is not None and (actual := kernel.known_answer_sha256()) != expected:
                raise HealthCheckFailed(f"{kernel.spec.id}: known answer has sha256 {actual}, must be {expected}")
        with self._lock:
            self._pack, self._kernels = pack, kernels

    def kernels(self) -> tuple[str, ...]:
        """Ids of the installed kernels, in the pack's order."""
        return tuple(self._kernels)

    def stats(self) -> dict[str, Any]:
        """Calls so far, and how many ended in which error."""
        return {"calls": self._calls, "faults": dict(self._faults)}

    def run(self, kernel_id: str, *inputs: ArrayLike | None, out: Array | None = None, **named: Any) -> Array:
        """Call a kernel and return its (first) output as a new array, or ``out`` filled with it.

        ``inputs`` are in the kernel's order, None for an optional one that is absent; inputs may also be given by
        name, as parameters are. An output that is read first takes its values from ``out``. An array must have
        the kernel's dtype exactly; lists are converted. Raises TypeError and ValueError for arguments that do not fit,
        MemoryError when they do not fit the kernel's memory, NoPack, NoSuchKernel and other KernelErrors.
        """
        kernel = self._find(kernel_id)
        arrays, params = _sort_arguments(kernel.spec, inputs, named)
        name = kernel.spec.outputs[0].name
        if out is not None:
            arrays[name] = out
        with self._lock:
            self._calls += 1
            try:
                result = kernel.call(arrays, params)[name]
            except KernelError as error:
                self._faults[type(error).__name__] += 1
                raise
        if out is None:
            return result
        np.copyto(out, result)
        return out

    def _find(self, kernel_id: str) -> _Kernel:
        if self._pack is None:
            raise NoPack("no pack is installed")
        try:
            return self._kernels[kernel_id]
        except KeyError:
            known = ", ".join(self._kernels)
            raise NoSuchKernel(f"no kernel {kernel_id!r} in {self._pack.name}; its kernels: {known}") from None


def run_module(wasm: bytes, spec: KernelSpec, inputs: Mapping[str, Array], params: Params) -> dict[str, Array]:
    """Call a kernel that is in no pack, once, in an instance of its own. Raises as `Runtime.run` does."""
    engine = _engine()
    ticker = _Ticker(engine)
    try:
        return _Kernel(engine, wasm, spec).call(inputs, params)
    finally:
        ticker.stop()


def known_answer_sha256(wasm: bytes, spec: KernelSpec) -> str:
    """sha256 (hex) of the output region of the kernel's known-answer test. Raises KernelError when the call fails."""
    engine = _engine()
    ticker = _Ticker(engine)
    try:
        return _Kernel(engine, wasm, spec).known_answer_sha256()
    finally:
        ticker.stop()


def _engine() -> Engine:
    """Wasmtime as requirement R2 has it; whatever kernels may not use is off."""
    config = Config()
    config.cranelift_opt_level = "speed"
    config.epoch_interruption = True
    config.wasm_simd = True
    config.wasm_bulk_memory = True
    config.wasm_multi_value = True
    config.wasm_relaxed_simd = False
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.memory_guard_size = PAGE
    return Engine(config)


class _Ticker:
    """The thread that advances an engine's epoch every `TICK_MS`."""

    def __init__(self, engine: Engine) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(engine,), name="kernel-epochs", daemon=True)
        self._thread.start()

    def _run(self, engine: Engine) -> None:
        while not self._stopped.wait(TICK_MS / 1000):
            engine.increment_epoch()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class _Kernel:
    """A compiled kernel and, between calls, an instance that is ready for the next."""

    def __init__(self, engine: Engine, wasm: bytes, spec: KernelSpec) -> None:
        self.spec = spec
        self._engine = engine
        try:
            self._module = Module(engine, wasm)
        except WasmtimeError as error:
            raise LoadError(f"{spec.id}: {error}") from error
        if self._module.imports:
            raise LoadError(f"{spec.id}: imports {self._module.imports[0].name!r}, but a kernel has no imports")
        self._instance: _Instance | None = None

    def call(self, arrays: Mapping[str, Array], params: Params) -> dict[str, Array]:
        """Run the kernel on arrays by name. Returns every output by name."""
        for name, array in arrays.items():
            _check_dtype(self.spec, name, array)
        tensors = {tensor.name: tensor for tensor in self.spec.tensors}
        shapes = {
            name: element_shape(tensors[name].dtype, array.shape) if name in tensors else array.shape
            for name, array in arrays.items()
        }
        solved = solve(self.spec, shapes)
        block = params_block(self.spec, solved.symbols, params)
        instance = self._instance or _Instance(self._engine, self._module, self.spec)
        self._instance = None
        layout = _Layout(self.spec, solved, instance.heap_base, len(block))
        instance.reserve(layout.end)
        instance.write(layout.descriptor, layout.words.tobytes())
        instance.write(layout.params, block)
        for tensor in self.spec.inputs + self.spec.outputs:
            if tensor.name in arrays and (tensor.region < Region.OUTPUT or tensor.inout):
                instance.write(layout.tensors[tensor.name], np.ascontiguousarray(arrays[tensor.name]).tobytes())
        instance.enter(layout.descriptor)
        self._instance = instance
        return {tensor.name: _read_array(instance, layout, tensor, solved) for tensor in self.spec.outputs}

    def known_answer_sha256(self) -> str:
        outputs = self.call(known_answer.inputs(self.spec), {})
        region = bytearray()
        for tensor in self.spec.outputs:
            region += b"\0" * (-len(region) % ALIGN) + outputs[tensor.name].tobytes()
        return hashlib.sha256(region).hexdigest()


class _Instance:
    """A kernel's instance in a store of its own, with the kernel's limits."""

    def __init__(self, engine: Engine, module: Module, spec: KernelSpec) -> None:
        self._spec = spec
        self._store = Store(engine)
        self._store.set_limits(
            memory_size=spec.limits.max_memory_pages * PAGE,
            table_elements=spec.limits.max_table_elements,
            instances=1,
            memories=1,
        )
        self._store.set_epoch_deadline(spec.limits.max_epoch_ticks + 1)
        try:
            exports = Instance(self._store, module, []).exports(self._store)
        except (WasmtimeError, Trap) as error:
            raise LoadError(f"{spec.id}: {error}") from error
        self._memory = _export(spec, exports, "memory", Memory)
        self._entry = _export(spec, exports, spec.entry_point, Func)
        self.heap_base: int = _export(spec, exports, "__heap_base", WasmGlobal).value(self._store)

    def reserve(self, size: int) -> None:
        """Make linear memory at least ``size`` bytes."""
        pages = -(-size // PAGE)
        have = self._memory.size(self._store)
        if pages > have:
            try:
                self._memory.grow(self._store, pages - have)
            except WasmtimeError as error:
                limit = self._spec.limits.max_memory_pages
                raise MemoryError(
                    f"{self._spec.id}: the call needs {pages} pages of memory, the limit is {limit}"
                ) from error

    def write(self, offset: int, data: bytes) -> None:
        if data:
            self._memory.write(self._store, data, offset)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._memory.read(self._store, offset, offset + size))

    def enter(self, descriptor: int) -> None:
        """Call the entry point. Raises a KernelError for a trap or a return code other than 0."""
        # One tick more than the budget: the first comes at any moment, and a call gets its budget in full.
        self._store.set_epoch_deadline(self._spec.limits.max_epoch_ticks + 1)
        try:
            code: int = self._entry(self._store, descriptor)
        except Trap as trap:
            raise _from_trap(self._spec.id, trap) from trap
        except WasmtimeError as error:
            raise LoadError(f"{self._spec.id}: {error}") from error
        if code != 0:
            raise _from_code(self._spec.id, code)


class _Layout:
    """Where a call's parts lie in linear memory."""

    def __init__(self, spec: KernelSpec, solved: Solved, heap_base: int, params_size: int) -> None:
        self.descriptor = _align(heap_base)
        self.params = self.descriptor + _align(40)
        self.tensors: dict[str, int] = {}
        self.end = _align(self.params + params_size)
        regions: list[int] = []
        for region in Region:
            present = [t for t in spec.tensors if t.region == region and t.name in solved.shapes]
            regions += self._place(present, solved)
        self.words = np.array([*regions, self.params, params_size], "<u4")

    def _place(self, tensors: list[Tensor], solved: Solved) -> tuple[int, int]:
        """Lay the tensors of a region one behind the other; returns its offset and size, 0 and 0 for none."""
        if not tensors:
            return 0, 0
        start = end = self.end
        for tensor in tensors:
            self.tensors[tensor.name] = _align(end)
            end = _align(end) + tensor.dtype.nbytes(solved.shapes[tensor.name])
        self.end = _align(end)
        return start, end - start


def _align(offset: int) -> int:
    return -(-offset // ALIGN) * ALIGN


def _read_array(instance: _Instance, layout: _Layout, tensor: Tensor, solved: Solved) -> Array:
    shape = solved.shapes[tensor.name]
    data = instance.read(layout.tensors[tensor.name], tensor.dtype.nbytes(shape))
    return np.frombuffer(data, tensor.dtype.numpy).reshape(array_shape(tensor.dtype, shape)).copy()


def _export(spec: KernelSpec, exports: Any, name: str, kind: type[_Export]) -> _Export:
    value = exports.get(name)
    if not isinstance(value, kind):
        raise LoadError(f"{spec.id}: exports no {kind.__name__.lower()} {name!r}")
    return value


def _from_trap(kernel_id: str, trap: Trap) -> KernelError:
    code = trap.trap_code
    kind = TRAPS.get(code, KernelError) if code is not None else KernelError
    return kind(f"{kernel_id}: {trap.message.splitlines()[0]}")


def _from_code(kernel_id: str, code: int) -> KernelTrap:
    kind = by_code(code) if code > 0 else KernelTrap
    if not issubclass(kind, KernelTrap):
        kind = KernelTrap
    return kind(f"{kernel_id} returned {code} ({kind.__name__})", code)


def _sort_arguments(
    spec: KernelSpec, positional: Sequence[ArrayLike | None], named: Mapping[str, Any]
) -> tuple[dict[str, Array], dict[str, float | int | bool]]:
    """Split a call's arguments into arrays by tensor name and parameters."""
    if len(positional) > len(spec.inputs):
        raise TypeError(f"{spec.id} takes {len(spec.inputs)} inputs, got {len(positional)}")
    tensors = {tensor.name: tensor for tensor in spec.inputs}
    arguments: dict[str, ArrayLike | None] = dict(zip(tensors, positional, strict=False))
    params: dict[str, Any] = {}
    for name, value in named.items():
        if name in arguments:
            raise TypeError(f"{spec.id}: input {name} is given twice")
        (arguments if name in tensors else params)[name] = value
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.asarray(value, tensors[name].dtype.numpy)
        for name, value in arguments.items()
        if value is not None
    }
    return arrays, params


def _check_dtype(spec: KernelSpec, name: str, array: Array) -> None:
    dtype: DType | None = next((t.dtype for t in spec.tensors if t.name == name), None)
    if dtype is not None and array.dtype != np.dtype(dtype.numpy):
        raise TypeError(f"{spec.id}: {name} has dtype {array.dtype}, must be {np.dtype(dtype.numpy)} ({dtype.name})")
