"""Which wamrc is used: the one that ``WAMRC`` names, else ours (tools/wamrc), built once into the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from host import fetch, parts, project, steps, systools
from host.errors import BuildError, PartMissing

VARIABLE = "WAMRC"


def override() -> Path | None:
    """The program that ``WAMRC`` names, or None when it is not set. Raises PartMissing if it is no wamrc."""
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    found = shutil.which(Path(value).expanduser())
    if found is None:
        raise PartMissing(f"{VARIABLE}={value} is not a program that can be run")
    program = Path(found).resolve()
    try:
        version(program)
    except BuildError as error:
        raise PartMissing(f"{VARIABLE}={value} is no wamrc: {error}") from error
    return program


def find() -> Path | None:
    """Where wamrc is, or None when it was not built yet. Raises PartMissing for a wrong override."""
    given = override()
    if given is not None:
        return given
    wamr = parts.find(parts.get("wamr"))
    if wamr is None or shutil.which(_llvm_config()) is None:
        return None
    program = _place(wamr) / "wamrc"
    return program if program.is_file() else None


def ensure() -> Path:
    """``find``, building it first if need be. Raises BuildError when that fails."""
    program = find()
    if program is not None:
        return program
    wamr = parts.path("wamr")
    if shutil.which(_llvm_config()) is None:
        raise PartMissing("wamrc needs LLVM: run python3 tools/setup.py, or set WAMRC to another wamrc")
    place = _place(wamr)
    with parts.locked("wamrc"):
        if not (place / "wamrc").is_file():
            _build(wamr, place)
    return place / "wamrc"


def version(program: Path) -> str:
    """What ``wamrc --version`` says, e.g. "2.4.3". Raises BuildError when it says nothing of the kind."""
    try:
        result = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{program} --version: {error}") from error
    match = re.match(r"wamrc (\d+\.\d+\.\d+)", result.stdout)
    if result.returncode != 0 or match is None:
        raise BuildError(f"{program} --version does not answer with 'wamrc' and a version")
    return match[1]


def _sources() -> Path:
    return project.root() / "tools" / "wamrc"


def _llvm_config() -> str:
    return next(tool.command[0] for tool in systools.tools() if tool.name == "llvm")


def _place(wamr: Path) -> Path:
    """The folder for this wamrc in the cache: other sources, WAMR or LLVM make another place."""
    key = hashlib.sha256()
    for file in sorted(_sources().iterdir()):
        key.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    key.update(str(wamr).encode() + b"\0")
    llvm = subprocess.run([_llvm_config(), "--version"], capture_output=True, check=True)
    key.update(llvm.stdout)
    return parts.cache_dir() / f"wamrc-{key.hexdigest()[:12]}"


def _build(wamr: Path, place: Path) -> None:
    """Build in a temporary folder and rename the result to ``place``."""
    with fetch.scratch(parts.cache_dir(), "wamrc") as temporary:
        with steps.step("wamrc: building with LLVM (about a minute)") as show:
            llvm_dir = steps.run([_llvm_config(), "--cmakedir"], show)
            settings = [f"-DWAMR_ROOT={wamr}", f"-DLLVM_DIR={llvm_dir}"]
            steps.run(["cmake", "-G", "Ninja", "-S", _sources(), "-B", temporary / "build", *settings], show)
            steps.run(["ninja", "-C", temporary / "build", "-j2"], show)
        new = temporary / "new"
        new.mkdir()
        (temporary / "build" / "wamrc").rename(new / "wamrc")
        version(new / "wamrc")
        if place.exists():
            shutil.rmtree(place)
        new.rename(place)
