"""host run: one call of a kernel, on a board or under Wasmtime."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from host.cli.app import host
from host.cli.options import command, pack_option
from host.cli.output import Output, facts
from host.cli.packs import default_pack
from host.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from host.pack import Pack
    from host.pack.spec import KernelSpec, Param

_SHOWN = 8  # elements of a result that a person sees


@command(host, "run")
@click.argument("words", nargs=-1, required=True, metavar="[PACK] KERNEL")
@click.option(
    "--input", "files", multiple=True, metavar="[NAME=]FILE.npy", help="An input, in the kernel's order or by name."
)
@click.option(
    "--shape",
    "--random",
    "shapes",
    multiple=True,
    metavar="[NAME=]N,N,...",
    help="An input of random numbers of this shape.",
)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; others have their defaults.")
@click.option("--seed", default=0, show_default=True, help="Of the random numbers.")
@click.option("--output", "saved", type=click.Path(dir_okay=False, path_type=Path), help="Save the result as .npy.")
@pack_option
@click.option("--port", help="Run on this board instead of Wasmtime (see host devices).")
def run(
    output: Output,
    words: Sequence[str],
    files: Sequence[str],
    shapes: Sequence[str],
    params: Sequence[str],
    seed: int,
    saved: Path | None,
    pack: Path | None,
    port: str | None,
) -> None:
    """Run KERNEL of a pack once, under Wasmtime or on a board. PACK: a folder or archive; default: this folder's,
    else the project's.

    host run core-1.0.0.kpack rope_f32 --random 1,16,4,32 --param theta=500000 --output y.npy
    """
    import numpy as np

    from host.pack import Pack
    from host.shapes import solve

    path, kernel = _pack_and_kernel(words, pack)
    opened = Pack.open(path)
    spec = opened.kernel(kernel).spec
    inputs = _inputs(spec, files, shapes, np.random.default_rng(seed))
    values = dict(_param(spec, text) for text in params)
    try:
        solve(spec, {name: None if array is None else array.shape for name, array in inputs.items()})
        done = _on_board(port, spec, inputs, values) if port else _under_wasmtime(opened, spec, inputs, values)
    except (TypeError, ValueError) as error:  # what the user gave does not fit the kernel
        raise UsageError(str(error)) from error
    result = done.result
    if saved:
        np.save(saved, result)
    data = {
        "pack": f"{opened.name} {opened.version}",
        "kernel": kernel,
        "where": done.where,
        "seconds": done.seconds,
        "shape": list(result.shape),
        "dtype": result.dtype.name,
        "sha256": hashlib.sha256(result.tobytes()).hexdigest(),
        "output": str(saved) if saved else None,
    }
    first = " ".join(map(str, result.ravel()[:_SHOWN])) + (" …" if result.size > _SHOWN else "")
    output.result(data, facts({**data, "seconds": f"{done.seconds:.6f}", "values": first}))


@dataclasses.dataclass(frozen=True)
class _Done:
    """A call's result, where it ran, and what it took: with the copies of its arrays, to a board over the port."""

    where: str
    result: np.ndarray
    seconds: float


def _pack_and_kernel(words: Sequence[str], option: Path | None) -> tuple[Path, str]:
    """What ``[PACK] KERNEL`` and --pack say. Raises UsageError."""
    *before, kernel = words
    if len(before) > 1 or (before and option):
        raise UsageError(f"give one pack and one kernel, not {' '.join(words)}" + (" and --pack" if option else ""))
    if before and not Path(before[0]).exists():
        raise UsageError(f"there is no pack {before[0]}, neither folder nor archive")
    return Path(before[0]) if before else option or default_pack(), kernel


def _inputs(
    spec: KernelSpec, files: Sequence[str], shapes: Sequence[str], random: np.random.Generator
) -> dict[str, np.ndarray | None]:
    """The kernel's inputs by name: named ones first, then files and shapes, in order, for those that have none yet."""
    from host.shapes import array_shape

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
    import numpy as np

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
    import numpy as np

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
) -> _Done:
    from host.runtime import Runtime
    from host.security_counters import MemoryCounters

    with Runtime(counters=MemoryCounters()) as runtime:
        runtime.install(pack)
        begin = time.perf_counter()
        result = runtime.run(spec.id, *inputs.values(), **params)
        return _Done("wasmtime", result, time.perf_counter() - begin)


def _on_board(port: str, spec: KernelSpec, inputs: dict[str, np.ndarray | None], params: dict[str, Any]) -> _Done:
    from host.board import connect

    with connect(port) as board:
        begin = time.perf_counter()
        result = board.run(spec.id, list(inputs.values()), params)
        return _Done(board.port, result, time.perf_counter() - begin)
