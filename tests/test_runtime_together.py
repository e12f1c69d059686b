"""`host.Runtime` as a server uses it: packs that take over under load, faults made up for, counts, native calls."""

from __future__ import annotations

import logging
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adding_packs import AddingPack, adding_pack
from kernel_builds import SPECS, CorePack
from prometheus_client.parser import text_string_to_metric_families
from wat_kernels import OnePack, module

from host import errors
from host.pack import Pack
from host.runtime import Runtime
from host.security_counters import MemoryCounters, SecurityCounters

UNREACHABLE = '(func (export "swiglu_forward") (param i32) (result i32) unreachable)'
SWIGLU = replace(SPECS["swiglu_f32"], backward=None, test=replace(SPECS["swiglu_f32"].test, sha256=None))


class Trapping(OnePack):
    """swiglu_f32 as it should not be: it is installed without a known answer, and traps."""

    def __init__(self, fallback: str | None = "swiglu_f32") -> None:
        super().__init__(replace(SWIGLU, fallback=fallback), portable=module(UNREACHABLE))


def trapping_runtime(fallback: str | None = "swiglu_f32", *, strict: bool = False) -> Runtime:
    runtime = Runtime(counters=MemoryCounters(), strict=strict)
    runtime.install(Trapping(fallback))
    return runtime


GATE, UP = np.array([1, -2, 3], np.float32), np.array([4, 5, -6], np.float32)


# ---- recovery ------------------------------------------------------------------------------------


def test_the_reference_answers_for_a_kernel_that_traps_and_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with trapping_runtime() as runtime, caplog.at_level(logging.WARNING, "host.runtime"):
        y = runtime.run("swiglu_f32", GATE, UP)
        out = np.empty(3, np.float32)
        assert runtime.run("swiglu_f32", GATE, UP, out=out) is out
        stats = runtime.stats()
    assert np.allclose(y, GATE / (1 + np.exp(-GATE)) * UP, rtol=1e-6)
    assert np.array_equal(out, y)
    assert (stats["calls"], stats["fallbacks"], stats["errors"]) == (2, 2, {"Unreachable": 2})
    assert stats["degraded"] == ["swiglu_f32"]
    record = caplog.records[0]
    assert (record.kernel, record.error, record.fallback) == ("swiglu_f32", "Unreachable", "swiglu_f32")


def test_without_a_reference_or_in_strict_mode_the_error_stands() -> None:
    for runtime in (trapping_runtime(None), trapping_runtime(strict=True)):
        with runtime, pytest.raises(errors.Unreachable):
            runtime.run("swiglu_f32", GATE, UP)


def test_nothing_makes_up_for_a_fault_among_tensors_that_the_kernel_could_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with trapping_runtime() as runtime, caplog.at_level(logging.WARNING, "host.runtime"):
        gate = runtime.tensor((3,), data=GATE)
        with pytest.raises(errors.Unreachable):
            runtime.run("swiglu_f32", gate, UP)
        bound = runtime.bind("swiglu_f32", gate, UP)
        with pytest.raises(errors.Unreachable):
            bound()
        with pytest.raises(errors.Unreachable):
            runtime.batch([bound])
        assert runtime.stats()["errors"] == {"Unreachable": 3}
        assert runtime.stats()["calls"] == 3
    descriptor = caplog.records[-1].descriptor
    assert descriptor[1] == descriptor[3] == descriptor[5] == 12


# ---- packs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packs() -> list[AddingPack]:
    return [adding_pack(number) for number in (1, 2)]


def test_eight_threads_call_while_packs_swap_and_no_result_is_mixed(packs: list[AddingPack]) -> None:
    wrong: list[str] = []
    calls = [0] * 8
    stop = threading.Event()

    def call(runtime: Runtime, thread: int) -> None:
        x = np.full(64, thread, np.float32)
        while not stop.is_set():
            try:
                y = runtime.run("add", x)
            except Exception as error:
                wrong.append(repr(error))
                return
            if not any(pack.answers(x, y) for pack in packs):
                wrong.append(str(y))
            calls[thread] += 1

    with Runtime(counters=MemoryCounters()) as runtime:
        runtime.install(packs[0].opened)
        threads = [threading.Thread(target=call, args=(runtime, index)) for index in range(8)]
        for thread in threads:
            thread.start()
        for swap in range(1, 1001):
            runtime.install(packs[swap % 2].opened)
        stop.set()
        for thread in threads:
            thread.join()
        stats = runtime.stats()
    assert wrong == []
    assert stats["swaps"] == 1001
    assert stats["calls"] == sum(calls) and min(calls) > 0
    assert stats["errors"] == {}


def test_rollback_brings_the_pack_before_back(packs: list[AddingPack]) -> None:
    x = np.zeros(4, np.float32)
    with Runtime(counters=MemoryCounters()) as runtime:
        with pytest.raises(errors.NoPreviousPack):
            runtime.rollback()
        runtime.install(packs[0].opened)
        with pytest.raises(errors.NoPreviousPack):
            runtime.rollback()
        runtime.install(packs[1].opened)
        assert runtime.run("add", x).tolist() == [2] * 4
        runtime.rollback()
        assert runtime.run("add", x).tolist() == [1] * 4
        assert runtime.stats()["rollbacks"] == 1


def test_a_bound_call_works_again_after_a_rollback(packs: list[AddingPack]) -> None:
    with Runtime(counters=MemoryCounters()) as runtime:
        runtime.install(packs[0].opened)
        bound = runtime.bind("add", runtime.tensor((4,)))
        runtime.install(packs[1].opened)
        with pytest.raises(errors.NoPack, match="bind again"):
            bound()
        runtime.rollback()
        assert bound().tolist() == [1] * 4


def test_a_downgrade_is_refused_across_runtimes_and_leaves_the_pack(tmp_path: Path) -> None:
    file = tmp_path / "counters.json"
    with Runtime(counters=SecurityCounters(file)) as runtime:
        runtime.install(adding_pack(1, counter=5).opened)
    with Runtime(counters=SecurityCounters(file)) as runtime:
        runtime.install(adding_pack(2, counter=5).opened)
        with pytest.raises(errors.DowngradeRefused, match=r"4.*5"):
            runtime.install(adding_pack(3, counter=4).opened)
        assert runtime.run("add", np.zeros(1, np.float32)).tolist() == [2]
        assert runtime.stats()["failed_upgrades"] == {"DowngradeRefused": 1}


def test_a_pack_for_a_later_version_of_this_project_is_refused() -> None:
    core = CorePack()
    later = replace(core.manifest, min_runtime_version="99.0.0")

    class Later(CorePack):
        manifest = later  # type: ignore[assignment]

    with Runtime(counters=MemoryCounters()) as runtime, pytest.raises(errors.RuntimeTooOld, match=r"99\.0\.0"):
        runtime.install(Later())


def test_the_core_pack_as_built_installs(core_pack: Path) -> None:
    with Runtime(counters=MemoryCounters()) as runtime:
        runtime.install(Pack.open(core_pack))
        assert runtime.stats()["pack"] == {"name": "core", "version": "1.0.0"}


# ---- metrics, native, guests ---------------------------------------------------------------------


def test_prometheus_sees_what_ran_where(packs: list[AddingPack]) -> None:
    with Runtime(counters=MemoryCounters()) as runtime:
        runtime.install(packs[0].opened)
        runtime.run("add", np.zeros(4, np.float32))
        runtime.allow_native("matmul")
        large = np.ones((1001, 1001), np.float32)
        assert runtime.run("native:matmul", large, large)[0, 0] == 1001
        text = runtime.metrics_text()
        with runtime.serve_metrics(0) as server:
            served = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read().decode()
        stats = runtime.stats()
    assert stats["ran"] == {"wasm": 1, "native": 1, "reference": 0}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert any("add" in sample.labels.values() and sample.value == 1 for sample in samples)
    assert any("native" in sample.labels.values() for sample in samples)
    assert {line.split(" ")[0] for line in served.splitlines()} >= {s.split(" ")[0] for s in text.splitlines()}


def test_native_operations_run_only_when_they_were_allowed_and_are_named() -> None:
    with Runtime(counters=MemoryCounters()) as runtime:
        q = np.ones((2, 4), np.float32)
        with pytest.raises(errors.NoSuchKernel, match="not allowed"):
            runtime.run("native:attention", q, q, q)
        runtime.allow_native("attention")
        assert np.allclose(runtime.run("native:attention", q, q, q), q)
        with pytest.raises(errors.NoPack):
            runtime.run("attention", q, q, q)
        with pytest.raises(errors.NoSuchKernel, match="attention, matmul"):
            runtime.allow_native("everything")
