"""The deadline holds wherever a kernel is and whatever else the board does; `tools/deadlines.py` is the long form."""

from __future__ import annotations

import random
import time
import zlib

import deadline_rounds
import pytest

from host.board import Board
from host.emulator import EmulatedBoard

DEADLINE_US = 100_000
BRANCH_TO_ITSELF = 0xE7FE
SETUP = """
import binascii, kern, machine, select, sys
def bound(name, n, arg):
    return kern.bind(name, kern.tensor((n,), 'i32', list(range(n))), arg=arg)
def took(f):
    try:
        f()
    except kern.EpochDeadline:
        return kern.stats()['last_fault']['cycles'] // 125
good = bound('arithmetic', 8, 5)
good()
want = good.out.tolist()
def well():
    memoryview(good.out)[:] = bytes(32)
    good()
    return good.out.tolist() == want
"""


@pytest.fixture
def repl(faulty: Board) -> Board:
    """The board with the faults pack, `took`: microseconds until a call's deadline, and `well`: results are right."""
    faulty.exec(SETUP)
    return faulty


def assert_in_time(took: list[int | None]) -> None:
    assert all(us is not None and 0 <= us - DEADLINE_US <= 100 for us in took), took


def test_three_thousand_deadlines_at_any_instruction_spoil_nothing(
    emulated_board: EmulatedBoard, faulty: Board
) -> None:
    outcome = deadline_rounds.run(emulated_board, faulty, 3000, seed=20)
    assert outcome.wrong == 0
    assert outcome.deadlines >= 3000
    assert outcome.inside_runtime > 300
    assert outcome.calls > 3000
    assert sum(faulty.stats()["faults"].values()) == outcome.deadlines


@pytest.mark.parametrize(("kernel", "n"), [("arithmetic", 4), ("bulk", 5000)])
def test_deadline_holds_inside_floats_and_bulk_memory(repl: Board, kernel: str, n: int) -> None:
    repl.exec(f"f = bound({kernel!r}, {n}, -1); inside = 0; times = []")
    repl.exec(
        "for _ in range(8):\n times.append(took(f))\n inside += kern.stats()['last_fault']['function'] is None",
        timeout=60,
    )
    assert_in_time(repl.eval("times"))
    assert repl.eval("inside") > 0
    assert repl.eval("well()")


def test_endless_loop_has_no_poll_in_it(repl: Board) -> None:
    """What is stopped is a branch to itself: AOT code looks at no flag, and needs none."""
    repl.exec("took(bound('spin', 4, 1))")
    assert repl.eval("machine.mem16[kern.stats()['last_fault']['pc']]") == BRANCH_TO_ITSELF


def test_deadline_holds_under_usb_traffic(emulated_board: EmulatedBoard, repl: Board) -> None:
    sent = bytes(random.Random(1).choices(range(65, 91), k=8000))
    repl.exec(
        "f = bound('spin', 4, 1); got = bytearray(); poll = select.poll(); poll.register(sys.stdin, select.POLLIN)"
    )
    link = repl._link
    link.begin(
        "times = []\nprint('go')\n"
        "while len(times) < 10 or len(got) < 8000:\n"
        " if len(times) < 10: times.append(took(f))\n"
        " while poll.poll(0): got.extend(sys.stdin.buffer.read(1))"
    )
    assert link.read(4) == b"go\r\n"
    link.write(sent)
    assert link.finish(60) == ""
    assert_in_time(repl.eval("times"))
    assert repl.eval("(len(got), binascii.crc32(got))") == (len(sent), zlib.crc32(sent))
    assert repl.eval("well()")


def test_ctrl_c_at_any_time_in_kernels_arrives_and_spoils_nothing(repl: Board) -> None:
    moments = random.Random(2)
    link = repl._link
    for kernel, n, arg in [("arithmetic", 8, 20), ("spin", 4, 1), ("bulk", 3000, 20), ("code", 4, 0)] * 4:
        link.begin(
            f"f = bound({kernel!r}, {n}, {arg})\n"
            "print('go')\ntry:\n while True:\n  took(f)\nexcept KeyboardInterrupt:\n print('stopped')"
        )
        assert link.read(4) == b"go\r\n"
        time.sleep(moments.uniform(0.001, 0.06))
        link.write(b"\x03")
        assert link.finish().strip() == "stopped"
        assert repl.eval("well()")


def test_deadline_holds_under_interrupts_and_callbacks_of_the_user(repl: Board) -> None:
    repl.exec(deadline_rounds.PERIODIC)
    repl.exec(
        "hard = soft = 0\n"
        "def on_hard(timer):\n global hard\n hard += 1\n"
        "def on_soft(timer):\n global soft\n soft += 1\n"
        "timer, interrupts = machine.Timer(freq=5000, callback=on_soft), periodic(on_hard)\n"
        "endless = [bound('spin', 4, 1), bound('arithmetic', 4, -1), bound('bulk', 3000, -1)]\n"
        "try:\n"
        " times = [took(f) for f in endless]\n"
        " during = hard\n"
        " right = sum(well() for _ in range(200))\n"
        "finally:\n"
        " timer.deinit()\n"
        " interrupts.active(0)",
        timeout=60,
    )
    assert_in_time(repl.eval("times"))
    assert repl.eval("during") > 0
    assert repl.eval("soft") > 0
    assert repl.eval("right") == 200
