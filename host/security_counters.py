"""Downgrade protection (requirement S5): the highest security counter confirmed of each pack, outside any pack.

The file is JSON, ``{"format": 1, "counters": {"core": 3}}``, and nothing else is taken for it. One that is damaged
refuses every pack, since it no longer says what a downgrade would be.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from host import project
from host.errors import DowngradeRefused
from host.pack.notation import unique

FILE = "security-counters.json"
MAX = 2**32 - 1
"""The highest counter that a manifest can have."""
_FORMAT = 1


class Counters(Protocol):
    """What `host.upgrade.Upgrade` asks; raises DowngradeRefused."""

    def check(self, name: str, counter: int) -> None: ...
    def confirm(self, name: str, counter: int) -> None: ...


class MemoryCounters:
    """Counters that last as long as this object: for a program that runs a pack once, such as `host run`."""

    def __init__(self) -> None:
        self._confirmed: dict[str, int] = {}

    def check(self, name: str, counter: int) -> None:
        """That a pack with ``counter`` is no downgrade. Raises DowngradeRefused with both numbers."""
        _require(name, counter, self._confirmed.get(name, 0))

    def confirm(self, name: str, counter: int) -> None:
        """Remember that a pack with ``counter`` works. Raises as `check` does."""
        self.check(name, counter)
        self._confirmed[name] = counter


class SecurityCounters:
    """The counters in a file, which several threads and processes may share."""

    def __init__(self, path: Path | None = None) -> None:
        """The file at ``path``, by default in the user's state folder. It need not exist yet: nothing is confirmed."""
        self._path = path or project.state_dir() / FILE

    def confirmed(self, name: str) -> int:
        """The highest counter confirmed of the pack ``name``, 0 for none.

        Raises DowngradeRefused when the file is damaged.
        """
        return self._read().get(name, 0)

    def check(self, name: str, counter: int) -> None:
        """That a pack with ``counter`` is no downgrade. Raises DowngradeRefused with both numbers."""
        _require(name, counter, self.confirmed(name))

    def confirm(self, name: str, counter: int) -> None:
        """Remember that a pack with ``counter`` works; from now on a lower one is refused. It is on disk on return.

        Raises DowngradeRefused when a higher one was confirmed meanwhile.
        """
        with self._locked():
            self.check(name, counter)
            counters = self._read()
            if counters.get(name) != counter:
                self._write({**counters, name: counter})

    def _read(self) -> dict[str, int]:
        try:
            return _parse(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise DowngradeRefused(
                f"{self._path} is damaged ({error}), so what a downgrade would be is unknown; restore it from a "
                f"backup, or delete it to trust the packs that are installed next"
            ) from error

    def _write(self, counters: dict[str, int]) -> None:
        """Replace the file as a whole, so that a crash leaves the old or the new one. mkstemp's mode is 0600."""
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{FILE}-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump({"format": _FORMAT, "counters": counters}, file, indent=2, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among threads and processes. The lock is on a file of its own, since the other one is replaced."""
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _require(name: str, counter: int, confirmed: int) -> None:
    if counter < confirmed:
        raise DowngradeRefused(f"{name} has security counter {counter}, {confirmed} was confirmed before")


def _parse(raw: bytes) -> dict[str, int]:
    """The counters in ``raw``. Raises ValueError for anything but what `SecurityCounters` writes."""
    data = json.loads(raw.decode("ascii"), object_pairs_hook=_object)
    if not isinstance(data, dict) or data.keys() != {"format", "counters"}:
        raise ValueError("it must be an object with format and counters")
    if type(data["format"]) is not int or data["format"] != _FORMAT:
        raise ValueError(f"format is {data['format']!r}, must be {_FORMAT}")
    counters = data["counters"]
    if not isinstance(counters, dict):
        raise ValueError("counters must be an object")
    for name, counter in counters.items():
        if type(counter) is not int or not 0 <= counter <= MAX:
            raise ValueError(f"the counter of {name!r} is {counter!r}, must be from 0 to {MAX}")
    return counters


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique((name for name, _value in pairs), "an object's keys")
    return dict(pairs)


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name in ``folder`` outlasts a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
