"""Ways to damage what a parser reads, for Hypothesis: bytes, or one thing in a description of objects and lists."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]
TWICE = "~twice"
"""What a key ends in that stands for the key without it: no Python object can have a key twice."""

PATH_ESCAPES = (
    st.lists(
        st.sampled_from(
            ["..", ".", "", "a", ".hidden", "C:", "~", "a b", "a\\b", "a\0b", "%2e%2e", "a\n", "\u2025", "-a"]
        ),
        min_size=1,
        max_size=4,
    )
    .map("/".join)
    .filter(lambda path: set(path.split("/")) != {"a"})
)
"""Paths that lead elsewhere, or that some system might take so."""


class Mutation:
    """``data`` with one thing changed, which ``what`` says; an error about it has one of ``names`` in it."""

    def __init__(self, data: Any, names: list[str], what: str) -> None:
        self.data, self.names, self.what = data, names, what

    def __repr__(self) -> str:
        return self.what

    def json(self) -> bytes:
        return json.dumps(self.data).replace(f'{TWICE}"', '"').encode()

    def toml(self) -> str:
        return "".join(f"{_toml(name)} = {_toml(value)}\n" for name, value in self.data.items()).replace(TWICE, "")


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """Bytes of any kind, most of them ``good`` with some cut out and others put in."""

    def cut(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = good
        for start, length, more in edits:
            data = data[:start] + more + data[start + length :]
        return data

    places = st.integers(0, len(good))
    edits = st.tuples(places, st.sampled_from([0, 0, 1, 2, 30, len(good)]), st.binary(max_size=4))
    return st.lists(edits, min_size=1, max_size=3).map(cut) | st.binary(max_size=300)


@st.composite
def mutations(draw: st.DrawFn, data: Any, toml: bool = False) -> Mutation:
    """``data`` (objects at the top) with a member dropped, renamed, added, repeated, or a value replaced.

    In TOML there is no null, in JSON there is nothing infinite.
    """
    path = draw(st.sampled_from(_places(data)))
    changed = copy.deepcopy(data)
    holder, step = _at(changed, path[:-1]), path[-1]
    # What a message may call it by: its own name and its parent's, the value, the tensor or parameter that it is of.
    holders = [_at(data, path[:depth]) for depth in range(2, len(path))]
    named = [each["name"] for each in holders if isinstance(each, dict) and "name" in each]
    names = [name.lstrip("*") for name in (*path, _at(data, path)) if isinstance(name, str)][-3:] + named[-1:]
    kind = draw(st.sampled_from(["drop", "replace", "replace", "rename", "add", "twice"]))
    if kind == "drop":
        del holder[step]
    elif kind == "replace" or isinstance(step, int):
        others = st.sampled_from(_places(data)).map(lambda place: copy.deepcopy(_at(data, place)))
        holder[step] = new = draw(_values(toml) | others)
        names += [repr(new)[1:-1]] if isinstance(new, str) and new else []
    elif kind == "twice":
        holder[f"{step}{TWICE}"] = holder[step]
    else:
        new = draw(st.sampled_from(["", "id", "no_such", "N", "n", "a b", "__proto__"]) | st.text(max_size=3))
        names.append(repr(new)[1:-1])
        holder[new] = holder.pop(step) if kind == "rename" else draw(_values(toml))
    return Mutation(changed, names, f"{kind} {'.'.join(map(str, path))}: {holder!r}")


def _values(toml: bool) -> st.SearchStrategy[Any]:
    leaves = st.sampled_from([0, 1, -1, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64, 10**400, 0.5, 1e39, "", "n/0"])
    leaves |= (
        st.booleans()
        | st.floats(allow_nan=toml, allow_infinity=toml)
        | st.text(st.characters(codec="utf-8"), max_size=4)
    )
    if not toml:
        leaves |= st.none()
    return (
        leaves | st.lists(leaves, max_size=3) | st.dictionaries(st.sampled_from(["name", "n", "x"]), leaves, max_size=2)
    )


def _places(data: Any, path: Path = ()) -> list[Path]:
    """Paths of all members and items in ``data``."""
    steps = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found: list[Path] = []
    for step, value in steps:
        found += [(*path, step), *_places(value, (*path, step))]
    return found


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _toml(value: Any) -> str:
    """``value`` in one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool) else repr(value)
