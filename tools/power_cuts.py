"""Cut an emulated Pico's power at flash operations of every change of its packs, and see that it goes on from there.

Each change (install, trial, confirm, rollback, release) is cut at its first flash operation, at its second, and so on,
with the operation undone, half done and done. After the restart the old pack or the new one must work, and what the
board says of itself must be one of the states that the change may leave; then the next installation must succeed. With
--pairs the next installation is cut too, at each of its operations, and the one after it must succeed.

Run it with .venv/bin/python. --sample takes some of the cases at random. Exit code 0: the board went on from all of
them; 1: not, and what was found is printed. tests/c/store_check.c does the same to the store alone, in seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from host import boards, firmware, pack, project
from host.board import Board, connect
from host.emulator import EmulatedBoard
from host.errors import CheckFailed, DowngradeRefused, HostError, NoDevice
from host.pack import keys, keyset

sys.path.insert(0, str(project.root() / "tests"))
from installing import Slots, save, slots, small

Outcome = Literal["undone", "half", "done"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

VERSIONS = {"1.0.0": 1, "2.0.0": 1, "3.0.0": 2, "4.0.0": 2, "5.0.0": 2}
"""Security counter of each pack; they lie in the board's filesystem as /<version>."""


def after(active: str, previous: str) -> Slots:
    """What the board says when ``active`` was confirmed in the place of ``previous``."""
    refused = VERSIONS[previous] < VERSIONS[active]
    return {"active": active, "previous": "DowngradeRefused" if refused else previous}


@dataclass(frozen=True)
class Change:
    """What is cut. ``code`` runs on a board where 2.0.0 is active and 1.0.0 the previous pack, after ``prepare``.

    ``left`` are the states that it may leave after a restart, from the one before to that of the whole change.
    """

    prepare: str
    code: str
    left: tuple[Slots, ...]


BEFORE: Slots = after("2.0.0", "1.0.0")
ALONE: Slots = {"active": "2.0.0"}
CHANGES = {
    "install": Change("", "kern.install('/3.0.0')", (BEFORE, ALONE, after("3.0.0", "2.0.0"))),
    "trial": Change("", "kern.install('/3.0.0', confirm=False)", (BEFORE, ALONE)),
    "confirm": Change("kern.install('/3.0.0', confirm=False)", "kern.confirm()", (ALONE, after("3.0.0", "2.0.0"))),
    "rollback": Change("", "kern.rollback()", (BEFORE, after("1.0.0", "2.0.0"))),
    "release": Change("import time; time.sleep(301)", "kern.status()", (BEFORE, ALONE)),
}


@dataclass(frozen=True)
class Cut:
    """Where the power goes, and how the flash operation is left."""

    operation: int
    outcome: Outcome


class Bench:
    """An emulated board that can be put back to where it was."""

    def __init__(self, folder: Path, uf2: Path, image: bytes) -> None:
        """Flash it, put the packs into its filesystem and install two of them."""
        self._saved = folder / "saved.bin"
        self.emulated = EmulatedBoard("rpi_pico", folder / "flash.bin", "power_cuts", realtime=False)
        with self.emulated, connect(self.emulated.program(uf2)) as board:
            for version, counter in VERSIONS.items():
                save(board, small(image, pack_version=version, security_counter=counter), f"/{version}")
            board.exec("kern.install('/1.0.0'); kern.install('/2.0.0')", 60)
            self._answer = board.eval(_CALL)
        shutil.copyfile(self.emulated.flash, self._saved)
        self.operations = {name: self._count(change) for name, change in CHANGES.items()}
        self.next_operations = self._count(Change("", "kern.install('/4.0.0')", ()))

    def connect(self) -> Board:
        """The board, powered, at its REPL."""
        return connect(str(self.emulated.wait_for_port(30)))

    def check(self, change: Change, *cuts: Cut) -> None:
        """Make ``change`` with the first cut, and the next installation with the second. Raises CheckFailed."""
        self._restore()
        with self.emulated:
            with self.connect() as board:
                board.exec(f"import kern\n{change.prepare}", 60)
                self._cut(board, change.code, cuts[0])
            left = self._check_alive(change.left)
            if len(cuts) > 1:
                with self.connect() as board:
                    self._cut(board, "import kern; kern.install('/4.0.0')", cuts[1])
                self._check_alive((left, {"active": left["active"]}, after("4.0.0", left["active"])))
            self._check_next()

    def _cut(self, board: Board, code: str, cut: Cut) -> None:
        """Run ``code`` and have the power cut, then restored. It may have fewer operations: then it ends by itself."""
        after = len(self.emulated.events)
        self.emulated.cut_power_at(cut.operation, cut.outcome, cut.operation)
        with suppress(NoDevice):
            board.exec(code, 60)
            self.emulated.power_off()
        if not any(event["event"] in ("power_cut", "power_off") for event in self.emulated.events[after:]):
            self.emulated.wait_for_event("power_cut", 30, after)
        self.emulated.power_on()

    def _check_alive(self, allowed: Sequence[Slots]) -> Slots:
        with self.connect() as board:
            board.exec("import kern")
            found = slots(board)
            if found not in allowed:
                raise CheckFailed(f"the board has {found}, expected one of {list(allowed)}")
            if (answer := board.eval(_CALL)) != self._answer:
                raise CheckFailed(f"{found['active']} computes {answer}, expected {self._answer}")
        return found

    def _check_next(self) -> None:
        """An older pack is refused just when a newer one was confirmed, and the next installation succeeds."""
        with self.connect() as board:
            board.exec("import kern")
            last = board.status()["pack"]["version"]
            try:
                board.exec("kern.install('/1.0.0')", 60)
                taken = True
            except DowngradeRefused:
                taken = False
            if taken != (VERSIONS[last] == VERSIONS["1.0.0"]):
                raise CheckFailed(f"1.0.0 was {'taken' if taken else 'refused'} where {last} is confirmed")
            board.exec("kern.install('/5.0.0')", 60)
        self.emulated.reset()
        self._check_alive([after("5.0.0", "1.0.0" if taken else last)])

    def _count(self, change: Change) -> int:
        """Flash operations of the change when nothing disturbs it."""
        self._restore()
        with self.emulated, self.connect() as board:
            board.exec(f"import kern\n{change.prepare}", 60)
            before = self.emulated.counters()["flash_operations"]
            board.exec(change.code, 60)
            return int(self.emulated.counters()["flash_operations"]) - int(before)

    def _restore(self) -> None:
        shutil.copyfile(self._saved, self.emulated.flash)


_CALL = "kern.run('rmsnorm_f32', [[3.0, 4.0]], [1.0, 1.0]).tolist()"


def every_cut(operations: int) -> Iterator[Cut]:
    """Undone is what the operation before leaves when done, so it is tried at the first one only."""
    for operation in range(1, operations + 1):
        for outcome in OUTCOMES if operation == 1 else OUTCOMES[1:]:
            yield Cut(operation, outcome)


def every_case(bench: Bench, pairs: bool) -> Iterator[tuple[str, tuple[Cut, ...]]]:
    """All changes with all their cuts, or with all pairs of cuts."""
    for name, operations in bench.operations.items():
        for cut in every_cut(operations):
            if pairs:
                yield from ((name, (cut, second)) for second in every_cut(bench.next_operations))
            else:
                yield name, (cut,)


def main() -> int:
    parser = argparse.ArgumentParser(description="Cut an emulated board's power wherever it changes its packs.")
    parser.add_argument("--pairs", action="store_true", help="cut the next installation too, at all its operations")
    parser.add_argument("--sample", type=int, help="try so many at random, one of each change at least; default: all")
    parser.add_argument("--seed", type=int, default=0, help="which ones; default 0")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="power_cuts.") as folder:
        os.environ["HOST_STATE_DIR"] = folder
        try:
            signing = keys.default_or_create()
            uf2 = firmware.build_firmware(boards.load("rpi_pico"), keyset.current()).file
            built = pack.build_pack(project.root() / "kernels_aot", project.build_dir() / "packs", signing)
            bench = Bench(Path(folder), uf2, pack.Pack.open(built).image("thumbv6m-soft"))
            cases = list(every_case(bench, arguments.pairs))
            if arguments.sample:
                cases = sample(cases, arguments.sample, arguments.seed)
            for number, (name, cuts) in enumerate(cases, 1):
                what = f"{name}, {' then '.join(f'operation {cut.operation} {cut.outcome}' for cut in cuts)}"
                print(f"{number} of {len(cases)}: {what}", file=sys.stderr)
                try:
                    bench.check(CHANGES[name], *cuts)
                except CheckFailed as error:
                    print(f"{what}: {error}")
                    return error.exit_code
        except HostError as error:
            print(f"power_cuts: {error}", file=sys.stderr)
            return error.exit_code
    found = ", ".join(f"{name} {operations}" for name, operations in bench.operations.items())
    print(f"{len(cases)} cases, flash operations: {found}; the board went on from all of them")
    return 0


def sample(cases: Sequence[tuple[str, tuple[Cut, ...]]], count: int, seed: int) -> list[tuple[str, tuple[Cut, ...]]]:
    """Some cases, changes in turn so that short ones are among them."""
    source = random.Random(seed)
    names = list(CHANGES)
    return [source.choice([case for case in cases if case[0] == names[i % len(names)]]) for i in range(count)]


if __name__ == "__main__":
    sys.exit(main())
