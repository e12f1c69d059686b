"""host run, check, bench: kernels at work, on a board and under Wasmtime."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rich_click as click
from rich.console import RenderableType

from host.cli.app import host
from host.cli.options import command, port_option
from host.cli.output import Output, facts, table
from host.cli.packs import current_source, default_pack
from host.errors import NoSuchKernel, UsageError
from host.pack.spec import KernelSpec, Param
from host.shapes import array_shape, solve

if TYPE_CHECKING:
    from host.bench import Costs, KernelCost
    from host.check import Report
    from host.pack import Pack

_SHOWN = 8  # elements of a result that a person sees

_pack_option = click.option(
    "--pack",
    type=click.Path(exists=True, path_type=Path),
    help="Folder or archive; default: this folder's, else the project's.",
)


@command(host, "run")
@click.argument("kernel")
@click.option(
    "--input", "files", multiple=True, metavar="[NAME=]FILE.npy", help="An input, in the kernel's order or by name."
)
@click.option(
    "--shape", "shapes", multiple=True, metavar="[NAME=]N,N,...", help="An input of random numbers of this shape."
)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; others have their defaults.")
@click.option("--seed", default=0, show_default=True, help="Of the random numbers.")
@click.option("--output", "saved", type=click.Path(dir_okay=False, path_type=Path), help="Save the result as .npy.")
@_pack_option
@click.option("--port", help="Run on this board instead of Wasmtime (see host devices).")
def run(
    output: Output,
    kernel: str,
    files: Sequence[str],
    shapes: Sequence[str],
    params: Sequence[str],
    seed: int,
    saved: Path | None,
    pack: Path | None,
    port: str | None,
) -> None:
    """Run KERNEL of a pack once, under Wasmtime or on a board.

    host run rope_f32 --shape 1,16,4,32 --param theta=500000 --output y.npy
    """
    from host.pack import Pack

    opened = Pack.open(pack or default_pack())
    if kernel not in opened.kernels:
        raise NoSuchKernel(
            f"{opened.name} {opened.version} has no kernel {kernel!r}; it has {', '.join(opened.kernels)}"
        )
    spec = opened.kernels[kernel]
    inputs = _inputs(spec, files, shapes, np.random.default_rng(seed))
    values = dict(_param(spec, text) for text in params)
    try:
        solve(spec, {name: None if array is None else array.shape for name, array in inputs.items()})
        where, result = _on_board(port, spec, inputs, values) if port else _under_wasmtime(opened, spec, inputs, values)
    except (TypeError, ValueError) as error:  # what the user gave does not fit the kernel
        raise UsageError(str(error)) from error
    if saved:
        np.save(saved, result)
    data = {
        "kernel": kernel,
        "where": where,
        "shape": list(result.shape),
        "dtype": result.dtype.name,
        "sha256": hashlib.sha256(result.tobytes()).hexdigest(),
        "output": str(saved) if saved else None,
    }
    first = " ".join(map(str, result.ravel()[:_SHOWN])) + (" …" if result.size > _SHOWN else "")
    output.result(data, facts({**data, "values": first}))


def _inputs(
    spec: KernelSpec, files: Sequence[str], shapes: Sequence[str], random: np.random.Generator
) -> dict[str, np.ndarray | None]:
    """The kernel's inputs by name: named ones first, then files and shapes, in order, for those that have none yet."""
    found: dict[str, np.ndarray | None] = {tensor.name: None for tensor in spec.inputs}
    dtypes = {tensor.name: tensor.dtype for tensor in spec.inputs}
    given = [(text, True) for text in files] + [(text, False) for text in shapes]
    for text, is_file in sorted(given, key=lambda item: "=" not in item[0]):  # a stable sort
        name, _, value = text.rpartition("=")
        name = name or next((name for name, array in found.items() if array is None), "")
        if found.get(name, text) is not None:
            known = ", ".join(found)
            raise UsageError(
                f"{spec.id} has no input left for {text!r}; its inputs, each given once at the most: {known}"
            )
        if is_file:
            found[name] = _load(value)
        else:
            found[name] = _random(dtypes[name].numpy, array_shape(dtypes[name], _sizes(value)), random)
    return found


def _load(path: str) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path} as .npy: {error}") from error
    return array


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} is no shape; an example of one: 1,16,4,32") from None


def _random(dtype: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Standard normal numbers, or any of the values that an integer type has."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return random.standard_normal(shape).astype(kind)
    info = np.iinfo(kind)
    return random.integers(info.min, info.max, shape, kind, endpoint=True)


def _param(spec: KernelSpec, text: str) -> tuple[str, float | int | bool]:
    name, equals, value = text.partition("=")
    param = next((param for param in spec.params if param.name == name), None)
    if param is None or not equals:
        known = ", ".join(f"{param.name} ({param.type})" for param in spec.params) or "none"
        raise UsageError(f"{text!r} is not NAME=VALUE of a parameter of {spec.id}; its parameters: {known}")
    return name, _value(param, value)


def _value(param: Param, text: str) -> float | int | bool:
    words = {"true": True, "false": False}
    try:
        if param.type == "f32":
            return float(text)
        return words[text.lower()] if text.lower() in words else int(text, 0)
    except ValueError:
        raise UsageError(f"parameter {param.name} is {text!r}, must be a {param.type}") from None


def _under_wasmtime(
    pack: Pack, spec: KernelSpec, inputs: dict[str, np.ndarray | None], params: dict[str, Any]
) -> tuple[str, np.ndarray]:
    from host.runtime import Runtime

    with Runtime() as runtime:
        runtime.install(pack)
        return "wasmtime", runtime.run(spec.id, *inputs.values(), **params)


def _on_board(
    port: str, spec: KernelSpec, inputs: dict[str, np.ndarray | None], params: dict[str, Any]
) -> tuple[str, np.ndarray]:
    from host.board import connect

    with connect(port) as board:
        return board.port, board.run(spec.id, list(inputs.values()), params)


@command(host, "check")
@port_option
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same cases.")
@click.option("--count", default=200, show_default=True, type=click.IntRange(min=1), help="Cases for each kernel.")
@click.option("--kernel", "only", multiple=True, metavar="ID", help="Check only this kernel; may be repeated.")
@_pack_option
@click.option(
    "--reference",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python file with REFERENCES, which is run; default: reference.py, for the pack of this folder.",
)
def check(
    output: Output,
    port: str | None,
    seed: int,
    count: int,
    only: Sequence[str],
    pack: Path | None,
    reference: Path | None,
) -> int:
    """Compare a board with Wasmtime, bit by bit, and both with a float64 reference.

    MicroPython on the board starts anew. The exit code is 1 when a bit differs, or a result is further from the
    reference than it may be.
    """
    from host.board import connect
    from host.check import run_check
    from host.pack import Pack
    from host.reference import REFERENCES, read
    from host.runtime import Runtime

    opened = Pack.open(pack or default_pack())
    own = reference or (None if pack else _references_here())
    if own:
        output.note(f"Running {own} for its references")
    references = {**REFERENCES, **(read(own) if own else {})}
    with connect(port) as board, Runtime() as runtime, output.progress("checking", unit="cases") as progress:
        board.soft_reset()  # tensors that a session at the REPL left would take the largest cases' room
        status = board.require_pack(opened)
        runtime.install(opened)
        checked = _only(opened, only)
        report = run_check(
            board,
            runtime,
            checked,
            board_name=status["board"],
            seed=seed,
            count=count,
            references=references,
            progress=lambda kernel, done, _: progress(
                list(checked.kernels).index(kernel) * count + done, len(checked.kernels) * count
            ),
        )
    output.result(report.to_json(), *_check_tables(report))
    return report.exit_code


def _references_here() -> Path | None:
    """reference.py of the pack in the current folder."""
    source = current_source()
    file = source / "reference.py" if source else None
    return file if file and file.is_file() else None


def _only(pack: Pack, ids: Sequence[str]) -> Pack:
    """``pack`` with nothing but the kernels named; all when none is."""
    unknown = [kernel for kernel in ids if kernel not in pack.kernels]
    if unknown:
        raise NoSuchKernel(f"{pack.name} {pack.version} has no kernel {unknown[0]!r}; it has {', '.join(pack.kernels)}")
    kept = tuple(kernel for kernel in pack.manifest.kernels if not ids or kernel.spec.id in ids)
    return dataclasses.replace(pack, manifest=dataclasses.replace(pack.manifest, kernels=kept))


def _check_tables(report: Report) -> list[RenderableType]:
    rows = [
        (
            kernel.id,
            kernel.cases,
            kernel.elements,
            kernel.mismatches,
            kernel.board_outside + kernel.host_outside,
            "-" if kernel.largest_error is None else f"{kernel.largest_error:.2f}",
        )
        for kernel in report.kernels
    ]
    examples = [str(example) for kernel in report.kernels for example in kernel.examples]
    verdict = "The same bits everywhere." if report.passed else f"{report.mismatches} MISMATCHES"
    return [
        f"{report.board} against Wasmtime, {report.pack}",
        table("kernel", "cases>", "elements>", "mismatches>", "outside bound>", "largest error / bound>", rows=rows),
        *examples,
        verdict,
    ]


@command(host, "bench")
@port_option
@click.option("--wasmtime", is_flag=True, help="Measure this machine instead: nanoseconds of each flavour.")
@_pack_option
def bench(output: Output, port: str | None, wasmtime: bool, pack: Path | None) -> None:
    """Measure cycles on a board: AOT, native C and MicroPython; what a call costs; flash and RAM.

    MicroPython on the board starts anew.
    """
    from host.pack import Pack

    if wasmtime and port:
        raise UsageError("--wasmtime measures this machine, --port a board: give one of them")
    opened = Pack.open(pack or default_pack())
    if wasmtime:
        _bench_wasmtime(output, opened)
    else:
        _bench_board(output, opened, port)


def _bench_wasmtime(output: Output, pack: Pack) -> None:
    from host.bench_wasmtime import run_bench

    costs = run_bench(pack, lambda what: output.note(f"measuring {what}"))
    data = {"pack": f"{pack.name} {pack.version}", "kernels": [cost.to_json() for cost in costs]}
    rows = [
        (cost.id, cost.elements, name, *map(_rounded, (flavour.ns, cost.gain(name), flavour.epochs)))
        for cost in costs
        for name, flavour in cost.flavours.items()
    ]
    columns = ["elements>", "flavour", "ns an element>", "portable / flavour>", "epochs on / off>"]
    output.result(data, table("under Wasmtime", *columns, rows=rows))


def _bench_board(output: Output, pack: Pack, port: str | None) -> None:
    from host.bench import run_bench
    from host.board import connect

    with connect(port) as board:
        board.soft_reset()
        costs = run_bench(board, pack, lambda what: output.note(f"measuring {what}"))
    data = {
        **dataclasses.asdict(costs),
        "kernels": [dataclasses.asdict(cost) | _ratios(cost) for cost in costs.kernels],
    }
    output.result(data, *_bench_tables(costs))


def _ratios(cost: KernelCost) -> dict[str, float | None]:
    """How much slower AOT is than native C, and how much faster than MicroPython."""
    return {
        "aot_over_native": cost.aot / cost.native if cost.native else None,
        "micropython_over_aot": cost.micropython / cost.aot if cost.micropython else None,
    }


def _bench_tables(costs: Costs) -> list[RenderableType]:
    kernels = [
        (cost.id, cost.elements, *map(_rounded, (cost.aot, cost.native, cost.micropython, *_ratios(cost).values())))
        for cost in costs.kernels
    ]
    calls = costs.calls
    rows = [
        ("an empty kernel, run by the engine alone", calls.engine),
        ("an empty kernel, f = kern.bind(...); f()", calls.bind),
        ("an empty kernel, kern.<op>(x, out=y)", calls.op_out),
        ("an empty kernel, kern.<op>(x), which makes its output", calls.op),
        ("an empty C function", calls.c_function),
        ("an empty Python function", calls.python_function),
    ]
    sizes = [(part, *size.values()) for part, size in costs.sizes.items()]
    headings = [f"{name}>" for name in next(iter(costs.sizes.values()), {})]
    return [
        table(
            "cycles an element",
            "elements>",
            "AOT>",
            "native C>",
            "MicroPython>",
            "AOT / native>",
            "MicroPython / AOT>",
            rows=kernels,
        ),
        "",
        table(
            "a call from a Python loop, the loop taken off",
            "cycles>",
            rows=[(name, _rounded(cycles)) for name, cycles in rows],
        ),
        "",
        table("bytes of", *headings, rows=sizes),
    ]


def _rounded(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
