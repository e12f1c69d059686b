"""The soft-float routines: exact, as fast as they are said to be, and a checker that would see it if they were not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools" / "softfloat"))

import check
import cycles
import program

MOST_CYCLES = {
    "sf_add": 46,
    "sf_sub": 50,
    "sf_mul": 47,
    "sf_div": 68,
    "sf_sqrt": 58,
    "sf_from_i32": 35,
    "sf_to_i32": 15,
    "sf_clz": 18,
    "sf_to_f16": 20,
    "sf_from_f16": 20,
}
"""Means over ordinary operands."""
COMPARISONS = ("sf_eq", "sf_lt", "sf_gt", "sf_le", "sf_ge")
MOST_CYCLES_TO_COMPARE = 14
MOST_RAM = 1750

# What is planted: the routine that goes wrong, the file, what is there, what takes its place.
PLANTED = {
    "an entry of the divider's table": ("sf_div", "softfloat_armv6m.S", ".byte 227, 225, 224,", ".byte 227, 222, 224,"),
    "an entry of the root's table": ("sf_sqrt", "softfloat_armv6m.S", ".byte 180,", ".byte 170,"),
    "a tie that rounds up": (
        "sf_add",
        "softfloat_armv6m.S",
        "clear_odd:\n    movs r1, #1",
        "clear_odd:\n    movs r1, #0",
    ),
    "a tie of the product": ("sf_mul", "softfloat_armv6m.S", "lsls r2, r2, #10", "lsls r2, r2, #11"),
    "half of a unit left by the root": ("sf_sqrt", "softfloat_armv6m.S", "sbcs r0, r3", "cmp r0, r3"),
    "a product that overflows": ("sf_mul", "softfloat_armv6m.S", "cmp r2, #252", "cmp r2, #254"),
    "zero times infinity": ("sf_mul", "softfloat_armv6m.S", "    beq 3f\n    lsrs r0, r0, #31", "    lsrs r0, r0, #31"),
    "an entry of the table of zeros": (
        "sf_clz",
        "softfloat_armv6m.S",
        ".byte 4, 3, 2, 2, 1, 1",
        ".byte 4, 3, 2, 1, 1, 1",
    ),
    "lost bits of a denormal": ("sf_div", "softfloat_rare.c", "quotient | (rest != 0)", "quotient"),
    "a register that is not restored": (
        "sf_sub",
        "softfloat_armv6m.S",
        "cancelled:\n    movs r0, #0",
        "cancelled:\n    movs r0, #0\n    bx lr",
    ),
}


@pytest.fixture(scope="module")
def routines(tmp_path_factory: pytest.TempPathFactory) -> program.Program:
    """The routines, built with their harness."""
    return program.build(tmp_path_factory.mktemp("softfloat"))


@pytest.fixture(scope="module")
def checker(routines: program.Program) -> check.Checker:
    """The checker, with the effort of every day."""
    return check.Checker(routines, check.SHORT)


@pytest.mark.parametrize("name", check.REFERENCES)
def test_routine_gives_the_bits_that_the_fpu_of_the_pc_gives(checker: check.Checker, name: str) -> None:
    assert checker.check(name) == []


def test_no_divisor_leaves_the_second_digit_of_a_quotient_off_by_more_than_one() -> None:
    first, second = check.division_bounds(program.SOURCES)
    assert first < 2 and second < 1.5


@pytest.mark.parametrize("error", PLANTED)
def test_checker_finds_a_planted(error: str, tmp_path: Path) -> None:
    name, file, right, wrong = PLANTED[error]
    sources = shutil.copytree(program.SOURCES, tmp_path / "sources")
    text = (sources / file).read_text()
    assert text.count(right) == 1
    (sources / file).write_text(text.replace(right, wrong))
    checker = check.Checker(program.build(tmp_path, sources), check.SHORT)
    try:
        found = checker.check(name)
    except AssertionError as broken:  # the calling convention
        assert name in str(broken)
    else:
        assert [difference.routine for difference in found] == [name] * len(found) != []


def test_checker_finds_a_planted_error_in_the_bound_of_the_divider(tmp_path: Path) -> None:
    sources = shutil.copytree(program.SOURCES, tmp_path / "sources")
    text = (sources / "softfloat_armv6m.S").read_text()
    (sources / "softfloat_armv6m.S").write_text(text.replace(".byte 227, 225, 224,", ".byte 227, 222, 224,"))
    assert check.division_bounds(sources)[1] >= 1.5


def test_operands_for_the_checker_are_ties_and_denormals_often_enough() -> None:
    with np.errstate(all="ignore"):
        batches = [check.floats(a) * check.floats(b) for a, b in check.pairs(check.SHORT)]
    products = np.abs(np.concatenate(batches))
    assert np.count_nonzero((products > 0) & (products < np.finfo(np.float32).tiny)) > 10_000
    assert np.count_nonzero(np.isinf(products)) > 10_000


def test_routines_are_as_fast_and_as_small_as_the_aims(routines: program.Program) -> None:
    measured = cycles.measure(routines)
    for name, most in MOST_CYCLES.items():
        assert measured[name].mean <= most < measured[name].libgcc, name
    assert np.mean([measured[name].mean for name in COMPARISONS]) <= MOST_CYCLES_TO_COMPARE
    assert routines.size <= MOST_RAM
