"""Make the table of what takes flash and RAM in docs/firmware.md from the firmware that `host build rpi_pico` made.

.venv/bin/python tools/size_table.py            # write it
.venv/bin/python tools/size_table.py --check    # 1 when a figure is out by more than 1 KB
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from host import boards
from host.firmware import size_report

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "firmware.md"
BEGIN, END = (f"<!-- {mark} sizes: tools/size_table.py -->\n" for mark in ("begin", "end"))
TOLERANCE = 1024
"""Bytes. Below it a table is up to date: not every change of the firmware has to touch the docs."""

Sizes = Mapping[str, Mapping[str, int]]


def table(sizes: Sizes) -> str:
    """The table in Markdown; ``runtime`` and ``total`` are sums."""
    rows = [f"| {part} | {size['flash'] or '-'} | {size['ram'] or '-'} |\n" for part, size in sizes.items()]
    return "".join(["| bytes of | flash | RAM |\n", "|---|---|---|\n", *rows])


def is_close(text: str, sizes: Sizes) -> bool:
    """Whether the table in ``text`` has the same parts, and figures within the tolerance."""
    found = re.findall(r"^\| ([^|]+) \| ([\d-]+) \| ([\d-]+) \|$", text, re.MULTILINE)
    known = {part: [0 if figure == "-" else int(figure) for figure in figures] for part, *figures in found}
    return known.keys() == sizes.keys() and all(
        abs(known[part][i] - size[name]) <= TOLERANCE
        for part, size in sizes.items()
        for i, name in enumerate(("flash", "ram"))
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only tell whether the table is up to date")
    arguments = parser.parse_args()
    sizes = size_report(boards.load("rpi_pico"))
    before, rest = DOCUMENT.read_text().split(BEGIN)
    old, after = rest.split(END)
    if arguments.check:
        return int(not is_close(old, sizes))
    DOCUMENT.write_text(before + BEGIN + table(sizes) + END + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
