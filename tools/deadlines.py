"""Let deadlines come due at any instruction of an emulated Pico; tests/deadline_rounds.py says how.

Run it with .venv/bin/python. Exit code 0: every result was right, and the board is well; 1: not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from host import boards, firmware, pack, project
from host.board import connect
from host.emulator import EmulatedBoard
from host.errors import HostError
from host.pack import keys, keyset

sys.path.insert(0, str(project.root() / "tests"))
import deadline_rounds

BOARD = "rpi_pico"


def main() -> int:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="deadlines (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments, not 0 (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        outcome = run(arguments.count, arguments.seed)
    except HostError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(
        f"{outcome.deadlines} deadlines by {outcome.jumps} jumps of the clock, {outcome.inside_runtime} of them in "
        f"floats and bulk memory; {outcome.calls} calls ended well; {outcome.wrong} results were wrong"
    )
    return 1 if outcome.wrong else 0


def run(count: int, seed: int) -> deadline_rounds.Outcome:
    """Do it on a board of its own."""
    board = boards.load(BOARD)
    key = keys.default_or_create()
    uf2 = firmware.build_firmware(board, keyset.current()).file
    with tempfile.TemporaryDirectory() as folder:
        faults = pack.Pack.open(pack.build_pack(project.root() / "tests" / "faults", Path(folder), key))
        emulated = EmulatedBoard(BOARD, flash=Path(folder) / "flash.bin", instance="deadlines")
        with emulated, connect(emulated.program(uf2)) as link:
            link.install(faults.image(board.wamrc.target_id))
            began = time.monotonic()

            def report(done: int) -> None:
                print(f"{done} of {count} after {time.monotonic() - began:.0f} s", flush=True)

            return deadline_rounds.run(emulated, link, count, seed, report)


if __name__ == "__main__":
    sys.exit(main())
