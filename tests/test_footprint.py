"""What the firmware takes: flash of the runtime, and the heap that it leaves to Python with everything in use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, RunHost
from kernel_builds import IDS, SPECS

from host import boards, firmware
from host.board import Board
from host.errors import BoardError
from host.firmware_sizes import FLASH_BUDGET, RUNTIME
from host.firmware_variants import BENCH

HEAP = 60 * 1024
"""Bytes that Python has left on a Pico, at least."""


def test_runtime_keeps_its_budget_of_flash(firmware_uf2: Path) -> None:
    sizes = firmware.size_report(boards.load("rpi_pico"))
    assert sizes["runtime"]["flash"] == sum(sizes[part]["flash"] for part in RUNTIME)
    assert 0 < sizes["runtime"]["flash"] <= FLASH_BUDGET
    assert all(sizes[part]["flash"] > 1000 for part in RUNTIME)


def test_firmware_has_references_of_what_can_fall_back_and_the_bench_variant_of_all(emulated_bench: object) -> None:
    board = boards.load("rpi_pico")
    release, bench = firmware.size_report(board), firmware.size_report(board, BENCH)
    assert 0 < release["kernel references"]["flash"] < bench["kernel references"]["flash"] / 4


def test_heap_is_large_with_every_kernel_in_use(board: Board) -> None:
    board.exec("import gc, kern")
    for kernel_id in IDS:
        spec = SPECS[kernel_id]
        arguments = [
            (tuple(dim.value(spec.test.symbols) for dim in tensor.shapes[0]), tensor.dtype.name)
            for tensor in spec.arguments
            if not tensor.optional
        ]
        board.exec(f"kern.bind({kernel_id!r}, *[kern.tensor(*given) for given in {arguments!r}])()")
    assert board.stats()["calls"] == len(IDS)
    assert board.eval("(gc.collect(), gc.mem_free())[1]") >= HEAP


def test_heap_has_the_kernels_memory_until_kern_is_imported(board: Board) -> None:
    for _ in range(2):
        board.soft_reset()
        board.exec("import gc")
        before = board.eval("(gc.collect(), gc.mem_free())[1]")
        board.exec("large = bytearray(140000); large[-1] = 7")
        board.exec("del large")
        board.exec("import kern")
        after = board.eval("(gc.collect(), gc.mem_free())[1]")
        assert after >= HEAP
        assert before - after > 155_000
        x = np.arange(4, dtype="f4")
        assert board.run("swiglu_f32", [x, np.zeros_like(x)]).tolist() == [0] * 4


def test_import_says_what_to_do_when_objects_lie_in_the_kernels_memory(board: Board) -> None:
    board.exec("large = bytearray(140000)")
    for _ in range(2):
        with pytest.raises(BoardError, match="MemoryError: objects lie in the memory of kernels: import kern before"):
            board.exec("import kern")
    board.exec("large[-1] = 7; del large")
    board.exec("import kern; kern.status()")


def test_build_prints_what_takes_flash_and_ram(cli: RunHost, firmware_uf2: Path) -> None:
    printed = cli("build", "rpi_pico").stdout
    for part, size in firmware.size_report(boards.load("rpi_pico")).items():
        assert any(line.split() == [*part.split(), *map(str, size.values())] for line in printed.splitlines()), part


def test_the_docs_table_is_up_to_date(firmware_uf2: Path) -> None:
    command = [sys.executable, ROOT / "tools" / "size_table.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
