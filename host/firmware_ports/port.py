"""What the build of a firmware asks of a port."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from host.boards import Board

Show = Callable[[str], None]
"""Told what a tool prints, line by line."""


class Port(ABC):
    """One of MicroPython's ports. ``parts`` are those it needs beside MicroPython's own; ``file`` is the name, in the
    firmware's folder, of what is flashed.
    """

    parts: tuple[str, ...] = ()
    file: str
    elf = "firmware.elf"
    """What the linker makes, in the folder of cmake's files; its map is beside it."""
    measured = True
    """Whether the map tells what takes how much of the board's flash and RAM."""

    def check(self, board: Board) -> None:
        """Raise BuildError, saying what to install, when what the port needs beside ``parts`` is not here."""
        return

    def sdk(self) -> str:
        """What is built with beside ``parts`` and the compiler, and its version: one of the firmware's inputs."""
        return ""

    @abstractmethod
    def source(self) -> Path:
        """Folder of the port."""

    def environment(self) -> Mapping[str, str]:
        """What cmake's environment has beside the user's."""
        return {}

    def project(self, folder: Path) -> Path:
        """The folder of CMakeLists.txt that cmake is given; ``folder`` is the firmware's."""
        return self.source()

    @abstractmethod
    def compiler(self, board: Board) -> str:
        """The C compiler's command, whose version is one of the firmware's inputs."""

    @abstractmethod
    def definitions(self, board: Board, folder: Path) -> Mapping[str, object]:
        """cmake's variables beside those of firmware/kern; ``folder`` is the firmware's."""

    def generated(self, board: Board) -> Mapping[str, str]:
        """Generated files beside those that every firmware has: names and contents."""
        return {}

    @abstractmethod
    def prepare(self, board: Board, folder: Path) -> None:
        """Write what else the build wants to find in the firmware's ``folder``."""

    @abstractmethod
    def finish(self, board: Board, elf: Path, file: Path, show: Show) -> None:
        """Make ``file`` of what was built. Raises BuildError when it has no room on the board."""


def write_changed(path: Path, data: bytes) -> None:
    """Write unless it is the same already, so that ninja rebuilds only what a change concerns."""
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
