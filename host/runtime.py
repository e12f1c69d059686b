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
import re
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from wasmtime import Config, Engine, Func, Instance, Memory, Module, Store, Trap, TrapCode, WasmtimeError
from wasmtime import Global as WasmGlobal

from host import compatibility, known_answer
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
    MalformedPack,
    MemoryAccessViolation,
    NoPack,
    NoSuchKernel,
    StackOverflow,
    UndefinedElement,
    Unreachable,
    by_code,
)
from host.pack.flavours import FEATURES
from host.pack.linking import PAGE
from host.pack.manifest import ManifestKernel
from host.pack.spec import TICK_MS, DType, KernelSpec, Region, Tensor, param_bits, params_block
from host.pack.wasm import export_problem, export_types
from host.shapes import Solved, array_shape, element_shape, solve

Array = NDArray[Any]
Params = Mapping[str, float | int | bool]
_Export = TypeVar("_Export")

ALIGN = 16
"""Every tensor, the descriptor and the params block start at a multiple of this."""
INFO = struct.Struct("<II24s24s")
"""What kernel_info points to: size, ABI version, name, version."""
_CAUSE = re.compile(r"^ *([0-9]+: )?(wasm trap: )?")

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
    def kernel(self, kernel_id: str) -> ManifestKernel: ...
    def wasm(self, kernel_id: str, flavour: str) -> bytes: ...


@dataclass(frozen=True)
class KernelInfo:
    """What a module's ``kernel_info`` says of it."""

    abi_version: int
    name: str
    version: str


class Runtime:
    """A Wasmtime engine, its clock, and the kernels of the pack that is installed.

    Of each kernel the flavour is taken that makes most of ``features``.
    """

    def __init__(self, features: Iterable[str] = FEATURES) -> None:
        self._features = tuple(features)
        self._engine = Engine(_config(self._features))
        self._ticker = _Ticker(self._engine)
        self._pack: PackLike | None = None
        self._kernels: dict[str, _Kernel] = {}
        self._backward: dict[str, _Kernel] = {}
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
        """End every kernel and stop the clock. No kernel may be called afterwards."""
        with self._lock:
            self._replace(None, {}, {})
        self._ticker.stop()

    def install(self, pack: PackLike) -> None:
        """Compile every kernel of ``pack``, run the known-answer tests, and put it in place of the current pack.

        Raises RuntimeTooOld, MissingFeature, LoadError or HealthCheckFailed; the pack that was installed
        before then stays.
        """
        kernels, backward = {}, {}
        for id, spec in pack.kernels.items():
            flavour = compatibility.choose(pack.kernel(id), self._features)
            module = _compile(self._engine, pack.wasm(id, flavour), spec)
            kernels[id] = _Kernel(self._engine, module, spec)
            if (gradients := spec.of_backward()) is not None:
                backward[id] = _Kernel(self._engine, module, gradients)
        for kernel in kernels.values():
            expected = kernel.spec.test.sha256
            if expected is not None and (actual := kernel.known_answer_sha256()) != expected:
                raise HealthCheckFailed(f"{kernel.spec.id}: known answer has sha256 {actual}, must be {expected}")
        with self._lock:
            self._replace(pack, kernels, backward)

    def _replace(self, pack: PackLike | None, kernels: dict[str, _Kernel], backward: dict[str, _Kernel]) -> None:
        for kernel in [*self._kernels.values(), *self._backward.values()]:
            kernel.close()
        self._pack, self._kernels, self._backward = pack, kernels, backward

    def kernels(self) -> tuple[str, ...]:
        """Ids of the installed kernels, in the pack's order."""
        return tuple(self._kernels)

    def stats(self) -> dict[str, Any]:
        """Calls so far, and how many ended in which error."""
        return {"calls": self._calls, "faults": dict(self._faults)}

    def run(self, kernel_id: str, *arguments: ArrayLike | None, out: Array | None = None, **named: Any) -> Array:
        """Call a kernel and return its (first) output: a new array, or ``out`` filled with it.

        ``arguments`` are the kernel's outputs that it reads first, then its inputs, in their order, None for one that
        is optional and absent; they may also be given by name, as parameters are. An array that is read first is also
        where the result goes. An array must have the kernel's dtype exactly; lists are converted. Raises TypeError and
        ValueError for arguments that do not fit, MemoryError when they do not fit the kernel's memory, NoPack,
        NoSuchKernel and other KernelErrors.
        """
        kernel = self._find(kernel_id, self._kernels)
        output = kernel.spec.outputs[0]
        if out is not None and output.inout:
            named = {**named, output.name: out}
        arrays, params = _sort_arguments(kernel.spec, arguments, named)
        if out is not None and not output.inout:
            if not isinstance(out, np.ndarray):
                raise TypeError(f"{kernel_id}: out is a {type(out).__name__}, must be an array")
            arrays[output.name] = out
        return self._call(kernel, arrays, params)[output.name]

    def backward(self, kernel_id: str, *arguments: ArrayLike | None, **named: Any) -> dict[str, Array]:
        """Call a kernel's ``kernel_backward`` on the tensors that its description lists; returns the gradients by name.

        Raises NoSuchKernel for a kernel that has none, else as `run` does.
        """
        kernel = self._find(kernel_id, self._backward)
        arrays, params = _sort_arguments(kernel.spec, arguments, named)
        return self._call(kernel, arrays, params)

    def _call(self, kernel: _Kernel, arrays: Mapping[str, Array], params: Params) -> dict[str, Array]:
        """Every output by name; one that was given is filled with its result."""
        with self._lock:
            self._calls += 1
            try:
                outputs = kernel.call(arrays, params)
            except KernelError as error:
                self._faults[type(error).__name__] += 1
                raise
        for name in outputs.keys() & arrays.keys():
            np.copyto(arrays[name], outputs[name])
            outputs[name] = arrays[name]
        return outputs

    def _find(self, kernel_id: str, among: Mapping[str, _Kernel]) -> _Kernel:
        if self._pack is None:
            raise NoPack("no pack is installed")
        try:
            return among[kernel_id]
        except KeyError:
            what = "no kernel" if among is self._kernels else "no gradients of a kernel"
            known = ", ".join(among) or "none"
            raise NoSuchKernel(f"{what} {kernel_id!r} in {self._pack.name}; it has: {known}") from None


def run_module(wasm: bytes, spec: KernelSpec, inputs: Mapping[str, Array], params: Params) -> dict[str, Array]:
    """Call a kernel that is in no pack, once, in an instance of its own. Raises as `Runtime.run` does."""
    with _alone(wasm, spec) as kernel:
        return kernel.call(inputs, params)


def known_answer_sha256(wasm: bytes, spec: KernelSpec) -> str:
    """sha256 (hex) of the output region of the kernel's known-answer test. Raises KernelError when the call fails."""
    with _alone(wasm, spec) as kernel:
        return kernel.known_answer_sha256()


def module_info(wasm: bytes, spec: KernelSpec) -> KernelInfo:
    """What the module says of itself. Raises MalformedPack when that is not in the form of docs/kernel-abi.md."""
    with _alone(wasm, spec) as kernel:
        return kernel.info()


def run_counted(wasm: bytes, spec: KernelSpec, inputs: Mapping[str, Array]) -> int:
    """How many WebAssembly instructions one call takes, parameters being at their defaults. Raises as `Runtime.run`."""
    with _alone(wasm, spec, counted=True) as kernel:
        return kernel.count(inputs)


def prepared_call(wasm: bytes, spec: KernelSpec, inputs: Mapping[str, Array], *, epochs: bool) -> Callable[[], None]:
    """A call to be made again and again and timed, on an engine that looks at ``epochs``, as all others do, or not.

    No clock ends it. Parameters are at their defaults. Raises as `Runtime.run`.
    """
    config = _config(FEATURES)
    config.epoch_interruption = epochs
    engine = Engine(config)
    instance, layout, _solved = _Kernel(engine, _compile(engine, wasm, spec), spec)._prepare(inputs, {})
    return partial(instance.enter, layout.descriptor)


@contextmanager
def _alone(wasm: bytes, spec: KernelSpec, counted: bool = False) -> Iterator[_Kernel]:
    """A kernel on an engine of its own, whose instructions can be ``counted``."""
    config = _config(FEATURES)
    config.consume_fuel = counted  # of which Wasmtime takes one for each instruction
    engine = Engine(config)
    ticker = _Ticker(engine)
    try:
        kernel = _Kernel(engine, _compile(engine, wasm, spec), spec)
        yield kernel
        kernel.close()
    finally:
        ticker.stop()


def _config(features: Iterable[str]) -> Config:
    """Wasmtime as requirement R2 has it; whatever kernels may not use is off."""
    config = Config()
    config.cranelift_opt_level = "speed"
    config.epoch_interruption = True
    config.wasm_simd = "simd128" in features
    config.wasm_bulk_memory = "bulk-memory" in features
    config.wasm_multi_value = True
    config.wasm_relaxed_simd = False
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.memory_guard_size = PAGE
    return config


def _compile(engine: Engine, wasm: bytes, spec: KernelSpec) -> Module:
    try:
        module = Module(engine, wasm)
    except WasmtimeError as error:
        raise LoadError(f"{spec.id}: {error}") from error
    if module.imports:
        raise LoadError(f"{spec.id}: imports {module.imports[0].name!r}, but a kernel has no imports")
    problem = export_problem(export_types(module), spec)
    if problem is not None:
        raise LoadError(problem)
    return module


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

    def __init__(self, engine: Engine, module: Module, spec: KernelSpec) -> None:
        self.spec = spec
        self._engine = engine
        self._module = module
        self._instance: _Instance | None = None

    def close(self) -> None:
        """Let the kernel end its instance."""
        if self._instance is not None:
            self._instance.cleanup()
            self._instance = None

    def call(self, arrays: Mapping[str, Array], params: Params) -> dict[str, Array]:
        """Run the kernel on arrays by name. Returns every output by name."""
        instance, layout, solved = self._prepare(arrays, params)
        instance.enter(layout.descriptor)
        self._instance = instance
        return {tensor.name: _read_array(instance, layout, tensor, solved) for tensor in self.spec.outputs}

    def count(self, arrays: Mapping[str, Array]) -> int:
        """The fuel that one call takes."""
        instance, layout, _solved = self._prepare(arrays, {})
        before = instance.fuel
        instance.enter(layout.descriptor)
        return before - instance.fuel

    def info(self) -> KernelInfo:
        """What the kernel says of itself."""
        return _Instance(self._engine, self._module, self.spec).info()

    def known_answer_sha256(self) -> str:
        outputs = self.call(known_answer.inputs(self.spec), {})
        region = bytearray()
        for tensor in self.spec.outputs:
            region += b"\0" * (-len(region) % ALIGN) + outputs[tensor.name].tobytes()
        return hashlib.sha256(region).hexdigest()

    def _prepare(self, arrays: Mapping[str, Array], params: Params) -> tuple[_Instance, _Layout, Solved]:
        """Everything of a call but the call. The instance is this call's alone."""
        for name, array in arrays.items():
            _check_dtype(self.spec, name, array)
        tensors = {tensor.name: tensor for tensor in self.spec.tensors}
        shapes = {name: _shape(self.spec, tensors.get(name), array) for name, array in arrays.items()}
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
        return instance, layout, solved


class _Instance:
    """A kernel's instance in a store of its own, with the kernel's limits, initialised."""

    def __init__(self, engine: Engine, module: Module, spec: KernelSpec) -> None:
        self._spec = spec
        self._store = Store(engine)
        self._store.set_limits(
            memory_size=spec.limits.max_memory_pages * PAGE,
            table_elements=spec.limits.max_table_elements,
            instances=1,
            memories=1,
        )
        with suppress(WasmtimeError):
            self._store.set_fuel(2**62)  # only where it is counted
        self._limit_time()
        try:
            self._exports = Instance(self._store, module, []).exports(self._store)
        except (WasmtimeError, Trap) as error:
            raise LoadError(f"{spec.id}: {error}") from error
        self._memory = self._export("memory", Memory)
        self._entry = self._export(spec.entry_point, Func)
        self.heap_base: int = self._export("__heap_base", WasmGlobal).value(self._store)
        self._initialise()

    @property
    def fuel(self) -> int:
        """What is left of it."""
        return self._store.get_fuel()

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
        code: int = self._run(self._entry, descriptor)
        if code != 0:
            raise _from_code(self._spec.id, code)

    def cleanup(self) -> None:
        """Call kernel_cleanup, after which the instance is of no more use. What it ends with is nobody's concern."""
        with suppress(KernelError):
            self._run(self._export("kernel_cleanup", Func))

    def info(self) -> KernelInfo:
        """What kernel_info says."""
        offset = self._run(self._export("kernel_info", Func)) & 0xFFFFFFFF
        if offset % 4 or offset + INFO.size > self._memory.data_len(self._store):
            raise MalformedPack(f"{self._spec.id}: kernel_info returns {offset}, where no struct can be")
        size, abi_version, name, version = INFO.unpack(self.read(offset, INFO.size))
        if size != INFO.size:
            raise MalformedPack(f"{self._spec.id}: kernel_info has size {size}, must be {INFO.size}")
        return KernelInfo(abi_version, *(_text(self._spec, field) for field in (name, version)))

    def _initialise(self) -> None:
        """Call kernel_init with every parameter's default."""
        block = b"".join(param_bits(param, param.default) for param in self._spec.params)
        offset = _align(self.heap_base) if block else 0
        self.reserve(offset + len(block))
        self.write(offset, block)
        try:
            code = self._run(self._export("kernel_init", Func), offset, len(block))
        except KernelError as error:
            raise LoadError(f"kernel_init of {error}") from error
        if code != 0:
            raise LoadError(f"{self._spec.id}: kernel_init returned {code}")

    def _run(self, function: Func, *arguments: int) -> Any:
        """Call an export under the kernel's limits. Raises a KernelError for a trap."""
        self._limit_time()
        try:
            return function(self._store, *arguments)
        except Trap as trap:
            raise _from_trap(self._spec.id, trap) from trap
        except WasmtimeError as error:
            raise LoadError(f"{self._spec.id}: {error}") from error

    def _limit_time(self) -> None:
        # One tick more than the budget: the first comes at any moment, and a call gets its budget in full.
        self._store.set_epoch_deadline(self._spec.limits.max_epoch_ticks + 1)

    def _export(self, name: str, kind: type[_Export]) -> _Export:
        value = self._exports[name]
        assert isinstance(value, kind)  # `_compile` made sure
        return value


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


def _shape(spec: KernelSpec, tensor: Tensor | None, array: Array) -> tuple[int, ...]:
    """The shape in elements of an argument. Raises ValueError, naming it, for a row that is not whole blocks."""
    if tensor is None:
        return array.shape
    try:
        return element_shape(tensor.dtype, array.shape)
    except ValueError as error:
        raise ValueError(f"{spec.id}: {tensor.name}: {error}") from error


def _text(spec: KernelSpec, field: bytes) -> str:
    """Text of kernel_info: ASCII, NUL at its end."""
    text, nul, rest = field.partition(b"\0")
    if not nul or any(rest) or not text.isascii():
        raise MalformedPack(f"{spec.id}: kernel_info has {field!r} where a text must be")
    return text.decode("ascii")


def _from_trap(kernel_id: str, trap: Trap) -> KernelError:
    code = trap.trap_code
    kind = TRAPS.get(code, KernelError) if code is not None else KernelError
    # Wasmtime shows a stack of functions, which have no names here, then the causes, a line each.
    _stack, _, causes = trap.message.partition("Caused by:\n")
    told = "; ".join(_CAUSE.sub("", line) for line in causes.splitlines()) or trap.message
    return kind(f"{kernel_id}: {told}")


def _from_code(kernel_id: str, code: int) -> KernelTrap:
    kind = by_code(code) if code > 0 else KernelTrap
    if not issubclass(kind, KernelTrap):
        kind = KernelTrap
    return kind(f"{kernel_id} returned {code} ({kind.__name__})", code)


def _sort_arguments(
    spec: KernelSpec, positional: Sequence[ArrayLike | None], named: Mapping[str, Any]
) -> tuple[dict[str, Array], dict[str, float | int | bool]]:
    """Split a call's arguments into arrays by tensor name and parameters."""
    tensors = {tensor.name: tensor for tensor in spec.arguments}
    order = [name for name in tensors if name not in named or not tensors[name].inout]
    if len(positional) > len(order):
        raise TypeError(f"{spec.id} takes {len(order)} inputs, got {len(positional)}")
    arguments: dict[str, ArrayLike | None] = dict(zip(order, positional, strict=False))
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
