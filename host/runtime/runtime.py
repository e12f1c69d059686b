"""`Runtime`: a pack installed under Wasmtime, and calls of its kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from host.compatibility import CompatibilityChecker
from host.errors import KernelError
from host.metrics import Metrics
from host.native import PREFIX, NativeOps
from host.pack.flavours import FEATURES
from host.pack.spec import DTYPES, DType, KernelSpec
from host.recovery import Recovery
from host.runtime.bound import Bound, run_all, view_of
from host.runtime.call import Array, Params
from host.runtime.engine import KernelEngine, Settings
from host.runtime.kernel import Kernel
from host.runtime.layout import align
from host.runtime.loaded import Loaded, PackLike, load
from host.runtime.watch import Watch
from host.security_counters import Counters, SecurityCounters
from host.shapes import array_shape
from host.upgrade import Upgrade

if TYPE_CHECKING:
    from host.prometheus import MetricsServer
    from host.wasi_nn import Graph, Guest

Shape = int | Sequence[int]


class Runtime:
    """A Wasmtime engine, its clock, and the kernels of the pack that is installed. Threads may use it at once.

    Of each kernel the flavour is taken that makes most of ``features``. ``counters`` keep downgrades out: by default
    those in the user's state folder. With ``strict``, no numpy reference makes up for a kernel that faults.
    """

    def __init__(
        self, features: Iterable[str] = FEATURES, *, counters: Counters | None = None, strict: bool = False
    ) -> None:
        self._engine = KernelEngine(Settings(tuple(features)))
        checker = CompatibilityChecker.of_this_host(self._engine.settings.features)
        self._upgrade: Upgrade[PackLike, Loaded] = Upgrade(
            partial(load, self._engine),
            Loaded.health_check,
            Loaded.close,
            counters or SecurityCounters(),
            check=lambda pack: checker.check(pack.manifest),
        )
        self._metrics = Metrics(self._upgrade)
        self._recovery = Recovery(strict=strict, fell_back=self._metrics.fell_back)
        self._native = NativeOps()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every kernel and stop the clock. No kernel may be called afterwards; tensors stay."""
        self._upgrade.close()
        self._engine.close()

    # ---- packs ----

    def install(self, pack: PackLike) -> None:
        """Put ``pack`` in place of the current pack, while calls go on: host/upgrade.py says in which steps.

        Raises RuntimeTooOld, RuntimeTooNew, MissingFeature, DowngradeRefused, LoadError, HealthCheckFailed or what
        else a known-answer test ends with; the pack that was installed before then stays.
        """
        self._upgrade.install(pack)

    def rollback(self) -> None:
        """Go back to the pack before, for which there are 300 s.

        Raises NoPreviousPack, DowngradeRefused, and what its health check ends with; the current pack then stays.
        """
        self._upgrade.rollback()

    def kernels(self) -> tuple[str, ...]:
        """Ids of the installed kernels, in the pack's order."""
        current = self._upgrade.current
        return tuple(current.kernels) if current else ()

    # ---- what became of calls ----

    def stats(self) -> dict[str, Any]:
        """Calls, where they ran, errors by kind, fallbacks, the pack, swaps: `host.metrics.Metrics.stats`."""
        return self._metrics.stats()

    def metrics_text(self) -> str:
        """The same in Prometheus' text format, with a histogram of latencies."""
        from host import prometheus  # it takes a while to import

        return prometheus.metrics_text(self._metrics)

    def serve_metrics(self, port: int) -> MetricsServer:
        """Serve that over HTTP to this machine until the server is closed; port 0 takes a free one. Raises OSError."""
        from host import prometheus

        return prometheus.MetricsServer(self._metrics, port)

    # ---- calls ----

    def allow_native(self, operation: str) -> None:
        """Let `run` take ``native:<operation>``, which no sandbox holds. Raises NoSuchKernel for an unknown one."""
        self._native.allow(operation)

    def run(self, kernel_id: str, *arguments: ArrayLike | None, out: Array | None = None, **named: Any) -> Array:
        """Call a kernel and return its (first) output: a new array, or ``out`` filled with it.

        ``arguments`` are the kernel's outputs that it reads first, then its inputs, in their order, None for one that
        is optional and absent; they may also be given by name, as parameters are. An array that is read first is also
        where the result goes. An array must have the kernel's dtype exactly; lists are converted. Those that are
        tensors of this runtime are not copied, and the result is a tensor too when one of them is. Raises TypeError and
        ValueError for arguments that do not fit, MemoryError when they do not fit the kernel's memory, NoPack,
        NoSuchKernel and other KernelErrors. ``native:<operation>`` calls a native operation that was allowed.
        """
        if kernel_id.startswith(PREFIX):
            return self._run_native(kernel_id, arguments, out, named)
        with self._upgrade.lease() as loaded:
            kernel = loaded.find(kernel_id)
            arrays, params = _arguments(kernel, arguments, out, named)
            return self._call(loaded, kernel, arrays, params)[kernel.spec.outputs[0].name]

    def backward(self, kernel_id: str, *arguments: ArrayLike | None, **named: Any) -> dict[str, Array]:
        """Call a kernel's ``kernel_backward`` on the tensors that its description lists; returns the gradients by name.

        Raises NoSuchKernel for a kernel that has none, else as `run` does.
        """
        with self._upgrade.lease() as loaded:
            kernel = loaded.find_backward(kernel_id)
            return self._call(loaded, kernel, *kernel.planner.sort(arguments, named))

    def bind(self, kernel_id: str, *arguments: ArrayLike | None, out: Array | None = None, **named: Any) -> Bound:
        """Prepare the call that `run` would make, to be made again and again at the lowest cost.

        Tensors of this runtime are used where they lie; other arrays are copied into new ones, now. Write to
        ``bound.tensors[name]`` and call ``bound()``, which returns ``bound.out``. ``out``, or an output that is read
        first, must be a tensor. Bound calls are for the pack that is installed now; while another one is, they raise
        NoPack. Raises as `run` does.
        """
        with self._upgrade.lease() as loaded:
            kernel = loaded.find(kernel_id)
            return kernel.bind(*_arguments(kernel, arguments, out, named), self._watch(loaded, kernel))

    def batch(self, calls: Sequence[Bound]) -> list[Array]:
        """Make bound calls in order and return their outputs; neighbours of one kernel share an instance.

        Raises the first KernelError that a call ends with; the calls behind it are then not made.
        """
        return run_all(calls)

    def tensor(self, shape: Shape, dtype: str = "f32", data: ArrayLike | None = None) -> Array:
        """A new array that kernels work on without copying it: zeros, or what is in ``data``.

        ``shape`` is in elements, also of q8 and q4 tensors, which are arrays of bytes (u1). ``dtype`` is a name of
        `host.pack.spec.DTYPES`. Its memory is free again when nothing refers to it or to a view of it. Raises
        ValueError, and MemoryError when the arena is full.
        """
        (tensor,) = self.tensors((shape, dtype))
        if data is not None:
            tensor[...] = data
        return tensor

    def tensors(self, *described: tuple[Shape, str]) -> tuple[Array, ...]:
        """Several new tensors of zeros, given by shape and dtype, one behind the other as in a region.

        For the kernels that have several tensors in one region, such as A and B of lora_apply: in this order they need
        no copying.
        """
        kinds = [(_sizes(shape), _dtype(name)) for shape, name in described]
        offsets, end = [], 0
        for sizes, dtype in kinds:
            offsets.append(align(end))
            end = align(end) + dtype.nbytes(sizes)
        _, room = self._engine.arena.block(end)
        room[...] = 0
        return tuple(
            view_of(room[offset:], dtype.numpy, array_shape(dtype, sizes))
            for offset, (sizes, dtype) in zip(offsets, kinds, strict=True)
        )

    def guest(self, wasm: bytes, *, models: Mapping[str, Graph] | None = None, **options: Any) -> Guest:
        """A WebAssembly program that may use WASI-NN: docs/wasi-nn.md. Kernels of the pack are models by their ids.

        ``options`` are those of `host.wasi_nn.Guest`. Raises as that does.
        """
        from host.wasi_nn import Guest, kernel_graphs

        return Guest(wasm, models={**kernel_graphs(self.run, self.kernels()), **(models or {})}, **options)

    def _call(self, loaded: Loaded, kernel: Kernel, arrays: Mapping[str, Array], params: Params) -> dict[str, Array]:
        record = self._metrics.calls(kernel.spec.id, "wasm").record
        begin = perf_counter_ns()
        try:
            outputs = kernel.call(arrays, params)
        except KernelError as error:
            record(perf_counter_ns() - begin)
            watch = self._watch(loaded, kernel)
            return watch.failed(error, arrays, params, intact=not kernel.in_arena(arrays))
        record(perf_counter_ns() - begin)
        return outputs

    def _run_native(
        self, called: str, arguments: Sequence[ArrayLike | None], out: Array | None, named: Mapping[str, Any]
    ) -> Array:
        begin = perf_counter_ns()
        result = self._native.run(called, *arguments, out=out, **named)
        self._metrics.calls(called, "native").record(perf_counter_ns() - begin)
        return result

    def _watch(self, loaded: Loaded, kernel: Kernel) -> Watch:
        is_current = partial(self._upgrade.is_current, loaded)
        return Watch(self._metrics, self._recovery, loaded.pack, kernel.spec, is_current)


def _arguments(
    kernel: Kernel, arguments: Sequence[ArrayLike | None], out: Array | None, named: Mapping[str, Any]
) -> tuple[dict[str, Array], dict[str, float | int | bool]]:
    """Arrays by name, ``out`` among them, and parameters."""
    if out is None:
        return kernel.planner.sort(arguments, named)
    spec: KernelSpec = kernel.spec
    output = spec.outputs[0]
    if output.inout:
        return kernel.planner.sort(arguments, {**named, output.name: out})
    arrays, params = kernel.planner.sort(arguments, named)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{spec.id}: out is a {type(out).__name__}, must be an array")
    arrays[output.name] = out
    return arrays, params


def _sizes(shape: Shape) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(size < 0 for size in sizes):
        raise ValueError(f"the shape {sizes} has a negative dimension")
    return sizes


def _dtype(name: str) -> DType:
    try:
        return DTYPES[name]
    except KeyError:
        raise ValueError(f"no dtype {name!r}; dtypes: {', '.join(DTYPES)}") from None
