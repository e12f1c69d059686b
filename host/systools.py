"""The system's tools that the project needs: what they are (``[[tool]]`` in parts.toml) and which are there.

Only the standard library is used and nothing else of this package: tools/setup.py runs this file before
``.venv`` exists.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).resolve().parent.parent / "tools" / "parts.toml"


@dataclass(frozen=True)
class Tool:
    """A program or library of the system, and the Debian 12 package that brings it."""

    name: str
    purpose: str
    package: str
    licence: str
    command: tuple[str, ...]
    pattern: str
    minimum: str | None


@dataclass(frozen=True)
class Probe:
    """What was found of a tool. ``status`` is "ok", "missing" or "wrong" (too old)."""

    tool: Tool
    status: str
    where: str | None
    version: str | None


def tools() -> tuple[Tool, ...]:
    """Every ``[[tool]]`` of the list, in its order."""
    return tuple(
        Tool(
            name=entry["name"],
            purpose=entry["purpose"],
            package=entry["package"],
            licence=entry["licence"],
            command=tuple(entry["command"]),
            pattern=entry["pattern"],
            minimum=entry.get("minimum"),
        )
        for entry in tomllib.loads(LIST.read_text())["tool"]
    )


def probe(tool: Tool) -> Probe:
    """Run the tool's command and judge what it printed."""
    where = shutil.which(tool.command[0])
    if where is None:
        return Probe(tool, "missing", None, None)
    try:
        result = subprocess.run(tool.command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Probe(tool, "wrong", where, None)
    match = re.search(tool.pattern, result.stdout)
    if result.returncode != 0 or match is None:
        return Probe(tool, "missing", None, None)
    if not match.groups():
        return Probe(tool, "ok", result.stdout.strip(), None)
    version = match[1]
    too_old = tool.minimum is not None and _numbers(version) < _numbers(tool.minimum)
    return Probe(tool, "wrong" if too_old else "ok", where, version)


def probe_all() -> list[Probe]:
    """``probe`` every tool; several at once, since each starts a process."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(probe, tools()))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)
