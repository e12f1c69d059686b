"""A runtime's metrics for Prometheus: as text, or over HTTP on this machine.

Counting costs a call nothing more than host/metrics.py does; the rest happens when someone looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from host.metrics import Calls, Metrics

_SHORTEST, _LONGEST = 10, 34
"""Buckets that are shown: from 2^10 ns, about a microsecond, to 2^34 ns, about 17 s, each twice the one before."""


def registry(metrics: Metrics) -> CollectorRegistry:
    """A registry of this runtime's metrics alone, for what else `prometheus_client` can do with one."""
    made = CollectorRegistry()
    made.register(_RuntimeCollector(metrics))
    return made


def metrics_text(metrics: Metrics) -> str:
    """Everything in Prometheus' text format."""
    return generate_latest(registry(metrics)).decode()


class MetricsServer:
    """Serves ``/metrics`` over HTTP until it is closed, to this machine only unless another address is given.

    Port 0 takes a free one, which ``port`` says. Raises OSError when the port is taken.
    """

    def __init__(self, metrics: Metrics, port: int, address: str = "127.0.0.1") -> None:
        self._server, self._thread = start_http_server(port, address, registry(metrics))
        self.port: int = self._server.server_port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the port and end the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _RuntimeCollector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that a registry need not collect to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._calls()
        yield from self._errors()
        yield from self._upgrades()

    def _calls(self) -> Iterator[Metric]:
        labels = ["kernel", "where"]
        calls = CounterMetricFamily("kern_calls", "Calls, by where they ran: wasm, native or reference", labels=labels)
        seconds = HistogramMetricFamily("kern_call_seconds", "Duration of calls, however they ended", labels=labels)
        fallbacks = CounterMetricFamily(
            "kern_fallbacks", "Calls that the numpy reference answered after the kernel faulted", labels=["kernel"]
        )
        for (kernel, where), recorded in self._metrics.recorded().items():
            buckets, total, count = _histogram(recorded)
            calls.add_metric([kernel, where], count)
            seconds.add_metric([kernel, where], buckets, total)
            if where == "reference":
                fallbacks.add_metric([kernel], count)
        yield from (calls, seconds, fallbacks)

    def _errors(self) -> Iterator[Metric]:
        errors = CounterMetricFamily("kern_errors", "Calls that ended badly, by the error", labels=["kernel", "error"])
        for (kernel, kind), count in self._metrics.errors().items():
            errors.add_metric([kernel, kind], count)
        degraded = GaugeMetricFamily(
            "kern_degraded", "1 for a kernel that fell back since its pack was installed", labels=["kernel"]
        )
        for kernel in self._metrics.degraded:
            degraded.add_metric([kernel], 1)
        yield from (errors, degraded)

    def _upgrades(self) -> Iterator[Metric]:
        upgrades = self._metrics.upgrades
        pack = GaugeMetricFamily("kern_pack_info", "1 for the pack that is current", labels=["name", "version"])
        current = upgrades.current
        if current is not None:
            pack.add_metric([current.name, current.version], 1)
        failed = CounterMetricFamily("kern_failed_upgrades", "Upgrades that left the old pack", labels=["error"])
        for kind, count in dict(upgrades.failures).items():
            failed.add_metric([kind], count)
        yield from (pack, failed)
        yield CounterMetricFamily("kern_swaps", "Packs that were installed", value=upgrades.swaps)
        yield CounterMetricFamily("kern_rollbacks", "Returns to the pack before", value=upgrades.rollbacks)


def _histogram(calls: Calls) -> tuple[list[tuple[str, float]], float, int]:
    """Upper bounds in seconds with the calls that took no longer, seconds in all, and calls in all."""
    counts, nanoseconds = calls.read()
    below = list(accumulate(counts))
    shown = [(repr(2**k / 1e9), float(below[k])) for k in range(_SHORTEST, _LONGEST + 1)]
    return [*shown, ("+Inf", float(below[-1]))], nanoseconds / 1e9, below[-1]
