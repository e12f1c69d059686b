"""Third-party parts: what tools/parts.toml pins, and where each one is on this machine.

``path(name)`` and ``wamrc()`` are all that most callers need. A part comes from the folder that its
environment variable names, else from the user's cache, where it is put once: downloaded by host.fetch,
checked by sha256, unpacked in a temporary folder and renamed into place, under a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from host import fetch, project, steps
from host.errors import PartMissing, UsageError


@dataclass(frozen=True)
class Part:
    """One ``[[part]]`` of the list; the fields are explained at the top of tools/parts.toml."""

    name: str
    version: str
    purpose: str
    licence: str
    how: str
    package: str
    package_version: str
    pool: str
    root: str
    variable: str
    markers: tuple[str, ...]
    needs: tuple[str, ...]
    files: Mapping[str, str]


@cache
def all_parts() -> tuple[Part, ...]:
    """Every part of the list; a part stands after those that it needs."""
    data = tomllib.loads((project.root() / "tools" / "parts.toml").read_text())
    return tuple(
        Part(
            name=entry["name"],
            version=entry["version"],
            purpose=entry["purpose"],
            licence=entry["licence"],
            how=entry["how"],
            package=entry["package"],
            package_version=entry.get("package_version", entry["version"]),
            pool=entry.get("pool", ""),
            root=entry.get("root", ""),
            variable=entry["variable"],
            markers=tuple(entry["markers"]),
            needs=tuple(entry.get("needs", ())),
            files=entry["files"],
        )
        for entry in data["part"]
    )


def get(name: str) -> Part:
    """The part of that name. Raises UsageError, naming the parts there are, for an unknown one."""
    for part in all_parts():
        if part.name == name:
            return part
    raise UsageError(f"no part {name!r}; known parts: {', '.join(part.name for part in all_parts())}")


def override(part: Part) -> Path | None:
    """The folder that the part's environment variable names, or None when it is not set.

    Raises PartMissing when that folder does not look like the part.
    """
    value = os.environ.get(part.variable)
    if not value:
        return None
    folder = Path(value).expanduser().resolve()
    lacking = _lacking(part, folder)
    if lacking is not None:
        raise PartMissing(f"{part.variable}={value} is not {part.name}: it has no {lacking}")
    return folder


def find(part: Part) -> Path | None:
    """Where the part is, or None when it was not fetched yet. Raises PartMissing for a wrong override."""
    given = override(part)
    if given is not None:
        return given
    needed = [find(get(name)) for name in part.needs]
    if None in needed:
        return None
    folder = _place(part) / part.root
    return folder if _lacking(part, folder) is None else None


def path(name: str) -> Path:
    """The folder of part ``name``, fetched first if need be. Read-only for callers: build elsewhere.

    Raises PartMissing when it cannot be had; the message says what to do.
    """
    part = get(name)
    given = override(part)
    if given is not None:
        return given
    for needed in part.needs:
        path(needed)
    place = _place(part)
    folder = place / part.root
    if _lacking(part, folder) is not None:
        with locked(part.name):
            if _lacking(part, folder) is not None:
                _fetch(part, place)
    return folder


def ensure(*names: str) -> None:
    """Fetch the named parts, or all of them, unless they are there."""
    for name in names or [part.name for part in all_parts()]:
        path(name)


def wamrc() -> Path:
    """The AOT compiler: the program that ``WAMRC`` names, else ours, built first if need be.

    Raises PartMissing when it cannot be had, BuildError when it does not build.
    """
    from host import wamrc_build  # it is built from parts, so it imports this module

    return wamrc_build.ensure()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of that name: of two processes, one fetches or builds and the other waits."""
    with (cache_dir() / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with steps.step(f"{name}: waiting for another process that fetches or builds it"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_dir() -> Path:
    """The folder in the user's cache that holds parts."""
    folder = project.cache_dir() / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _place(part: Part) -> Path:
    """Where the cache keeps this part; another pin, or another folder linked into it, is another place."""
    linked = [str(find(get(name))) for name in part.needs]
    contents = json.dumps([part.how, dict(part.files), linked], sort_keys=True)
    key = hashlib.sha256(contents.encode()).hexdigest()[:12]
    return cache_dir() / f"{part.name}-{part.version}-{key}"


def _lacking(part: Part, folder: Path) -> str | None:
    """The first marker that ``folder`` does not have."""
    return next((marker for marker in part.markers if not (folder / marker).exists()), None)


def _fetch(part: Part, place: Path) -> None:
    """Download and unpack into a temporary folder, prepare it there, and rename it to ``place``."""
    files = fetch.download(part, cache_dir() / "downloads" / part.name)
    with fetch.scratch(cache_dir(), part.name) as temporary:
        new = temporary / "new"
        fetch.unpack(part, files, new)
        fetch.prepare(part, new / part.root, {name: path(name) for name in part.needs})
        lacking = _lacking(part, new / part.root)
        if lacking is not None:
            raise PartMissing(f"{part.name} {part.version} was unpacked, but it has no {lacking}")
        if place.exists():  # damaged by hand: markers are missing
            shutil.rmtree(place)
        new.rename(place)
