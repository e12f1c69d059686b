"""Write the tables of docs/kernels.md and its chart from kernels_aot/pack.toml and the bench.

.venv/bin/python tools/kernel_table.py                        # kernels
.venv/bin/python tools/kernel_table.py --port emu:rpi_pico    # cycles, table and chart; measures on a board
.venv/bin/python tools/kernel_table.py --wasmtime             # flavours and speed; measures on this machine
.venv/bin/python tools/kernel_table.py --check                # writes nothing; exit code 1 if it is out of date
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kernel_chart

from host.pack.source import read_source
from host.pack.spec import KernelSpec, Param, Tensor

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "kernels.md"
CHART = ROOT / "docs" / "kernels.svg"
KERNELS, CYCLES, SIZES, FLAVOURS, SPEED = "kernels", "cycles", "sizes", "flavours", "speed"
HEADINGS = ("id", "inputs", "outputs", "parameters", "formats", "error bound")
MOST_OVER_LIBGCC, MOST_OVER_SOFT = 0.5, 1.15
"""The aims on a board: of f32 and f16 kernels beside native code with libgcc's floats, of all beside it with ours."""
MOST_CYCLES = {"rope_f32": 240, "rmsnorm_f32": 260, "swiglu_f32": 900}
"""More aims: cycles an element."""
MOST_OVER_NATIVE = 1.3
"""The aim: wasm takes at most this many times as long as native code, and less than numpy."""


def tensor_text(tensor: Tensor) -> str:
    """``freqs [seq, dim/2] or [seq, dim/2, 2], optional``."""
    star = "*" if tensor.leading else ""
    shapes = " or ".join(f"[{star}{', '.join(map(str, shape))}]" for shape in tensor.shapes)
    return f"{tensor.name} {shapes}" + (", optional" if tensor.optional else "") + (", in-out" if tensor.inout else "")


def param_text(param: Param) -> str:
    """``theta f32 = 10000``."""
    value = str(param.default).lower() if isinstance(param.default, bool) else f"{param.default:g}"
    return f"{param.name} {param.type} = {value}"


def row(spec: KernelSpec) -> list[str]:
    """The table's row of a kernel."""
    formats = dict.fromkeys(tensor.dtype.name for tensor in spec.inputs + spec.outputs)
    return [
        f"`{spec.id}`",
        "; ".join(map(tensor_text, spec.inputs)),
        "; ".join(map(tensor_text, spec.outputs)),
        "; ".join(map(param_text, spec.params)) or "-",
        ", ".join(formats),
        (spec.error_bound or "-").replace("|", "\\|"),
    ]


def table() -> str:
    """The whole table in Markdown."""
    rows = [list(HEADINGS), ["---"] * len(HEADINGS)]
    rows += [row(kernel.spec) for kernel in read_source(ROOT / "kernels_aot").kernels]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def bench(*options: str) -> dict[str, Any]:
    """What `host bench` measures, numpy on one core and with the BLAS that it chooses itself."""
    command = [sys.executable, "-m", "host", "bench", *options, "--json"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    environment = kept | {"OPENBLAS_NUM_THREADS": "1"}
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def cycles_table(measured: Mapping[str, Any]) -> str:
    """AOT on a board beside native code and MicroPython, cycles an element; in bold what misses an aim."""
    headings = "| kernel | AOT | native, libgcc | native, our floats | MicroPython | `@micropython.native` |"
    lines = [f"{headings} AOT / libgcc | AOT / our floats |\n", "|" + " --- |" * 8 + "\n"]
    for kernel in measured["kernels"]:
        name, aot = kernel["id"], kernel["aot"]
        figures = [figure_text(aot, bold=aot > MOST_CYCLES.get(name, aot))]
        columns = ("native_libgcc", "native", "micropython", "micropython_native")
        figures += [figure_text(kernel[column]) for column in columns]
        over_libgcc, over_soft = kernel["aot_over_native_libgcc"], kernel["aot_over_native"]
        is_float = name.endswith(("_f32", "_f16"))
        figures.append(
            f"**{over_libgcc:.2f}**" if is_float and over_libgcc > MOST_OVER_LIBGCC else f"{over_libgcc:.2f}"
        )
        figures.append(f"**{over_soft:.2f}**" if over_soft > MOST_OVER_SOFT else f"{over_soft:.2f}")
        lines.append(f"| `{name}` | {' | '.join(figures)} |\n")
    return "".join(lines)


def sizes_table(measured: Mapping[str, Any]) -> str:
    """Cycles an element at growing sizes: AOT / native with libgcc / native with our floats."""
    counts = sorted({cost["elements"] for cost in measured["curves"]})
    lines = [f"| elements | {' | '.join(map(str, counts))} |\n", "|" + " --- |" * (len(counts) + 1) + "\n"]
    for kernel in measured["kernels"]:
        cells = dict.fromkeys(counts, "-")
        for cost in measured["curves"]:
            if cost["id"] == kernel["id"]:
                cells[cost["elements"]] = " / ".join(
                    f"{cost[way]:.0f}" if cost[way] else "-" for way in ("aot", "native_libgcc", "native")
                )
        lines.append(f"| `{kernel['id']}` | {' | '.join(cells.values())} |\n")
    return "".join(lines)


def flavours_table(measured: Mapping[str, Any]) -> str:
    """Portable against simd128 under Wasmtime."""
    headings = "| kernel | portable, ns an element | simd128 | times faster | epochs on / off, portable | simd128 |\n"
    lines = [headings, "|" + " --- |" * 6 + "\n"]
    for kernel in measured["kernels"]:
        portable, simd = kernel["flavours"]["portable"], kernel["flavours"]["simd128"]
        figures = (portable["ns"], simd["ns"], simd["gain"], portable["epochs"], simd["epochs"])
        lines.append(f"| `{kernel['id']}` | {' | '.join(f'{figure:.3g}' for figure in figures)} |\n")
    return "".join(lines)


def speed_table(measured: Mapping[str, Any]) -> str:
    """Wasm against native code and numpy; in bold what misses the aim."""
    headings = "| kernel | sizes | elements | wasm, ns an element | native | numpy | wasm / native | numpy / wasm |\n"
    lines = [headings, "|" + " --- |" * 8 + "\n"]
    for item in measured["speed"]:
        sizes = ", ".join(map(str, item["symbols"].values()))
        figures = [figure_text(item[name]) for name in ("wasm", "native", "numpy")]
        over_native, over_wasm = item["wasm_over_native"], item["numpy_over_wasm"]
        figures.append(figure_text(over_native, bold=over_native is not None and over_native > MOST_OVER_NATIVE))
        figures.append(figure_text(over_wasm, bold=over_wasm is not None and over_wasm < 1))
        lines.append(f"| `{item['id']}` | [{sizes}] | {item['elements']} | {' | '.join(figures)} |\n")
    return "".join(lines)


def figure_text(figure: float | None, bold: bool = False) -> str:
    """Two digits or three; ``-`` for none."""
    if figure is None:
        return "-"
    text = f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"
    return f"**{text}**" if bold else text


def replaced(text: str, section: str, make: Callable[[str], str]) -> str:
    """``text`` with what is between the section's marks made anew from what is there."""
    begin, end = (f"<!-- {mark} {section}: tools/kernel_table.py -->\n" for mark in ("begin", "end"))
    before, rest = text.split(begin)
    old, after = rest.split(end)
    return before + begin + make(old) + end + after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", help="measure cycles on this board (see host devices)")
    parser.add_argument("--wasmtime", action="store_true", help="measure on this machine")
    parser.add_argument("--check", action="store_true", help="only tell whether the kernels' table is up to date")
    arguments = parser.parse_args()
    text = DOCUMENT.read_text()
    if arguments.wasmtime:
        measured = bench("--wasmtime")
        new = replaced(text, FLAVOURS, lambda _old: flavours_table(measured))
        new = replaced(new, SPEED, lambda _old: speed_table(measured))
    else:
        new = replaced(text, KERNELS, lambda _old: table())
    if arguments.port:
        measured = bench("--port", arguments.port, "--curves")
        new = replaced(new, CYCLES, lambda _old: cycles_table(measured))
        new = replaced(new, SIZES, lambda _old: sizes_table(measured))
        CHART.write_text(kernel_chart.svg(measured))
    if arguments.check:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
