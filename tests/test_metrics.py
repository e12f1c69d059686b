"""What a runtime counts, as values and in Prometheus' text, read back by Prometheus' own parser."""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from adding_packs import AddingPack, adding_pack
from prometheus_client.parser import text_string_to_metric_families

from host import errors
from host.metrics import Calls, Metrics
from host.prometheus import MetricsServer, metrics_text
from host.security_counters import FILE, SecurityCounters
from host.upgrade import Upgrade

Adding = Upgrade[AddingPack, AddingPack]
ONE, TWO = adding_pack(1), adding_pack(2)


def health_check(pack: AddingPack) -> None:
    if pack.number > 2:
        raise errors.HealthCheckFailed


@pytest.fixture
def upgrade(tmp_path: Path) -> Iterator[Adding]:
    made: Adding = Upgrade(lambda pack: pack, health_check, lambda pack: None, SecurityCounters(tmp_path / FILE))
    yield made
    made.close()


@pytest.fixture
def metrics(upgrade: Adding) -> Metrics:
    return Metrics(upgrade)


def samples(text: str) -> dict[str, float]:
    """Every sample in Prometheus' text: ``name{label="value",...}``, labels sorted, and its value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def make_some(metrics: Metrics) -> None:
    """Three calls of one kernel, one of them a fault that the reference made up for, and two of a native operation."""
    for nanoseconds in (1500, 2048, 2049):
        metrics.calls("add", "wasm").record(nanoseconds)
    metrics.failed("add", errors.Unreachable())
    metrics.fell_back("add", 10_000)
    for nanoseconds in (10**9, 3 * 10**9):
        metrics.calls("attention", "native").record(nanoseconds)


def test_nothing_is_counted_before_anything_happens(metrics: Metrics) -> None:
    assert metrics.stats() == {
        "pack": None,
        "previous": None,
        "swaps": 0,
        "rollbacks": 0,
        "failed_upgrades": {},
        "calls": 0,
        "ran": {"wasm": 0, "native": 0, "reference": 0},
        "errors": {},
        "fallbacks": 0,
        "degraded": [],
        "kernels": {},
    }
    assert samples(metrics_text(metrics)) == {"kern_swaps_total{}": 0, "kern_rollbacks_total{}": 0}


def test_stats_say_what_ran_where_and_how_it_ended(metrics: Metrics, upgrade: Adding) -> None:
    upgrade.install(ONE)
    make_some(metrics)
    stats = metrics.stats()
    assert json.loads(json.dumps(stats)) == stats
    kernels = stats.pop("kernels")
    assert stats == {
        "pack": {"name": "adding", "version": "1.1.0"},
        "previous": None,
        "swaps": 1,
        "rollbacks": 0,
        "failed_upgrades": {},
        "calls": 5,
        "ran": {"wasm": 3, "native": 2, "reference": 1},
        "errors": {"Unreachable": 1},
        "fallbacks": 1,
        "degraded": ["add"],
    }
    assert kernels == {
        "add": {
            "calls": 3,
            "ran": {"wasm": 3, "native": 0, "reference": 1},
            "seconds": {"wasm": 5597e-9, "reference": 1e-5},
            "errors": {"Unreachable": 1},
            "fallbacks": 1,
        },
        "attention": {
            "calls": 2,
            "ran": {"wasm": 0, "native": 2, "reference": 0},
            "seconds": {"native": 4.0},
            "errors": {},
            "fallbacks": 0,
        },
    }


def test_upgrades_are_told_and_a_new_pack_is_not_degraded(metrics: Metrics, upgrade: Adding) -> None:
    upgrade.install(ONE)
    metrics.fell_back("add", 1)
    upgrade.install(TWO)
    assert metrics.degraded == ()
    metrics.fell_back("add", 1)
    upgrade.rollback()
    assert metrics.degraded == ()
    with pytest.raises(errors.HealthCheckFailed):
        upgrade.install(adding_pack(3))
    stats = metrics.stats()
    assert (stats["pack"], stats["previous"]) == (
        {"name": "adding", "version": "1.1.0"},
        {"name": "adding", "version": "1.2.0"},
    )
    assert (stats["swaps"], stats["rollbacks"], stats["failed_upgrades"]) == (2, 1, {"HealthCheckFailed": 1})
    assert stats["fallbacks"] == 2
    found = samples(metrics_text(metrics))
    assert found['kern_pack_info{name="adding",version="1.1.0"}'] == 1
    assert (found["kern_swaps_total{}"], found["kern_rollbacks_total{}"]) == (2, 1)
    assert found['kern_failed_upgrades_total{error="HealthCheckFailed"}'] == 1
    assert not any(name.startswith("kern_degraded") for name in found)


def test_prometheus_text_says_the_same(metrics: Metrics, upgrade: Adding) -> None:
    upgrade.install(ONE)
    make_some(metrics)
    found = samples(metrics_text(metrics))
    assert found['kern_calls_total{kernel="add",where="wasm"}'] == 3
    assert found['kern_calls_total{kernel="attention",where="native"}'] == 2
    assert found['kern_calls_total{kernel="add",where="reference"}'] == 1
    assert found['kern_fallbacks_total{kernel="add"}'] == 1
    assert found['kern_errors_total{error="Unreachable",kernel="add"}'] == 1
    assert found['kern_degraded{kernel="add"}'] == 1
    assert found['kern_call_seconds_count{kernel="add",where="wasm"}'] == 3
    assert found['kern_call_seconds_sum{kernel="add",where="wasm"}'] == pytest.approx(5597e-9)


def test_the_histogram_counts_a_call_in_every_bucket_that_is_as_long_or_longer(metrics: Metrics) -> None:
    make_some(metrics)
    calls = metrics.calls("edges", "wasm")
    for nanoseconds in (0, 1, 1024, 1025, 2**34, 2**34 + 1):
        calls.record(nanoseconds)
    found = samples(metrics_text(metrics))

    def buckets(kernel: str, where: str) -> dict[float, float]:
        """Calls by upper bound, in nanoseconds."""
        names = {k: v for k, v in found.items() if f'kernel="{kernel}",' in k and f'where="{where}"' in k}
        return {
            round(float(name.split('le="')[1].split('"')[0]) * 1e9, 3): value
            for name, value in names.items()
            if name.startswith("kern_call_seconds_bucket")
        }

    add, edges = buckets("add", "wasm"), buckets("edges", "wasm")
    assert list(add) == [2.0**k for k in range(10, 35)] + [float("inf")]
    assert (add[1024], add[2048], add[4096], add[float("inf")]) == (0, 2, 3, 3)
    assert (edges[1024], edges[2048], edges[2.0**34], edges[float("inf")]) == (3, 4, 5, 6)
    assert all(a <= b for a, b in zip(add.values(), list(add.values())[1:], strict=False))


def test_no_call_of_any_thread_is_lost() -> None:
    calls = Calls()
    begun = threading.Barrier(8)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:

            def count() -> None:
                begun.wait()
                for _ in range(20_000):
                    calls.record(3)

            for future in [pool.submit(count) for _ in range(8)]:
                future.result()
    finally:
        sys.setswitchinterval(before)
    buckets, total = calls.read()
    assert (buckets[2], sum(buckets), total) == (160_000, 160_000, 480_000)


def test_labels_are_escaped(metrics: Metrics) -> None:
    metrics.calls('a"b\\c\nd', "wasm").record(1)
    (counted,) = [v for k, v in samples(metrics_text(metrics)).items() if k.startswith("kern_calls_total")]
    assert counted == 1
    labels = [s.labels for f in text_string_to_metric_families(metrics_text(metrics)) for s in f.samples if s.labels]
    assert labels[0]["kernel"] == 'a"b\\c\nd'


def test_metrics_are_served_to_this_machine_until_closed(metrics: Metrics) -> None:
    make_some(metrics)
    before = threading.active_count()
    with MetricsServer(metrics, 0) as server:
        assert server._server.server_address[0] == "127.0.0.1"
        url = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(url) as response:
            assert response.headers["Content-Type"].startswith("text/plain")
            assert samples(response.read().decode()) == samples(metrics_text(metrics))
        metrics.calls("add", "wasm").record(1)
        with urllib.request.urlopen(url) as response:
            assert samples(response.read().decode())['kern_calls_total{kernel="add",where="wasm"}'] == 4
        with pytest.raises(OSError):
            MetricsServer(metrics, server.port)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)
    assert threading.active_count() == before
