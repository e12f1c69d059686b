"""Kernels that go wrong, on the emulated board: each raises its own error, and the board is none the worse for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from host import errors, pack
from host.board import Board
from host.pack import keys

FAULTS = Path(__file__).parent / "faults"
X = np.array([5, 6, 7, 8], "<i4")
ARENA = 0x1A000
DEADLINE_US = 100_000
TICK_US = 10_000

FAULT_CASES = [
    ("oob_read", ARENA, "MemoryAccessViolation"),
    ("oob_read", ARENA - 2, "MemoryAccessViolation"),
    ("oob_read", -4, "MemoryAccessViolation"),
    ("oob_write", ARENA, "MemoryAccessViolation"),
    ("oob_write", -1, "MemoryAccessViolation"),
    ("unreach", 1, "Unreachable"),
    ("divide", 1, "IntegerDivideByZero"),
    ("divide", 2, "IntegerOverflow"),
    ("convert", 1, "InvalidConversion"),
    ("convert", 2, "IntegerOverflow"),
    ("recurse", 100_000, "StackOverflow"),
    ("indirect", 2, "IndirectCallTypeMismatch"),
    ("indirect", 3, "UndefinedElement"),
    ("spin_short", 1, "EpochDeadline"),
    ("code", 1, "InvalidInput"),
    ("code", 2, "InvalidOutput"),
    ("code", 3, "InvalidParams"),
    ("code", 4, "KernelOutOfMemory"),
    ("code", 5, "KernelNotImplemented"),
    ("code", 6, "KernelInternalError"),
    ("code", 77, "KernelTrap"),
    ("code", -1, "KernelTrap"),
]


@pytest.fixture(scope="module")
def faults_pack(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """The pack of kernels that go wrong."""
    folder = tmp_path_factory.mktemp("faults")
    return pack.Pack.open(pack.build_pack(FAULTS, folder, keys.default_or_create()))


@pytest.fixture
def faulty(board: Board, faults_pack: pack.Pack, core_pack: Path) -> Iterator[Board]:
    """The emulated board with the faults pack; the core pack comes back afterwards."""
    board.install(faults_pack.image("thumbv6m-soft"))
    yield board
    board.install(pack.Pack.open(core_pack).image("thumbv6m-soft"))


def assert_well(board: Board) -> None:
    """The next call of a kernel, the REPL and USB work."""
    assert board.run("code", [X], {"arg": 0}).tolist() == X.tolist()
    assert board.exec("print(6 * 7)").strip() == "42"


@pytest.mark.parametrize(("kernel", "arg", "error"), FAULT_CASES)
def test_fault_raises_its_own_error_and_the_next_call_works(faulty: Board, kernel: str, arg: int, error: str) -> None:
    expected = errors.by_name(error)
    assert expected is not None
    with pytest.raises(expected) as caught:
        faulty.run(kernel, [X], {"arg": arg})
    assert type(caught.value) is expected
    if isinstance(caught.value, errors.KernelTrap):
        assert caught.value.trap_code == arg
    assert faulty.stats()["last_fault"]["error"] == error
    assert faulty.stats()["last_fault"]["kernel"] == kernel
    assert_well(faulty)


def test_last_word_of_the_arena_can_be_read_and_written(faulty: Board) -> None:
    faulty.run("oob_read", [X], {"arg": ARENA - 4})
    faulty.run("oob_write", [X], {"arg": ARENA - 4})


def test_shallow_recursion_is_fine(faulty: Board) -> None:
    assert faulty.run("recurse", [X], {"arg": 200})[0] == deeper(200)


def deeper(depth: int) -> int:
    """What recurse.c computes."""
    value = 1
    for level in range(1, depth + 1):
        value = (value ^ level) * 3 & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


@pytest.mark.parametrize(("kernel", "budget_us"), [("spin", DEADLINE_US), ("spin_short", TICK_US)])
def test_endless_loop_without_calls_ends_at_its_deadline(faulty: Board, kernel: str, budget_us: int) -> None:
    took = faulty.eval(
        run_on_board(
            f"""
            import kern, time
            x = kern.tensor((4,), 'i32')
            f = kern.bind({kernel!r}, x, arg=1)
            def went():
                start = time.ticks_us()
                try:
                    f()
                except kern.EpochDeadline:
                    return time.ticks_diff(time.ticks_us(), start)
            took = [went() for _ in range(5)]
            """,
            faulty,
            "took",
        )
    )
    assert all(abs(us - budget_us) <= 1000 for us in took), took
    assert_well(faulty)


def run_on_board(code: str, board: Board, result: str) -> str:
    """Run ``code`` on the board; returns the name of its result, to be evaluated there."""
    board.exec(textwrap.dedent(code), timeout=120)
    return result


def test_thousand_faults_in_a_row_leak_nothing(faulty: Board) -> None:
    faulty.exec(
        textwrap.dedent(
            """
            import kern, gc
            x = kern.tensor((4,), 'i32', [5, 6, 7, 8])
            quick = [kern.bind(k, x, arg=a) for k, a in (
                ('oob_read', -4), ('oob_write', -4), ('unreach', 1), ('divide', 1), ('divide', 2), ('convert', 1),
                ('recurse', 100000), ('indirect', 2), ('code', 3))]
            slow = kern.bind('spin_short', x, arg=1)
            def go(rounds):
                failed = 0
                for i in range(rounds):
                    for f in quick:
                        try:
                            f()
                        except kern.KernelError:
                            failed += 1
                    try:
                        slow()
                    except kern.EpochDeadline:
                        failed += 1
                return failed
            def free():
                gc.collect()
                s = kern.status()
                gc.collect()
                return s['arena']['free'], s['pool']['free']
            go(2)
            before, heap = free(), gc.mem_free()
            """
        )
    )
    faults = sum(faulty.stats()["faults"].values())
    assert faulty.exec("print(go(100))", timeout=200).strip() == "1000"
    before, after = faulty.eval("before", 20), faulty.eval("free()", 20)
    assert after == before
    assert abs(faulty.eval("gc.mem_free() - heap")) < 2000
    assert sum(faulty.stats()["faults"].values()) == faults + 1000
    assert_well(faulty)


def test_kernel_keeps_its_data_between_calls_until_a_trap(faulty: Board) -> None:
    first = faulty.run("counter", [X], {"arg": 0})
    second = faulty.run("counter", [X], {"arg": 0})
    assert second[0] == first[0] + 1
    with pytest.raises(errors.Unreachable):
        faulty.run("counter", [X], {"arg": 1})
    assert faulty.run("counter", [X], {"arg": 0}).tolist() == [1, 7, 7, 7]


def test_no_kernel_can_reach_the_data_of_another(faulty: Board) -> None:
    """A kernel that writes all over the private page changes only what it has itself."""
    faulty.run("counter", [X], {"arg": 0})
    before = faulty.run("counter", [X], {"arg": 0})
    for offset in range(1024, 1056, 4):
        faulty.run("oob_write", [X], {"arg": offset})
    after = faulty.run("counter", [X], {"arg": 0})
    assert after.tolist() == [before[0] + 1, 7, 7, 7]
