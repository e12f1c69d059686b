"""What was said over a serial link, for people to read when something went wrong.

    >>>  code that was sent                   ...  its further lines
         what the board printed
    !    the traceback, or that the board was reset or interrupted
    ...  bytes of data, by their number

It keeps the last entries, and of a long one its beginning and its end.
"""

from __future__ import annotations

from collections import deque

_LIMIT = 16_000  # characters in all
_ENTRY_LIMIT = 2_000  # of one entry


class Transcript:
    """The conversation since the last ``clear``, with a bound on its size."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget what was said until now."""
        self._entries: deque[str] = deque()
        self._size = 0
        self._left_out = 0
        self._data = [0, 0]  # bytes sent and received since the last entry

    def sent(self, code: str) -> None:
        """Code for the board."""
        self._add(">>> ", code, "... ")

    def printed(self, text: str) -> None:
        """What the board printed, if it did."""
        if text:
            self._add("    ", text)

    def happened(self, text: str) -> None:
        """A traceback, or anything else that is no code and no output."""
        self._add("!   ", text)

    def data(self, sent: int = 0, received: int = 0) -> None:
        """Bytes of a transfer; what follows one another is one entry."""
        self._data[0] += sent
        self._data[1] += received

    def __str__(self) -> str:
        self._end_data()
        lost = [f"({self._left_out} earlier entries are left out)"] if self._left_out else []
        return "\n".join([*lost, *self._entries])

    def _add(self, first: str, text: str, following: str = "    ") -> None:
        self._end_data()
        lines = _shortened(text.rstrip("\n")).split("\n")
        self._append("\n".join(f"{following if number else first}{line}" for number, line in enumerate(lines)))

    def _end_data(self) -> None:
        sent, received = self._data
        if sent or received:
            self._data = [0, 0]
            self._append(f"    ({sent} bytes of data sent, {received} received)")

    def _append(self, entry: str) -> None:
        self._entries.append(entry)
        self._size += len(entry)
        while self._size > _LIMIT:
            self._size -= len(self._entries.popleft())
            self._left_out += 1


def _shortened(text: str) -> str:
    if len(text) <= _ENTRY_LIMIT:
        return text
    half = _ENTRY_LIMIT // 2
    return f"{text[:half]}\n({len(text) - 2 * half} characters are left out)\n{text[-half:]}"
