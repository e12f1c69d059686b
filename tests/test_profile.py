"""host profile: every cycle of an emulated board's kernel calls is told, and told of the right function."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from host import boards, firmware
from host.board import connect
from host.emulator import EmulatedBoard
from host.errors import NoSuchKernel, UsageError
from host.firmware_variants import RELEASE
from host.pack import Pack
from host.profile import KERNEL, Profile, run_profile, save


@pytest.fixture(scope="module")
def rope(emulated_board: EmulatedBoard, core_pack: Path) -> Profile:
    """Five calls of rope_f32."""
    with connect(str(emulated_board.wait_for_port(30))) as board:
        board.soft_reset()
        return run_profile(board, emulated_board.profile, Pack.open(core_pack), "rope_f32", 5)


def test_every_cycle_is_counted_in_some_function(rope: Profile) -> None:
    """Nothing sleeps while kernels run, so the sum is the time between the two switches but for the last block's."""
    counted = sum(function.cycles for function in rope.functions)
    assert counted == sum(rope.stacks.values())
    assert 0.998 < counted / rope.cycles <= 1.0


def test_kernel_and_float_routines_are_told_apart(rope: Profile) -> None:
    """RoPE spends most in soft float, called by the kernel's own code, and little in the runtime."""
    parts = dict(rope.parts())
    assert set(parts) >= {KERNEL, "exact floats", "module kern", "MicroPython"}
    assert parts["exact floats"] > parts[KERNEL] > parts["module kern"]
    assert not parts.keys() & {"unknown"}


def test_cycles_are_those_that_the_board_counts(rope: Profile) -> None:
    """From guard_run on, a call takes what Bound.cycles says."""
    inside = sum(cycles for stack, cycles in rope.stacks.items() if "guard_run" in stack)
    assert inside / rope.calls == pytest.approx(rope.last_call, rel=0.001)


def test_kernel_calls_floats_in_the_flame_graph(rope: Profile, tmp_path: Path) -> None:
    """A chain leads from MicroPython through the guard and the kernel to a float routine; both formats have it."""
    save(rope, tmp_path / "rope.txt")
    lines = (tmp_path / "rope.txt").read_text().splitlines()
    assert all(re.fullmatch(r"\S.* \d+", line) for line in lines)
    assert any(re.search(r"guard_run;rope_f32 \(AOT\);.*sf_mul", line) for line in lines)
    save(rope, tmp_path / "rope.json")
    graph = json.loads((tmp_path / "rope.json").read_text())["profiles"][0]
    assert sum(graph["weights"]) == graph["endValue"] == sum(int(line.split()[-1]) for line in lines)


def test_unknown_kernel_and_foreign_firmware_are_refused(emulated_board: EmulatedBoard, core_pack: Path) -> None:
    """The error says which kernels there are, and how to get a firmware whose addresses are known."""
    with connect(str(emulated_board.wait_for_port(30))) as board, pytest.raises(NoSuchKernel, match="rope_f32"):
        run_profile(board, emulated_board.profile, Pack.open(core_pack), "nonesuch", 1)
    with pytest.raises(UsageError, match="host build rpi_pico"):
        firmware.built_elf(boards.load("rpi_pico"), RELEASE, "0123456789abcdef")
