"""`host.bench_overhead`: every way of calling is measured, and what it says can be printed."""

from __future__ import annotations

import json

import pytest
from kernel_builds import SPECS, CorePack

from host import bench_overhead
from host.bench_overhead import run_overhead
from host.runtime import Runtime

KERNELS = {id: SPECS[id] for id in ("kv_pack_q4", "lora_apply_f32")}


class Two(CorePack):
    """One kernel that writes its output, and one that reads it first."""

    kernels = KERNELS


def test_every_kernel_is_measured_in_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_overhead, "_ROUNDS", 2)
    said: list[str] = []
    overheads = run_overhead(Two(), said.append)
    assert said == [overhead.id for overhead in overheads] == list(KERNELS)
    for overhead in overheads:
        told = json.loads(json.dumps(overhead.to_json()))
        assert told["own"] > 0
        assert {"public", "run", "run_tensors", "bound", "batch"} <= told.keys()


def test_what_is_timed_is_the_call_on_tensors_in_place() -> None:
    """Otherwise the figures would be those of copies."""
    with Runtime() as runtime:
        runtime.install(Two())
        for spec in KERNELS.values():
            inputs = bench_overhead.known_answer.inputs(spec)
            arrays = [inputs.get(tensor.name) for tensor in spec.arguments]
            first = runtime.bind(spec.id, *bench_overhead._inout_as_tensors(runtime, spec, arrays))
            tensors = [first.tensors[tensor.name] for tensor in spec.arguments]
            again = runtime.bind(spec.id, *tensors, **bench_overhead._out(spec, first.out))
            assert all(again.tensors[name] is array for name, array in first.tensors.items())
