#!/usr/bin/env python3
"""Write the kernel table of docs/kernels.md from kernels_aot/pack.toml and the bench.

    .venv/bin/python tools/kernel_table.py --port emu:rpi_pico    # measures the cycles, on a board with the pack active
    .venv/bin/python tools/kernel_table.py                        # keeps the cycles that the table has
    .venv/bin/python tools/kernel_table.py --check                # writes nothing; exit code 1 if it is out of date
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from host.pack.source import read_source
from host.pack.spec import KernelSpec, Param, Tensor

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "kernels.md"
BEGIN, END = "<!-- begin: tools/kernel_table.py -->\n", "<!-- end: tools/kernel_table.py -->\n"
HEADINGS = ("id", "inputs", "outputs", "parameters", "formats", "error bound", "cycles an element: AOT", "native C")

Cycles = Mapping[str, tuple[str, str]]
"""Of a kernel, by id: as AOT code, and as the same C compiled natively."""


def tensor_text(tensor: Tensor) -> str:
    """``freqs [seq, dim/2] or [seq, dim/2, 2], optional``."""
    star = "*" if tensor.leading else ""
    shapes = " or ".join(f"[{star}{', '.join(map(str, shape))}]" for shape in tensor.shapes)
    return f"{tensor.name} {shapes}" + (", optional" if tensor.optional else "") + (", in-out" if tensor.inout else "")


def param_text(param: Param) -> str:
    """``theta f32 = 10000``."""
    value = str(param.default).lower() if isinstance(param.default, bool) else f"{param.default:g}"
    return f"{param.name} {param.type} = {value}"


def row(spec: KernelSpec, cycles: Cycles) -> list[str]:
    """The table's row of a kernel."""
    formats = dict.fromkeys(tensor.dtype.name for tensor in spec.inputs + spec.outputs)
    return [
        f"`{spec.id}`",
        "; ".join(map(tensor_text, spec.inputs)),
        "; ".join(map(tensor_text, spec.outputs)),
        "; ".join(map(param_text, spec.params)) or "-",
        ", ".join(formats),
        (spec.error_bound or "-").replace("|", "\\|"),
        *cycles.get(spec.id, ("-", "-")),
    ]


def table(cycles: Cycles) -> str:
    """The whole table in Markdown."""
    rows = [list(HEADINGS), ["---"] * len(HEADINGS)]
    rows += [row(kernel.spec, cycles) for kernel in read_source(ROOT / "kernels_aot").kernels]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def known_cycles(text: str) -> Cycles:
    """The cycles that a table has."""
    found = re.findall(r"^\| `(\w+)` \|.*\| ([\d.-]+) \| ([\d.-]+) \|$", text, re.MULTILINE)
    return {kernel_id: (aot, native) for kernel_id, aot, native in found}


def measure(port: str) -> Cycles:
    """Run the bench on a board."""
    command = [sys.executable, "-m", "host", "bench", "--port", port, "--json"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {
        kernel["id"]: (f"{kernel['aot']:.0f}", "-" if kernel["native"] is None else f"{kernel['native']:.0f}")
        for kernel in result["kernels"]
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", help="measure on this board (see host devices)")
    parser.add_argument("--check", action="store_true", help="only tell whether the table is up to date")
    arguments = parser.parse_args()
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    cycles = measure(arguments.port) if arguments.port else known_cycles(old)
    new = before + BEGIN + table(cycles) + END + after
    if arguments.check:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
