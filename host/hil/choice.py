"""Which boards `--board` means, and dealing them out to pytest-xdist's workers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from host.errors import UsageError

DEFAULT = "emu:rpi_pico"
_BARE = re.compile(r"[a-z][a-z0-9_]*")


def port_of(name: str) -> str:
    """What host.ports calls the board ``name``: the same, but for a kind of board, which means the emulated one.

    Raises UsageError when there is no such kind, or no emulator of it.
    """
    from host import boards, ports

    if _BARE.fullmatch(name):
        if boards.load(name).emulator is None:
            raise UsageError(f"board {name} has no emulator; name the port of a real one: --board /dev/ttyACM0")
        return ports.EMULATED + name
    if name.startswith(ports.EMULATED):
        ports.emulated_instance(name)
    return name


class Dealer:
    """Gives each worker a board: the first of those that the fewest workers have."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._holders: list[set[str]] = [set() for _ in names]

    def deal(self, worker: str) -> str:
        """The board for a new ``worker``."""
        place = min(range(len(self._names)), key=lambda place: len(self._holders[place]))
        self._holders[place].add(worker)
        return self._names[place]

    def give_back(self, worker: str) -> None:
        """The worker is gone: its board goes to the one that takes its place."""
        for holders in self._holders:
            holders.discard(worker)
