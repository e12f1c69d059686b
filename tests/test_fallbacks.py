"""Fallbacks on the emulated board: the firmware's reference answers for a kernel that faults, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import have_pack

from host import errors, pack
from host.board import Board
from host.pack import keys

pytestmark = pytest.mark.every_board

FALLBACKS = Path(__file__).parent / "fallbacks"
FINE, TRAP, SPIN = 1.0, 1000.0, 1001.0
"""What the first element of `gate` tells the kernels to do: failing.h."""
UP = np.array([2, 0.5, -1, 3], "f4")


@pytest.fixture(scope="module")
def fallbacks_pack(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """The pack of kernels that fail and have a fallback."""
    return pack.Pack.open(pack.build_pack(FALLBACKS, tmp_path_factory.mktemp("pack"), keys.default_or_create()))


@pytest.fixture
def failing(board: Board, fallbacks_pack: pack.Pack, core_pack_again: None) -> Board:
    """The emulated board with that pack."""
    have_pack(board, fallbacks_pack)
    return board


def gate(first: float) -> np.ndarray[Any, Any]:
    return np.array([first, 1, -2, 0.25], "f4")


def swiglu(first: float) -> np.ndarray[Any, Any]:
    x = gate(first).astype("f8")
    return np.asarray(x / (1 + np.exp(-x)) * UP)


@pytest.mark.parametrize(("first", "error"), [(TRAP, "Unreachable"), (SPIN, "EpochDeadline")])
def test_reference_answers_for_a_kernel_that_faults_and_the_stats_say_so(
    failing: Board, first: float, error: str
) -> None:
    for _ in range(2):
        np.testing.assert_allclose(failing.run("failing", [gate(first), UP]), swiglu(first), rtol=1e-6)
    stats = failing.stats()
    assert (stats["degraded"], stats["fallbacks"], stats["faults"]) == (2, {"failing": 2}, {error: 2})
    last = stats["last_fault"]
    assert (last["kernel"], last["error"], last["fallback"]) == ("failing", error, True)
    assert failing.run("failing", [gate(FINE), UP]).tolist() == gate(FINE).tolist()
    assert failing.stats()["degraded"] == 2


def test_batch_goes_on_behind_a_call_that_its_reference_answered(failing: Board) -> None:
    failing.exec(
        "import kern\n"
        "def bound(gate): return kern.bind('failing', kern.tensor((4,), 'f32', gate), up)\n"
        f"up = kern.tensor((4,), 'f32', {UP.tolist()})\n"
        f"fine, trap = bound({gate(FINE).tolist()}), bound({gate(TRAP).tolist()})\n"
        "kern.batch([fine, trap, fine, trap, fine])"
    )
    np.testing.assert_allclose(failing.eval("trap.out.tolist()"), swiglu(TRAP), rtol=1e-6)
    assert failing.eval("fine.out.tolist()") == gate(FINE).tolist()
    stats = failing.stats()
    assert (stats["calls"], stats["degraded"], stats["faults"]) == (5, 2, {"Unreachable": 2})


def test_strict_mode_has_no_fallbacks_until_the_next_reset(failing: Board) -> None:
    failing.exec("import kern")
    assert failing.eval("(kern.strict(), kern.strict(True), kern.strict())") == (False, False, True)
    with pytest.raises(errors.Unreachable):
        failing.run("failing", [gate(TRAP), UP])
    stats = failing.stats()
    assert (stats["degraded"], stats["fallbacks"], stats["last_fault"]["fallback"]) == (0, {}, False)
    failing.soft_reset()
    failing.exec("import kern")
    assert failing.eval("kern.strict()") is False
    np.testing.assert_allclose(failing.run("failing", [gate(TRAP), UP]), swiglu(TRAP), rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    ["kern.failing(gate, up, out=gate)", "kern.bind('failing', gate, up, out=up)()", "kern.failing_inout(y, gate, up)"],
)
def test_no_fallback_where_the_kernel_may_have_changed_what_it_read(failing: Board, call: str) -> None:
    failing.exec(f"import kern; gate, up = (kern.tensor((4,), 'f32', [{TRAP}, 1, 1, 1]) for _ in range(2))")
    failing.exec("y = kern.tensor((4,), 'f32')")
    with pytest.raises(errors.Unreachable):
        failing.exec(call)
    assert failing.stats()["degraded"] == 0


@pytest.mark.pico_only  # others make that call in time
def test_reference_has_the_kernels_deadline_and_the_fault_stands(failing: Board) -> None:
    failing.exec(f"import kern, time; gate = kern.tensor((8000,), 'f32', [{TRAP}] * 8000); start = time.ticks_ms()")
    with pytest.raises(errors.Unreachable):
        failing.exec("kern.failing(gate, gate)")
    assert failing.eval("time.ticks_diff(time.ticks_ms(), start)") < 1000
    stats = failing.stats()
    assert (stats["degraded"], stats["last_fault"]["fallback"]) == (0, False)
    assert failing.run("failing", [gate(FINE), UP]).tolist() == gate(FINE).tolist()


def test_release_firmware_says_which_references_it_has_not(board: Board, core_pack: Path) -> None:
    have_pack(board, pack.Pack.open(core_pack))
    board.exec("import kern; x = kern.tensor((1, 4), 'f16')")
    with pytest.raises(errors.NoSuchKernel, match="the firmware has no reference of swiglu_f16"):
        board.exec("kern.bind('swiglu_f16', x, x, reference=True)")
