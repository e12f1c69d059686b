"""``host bench``: figures of one run, and the board as it was before."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from kernel_builds import IDS, KERNELS, SPECS, CorePack

from host import bench_wasmtime
from host.bench import run_bench
from host.board import Board, connect
from host.emulator import EmulatedBoard
from host.errors import UsageError
from host.pack import Pack, build_pack, keys

RunHost = Callable[..., "subprocess.CompletedProcess[str]"]


def test_bench_measures_every_kernel_and_puts_the_pack_back(cli: RunHost, emulated_board: EmulatedBoard) -> None:
    port = str(emulated_board.wait_for_port(30))
    with connect(port) as board:
        before = board.status()["pack"]
    finished = cli("bench", "--port", port, "--json", timeout=300)
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    assert [kernel["id"] for kernel in told["kernels"]] == list(IDS)
    for kernel in told["kernels"]:
        assert kernel["native"] > 0
        assert kernel["aot_over_native"] == pytest.approx(kernel["aot"] / kernel["native"])
    in_python = {kernel["id"]: kernel for kernel in told["kernels"] if kernel["micropython"] is not None}
    assert list(in_python) == ["rope_f32", "rmsnorm_f32", "swiglu_f32"]
    assert all(kernel["micropython"] > max(kernel["aot"], kernel["native"]) for kernel in in_python.values())
    assert told["calls"]["engine"] < told["calls"]["bind"] < told["calls"]["op_out"]
    assert told["sizes"]["total"]["flash"] > told["sizes"]["WAMR"]["flash"] > 0
    with connect(port) as board:
        after = board.status()["pack"]
    assert {**after, "slot": None} == {**before, "slot": None}


def test_bench_wants_the_boards_own_pack(board: Board, core_pack: Path, tmp_path: Path) -> None:
    """Another pack could not be put back afterwards."""
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", Path(__file__).parent.parent / "kernels_aot", source], check=True)
    toml = source / "pack.toml"
    toml.write_text(toml.read_text().replace('version = "1.0.0"', 'version = "1.0.1"', 1))
    other = Pack.open(build_pack(source, tmp_path, keys.default_or_create()))
    with pytest.raises(UsageError, match=r"core 1\.0\.0 and not core 1\.0\.1"):
        run_bench(board, other, report=lambda text: None)


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
