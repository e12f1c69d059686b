"""The host's end of the board's USB serial port: a pseudo terminal behind a symbolic link that keeps its name.

A program that opens or closes the terminal raises and drops DTR on the board, with the speed it had set: that is how a
touch at 1200 baud reaches the firmware. Closing the master is what unplugging is for the program.
"""

from __future__ import annotations

import os
import pty
import select
import termios
import tty
from pathlib import Path

_CHUNK = 4096
_DEFAULT_BAUD = 115200
_BAUD = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}


class PtyPort:
    """A pseudo terminal in raw mode, reachable as ``link``."""

    def __init__(self, link: Path) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        path = os.ttyname(slave)
        os.close(slave)  # from now on the master sees whether a program has it open
        os.set_blocking(self._master, False)
        self._set_baud(_DEFAULT_BAUD)
        self._outgoing = bytearray()
        self._link = link
        new = link.with_name(f".{link.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        new.symlink_to(path)
        new.replace(link)

    def close(self) -> None:
        """The port vanishes: programs that have it open get errors."""
        self._link.unlink(missing_ok=True)
        os.close(self._master)

    def fileno(self) -> int:
        """For polling."""
        return self._master

    @property
    def is_open(self) -> bool:
        """Whether a program has the port open now."""
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    @property
    def baud(self) -> int:
        """The speed that a program set last."""
        return _BAUD.get(termios.tcgetattr(self._master)[5], _DEFAULT_BAUD)

    def forget_baud(self) -> None:
        """Back to the default, so that a program that opens and closes between two looks is not missed."""
        self._set_baud(_DEFAULT_BAUD)

    @property
    def was_touched(self) -> bool:
        """Whether a program set another speed than the default since ``forget_baud``."""
        return self.baud != _DEFAULT_BAUD

    def read(self, limit: int) -> bytes:
        """What programs wrote, at most ``limit`` bytes; empty when nothing is there."""
        try:
            return os.read(self._master, min(limit, _CHUNK))
        except OSError:  # EAGAIN; EIO once the last program closed it
            return b""

    def write(self, data: bytes) -> None:
        """Queue the board's bytes for the program."""
        self._outgoing += data

    @property
    def outgoing(self) -> int:
        """How many queued bytes wait for ``flush``."""
        return len(self._outgoing)

    @property
    def has_outgoing(self) -> bool:
        """Whether queued bytes wait for ``flush``."""
        return bool(self._outgoing)

    def flush(self) -> int:
        """Write queued bytes as far as the terminal takes them; returns how many it took."""
        try:
            written = os.write(self._master, self._outgoing)
        except OSError:
            return 0
        del self._outgoing[:written]
        return written

    def drop(self) -> int:
        """Forget the queued bytes and those that no program read; returns how many were queued."""
        count = len(self._outgoing)
        self._outgoing.clear()
        termios.tcflush(self._master, termios.TCIOFLUSH)
        return count

    def _set_baud(self, baud: int) -> None:
        attributes = termios.tcgetattr(self._master)
        attributes[4] = attributes[5] = getattr(termios, f"B{baud}")
        termios.tcsetattr(self._master, termios.TCSANOW, attributes)
