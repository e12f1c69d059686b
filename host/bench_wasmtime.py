"""What kernels cost under Wasmtime, in nanoseconds: each flavour, with epoch interruption and without.

All variants of a kernel are timed in turns, again and again, and the shortest time of each counts: whatever else the
machine does only ever adds. A call at the known-answer test's sizes is taken off, which is what Python spends on one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from host import known_answer
from host.pack.flavours import PORTABLE
from host.pack.linking import PAGE
from host.pack.spec import KernelSpec
from host.runtime import ALIGN, PackLike, prepared_call

Report = Callable[[str], None]
"""Called with what is measured next."""

_ELEMENTS = 1 << 17  # of a call's output: well beyond Python's share, and still in a cache of a few MB
_ROUNDS = 100
_Variant = tuple[str, bool, bool]  # flavour, whether with epochs, whether large


@dataclass(frozen=True)
class FlavourCost:
    """Nanoseconds for each element of the output."""

    ns: float
    ns_without_epochs: float

    @property
    def epochs(self) -> float:
        """How many times longer a call takes that can be interrupted, as all but a benchmark's can."""
        return self.ns / self.ns_without_epochs


@dataclass(frozen=True)
class KernelCost:
    """A kernel's flavours, the portable one first, at the sizes of ``symbols``."""

    id: str
    symbols: Mapping[str, int]
    elements: int
    flavours: Mapping[str, FlavourCost]

    def gain(self, flavour: str) -> float:
        """How many times faster than the portable flavour."""
        return self.flavours[PORTABLE].ns / self.flavours[flavour].ns

    def to_json(self) -> dict[str, Any]:
        """All of it, with the ratios."""
        flavours = {
            name: asdict(cost) | {"epochs": cost.epochs, "gain": self.gain(name)}
            for name, cost in self.flavours.items()
        }
        return asdict(self) | {"flavours": flavours}


def run_bench(pack: PackLike, report: Report) -> tuple[KernelCost, ...]:
    """Measure every kernel of ``pack``. Raises KernelError or LoadError for one that does not run."""
    costs = []
    for spec in pack.kernels.values():
        large = _enlarged(spec)
        if elements(large) > elements(spec):
            report(spec.id)
            costs.append(_kernel_cost(pack, spec, large))
        else:
            report(f"not {spec.id}, whose memory holds no larger call than that of its known-answer test")
    return tuple(costs)


def _kernel_cost(pack: PackLike, small: KernelSpec, large: KernelSpec) -> KernelCost:
    flavours = {name: pack.wasm(large.id, name) for name in pack.kernel(large.id).modules}
    calls: dict[_Variant, Callable[[], None]] = {}
    for sized in (small, large):
        inputs = known_answer.inputs(sized)
        for name, module in flavours.items():
            for epochs in (True, False):
                calls[name, epochs, sized is large] = prepared_call(module, sized, inputs, epochs=epochs)
    times = _shortest_times(calls)

    def per_element(name: str, epochs: bool) -> float:
        taken = times[name, epochs, True] - times[name, epochs, False]
        return taken / (elements(large) - elements(small))

    costs = {name: FlavourCost(per_element(name, True), per_element(name, False)) for name in flavours}
    return KernelCost(large.id, large.test.symbols, elements(large), costs)


def _shortest_times(calls: Mapping[_Variant, Callable[[], None]]) -> dict[_Variant, int]:
    """Nanoseconds of each call."""
    times: dict[_Variant, list[int]] = {variant: [] for variant in calls}
    for _ in range(_ROUNDS):
        for variant, call in calls.items():
            begin = time.perf_counter_ns()
            call()
            times[variant].append(time.perf_counter_ns() - begin)
    return {variant: min(taken) for variant, taken in times.items()}


def _enlarged(spec: KernelSpec) -> KernelSpec:
    """With a known-answer test that can be timed: from the sizes of ``bench``, the first symbol doubles until there are
    elements enough, or no more fit in the kernel's memory.
    """
    sized = with_symbols(spec, spec.bench or spec.test.symbols)
    while spec.symbols and elements(sized) < _ELEMENTS:
        first = spec.symbols[0]
        doubled = with_symbols(spec, {**sized.test.symbols, first: 2 * sized.test.symbols[first]})
        if not fits(doubled):
            break
        sized = doubled
    return sized


def with_symbols(spec: KernelSpec, symbols: Mapping[str, int]) -> KernelSpec:
    """With a known-answer test of these sizes."""
    return replace(spec, test=replace(spec.test, symbols=symbols))


def elements(spec: KernelSpec) -> int:
    """Of the first output, at the sizes of the known-answer test."""
    return math.prod(spec.outputs[0].sizes(spec.test.symbols))


def fits(spec: KernelSpec) -> bool:
    """Whether the known-answer test's call fits the kernel's memory, with a page for stack, data and descriptor."""
    size = sum(tensor.dtype.nbytes(tensor.sizes(spec.test.symbols)) + ALIGN for tensor in spec.tensors)
    return size <= (spec.limits.max_memory_pages - 1) * PAGE
