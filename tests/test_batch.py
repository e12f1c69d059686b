"""kern.batch on the emulated board: bound calls in order, each with its own limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from deadline_rounds import PERIODIC

from host import errors, pack
from host.board import Board

pytestmark = pytest.mark.every_board

SETUP = """
import kern
def bound(name, *values, **kw):
    tensors = [kern.tensor((len(v),), 'i32', v) for v in values]
    return kern.bind(name, *tensors, out=kern.tensor(tensors[0].shape, 'i32'), **kw)
def outs(calls):
    return [f.out.tolist() for f in calls]
x = [5, 6, 7, 8]
"""


@pytest.fixture
def repl(faulty: Board) -> Board:
    """The board with the faults pack, and `bound` and `outs` to make calls and to look at their outputs."""
    faulty.exec(SETUP)
    return faulty


def test_batch_makes_every_call_in_order(repl: Board) -> None:
    repl.exec("a = bound('code', x); b = kern.bind('code', a.out); c = kern.bind('code', b.out)")
    assert repl.eval("kern.batch([a, b, c])") is None
    assert repl.eval("outs((a, b, c))") == [[5, 6, 7, 8]] * 3
    assert repl.eval("kern.stats()['calls']") == 3
    repl.exec("kern.batch(()); kern.batch([])")
    assert repl.eval("kern.stats()['calls']") == 3


def test_batch_of_several_kernels_gives_each_its_own_data(repl: Board) -> None:
    repl.exec("a = bound('counter', x); b = bound('recurse', x, arg=20); b(); want = outs([b]); a()")
    repl.exec("kern.batch((a, b, a, a, b))")
    assert repl.eval("a.out.tolist()[0]") == 4
    assert repl.eval("outs([b]) == want")


@pytest.mark.pico_only  # others make that call in no time
def test_calls_of_a_batch_have_a_deadline_each(repl: Board) -> None:
    repl.exec("f = bound('arithmetic', list(range(8)), arg=1600); f(); want = outs([f])")
    cycles = repl.eval("f.cycles")
    assert cycles > 0.6 * 12_500_000
    repl.exec("kern.batch([f, f, f])")
    assert repl.eval("outs([f]) == want")


@pytest.mark.parametrize(
    ("kernel", "arg", "error"),
    [
        ("unreach", 1, "Unreachable"),
        ("spin", 1, "EpochDeadline"),
        ("spin_short", 1, "EpochDeadline"),
        ("code", 3, "InvalidParams"),
    ],
)
def test_fault_ends_the_batch_at_its_call(repl: Board, cycles_per_us: int, kernel: str, arg: int, error: str) -> None:
    assert_fault_ends_the_batch(repl, cycles_per_us, kernel, arg, error)


@pytest.mark.pico_only  # others do such an access
def test_native_fault_ends_the_batch_at_its_call(repl: Board, cycles_per_us: int) -> None:
    assert_fault_ends_the_batch(repl, cycles_per_us, "misaligned", 32769, "NativeFault")


def assert_fault_ends_the_batch(repl: Board, cycles_per_us: int, kernel: str, arg: int, error: str) -> None:
    expected = errors.by_name(error)
    assert expected is not None
    repl.exec(f"calls = [bound('code', x) for _ in range(5)]; calls[3] = bound({kernel!r}, x, arg={arg})")
    with pytest.raises(expected, match=rf"batch\[3\]: {kernel}: "):
        repl.exec("kern.batch(calls)")
    assert repl.eval("outs(calls[:3] + calls[4:])") == [[5, 6, 7, 8]] * 3 + [[0] * 4]
    stats = repl.stats()
    assert (stats["calls"], stats["faults"]) == (4, {error: 1})
    assert stats["last_fault"]["kernel"] == kernel
    budget = cycles_per_us * (100_000 if kernel == "spin" else 10_000)
    assert budget <= stats["last_fault"]["cycles"] < 1.01 * budget or error != "EpochDeadline"
    repl.exec("kern.batch(calls[:3] + calls[4:])")
    assert repl.eval("outs(calls[4:])") == [[5, 6, 7, 8]]


@pytest.mark.parametrize("what", ["1", "'a'", "None", "[1]", "x", "kern.code", "2.5"])
def test_what_is_no_bound_call_is_a_type_error_that_says_where(repl: Board, what: str) -> None:
    repl.exec("f = bound('code', x)")
    with pytest.raises(errors.BoardError, match=r"TypeError: batch\[2\] is an? \w+, must be a Bound"):
        repl.exec(f"kern.batch([f, f, {what}, f])")
    assert repl.eval("f.out.tolist()") == [5, 6, 7, 8]


def test_batch_takes_a_list_or_tuple(repl: Board) -> None:
    with pytest.raises(errors.BoardError, match="TypeError"):
        repl.exec("kern.batch(5)")


def test_bound_call_of_a_former_pack_is_refused(repl: Board, core_pack: Path, target: str) -> None:
    repl.exec("f = bound('code', x); f()")
    repl.install(pack.Pack.open(core_pack).image(target))
    for call in ("f()", "kern.batch([f])"):
        with pytest.raises(errors.NoSuchKernel, match="bind again"):
            repl.exec(call)


@pytest.mark.pico_only  # which has interrupts of the user's
def test_interrupt_handler_cannot_call_a_kernel(repl: Board) -> None:
    repl.exec(PERIODIC)
    repl.exec(
        "f = bound('code', x)\nf()\nraised = 0\nstop = False\n"
        "def tick(timer):\n global raised\n try:\n  f()\n except RuntimeError:\n  raised += 1\n"
        "g = bound('arithmetic', x, arg=20)\ng()\nwant = outs([g])\n"
        "t = periodic(tick)\n"
        "for _ in range(50): g()\n"
        "t.active(0)"
    )
    assert repl.eval("raised > 0 and outs([g]) == want")
