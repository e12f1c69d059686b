"""A kernel under Wasmtime against the same C compiled for this machine and against numpy, in nanoseconds an element.

All of them are timed in turns, and the shortest time of each counts. Kernels, wasm and native, are called from a loop
that is no Python; what Python costs numpy is numpy's own.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import bench_numpy, formats
from host.bench_wasmtime import Report, elements, fits, with_symbols
from host.errors import BuildError
from host.native_build import NativeCall, build_native
from host.pack.flavours import FEATURES, best
from host.pack.source import PackSource
from host.pack.spec import KernelSpec, Tensor
from host.runtime import PackLike, repeated_call
from host.shapes import array_shape

Array = NDArray[Any]
Symbols = Mapping[str, int]

_Call = Callable[[int], object]
"""Makes so many calls."""
_SECONDS = 0.4  # for the rounds of a comparison, of which there are at least
_ROUNDS = 5
_TIMING = 0.002  # seconds that one timing should take

SHAPES: Mapping[str, Sequence[Symbols]] = {
    "rope": [
        {"batch": 1, "seq": 1, "heads": 8, "dim": 128},
        {"batch": 1, "seq": 64, "heads": 8, "dim": 128},
        {"batch": 1, "seq": 512, "heads": 32, "dim": 128},
    ],
    "rmsnorm": [{"rows": 1, "dim": 1024}, {"rows": 16, "dim": 4096}, {"rows": 512, "dim": 4096}],
    "swiglu": [{"n": 1024}, {"n": 65536}, {"n": 2097152}],
    "kv_pack": [{"rows": 8, "dim": 128}, {"rows": 512, "dim": 128}, {"rows": 16384, "dim": 128}],
    "kv_unpack": [{"rows": 8, "dim": 128}, {"rows": 512, "dim": 128}, {"rows": 16384, "dim": 128}],
    "lora_apply": [
        {"rows": 1, "d_in": 1024, "rank": 8, "d_out": 1024},
        {"rows": 16, "d_in": 4096, "rank": 16, "d_out": 4096},
        {"rows": 256, "d_in": 4096, "rank": 16, "d_out": 4096},
    ],
}
"""Sizes by operation: of a token or a row, within a core's cache, and a layer's. One more fills the kernel's memory."""


@dataclass(frozen=True)
class Comparison:
    """Nanoseconds for each of ``elements`` of the output; None where there is no compiler, or no answer of numpy's."""

    id: str
    symbols: Symbols
    elements: int
    flavour: str
    wasm: float
    native: float | None
    numpy: float | None

    @property
    def wasm_over_native(self) -> float | None:
        """How many times longer the wasm takes than native code."""
        return None if self.native is None else self.wasm / self.native

    @property
    def numpy_over_wasm(self) -> float | None:
        """How many times longer numpy takes than the wasm."""
        return None if self.numpy is None else self.numpy / self.wasm

    def to_json(self) -> dict[str, Any]:
        """All of it, with the ratios."""
        return asdict(self) | {"wasm_over_native": self.wasm_over_native, "numpy_over_wasm": self.numpy_over_wasm}


def run_comparison(pack: PackLike, source: PackSource | None, report: Report) -> tuple[Comparison, ...]:
    """Measure every kernel of ``pack`` that is among `SHAPES` or has sizes for a bench.

    ``source`` is what the pack was built of, None where that is not known: then nothing is native. Raises KernelError
    or LoadError for a kernel that does not run.
    """
    library = _library(source, report)
    compared = []
    for spec in pack.kernels.values():
        for sized in sizes(spec):
            report(f"{spec.id} {list(sized.outputs[0].sizes(sized.test.symbols))}")
            compared.append(_comparison(pack, sized, library))
    return tuple(compared)


def _library(source: PackSource | None, report: Report) -> ctypes.CDLL | None:
    if source is None:
        report("no native code, as the pack's source is not known")
        return None
    try:
        return build_native(source)
    except BuildError as error:
        report(f"no native code: {error}")
        return None


def sizes(spec: KernelSpec) -> list[KernelSpec]:
    """The kernel with known-answer tests of the sizes at which it is compared; none when nothing says which."""
    shapes = [symbols for symbols in SHAPES.get(spec.op, ()) if symbols.keys() == set(spec.symbols)]
    sized = [with_symbols(spec, symbols) for symbols in shapes or filter(None, [spec.bench])]
    return sized + [_filling(last) for last in sized[-1:] if fits(_grown(last, 2))]


def _filling(spec: KernelSpec) -> KernelSpec:
    """With as many times more as fit the kernel's memory."""
    factor = 2
    while fits(_grown(spec, factor + 1)):
        factor += 1
    return _grown(spec, factor)


def _grown(spec: KernelSpec, factor: int) -> KernelSpec:
    symbol = "seq" if "seq" in spec.symbols else spec.symbols[0]
    return with_symbols(spec, {**spec.test.symbols, symbol: factor * spec.test.symbols[symbol]})


def _comparison(pack: PackLike, spec: KernelSpec, library: ctypes.CDLL | None) -> Comparison:
    flavour = best({name: module.features for name, module in pack.kernel(spec.id).modules.items()}, FEATURES)
    assert flavour is not None  # no flavour needs more than all features
    inputs = _inputs(spec)
    calls: dict[str, _Call] = {"wasm": repeated_call(pack.wasm(spec.id, flavour), spec, inputs)}
    if library is not None and hasattr(library, f"native_{spec.id}"):
        calls["native"] = NativeCall(library, spec, inputs)
    if (in_numpy := bench_numpy.prepared_call(spec, inputs, _output(spec, inputs))) is not None:
        calls["numpy"] = partial(_repeat, in_numpy)
    count = elements(spec)
    times = {name: taken / count for name, taken in _shortest_times(calls).items()}
    return Comparison(
        spec.id, spec.test.symbols, count, flavour, times["wasm"], times.get("native"), times.get("numpy")
    )


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def _shortest_times(calls: Mapping[str, _Call]) -> dict[str, float]:
    """Nanoseconds of each call."""
    repeats = {name: _repeats(call) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + _SECONDS
    while len(taken["wasm"]) < _ROUNDS or time.perf_counter() < end:
        for name, call in calls.items():
            begin = time.perf_counter_ns()
            call(repeats[name])
            taken[name].append((time.perf_counter_ns() - begin) / repeats[name])
    return {name: min(times) for name, times in taken.items()}


def _repeats(call: _Call) -> int:
    """How many calls one timing takes, so that what Python spends on it is nothing."""
    call(1)
    times, taken = 1, 0.0
    while taken < _TIMING:
        times *= 2
        begin = time.perf_counter()
        call(times)
        taken = time.perf_counter() - begin
    return times


def _inputs(spec: KernelSpec) -> dict[str, Array]:
    """Random numbers for every input that is not optional, and for outputs that are read first.

    To these each call adds, so all numbers are small then.
    """
    random = np.random.default_rng(spec.test.seed)
    size = np.float32(2**-6 if any(tensor.inout for tensor in spec.outputs) else 1)
    return {
        tensor.name: _random(tensor, tensor.sizes(spec.test.symbols), random, size)
        for tensor in spec.arguments
        if not tensor.optional
    }


def _random(tensor: Tensor, sizes: tuple[int, ...], random: np.random.Generator, size: np.float32) -> Array:
    dtype = np.dtype(tensor.dtype.numpy)
    if tensor.dtype.name in ("q8", "q4"):
        return formats.quantize(random.standard_normal(sizes, np.float32), tensor.dtype)
    if dtype.kind == "f":
        return (random.standard_normal(sizes, np.float32) * size).astype(dtype)
    info = np.iinfo(dtype)
    return random.integers(info.min, info.max, sizes, dtype, endpoint=True)


def _output(spec: KernelSpec, inputs: Mapping[str, Array]) -> Array:
    """Where numpy's result goes."""
    tensor = spec.outputs[0]
    if tensor.inout:
        return inputs[tensor.name].copy()
    return np.zeros(array_shape(tensor.dtype, tensor.sizes(spec.test.symbols)), tensor.dtype.numpy)
