"""What a runtime counts: calls, where they ran, how long they took, errors, fallbacks, upgrades.

    metrics = Metrics(upgrade)
    calls = metrics.calls("rope_f32", "wasm")   # once
    calls.record(nanoseconds)                   # each call: a lock and two additions
    metrics.stats()                             # all of it, as plain values

host/prometheus.py says the same in Prometheus' words.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from host.errors import KernelError

Where = Literal["wasm", "native", "reference"]
"""Where a call ran: a pack's kernel, a native operation, or the numpy reference after a kernel faulted."""
WHERE: tuple[Where, ...] = ("wasm", "native", "reference")


class PackName(Protocol):
    """What is told of a pack."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


class Upgrades(Protocol):
    """What is told of upgrades; `host.upgrade.Upgrade` is one."""

    @property
    def current(self) -> PackName | None: ...
    @property
    def previous(self) -> PackName | None: ...
    @property
    def swaps(self) -> int: ...
    @property
    def rollbacks(self) -> int: ...
    @property
    def failures(self) -> Mapping[str, int]: ...


class Calls:
    """The calls of one kernel at one place, by duration: bucket k counts those of 2^(k-1) < ns <= 2^k."""

    __slots__ = ("_buckets", "_lock", "_total")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets = [0] * 65
        self._total = 0

    def record(self, nanoseconds: int) -> None:
        """Count a call, however it ended."""
        with self._lock:
            self._buckets[(nanoseconds - 1).bit_length()] += 1
            self._total += nanoseconds

    def read(self) -> tuple[list[int], int]:
        """Calls in each bucket, and nanoseconds of all of them together."""
        with self._lock:
            return self._buckets.copy(), self._total

    @property
    def count(self) -> int:
        """How many calls there were."""
        return sum(self.read()[0])


class Metrics:
    """The counts of one runtime. Threads may count at once."""

    def __init__(self, upgrades: Upgrades) -> None:
        self.upgrades = upgrades
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, Where], Calls] = {}
        self._errors: Counter[tuple[str, str]] = Counter()
        self._degraded: dict[str, int] = {}  # by kernel: the installation under which it fell back last

    def calls(self, kernel: str, where: Where) -> Calls:
        """Where to record the calls of ``kernel``; the same object every time."""
        known = self._calls.get((kernel, where))
        if known is not None:
            return known
        with self._lock:
            return self._calls.setdefault((kernel, where), Calls())

    def failed(self, kernel: str, error: KernelError) -> None:
        """Count a call that ended with ``error``."""
        with self._lock:
            self._errors[kernel, type(error).__name__] += 1

    def fell_back(self, kernel: str, nanoseconds: int) -> None:
        """Count a result that the reference gave, in that time, instead of the kernel."""
        self.calls(kernel, "reference").record(nanoseconds)
        with self._lock:
            self._degraded[kernel] = self._installation()

    @property
    def degraded(self) -> tuple[str, ...]:
        """Kernels that fell back since the pack was installed: they work, at the speed of their reference."""
        with self._lock:
            return tuple(kernel for kernel, since in self._degraded.items() if since == self._installation())

    def recorded(self) -> dict[tuple[str, Where], Calls]:
        """Everything that `calls` gave, by kernel and place."""
        with self._lock:
            return self._calls.copy()

    def errors(self) -> dict[tuple[str, str], int]:
        """How many calls ended badly, by kernel and the error's class."""
        with self._lock:
            return dict(self._errors)

    def stats(self) -> dict[str, Any]:
        """All of it for people and programs; JSON types only.

        ``calls`` are those that were asked for: one that the reference answered in the end is one call, and counted
        under ``ran`` twice.
        """
        upgrades, ran = self.upgrades, _ran(self.recorded())
        by_kind: Counter[str] = Counter()
        for (_kernel, kind), count in self.errors().items():
            by_kind[kind] += count
        total = {where: sum(each[where] for each in ran.values()) for where in WHERE}
        return {
            "pack": _named(upgrades.current),
            "previous": _named(upgrades.previous),
            "swaps": upgrades.swaps,
            "rollbacks": upgrades.rollbacks,
            "failed_upgrades": dict(upgrades.failures),
            "calls": _asked_for(total),
            "ran": total,
            "errors": dict(by_kind),
            "fallbacks": total["reference"],
            "degraded": list(self.degraded),
            "kernels": {kernel: self._of_kernel(kernel, each) for kernel, each in ran.items()},
        }

    def _of_kernel(self, kernel: str, ran: Mapping[Where, int]) -> dict[str, Any]:
        return {
            "calls": _asked_for(ran),
            "ran": dict(ran),
            "seconds": {where: self.calls(kernel, where).read()[1] / 1e9 for where in WHERE if ran[where]},
            "errors": {kind: count for (name, kind), count in self.errors().items() if name == kernel},
            "fallbacks": ran["reference"],
        }

    def _installation(self) -> int:
        """A number that every change of the pack makes another."""
        return self.upgrades.swaps + self.upgrades.rollbacks


def _ran(recorded: Mapping[tuple[str, Where], Calls]) -> dict[str, dict[Where, int]]:
    """How many calls of each kernel ran where, for kernels that were called."""
    counts: dict[str, dict[Where, int]] = {}
    for (kernel, where), calls in recorded.items():
        if count := calls.count:
            counts.setdefault(kernel, dict.fromkeys(WHERE, 0))[where] = count
    return counts


def _asked_for(ran: Mapping[Where, int]) -> int:
    return ran["wasm"] + ran["native"]


def _named(pack: PackName | None) -> dict[str, str] | None:
    return None if pack is None else {"name": pack.name, "version": pack.version}
