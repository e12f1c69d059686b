"""``host bench``: figures of one run, and the board as it was before."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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
    assert [kernel["id"] for kernel in told["kernels"]] == ["rope_f32", "rmsnorm_f32", "swiglu_f32"]
    for kernel in told["kernels"]:
        assert 0 < kernel["native"] < kernel["micropython"]
        assert kernel["aot_over_native"] == pytest.approx(kernel["aot"] / kernel["native"])
        assert kernel["aot"] < kernel["micropython"]
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
