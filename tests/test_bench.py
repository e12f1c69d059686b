"""``host bench``: figures of one run, and the board as it was before."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import RunHost
from kernel_builds import IDS, KERNELS, SOURCE, SPECS, CorePack, native, wasm

from host import bench_numpy, bench_speed, bench_wasmtime, formats, known_answer, project
from host.bench import run_bench
from host.board import Board, connect
from host.emulator import EmulatedBoard
from host.errors import UsageError
from host.native_build import NativeCall, build_native
from host.pack import Pack, build_pack, keys
from host.pack.linking import PAGE
from host.pack.spec import KernelSpec
from host.runtime import run_module


def test_bench_measures_every_kernel_and_puts_the_pack_back(cli: RunHost, emulated_bench: EmulatedBoard) -> None:
    port = str(emulated_bench.wait_for_port(30))
    with connect(port) as board:
        before = board.status()["pack"]
    finished = cli("bench", "--port", port, "--json", timeout=300)
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    assert [kernel["id"] for kernel in told["kernels"]] == list(IDS)
    for kernel in told["kernels"]:
        assert kernel["native"] > 0
        assert kernel["native_libgcc"] > 0
        assert kernel["aot_over_native"] == pytest.approx(kernel["aot"] / kernel["native"])
        if kernel["id"].endswith(("_f32", "_f16")):
            assert kernel["aot_over_native_libgcc"] <= 0.5, "docs/kernels.md, Speed on a board"
        assert kernel["aot_over_native"] <= 1.15, "docs/kernels.md, Speed on a board"
    in_python = {kernel["id"]: kernel for kernel in told["kernels"] if kernel["micropython"] is not None}
    assert list(in_python) == ["rope_f32", "rmsnorm_f32", "swiglu_f32"]
    for kernel in in_python.values():
        assert kernel["micropython"] > kernel["micropython_native"] > max(kernel["aot"], kernel["native_libgcc"])
    calls = told["calls"]
    assert calls["next"] < calls["engine"] < calls["bind"] < calls["other"] < calls["op_out"] < calls["op"]
    assert calls["next"] < calls["batch"] < calls["bind"] / 2
    # 200 ms at 125 MHz.
    assert 1_000_000 < told["verify"] < 25_000_000
    assert told["sizes"]["total"]["flash"] > told["sizes"]["WAMR"]["flash"] > 0
    with connect(port) as board:
        after = board.status()["pack"]
    assert {**after, "slot": None} == {**before, "slot": None}


def test_bench_on_an_emulated_board_by_name_takes_one_of_its_kind(cli: RunHost, emulated_bench: EmulatedBoard) -> None:
    """It would start another one than the one named; that one is in use here already."""
    state = emulated_bench.folder.parents[2]
    finished = cli("bench", "--port", "emu:rpi_pico:left", "--json", HOST_STATE_DIR=str(state))
    assert (finished.returncode, json.loads(finished.stdout)["error"]) == (4, "DeviceBusy")
    assert "rpi_pico (bench)" in finished.stdout


@pytest.mark.parametrize("name", ["qemu_m33", "unix"])
def test_bench_measures_boards_that_a_program_runs(cli: RunHost, core_pack: Path, name: str) -> None:
    run = cli("bench", "--json", "--port", f"emu:{name}", "--pack", core_pack)

    assert run.returncode == 0, run.stderr
    costs = json.loads(run.stdout)
    assert costs["board"] == name
    assert [cost["id"] for cost in costs["kernels"]] == list(IDS)
    for cost in costs["kernels"]:
        assert min(cost["aot"], cost["native"], cost["native_libgcc"]) > 0, cost["id"]
        assert cost["micropython_native"] is None, "these ports have no native emitter"
    assert costs["kernels"][0]["micropython"] > 3 * costs["kernels"][0]["aot"]
    assert costs["calls"]["engine"] > 0


def test_bench_wants_the_boards_own_pack(board: Board, core_pack: Path, tmp_path: Path) -> None:
    """Another pack could not be put back afterwards."""
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", Path(__file__).parent.parent / "kernels_aot", source], check=True)
    toml = source / "pack.toml"
    toml.write_text(toml.read_text().replace('version = "1.0.0"', 'version = "1.0.1"', 1))
    other = Pack.open(build_pack(source, tmp_path, keys.default_or_create()))
    with pytest.raises(UsageError, match=r"core 1\.0\.0 and not core 1\.0\.1"):
        run_bench(board, other, report=lambda text: None)


def test_bench_wants_firmware_whose_sizes_are_known(
    board: Board, core_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another build they would be told for this one; that is found out before anything is measured."""
    monkeypatch.setenv("HOST_BUILD_DIR", str(tmp_path))
    measured: list[str] = []
    with pytest.raises(UsageError, match=f"the board runs build {board.status()['build']}, which is not the one in"):
        run_bench(board, Pack.open(core_pack), measured.append)
    assert measured == []


def test_bench_under_wasmtime_measures_every_flavour_of_every_kernel(cli: RunHost, core_pack: Path) -> None:
    finished = cli("bench", "--wasmtime", "--pack", core_pack, "--json", timeout=300)
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    assert [kernel["id"] for kernel in told["kernels"]] == list(IDS)
    for kernel in told["kernels"]:
        assert kernel["elements"] >= 2**17
        assert list(kernel["flavours"]) == list(KERNELS[kernel["id"]].modules)
        portable = kernel["flavours"]["portable"]
        for cost in kernel["flavours"].values():
            assert cost["epochs"] == pytest.approx(cost["ns"] / cost["ns_without_epochs"])
            assert cost["gain"] == pytest.approx(portable["ns"] / cost["ns"])
            assert cost["gain"] >= 1
    assert list(dict.fromkeys(compared["id"] for compared in told["speed"])) == list(IDS)
    for compared in told["speed"]:
        assert compared["flavour"] == "simd128"
        assert compared["wasm"] > 0
        assert compared["wasm_over_native"] == pytest.approx(compared["wasm"] / compared["native"])
        assert compared["numpy_over_wasm"] == pytest.approx(compared["numpy"] / compared["wasm"])
        # The aim is 1.3 (docs/kernels.md); the rest is for a machine that has other things to do as well.
        assert compared["wasm_over_native"] < 2
    assert {"batch": 1, "seq": 512, "heads": 32, "dim": 128} in [compared["symbols"] for compared in told["speed"]]


def test_bench_measures_this_machine_or_a_board(cli: RunHost, core_pack: Path) -> None:
    finished = cli("bench", "--wasmtime", "--port", "emu:rpi_pico", "--pack", core_pack)
    assert finished.returncode == 2
    assert "--wasmtime measures this machine, --port a board" in finished.stderr


def test_bench_leaves_out_a_kernel_that_has_no_room_for_a_long_call() -> None:
    class SmallPack(CorePack):
        kernels: ClassVar = {
            "swiglu_f32": replace(
                SPECS["swiglu_f32"], bench=None, limits=replace(SPECS["swiglu_f32"].limits, max_memory_pages=1)
            )
        }

    said: list[str] = []
    assert bench_wasmtime.run_bench(SmallPack(), said.append) == ()
    assert said == ["not swiglu_f32, whose memory holds no larger call than that of its known-answer test"]


# ---- against native code and numpy ---------------------------------------------------------------


def at_bench(kernel_id: str) -> KernelSpec:
    bench = SPECS[kernel_id].bench
    assert bench is not None
    return bench_wasmtime.with_symbols(SPECS[kernel_id], bench)


@pytest.mark.parametrize("kernel_id", IDS)
def test_native_code_that_is_measured_gives_the_kernels_bits(kernel_id: str) -> None:
    spec = at_bench(kernel_id)
    inputs = known_answer.inputs(spec)
    call = NativeCall(native(), spec, inputs)
    call()
    expected = run_module(wasm(kernel_id), spec, inputs, {})[spec.outputs[0].name]
    assert np.array_equal(call.output.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("kernel_id", IDS)
def test_numpy_computes_what_the_kernel_does(kernel_id: str) -> None:
    spec = at_bench(kernel_id)
    inputs = known_answer.inputs(spec)
    output = spec.outputs[0]
    result = inputs[output.name].copy() if output.inout else None
    expected = run_module(wasm(kernel_id), spec, inputs, {})[output.name]
    result = np.zeros_like(expected) if result is None else result
    call = bench_numpy.prepared_call(spec, inputs, result)
    assert call is not None
    actual = call()
    assert actual.dtype == expected.dtype
    if spec.op == "kv_pack":
        assert np.array_equal(actual, expected)
    else:
        values = [formats.elements(array, output.dtype) for array in (actual, expected)]
        tolerance = {"f32": 1e-5, "f16": 2e-3, "q8": 2e-2}[output.dtype.name]
        np.testing.assert_allclose(*values, rtol=tolerance, atol=tolerance)


class OneKernel(CorePack):
    kernels: ClassVar = {"kv_unpack_q4": SPECS["kv_unpack_q4"]}


def test_without_a_compiler_nothing_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_speed, "_SECONDS", 0.01)
    monkeypatch.setenv("PATH", "/nowhere")
    said: list[str] = []
    compared = bench_speed.run_comparison(OneKernel(), SOURCE, said.append)
    assert said[0] == "no native code: there is no C compiler, cc, on this machine"
    assert [(item.native, item.wasm_over_native) for item in compared] == [(None, None)] * 4
    assert all(item.numpy_over_wasm for item in compared)


def test_without_a_source_nothing_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_speed, "_SECONDS", 0.01)
    said: list[str] = []
    assert all(item.native is None for item in bench_speed.run_comparison(OneKernel(), None, said.append))
    assert said[0] == "no native code, as the pack's source is not known"


@pytest.mark.parametrize("kernel_id", IDS)
def test_comparisons_go_from_a_row_to_all_of_the_kernels_memory(kernel_id: str) -> None:
    spec = SPECS[kernel_id]
    sizes = bench_speed.sizes(spec)
    counts = [bench_wasmtime.elements(sized) for sized in sizes]
    assert counts == sorted(counts) and counts[0] == 1024
    tensors = sizes[-1].tensors
    filled = sum(tensor.dtype.nbytes(tensor.sizes(sizes[-1].test.symbols)) for tensor in tensors)
    assert 0.7 * spec.limits.max_memory_pages * PAGE < filled < spec.limits.max_memory_pages * PAGE


def test_native_code_is_built_once() -> None:
    build_native(SOURCE)
    folder = project.build_dir() / "native"
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    build_native(SOURCE)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
