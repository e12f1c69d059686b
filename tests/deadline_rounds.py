"""Deadlines that come due at any instruction, on an emulated board with the faults pack.

The emulator lets the board's clock jump 100 ms ahead at random moments. Whichever call is under way then has used up
its time: the endless kernel that the board is in most of the time, one of the short kernels between, or none when the
jump falls into the guard, the engine or MicroPython. Everything that the board computes is compared with what it
computed before the clock jumped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from host.board import Board
from host.emulator import EmulatedBoard

JUMP_US = 100_001
LEAST, MOST = 1_000, 150_000
"""Cycles between two jumps. Loading a kernel anew after each of them takes 50,000."""
_ROUNDS_TIMEOUT = 600.0
PERIODIC = """
import rp2
@rp2.asm_pio()
def again():
    irq(rel(0)) [31]
    nop() [31]
def periodic(handler):
    machine = rp2.StateMachine(0, again, freq=320000)
    machine.irq(handler, hard=True)
    machine.active(1)
    return machine
"""
"""``periodic(handler)``: hard interrupts of the user's (machine.Timer's are soft) until ``active(0)``. How often they
come, the emulator leaves open: its PIO runs beside the processor."""
AGENT = """\
import kern

DEADLINE = kern.EpochDeadline, kern.LoadError  # the latter when it was kernel_init's

def bound(name, n, arg):
    f = kern.bind(name, kern.tensor((n,), 'i32', list(range(3, n + 3))), arg=arg)
    return f, memoryview(f.out)

endless = [bound(name, n, -1)[0] for name, n in (('spin', 4), ('arithmetic', 4), ('bulk', 3000), ('arithmetic', 9))]
short = [bound(name, n, arg) for name, n, arg in (
    ('code', 4, 0), ('arithmetic', 8, 3), ('bulk', 64, 2), ('recurse', 4, 20), ('frames', 4, 2), ('code', 64, 0))]
mixed = [f for f, _ in short]
same = [f for f in (short[0][0], short[5][0]) for _ in range(8)]

def clear():
    for _, y in short:
        y[:] = bytes(len(y))

def run_short():
    for f, _ in short:
        f()

wanted = []

def wrong_results(which):
    return sum(bytes(short[i][1]) != wanted[i] for i in which)

def go(count):
    # Until `count` deadlines came: (deadlines, those inside the runtime's functions, calls that ended well, wrong ones)
    met = inside = well = wrong = i = 0
    while met < count:
        i += 1
        try:
            endless[i % len(endless)]()
            wrong += 1
        except DEADLINE:
            met += 1
            inside += kern.stats()['last_fault']['function'] is None
        clear()
        for k, (f, _) in enumerate(short):
            try:
                f()
                well += 1
                wrong += wrong_results((k,))
            except DEADLINE:
                met += 1
        for batch, which in ((mixed, range(len(short))), (same, (0, 5))):
            clear()
            try:
                kern.batch(batch)
                well += len(batch)
                wrong += wrong_results(which)
            except DEADLINE:
                met += 1
        wrong += (123456789 + i) // 97 * 97 + (123456789 + i) % 97 != 123456789 + i
        wrong += (1.5 + i) * 3.25 / 0.5 != 9.75 + 6.5 * i
    return met, inside, well, wrong

run_short()
wanted = [bytes(y) for _, y in short]
"""


@dataclass(frozen=True)
class Outcome:
    """What came of it: deadlines that ended a call, those of them inside the runtime's floats and bulk memory, calls
    that ended well, and results that were wrong."""

    jumps: int
    deadlines: int
    inside_runtime: int
    calls: int
    wrong: int


def run(
    emulated: EmulatedBoard, board: Board, count: int, seed: int, report: Callable[[int], None] = lambda done: None
) -> Outcome:
    """Let ``count`` deadlines come on the board, on which the faults pack is active. ``report`` gets how many came."""
    board.exec(AGENT)
    met = inside = calls = wrong = 0
    jumps = emulated.counters()["jumps"]
    emulated.jump_clock(JUMP_US, LEAST, MOST, seed)
    try:
        while met < count:
            part = board.eval(f"go({min(1000, count - met)})", _ROUNDS_TIMEOUT)
            met, inside, calls, wrong = (a + b for a, b in zip((met, inside, calls, wrong), part, strict=True))
            report(met)
    finally:
        emulated.jump_clock(0)
    return Outcome(emulated.counters()["jumps"] - jumps, met, inside, calls, wrong)
