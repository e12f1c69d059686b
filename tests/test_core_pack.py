"""The project's own pack as a whole: thirteen kernels on the board and under Wasmtime, and what the docs say of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from kernel_builds import IDS, SPECS

import host
from host.board import Board, connect
from host.check import run_check
from host.emulator import EmulatedBoard
from host.pack import Pack
from host.pack.spec import KernelSpec
from host.runtime import Runtime

AGENT = Path(host.__file__).with_name("bench_agent.py.txt")
OUTPUTS = """
def output(kernel, arguments, reference):
    tensors = []
    for shape, dtype in arguments:
        tensor = kern.tensor(shape, dtype)
        memoryview(tensor)[:] = bytes(_stored(dtype, tensor.nbytes))
        tensors.append(tensor)
    return bytes(kern.bind(kernel, *tensors, reference=reference)())
"""


def test_there_are_the_thirteen_kernels() -> None:
    assert (
        *("rope_f32", "rope_f16", "rope_q8", "rmsnorm_f32", "rmsnorm_f16", "swiglu_f32", "swiglu_f16"),
        *("kv_pack_q4", "kv_pack_q8", "kv_unpack_q4", "kv_unpack_q8", "lora_apply_f32", "lora_apply_f16"),
    ) == IDS


def test_board_and_wasmtime_give_the_same_bits_within_the_bounds(board: Board, core_pack: Path) -> None:
    pack = Pack.open(core_pack)
    with Runtime() as runtime:
        runtime.install(pack)
        report = run_check(board, runtime, pack, board_name="rpi_pico", seed=7, count=60)
    assert [kernel.id for kernel in report.kernels] == list(IDS)
    assert report.mismatches == 0, [str(example) for kernel in report.kernels for example in kernel.examples]
    assert report.passed
    assert all(kernel.elements > 3000 and kernel.largest_error is not None for kernel in report.kernels)


def arguments(spec: KernelSpec) -> list[tuple[tuple[int, ...], str]]:
    """Shape and dtype of what a call takes, at the sizes of the known-answer test."""
    tensors = [tensor for tensor in spec.arguments if not tensor.optional]
    return [(tuple(dim.value(spec.test.symbols) for dim in t.shapes[0]), t.dtype.name) for t in tensors]


@pytest.fixture(scope="module")
def bench_board(emulated_bench: EmulatedBoard) -> Iterator[Board]:
    """A board with native references of all kernels, ready to compare."""
    with connect(str(emulated_bench.wait_for_port())) as board:
        board.soft_reset()
        board.exec(AGENT.read_text() + OUTPUTS)
        yield board


@pytest.mark.parametrize("kernel_id", IDS)
def test_the_reference_in_the_firmware_gives_the_bits_of_the_aot_code(bench_board: Board, kernel_id: str) -> None:
    call = f"output({kernel_id!r}, {arguments(SPECS[kernel_id])!r}, "
    aot, native, libgcc = (bench_board.eval(call + f"{it!r})") for it in (False, True, kernel_id + "_libgcc"))
    assert aot == native == libgcc
    assert any(aot)


def test_the_docs_table_is_that_of_pack_toml() -> None:
    command = [sys.executable, ROOT / "tools" / "kernel_table.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_the_docs_table_has_cycles_for_every_kernel() -> None:
    table = (ROOT / "docs" / "kernels.md").read_text().split("cycles: tools/kernel_table.py -->")[1]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    cycles = {row.split("`")[1]: row.split("|")[2:5] for row in rows}
    assert all(float(cell.strip(" *")) > 0 for kernel_id in IDS for cell in cycles[kernel_id])
