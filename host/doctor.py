"""What this machine has of everything that the project needs, and what to do about the rest.

``diagnose`` looks and changes nothing: it fetches, builds and installs nothing.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement

from host import parts, systools, wamrc_build
from host.errors import BuildError

Kind = Literal["part", "compiler", "tool", "python"]
Status = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that is needed. ``remedy`` says what to do and is empty when ``status`` is "ok".

    ``wanted`` is what the project asks for: a pinned version, ">= minimum", or "" when any will do.
    """

    name: str
    kind: Kind
    status: Status
    where: str | None
    version: str | None
    wanted: str
    licence: str
    purpose: str
    remedy: str


def diagnose() -> list[Finding]:
    """Every part, the compiler built from them, every system tool and every Python package, in that order."""
    return [*map(_part, parts.all_parts()), _wamrc(), *map(_tool, systools.probe_all()), *_packages()]


def _part(part: parts.Part) -> Finding:
    where, remedy = (
        None,
        f"python tools/fetch.py {part.name} (or set {part.variable} to a folder that has it)",
    )
    status: Status = "missing"
    try:
        found = parts.find(part)
        if found is not None:
            status, where, remedy = "ok", str(found), ""
    except BuildError as error:
        status, remedy = "wrong", str(error)
    return Finding(
        name=part.name,
        kind="part",
        status=status,
        where=where,
        # of a folder that the user gave, the version is the user's business
        version=part.version if where and parts.override(part) is None else None,
        wanted=part.version,
        licence=part.licence,
        purpose=part.purpose,
        remedy=remedy,
    )


def _wamrc() -> Finding:
    wamr = parts.get("wamr")
    where, version = None, None
    remedy = f"it is built when a pack is (or set {wamrc_build.VARIABLE} to another one)"
    status: Status = "missing"
    try:
        program = wamrc_build.find()
        if program is not None:
            where, version = str(program), wamrc_build.version(program)
            status, remedy = "ok", ""
    except BuildError as error:
        status, remedy = "wrong", str(error)
    return Finding(
        name="wamrc",
        kind="compiler",
        status=status,
        where=where,
        version=version,
        wanted=wamr.version,
        licence=wamr.licence,
        purpose="compiles wasm to AOT code",
        remedy=remedy,
    )


def _tool(probe: systools.Probe) -> Finding:
    tool = probe.tool
    status: Status = "ok" if probe.status == "ok" else "wrong" if probe.status == "wrong" else "missing"
    return Finding(
        name=tool.name,
        kind="tool",
        status=status,
        where=probe.where,
        version=probe.version,
        wanted=f">= {tool.minimum}" if tool.minimum else "",
        licence=tool.licence,
        purpose=tool.purpose,
        remedy="" if status == "ok" else f"python3 tools/setup.py (apt package {tool.package})",
    )


def _packages() -> list[Finding]:
    """What pyproject.toml asks for, without the extras."""
    wanted = map(Requirement, importlib.metadata.requires("host") or [])
    return [_package(need) for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]


def _package(need: Requirement) -> Finding:
    status: Status = "missing"
    where, version, licence = None, None, ""
    try:
        found = importlib.metadata.distribution(need.name)
        where, version, licence = str(found.locate_file("")), found.version, _licence(found)
        status = "ok" if need.specifier.contains(version, prereleases=True) else "wrong"
    except importlib.metadata.PackageNotFoundError:
        pass
    return Finding(
        name=need.name,
        kind="python",
        status=status,
        where=where,
        version=version,
        wanted=str(need.specifier),
        licence=licence,
        purpose="Python package",
        remedy="" if status == "ok" else "pip install -e . (make does it)",
    )


def _licence(distribution: importlib.metadata.Distribution) -> str:
    """The licence as the package's metadata names it: by expression, by classifier, or by a short text."""
    fields = distribution.metadata
    if "License-Expression" in fields:
        return fields["License-Expression"]
    classifiers = [str(line) for line in fields.get_all("Classifier") or []]
    names = [line.rsplit(" :: ", 1)[-1] for line in classifiers if line.startswith("License ::")]
    short = fields["License"].strip().split("\n")[0] if "License" in fields else ""
    return " and ".join(names) or short
