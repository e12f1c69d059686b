"""Soak the emulated Pico: an hour of its time with random calls, faults, installations, resets and power cuts.

    .venv/bin/python tools/soak.py [--minutes 60] [--seed 1] [--json]

Every call's result must be what Wasmtime gives, every fault the one that its kernel is made for, and after every
step the board's packs must be what a model of the rules in docs/firmware.md says. Now and then, and at the end, the
memory that is free must be what was free at the start. Exit code 0 when all of that held; the seed repeats a run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from host import boards, errors, firmware, pack, project
from host.board import Board, connect
from host.check import compare
from host.check_cases import cases
from host.emulator import EmulatedBoard
from host.errors import HostError, KernelError
from host.pack import keys, keyset
from host.runtime import Runtime

BOARD = "rpi_pico"
GRACE_S = 300
"""How long the previous pack is kept."""
CASES = 8
"""Different calls of each kernel."""
LARGEST = 512
"""Elements of the output of a call."""

FAULTS = {
    ("oob_read", -4): "MemoryAccessViolation",
    ("oob_write", -1): "MemoryAccessViolation",
    ("unreach", 1): "Unreachable",
    ("divide", 1): "IntegerDivideByZero",
    ("divide", 2): "IntegerOverflow",
    ("convert", 1): "InvalidConversion",
    ("recurse", 100_000): "StackOverflow",
    ("indirect", 2): "IndirectCallTypeMismatch",
    ("spin", 1): "EpochDeadline",
    ("spin_short", 1): "EpochDeadline",
    ("code", 6): "KernelInternalError",
    ("code", 77): "KernelTrap",
    ("code", 0): None,
}
"""Kernels of tests/faults with their argument, and the error that each ends with."""


class Wrong(Exception):
    """The board did not do what it had to."""


@dataclass(frozen=True)
class Call:
    """A call and what it must give: an array, or the name of an error."""

    kernel: str
    inputs: tuple[np.ndarray | None, ...]
    params: dict[str, Any]
    expected: np.ndarray | str


@dataclass(frozen=True)
class Packed:
    """A pack's image and the calls that can be made while it is active."""

    name: str
    image: bytes
    calls: tuple[Call, ...]


@dataclass
class Model:
    """What the rules say: names of packs, and when the previous one goes (seconds of the board's time)."""

    active: str
    previous: str | None = None
    trial: bool = False
    grace_ends: float = 0.0

    def install(self, name: str, confirm: bool, now: float) -> None:
        self.previous, self.active, self.trial = self.active, name, not confirm
        self.grace_ends = now + GRACE_S

    def reset(self, now: float) -> None:
        if self.trial and self.previous is not None:
            self.active, self.previous, self.trial = self.previous, None, False
        self.grace_ends = now + GRACE_S


@dataclass
class Soak:
    """A run: the emulated board, what may be installed on it, and what should be true of it now."""

    emulated: EmulatedBoard
    packs: dict[str, Packed]
    rng: random.Random
    model: Model
    link: Board
    earlier: float = 0.0  # seconds of the board's time before its last power-up
    counts: Counter[str] = field(default_factory=Counter)

    # ---- what there is to do ----

    def call(self) -> None:
        """A call of the active pack."""
        self.make(self.rng.choice(self.packs[self.model.active].calls))

    def make(self, call: Call) -> None:
        """Make a call and hold its result against what it must be."""
        inputs = [None if array is None else array.copy() for array in call.inputs]
        try:
            got: np.ndarray | str = self.link.run(call.kernel, inputs, call.params)
        except KernelError as error:
            got = type(error).__name__
        self.counts["faults" if isinstance(call.expected, str) else "right results"] += 1
        if not same(got, call.expected):
            raise Wrong(f"{call.kernel} {call.params} gave {got}, must give {call.expected}")

    def install(self) -> None:
        """Install any of the packs, for good or on trial. While there is a trial it must be refused."""
        chosen = self.rng.choice(list(self.packs.values()))
        confirm = self.rng.random() < 0.6
        if self.model.trial:
            self.refused(errors.PackOnTrial, lambda: self.link.install(chosen.image, confirm=confirm))
            return
        self.link.install(chosen.image, confirm=confirm)
        self.model.install(chosen.name, confirm, self.now())
        self.counts["installations"] += 1

    def install_damaged(self) -> None:
        """An image with a wrong byte is refused, and costs the previous pack its slot."""
        image = bytearray(self.rng.choice(list(self.packs.values())).image)
        image[self.rng.randrange(len(image))] ^= 1 << self.rng.randrange(8)
        if self.model.trial:
            return
        self.refused(errors.PackError, lambda: self.link.install(bytes(image)))
        self.model.previous = None

    def install_halfway(self) -> None:
        """An installation that is not gone on with changes nothing but the previous pack."""
        if self.model.trial:
            return
        size = self.rng.randrange(300, 9000)
        self.link.exec(f"import kern\ni = kern.installer()\nfor _ in range({size // 100}): i.write(bytes(100))\ndel i")
        self.model.previous = None
        self.counts["installations given up"] += 1

    def install_with_power_cut(self) -> None:
        """After a power cut at any flash operation of an installation, the old or the new pack is there."""
        if self.model.trial:
            return
        chosen = self.rng.choice(list(self.packs.values()))
        seen = len(self.emulated.events)
        before = self.now()
        self.emulated.cut_power_at(self.rng.randrange(1, 200), self.rng.choice(("undone", "half", "done")))
        try:
            self.link.install(chosen.image)
        except HostError:
            self.emulated.wait_for_event("power_cut", after=seen)
        else:
            self.emulated.power_off()  # the cut was to come later
        self.link.close()
        self.earlier = before
        self.emulated.power_on()
        self.connect()
        active = self.link.status()["pack"]["name"]
        if active not in (self.model.active, chosen.name):
            raise Wrong(f"after a power cut {active} is active, neither {self.model.active} nor {chosen.name}")
        listed = {entry["state"]: entry["name"] for entry in self.link.packs()}
        self.model = Model(active, listed.get("previous"), grace_ends=self.now() + GRACE_S)
        self.counts["power cuts"] += 1

    def confirm(self) -> None:
        """A trial ends well."""
        self.link.confirm()
        if self.model.trial:
            self.model.trial, self.model.grace_ends = False, self.now() + GRACE_S
        self.counts["confirmations"] += 1

    def rollback(self) -> None:
        """Back to the previous pack, if it is there."""
        if self.model.previous is None:
            self.refused(errors.NoPreviousPack, self.link.rollback)
            return
        if abs(self.model.grace_ends - self.now()) < 5 and not self.model.trial:
            return  # too near to say
        self.link.rollback()
        model = self.model
        model.active, model.previous = model.previous or "", None if model.trial else model.active
        model.trial, model.grace_ends = False, self.now() + GRACE_S
        self.counts["rollbacks"] += 1

    def soft_reset(self) -> None:
        """MicroPython starts anew."""
        self.link.soft_reset()
        self.model.reset(self.now())
        self.counts["soft resets"] += 1

    def hard_reset(self) -> None:
        """The RUN pin is pulled."""
        self.link.close()
        self.emulated.reset()
        self.connect()
        self.model.reset(self.now())
        self.counts["hard resets"] += 1

    def sleep(self) -> None:
        """Time passes, sometimes more than the previous pack is kept."""
        seconds = self.rng.choice((1, 5, 20, 20, 60, GRACE_S + 10))
        self.emulated.jump_clock(1_000_000, 50_000, 100_000, self.rng.randrange(1, 1000))
        self.link.exec(
            f"import time\nend = time.ticks_add(time.ticks_ms(), {seconds * 1000})\n"
            "while time.ticks_diff(end, time.ticks_ms()) > 0: pass",
            timeout=120,
        )
        self.emulated.jump_clock(0)
        self.counts["sleeps"] += 1

    # ---- what must hold ----

    def refused(self, kind: type[HostError], change: Callable[[], object]) -> None:
        """``change`` must raise an error of that kind."""
        try:
            change()
        except kind:
            self.counts["refusals"] += 1
        else:
            raise Wrong(f"{kind.__name__} was not raised")

    def check_packs(self) -> None:
        """The board's packs are the model's."""
        if not self.model.trial and self.now() > self.model.grace_ends + 5:
            self.model.previous = None
        near = not self.model.trial and abs(self.now() - self.model.grace_ends) <= 5
        listed = {entry["state"]: entry["name"] for entry in self.link.packs()}
        if near and "previous" not in listed:
            self.model.previous = None
        expected = {"trial" if self.model.trial else "active": self.model.active}
        if self.model.previous is not None:
            expected["previous"] = self.model.previous
        if listed != expected:
            raise Wrong(f"the board has {listed}, must have {expected}")

    def memory(self) -> dict[str, int]:
        """Free bytes after a reset, one and the same call, and a collection."""
        self.link.soft_reset()
        self.model.reset(self.now())
        self.make(self.packs[self.model.active].calls[0])
        self.link.exec("import gc, kern")
        heap = self.link.eval("(gc.collect(), gc.mem_free())[1]")
        status = self.link.status()
        return {"heap": heap, "arena": status["arena"]["free"], "pool": status["pool"]["free"]}

    def check_arena(self) -> None:
        """No tensor is left when none is in use."""
        arena = self.link.eval("(__import__('gc').collect(), __import__('kern').status()['arena'])[1]")
        most = boards.load(BOARD).memory.arena_size
        if arena["free"] < most - 2 * boards.load(BOARD).memory.kernel_page:
            raise Wrong(f"only {arena['free']} of {most} bytes of the arena are free, though no tensor is in use")

    # ---- the board ----

    def now(self) -> float:
        """Seconds of the board's time."""
        return float(self.emulated.counters()["nanos"]) / 1e9 + self.earlier

    def connect(self) -> None:
        self.link = connect(str(self.emulated.wait_for_port(60)))


STEPS: tuple[tuple[Callable[[Soak], None], int], ...] = (
    (Soak.call, 60),
    (Soak.sleep, 12),
    (Soak.install, 6),
    (Soak.install_damaged, 2),
    (Soak.install_halfway, 2),
    (Soak.install_with_power_cut, 3),
    (Soak.confirm, 3),
    (Soak.rollback, 4),
    (Soak.soft_reset, 3),
    (Soak.hard_reset, 2),
    (Soak.check_arena, 3),
)
"""What may come next, and how often."""


def same(got: np.ndarray | str, expected: np.ndarray | str) -> bool:
    """The same error, or equal bit for bit but for NaN."""
    if isinstance(got, str) or isinstance(expected, str):
        return isinstance(got, str) and isinstance(expected, str) and got == expected
    if (got.shape, got.dtype) != (expected.shape, expected.dtype):
        return False
    return not compare(got, expected).any()


def core_calls(opened: pack.Pack, seed: int) -> tuple[Call, ...]:
    """Calls of every kernel of the project's pack, with what Wasmtime makes of them."""
    calls = []
    with Runtime() as runtime:
        runtime.install(opened)
        for spec in opened.kernels.values():
            for case in cases(spec, seed, CASES, max_bytes=16384, max_elements=LARGEST):
                inputs = [None if array is None else array.copy() for array in case.inputs]
                try:
                    expected: np.ndarray | str = np.array(runtime.run(spec.id, *inputs, out=None, **case.params))
                except KernelError as error:
                    expected = type(error).__name__
                calls.append(Call(spec.id, case.inputs, dict(case.params), expected))
    return tuple(calls)


def fault_calls() -> tuple[Call, ...]:
    """Calls of the faulty kernels, each with the error that it ends with, or its input, which it then copies."""
    x = np.array([5, 6, 7, 8], "<i4")
    return tuple(
        Call(kernel, (x,), {"arg": arg}, x if error is None else error) for (kernel, arg), error in FAULTS.items()
    )


def build(folder: Path, seed: int) -> tuple[Path, dict[str, Packed]]:
    """The firmware, and the packs: the project's own, and the one of faulty kernels."""
    key = keys.default_or_create()
    facts = boards.load(BOARD)
    uf2 = firmware.build_firmware(facts, keyset.current()).file
    root = project.root()
    made = {}
    for source, calls in ((root / "kernels_aot", None), (root / "tests" / "faults", fault_calls())):
        opened = pack.Pack.open(pack.build_pack(source, folder, key))
        image = opened.image(facts.wamrc.target_id)
        made[opened.name] = Packed(opened.name, image, calls or core_calls(opened, seed))
    return uf2, made


def run(minutes: float, seed: int, note: Callable[[str], None]) -> dict[str, Any]:
    """Soak a freshly flashed board; returns the counts and both states of the memory. Raises Wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uf2, packs = build(folder / "packs", seed)
        with EmulatedBoard(BOARD, flash=folder / "flash.bin", instance=f"soak-{seed}") as emulated:
            first = next(iter(packs))
            link = connect(emulated.program(uf2, 60))
            link.install(packs[first].image)
            soak = Soak(emulated, packs, random.Random(seed), Model(first), link)
            try:
                return soak_for(soak, minutes * 60, note)
            finally:
                soak.link.close()


def soak_for(soak: Soak, seconds: float, note: Callable[[str], None]) -> dict[str, Any]:
    """Take random steps until that much of the board's time is over."""
    first = soak.model.active
    at_start = soak.memory()
    steps, weights = zip(*STEPS, strict=True)
    taken = 0
    while soak.now() < seconds:
        step = soak.rng.choices(steps, weights)[0]
        try:
            step(soak)
            soak.check_packs()
        except (Wrong, HostError) as error:
            raise Wrong(f"step {taken + 1}, {step.__name__}: {type(error).__name__}: {error}") from error
        taken += 1
        if taken % 100 == 0:
            note(f"{taken} steps, {soak.now() / 60:.0f} minutes of the board's time")
    if soak.model.trial:
        soak.confirm()
    soak.link.install(soak.packs[first].image)
    soak.model = Model(first)
    at_end = soak.memory()
    if at_end != at_start:
        raise Wrong(f"free memory at the end is {at_end}, at the start it was {at_start}")
    return {"steps": taken, "board_seconds": soak.now(), "counts": dict(soak.counts), "memory": at_end}


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Soak the emulated Pico with random calls, faults, installs and resets."
    )
    parser.add_argument("--minutes", type=float, default=60, help="of the board's time (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        result = run(arguments.minutes, arguments.seed, lambda text: print(text, file=sys.stderr, flush=True))
    except (Wrong, HostError) as error:
        print(f"seed {arguments.seed}: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(result))
    else:
        told = ", ".join(f"{count} {what}" for what, count in result["counts"].items())
        print(f"{result['steps']} steps in {result['board_seconds'] / 60:.0f} minutes of the board's time: {told}")
        print(f"free at the start and at the end: {result['memory']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
