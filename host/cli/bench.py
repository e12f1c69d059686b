"""host bench: what kernels cost, on a board and on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import RenderableType

from host import ports, project
from host.cli.app import host
from host.cli.options import command, pack_option, port_option
from host.cli.output import Output, sizes_table, table
from host.cli.packs import current_source, default_pack
from host.errors import UsageError

if TYPE_CHECKING:
    from host.bench import Costs, KernelCost
    from host.bench_overhead import CallOverhead
    from host.bench_speed import Comparison
    from host.pack import Pack, PackSource


@command(host, "bench")
@port_option
@click.option("--wasmtime", is_flag=True, help="Measure this machine instead: nanoseconds of each flavour.")
@click.option("--curves", is_flag=True, help="On a board also at sizes from 32 elements to what fits.")
@pack_option
def bench(output: Output, port: str | None, wasmtime: bool, curves: bool, pack: Path | None) -> None:
    """Measure cycles on a board: AOT, native C and MicroPython; what a call costs; flash and RAM.

    MicroPython on the board starts anew. emu:BOARD is an emulated board of its own, with firmware of the bench variant.
    Cycles are what the board counts: instructions in QEMU, nanoseconds on unix.
    """
    from host.pack import Pack

    if wasmtime and port:
        raise UsageError("--wasmtime measures this machine, --port a board: give one of them")
    opened = Pack.open(pack or default_pack())
    if wasmtime:
        _bench_wasmtime(output, opened)
    else:
        _bench_board(output, opened, port, curves)


def _bench_wasmtime(output: Output, pack: Pack) -> None:
    from host.bench_overhead import run_overhead
    from host.bench_speed import run_comparison
    from host.bench_wasmtime import run_bench

    costs = run_bench(pack, lambda what: output.note(f"measuring {what}"))
    compared = run_comparison(pack, _source_of(pack), lambda what: output.note(f"comparing {what}"))
    overheads = run_overhead(pack, lambda what: output.note(f"calling {what}"))
    data = {
        "pack": f"{pack.name} {pack.version}",
        "kernels": [cost.to_json() for cost in costs],
        "speed": [comparison.to_json() for comparison in compared],
        "overhead": [overhead.to_json() for overhead in overheads],
    }
    rows = [
        (cost.id, cost.elements, name, *map(_rounded, (flavour.ns, cost.gain(name), flavour.epochs)))
        for cost in costs
        for name, flavour in cost.flavours.items()
    ]
    columns = ["elements>", "flavour", "ns an element>", "portable / flavour>", "epochs on / off>"]
    flavours = table("under Wasmtime", *columns, rows=rows)
    output.result(data, flavours, "", _speed_table(compared), "", _overhead_table(overheads))


def _source_of(pack: Pack) -> PackSource | None:
    """What ``pack`` was built of, if it is in the current folder or the project's own."""
    from host.pack import read_source

    for folder in filter(None, (current_source(), project.root() / "kernels_aot")):
        source = read_source(folder)
        if (source.name, source.version) == (pack.name, pack.version):
            return source
    return None


def _speed_table(compared: Sequence[Comparison]) -> RenderableType:
    rows = []
    for item in compared:
        figures = (item.wasm, item.native, item.numpy, item.wasm_over_native, item.numpy_over_wasm)
        shown = ["-" if figure is None else f"{figure:.3g}" for figure in figures]
        rows.append((item.id, ",".join(map(str, item.symbols.values())), item.elements, *shown))
    headings = ["wasm>", "native>", "numpy>", "wasm / native>", "numpy / wasm>"]
    return table("ns an element", "sizes", "elements>", *headings, rows=rows)


def _overhead_table(overheads: Sequence[CallOverhead]) -> RenderableType:
    columns = ("own", "public", "run", "run_tensors", "bound", "batch")
    rows = [(item.id, *(f"{getattr(item, name):.2f}" for name in columns)) for item in overheads]
    headings = ["own time>", "+ Func.__call__>", "+ run>", "+ run on tensors>", "+ bound>", "+ each of a batch>"]
    return table("microseconds a call", *headings, rows=rows)


def _bench_board(output: Output, pack: Pack, port: str | None, curves: bool) -> None:
    from host.bench import run_bench
    from host.board import connect

    with ExitStack() as stack:
        board = stack.enter_context(connect(_measured_port(output, pack, ports.resolve(port), stack)))
        board.soft_reset()
        costs = run_bench(board, pack, lambda what: output.note(f"measuring {what}"), curves)
    data = {
        **dataclasses.asdict(costs),
        "kernels": [dataclasses.asdict(cost) | cost.ratios() for cost in costs.kernels],
    }
    output.result(data, *_bench_tables(costs))


def _measured_port(output: Output, pack: Pack, port: str, stack: ExitStack) -> str:
    """``port``; for ``emu:BOARD``, that of another emulated board, which has native references of all kernels."""
    from host.bench import bench_board

    if not port.startswith(ports.EMULATED):
        output.note("native C where the firmware has it; of every kernel with: host build --bench")
        return port
    name, _ = ports.emulated_instance(port)
    output.note(f"starting an emulated {name} with firmware of the bench variant")
    return str(stack.enter_context(bench_board(name, pack)).wait_for_port())


def _bench_tables(costs: Costs) -> list[RenderableType]:
    calls = costs.calls
    rows = [
        ("an empty kernel, f = kern.bind(...); f()", calls.bind),
        ("an empty kernel, each of 32 in kern.batch([f, ...])", calls.batch),
        ("an empty kernel, kern.<op>(x, out=y)", calls.op_out),
        ("an empty kernel, kern.<op>(x), which makes its output", calls.op),
        ("an empty C function", calls.c_function),
        ("an empty Python function", calls.python_function),
    ]
    return [
        _costs_table("cycles an element", costs.kernels),
        "",
        *([_costs_table("at growing sizes", costs.curves), ""] if costs.curves else []),
        table(
            "a call from a Python loop, the loop taken off",
            "cycles>",
            rows=[(name, _rounded(cycles)) for name, cycles in rows],
        ),
        "",
        table("parts of these", "cycles>", rows=[(name, _rounded(cycles)) for name, cycles in calls.parts.items()]),
        "",
        table("the pack's verification", "cycles>", rows=[("at its first use after a reset", _rounded(costs.verify))]),
        "",
        *([sizes_table(costs.sizes)] if costs.sizes else []),
    ]


def _costs_table(title: str, costs: Sequence[KernelCost]) -> RenderableType:
    rows = []
    for cost in costs:
        python = (cost.micropython, cost.micropython_native)
        figures = (cost.aot, cost.native, cost.native_libgcc, *python, *cost.ratios().values())
        rows.append((cost.id, cost.elements, *map(_rounded, figures)))
    columns = ["AOT>", "native C>", "with libgcc>", "MicroPython>", "its native>"]
    ratios = ["AOT / libgcc>", "AOT / native>", "MicroPython / AOT>"]
    return table(title, "elements>", *columns, *ratios, rows=rows)


def _rounded(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@command(host, "profile")
@click.argument("kernel")
@port_option
@click.option("--calls", default=10, show_default=True, type=click.IntRange(1, 10000), help="How many to count.")
@click.option("--reference", is_flag=True, help="The firmware's own implementation instead of the pack's.")
@click.option(
    "--save",
    "saved",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Flame graph: speedscope's .json, else stacks.",
)
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Functions shown.")
@pack_option
def profile(
    output: Output,
    kernel: str,
    port: str | None,
    calls: int,
    reference: bool,
    saved: Path | None,
    top: int,
    pack: Path | None,
) -> None:
    """Show where an emulated board's cycles go during calls of KERNEL, function by function.

    Cycles are counted, not sampled. MicroPython on the board starts anew.
    """
    from host import profile as profiler
    from host.board import connect
    from host.pack import Pack

    opened = Pack.open(pack or default_pack())
    meant = ports.resolve(port)
    if not meant.startswith(ports.EMULATED):
        raise UsageError(f"{meant} is no emulated board, which alone can count cycles; use --port emu:rpi_pico")
    with ports.emulated(meant) as running, connect(meant) as board:
        board.soft_reset()
        result = profiler.run_profile(board, running.profile, opened, kernel, calls, reference)
    if saved:
        profiler.save(result, saved)
    awake = sum(function.cycles for function in result.functions)
    parts = [(part, cycles, f"{cycles / awake:.1%}") for part, cycles in result.parts()]
    shown = [(item.name, item.part, item.cycles, f"{item.cycles / awake:.1%}") for item in result.functions[:top]]
    data = {
        "kernel": kernel,
        "calls": calls,
        "elements": result.elements,
        "cycles": result.cycles,
        "last_call": result.last_call,
        "parts": dict(result.parts()),
        "functions": [dataclasses.asdict(function) for function in result.functions],
        "saved": str(saved) if saved else None,
    }
    output.result(
        data,
        table(f"{calls} calls of {kernel}", "cycles>", "share>", rows=parts),
        "",
        table("function", "part", "cycles>", "share>", rows=shown),
    )
