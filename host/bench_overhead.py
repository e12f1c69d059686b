"""What a call costs beside the kernel's own work, in microseconds, for each way of calling under Wasmtime.

Calls are those of the known-answer tests, which are small. All ways are timed in turns, and the shortest time of each
counts. The kernel's own time is that of a call from WebAssembly; it is taken off the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from host import compatibility, known_answer
from host.pack.flavours import FEATURES
from host.pack.spec import KernelSpec
from host.runtime import Array, PackLike, Runtime, public_call, repeated_call
from host.security_counters import MemoryCounters

Report = Callable[[str], None]
"""Called with what is measured next."""

BATCH = 32
"""Calls of one `Runtime.batch`."""
_ROUNDS = 60
_SECONDS = 0.002  # that one timing should take


@dataclass(frozen=True)
class CallOverhead:
    """Microseconds: the kernel's ``own`` time, and what each way adds to it.

    ``public`` is wasmtime's Func.__call__ on an instance with everything in place. ``run`` has numpy arrays, which are
    copied in and out; ``run_tensors`` tensors, which are not. ``batch`` is one call of a batch of `BATCH`.
    """

    id: str
    symbols: Mapping[str, int]
    own: float
    public: float
    run: float
    run_tensors: float
    bound: float
    batch: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run_overhead(pack: PackLike, report: Report) -> tuple[CallOverhead, ...]:
    """Measure every kernel of ``pack``. Raises KernelError or PackError for one that does not run."""
    overheads = []
    with Runtime(counters=MemoryCounters()) as runtime:
        runtime.install(pack)
        for spec in pack.kernels.values():
            report(spec.id)
            overheads.append(_overhead(runtime, pack, spec))
    return tuple(overheads)


def _overhead(runtime: Runtime, pack: PackLike, spec: KernelSpec) -> CallOverhead:
    inputs = known_answer.inputs(spec)
    arrays = [inputs.get(tensor.name) for tensor in spec.arguments]
    bound = runtime.bind(spec.id, *_inout_as_tensors(runtime, spec, arrays))
    tensors = [bound.tensors.get(tensor.name) for tensor in spec.arguments]
    out = bound.out
    batch = [runtime.bind(spec.id, *tensors, **_out(spec, out)) for _ in range(BATCH)]
    wasm = pack.wasm(spec.id, compatibility.choose(pack.kernel(spec.id), FEATURES))
    repeat = repeated_call(wasm, spec, inputs)
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "own": (lambda: repeat(1000), 1000),
        "public": (public_call(wasm, spec, inputs), 1),
        "run": (lambda: runtime.run(spec.id, *arrays), 1),
        "run_tensors": (lambda: runtime.run(spec.id, *tensors, **_out(spec, out)), 1),
        "bound": (bound, 1),
        "batch": (lambda: runtime.batch(batch), BATCH),
    }
    times = _shortest_times(ways)
    own = times.pop("own")
    return CallOverhead(spec.id, spec.test.symbols, own, **{name: taken - own for name, taken in times.items()})


def _inout_as_tensors(runtime: Runtime, spec: KernelSpec, arrays: Sequence[Array | None]) -> list[Array | None]:
    return [
        runtime.tensor(array.shape, tensor.dtype.name, array) if tensor.inout and array is not None else array
        for tensor, array in zip(spec.arguments, arrays, strict=True)
    ]


def _out(spec: KernelSpec, out: Array) -> dict[str, Array]:
    """``out=`` where the output is no argument already."""
    return {} if spec.outputs[0].inout else {"out": out}


def _shortest_times(ways: Mapping[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Microseconds of a call in each way."""
    repeats = {name: _repeats(call) for name, (call, _) in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, (call, calls) in ways.items():
            count = repeats[name]
            begin = time.perf_counter_ns()
            for _ in range(count):
                call()
            taken[name].append((time.perf_counter_ns() - begin) / count / calls / 1000)
    return {name: float(np.min(times)) for name, times in taken.items()}


def _repeats(call: Callable[[], object]) -> int:
    """How often to call in one timing."""
    call()
    begin = time.perf_counter()
    call()
    return max(1, int(_SECONDS / (time.perf_counter() - begin)))
