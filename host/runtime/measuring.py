"""Single calls of modules that are in no pack, for builds and benchmarks: what they answer, say and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from wasmtime import Func, Instance, Module

from host.pack.spec import KernelSpec
from host.runtime.call import Array, Params
from host.runtime.engine import KernelEngine, Settings
from host.runtime.instance import KernelInfo, KernelInstance
from host.runtime.kernel import Kernel


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
    with _alone(wasm, spec, Settings(counted=True)) as kernel:
        instance, frame = kernel.prepare(inputs)
        before = instance.fuel
        instance.enter(frame.block)
        return before - instance.fuel


def prepared_call(wasm: bytes, spec: KernelSpec, inputs: Mapping[str, Array], *, epochs: bool) -> Callable[[], None]:
    """A call to be made again and again and timed, on an engine that looks at ``epochs``, as all others do, or not.

    No clock ends it. Parameters are at their defaults. Raises as `Runtime.run`.
    """
    engine = KernelEngine(Settings(epochs=epochs))
    engine.close()
    instance, frame = Kernel(engine, wasm, spec).prepare(inputs)
    return partial(instance.enter, frame.block)


_REPEAT = """(module
  (import "kernel" "call" (func $call (param i32) (result i32)))
  (func (export "repeat") (param $descriptor i32) (param $times i32)
    (loop $again
      (drop (call $call (local.get $descriptor)))
      (local.set $times (i32.sub (local.get $times) (i32.const 1)))
      (br_if $again (local.get $times)))))"""


def repeated_call(wasm: bytes, spec: KernelSpec, inputs: Mapping[str, Array]) -> Callable[[int], None]:
    """Calls the kernel so many times, at least once, from WebAssembly: nothing of Python is in what a call takes.

    Otherwise like `prepared_call`; return codes are not looked at.
    """
    engine = KernelEngine()
    engine.close()
    instance, frame = Kernel(engine, wasm, spec).prepare(inputs)
    instance.enter(frame.block)
    instance.store.set_limits(instances=2)
    module = Module(engine.wasmtime, _REPEAT)
    repeat = Instance(instance.store, module, [instance.entry_point]).exports(instance.store)["repeat"]
    assert isinstance(repeat, Func)
    return partial(_repeat, repeat, instance)


def _repeat(repeat: Func, instance: KernelInstance, times: int) -> None:
    repeat(instance.store, instance.block_at, times)


def public_call(wasm: bytes, spec: KernelSpec, inputs: Mapping[str, Array]) -> Callable[[], None]:
    """`prepared_call` by way of wasmtime's own ``Func.__call__``."""
    engine = KernelEngine()
    engine.close()
    instance, frame = Kernel(engine, wasm, spec).prepare(inputs)
    instance.enter(frame.block)

    def call() -> None:
        instance.store.set_epoch_deadline(spec.limits.max_epoch_ticks)
        instance.entry_point(instance.store, instance.block_at)

    return call


@contextmanager
def _alone(wasm: bytes, spec: KernelSpec, settings: Settings | None = None) -> Iterator[Kernel]:
    """A kernel on an engine of its own."""
    engine = KernelEngine(settings)
    try:
        kernel = Kernel(engine, wasm, spec)
        yield kernel
        kernel.close()
    finally:
        engine.close()
