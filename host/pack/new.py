"""A new pack for `host pack new`: a small kernel that works, with its reference and test, to be changed by its user."""

from __future__ import annotations

import json
import keyword
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from host import boards, project
from host.errors import UsageError
from host.pack import schema

_TEMPLATES = Path(__file__).with_name("templates")
_FILES = {
    "pack.toml.txt": "pack.toml",
    "kernel.@suffix@.txt": "@name@.@suffix@",
    "reference.py.txt": "reference.py",
    "test.py.txt": "test_@name@.py",
    "README.md.txt": "README.md",
}
"""Templates, and the files made from them. In both, ``@word@`` stands for the word's value."""


def new_pack(name: str, folder: Path, suffix: str = "c") -> list[Path]:
    """Make ``folder`` with a pack whose kernel is ``name``, in C or (``suffix`` "rs") in Rust. Returns its files.

    Raises UsageError when the name is none for an operation, or the folder exists or lies in this repository.
    """
    _check_name(name)
    place = folder.resolve()
    if place.is_relative_to(project.root()):
        raise UsageError(f"{folder} would lie in this project's own folder; choose another place with --folder")
    words = {
        "name": name,
        "suffix": suffix,
        "runtime": version("host"),
        "author": _quoted(_git("user.name") or "Your Name"),
        "email": _quoted(_git("user.email") or "you@example.org"),
        "targets": json.dumps(sorted({board.wamrc.target_id for board in boards.ported()})),
    }
    try:
        place.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{folder} is there already; it is not overwritten") from None
    made = []
    for template, file in _FILES.items():
        made.append(place / _filled(file, words))
        made[-1].write_text(_filled((_TEMPLATES / _filled(template, words)).read_text(), words))
    return made


def _check_name(name: str) -> None:
    rule = schema.load(schema.KERNELS)["$defs"]["name"]
    if not re.fullmatch(rule["pattern"], name) or len(name) > rule["maxLength"] or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is no name for an operation, kern.NAME: lower-case letters, digits and '_', "
            f"at most {rule['maxLength']}, and no keyword of Python's"
        )


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub("@([a-z]+)@", lambda match: words[match[1]], text)


def _quoted(text: str) -> str:
    """``text`` as a string in TOML."""
    return json.dumps(text, ensure_ascii=False)


def _git(setting: str) -> str:
    """A setting of the user's git, empty without one."""
    try:
        found = subprocess.run(["git", "config", setting], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return found.stdout.strip()
