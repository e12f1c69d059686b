"""What kernels cost on a board, in cycles: AOT, the same C compiled natively into the firmware, and MicroPython.

Everything compared is measured in one run on one board. Kernels are timed by ``Bound.cycles``, Python by the board's
microsecond timer, which an emulated board drives by its count of cycles.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from host import boards, firmware
from host.board import Board, connect
from host.emulator import Emulated, make
from host.errors import BoardError, EpochDeadline, KernelError, NoSuchKernel, UsageError
from host.firmware_files import LIBGCC
from host.firmware_variants import BENCH, VARIANTS
from host.pack import Pack, build_pack, keys, keyset
from host.pack.spec import KernelSpec

Report = Callable[[str], None]
"""Called with what is measured next."""

_AGENT = Path(__file__).with_name("bench_agent.py.txt")
_FORMULAS = Path(__file__).with_name("bench_formulas.py.txt")
_CALLS = 1000
_TIMEOUT = 120.0
_EMITTERS = ("bytecode", "native")
_EMPTY = ("empty", "other")
"""Kernels that do nothing. Of two, each has to be put in place when the other one was called."""
_EMPTY_C = """\
#include "{id}_params.h"
#include "kernel_stateless.h"

KERNEL_EXPORT({id}_forward)(uint32_t descriptor) {{
    KERNEL_REQUIRE_INIT();
    (void)descriptor;
    return KERNEL_OK;
}}
"""
_EMPTY_TOML = """\
name = "bench"
version = "1.0.0"
description = "A kernel that does nothing: what is left is the cost of the call"
min_runtime_version = "0.1.0"
security_counter = {counter}
author = {{ name = "host bench", email = "bench@localhost" }}
targets = ["{target}"]
"""
_EMPTY_KERNEL_TOML = """
[[kernel]]
id = "{id}"
op = "{id}"
category = "bench"
source = "{id}.c"
entry_point = "{id}_forward"
symbols = ["n"]
inputs = [{{ name = "x", region = "input_a", dtype = "f32", shape = ["n"] }}]
outputs = [{{ name = "y", region = "output", dtype = "f32", shape = ["n"] }}]
resource_limits = {{ max_memory_pages = 1, max_epoch_ticks = 1, max_table_elements = 1 }}
test = {{ seed = 1, symbols = {{ n = 4 }} }}
"""
_IN_PYTHON = ("rope_f32", "rmsnorm_f32", "swiglu_f32")
"""Kernels that there are formulas of in Python."""
_SMALLEST = {
    "rope": {"batch": 1, "seq": 1, "heads": 1, "dim": 32},
    "rmsnorm": {"rows": 1, "dim": 32},
    "swiglu": {"n": 32},
    "kv_pack": {"rows": 1, "dim": 32},
    "kv_unpack": {"rows": 1, "dim": 32},
    "lora_apply": {"rows": 1, "d_in": 32, "rank": 4, "d_out": 32},
}
"""The sizes of each operation that give 32 elements."""
_GROWING = {
    "rope": "seq",
    "rmsnorm": "rows",
    "swiglu": "n",
    "kv_pack": "rows",
    "kv_unpack": "rows",
    "lora_apply": "rows",
}
"""The size that is doubled then."""


@dataclass(frozen=True)
class KernelCost:
    """Cycles for each element of the output; None for what there is not.

    ``native`` and ``native_libgcc``: the same C by gcc, with the soft float that AOT code has, and with libgcc's.
    ``micropython`` and ``micropython_native``: Python as bytecode, and as machine code by ``@micropython.native``.
    """

    id: str
    elements: int
    aot: float
    native: float | None
    native_libgcc: float | None
    micropython: float | None = None
    micropython_native: float | None = None

    def ratios(self) -> dict[str, float | None]:
        """How much slower AOT is than native C, and how much faster than MicroPython."""
        return {
            "aot_over_native_libgcc": self.aot / self.native_libgcc if self.native_libgcc else None,
            "aot_over_native": self.aot / self.native if self.native else None,
            "micropython_over_aot": self.micropython / self.aot if self.micropython else None,
        }


@dataclass(frozen=True)
class Speed:
    """Cycles of AOT code for each element of the output, of which a call had ``elements``."""

    elements: int
    cycles_per_element: float


@dataclass(frozen=True)
class CallCost:
    """Cycles of one call of an empty kernel from a Python loop, the loop taken off.

    ``engine`` is what the kernel stack, the deadline and the kernel take of it, and ``next`` each further call of a
    batch; ``batch`` is one of 32 in all. ``other`` comes after a call of another kernel.
    """

    c_function: float
    python_function: float
    engine: float
    next: float
    batch: float
    bind: float
    other: float
    op_out: float
    op: float

    @property
    def parts(self) -> dict[str, float]:
        """Where the cycles of ``op`` go."""
        return {
            "finding the kernel, checking arguments, writing the descriptor": self.op_out - self.bind,
            "memory for the output": self.op - self.op_out,
            "putting the instance in place, after another kernel": self.other - self.bind,
            "kernel stack, budget, kernel and return": self.engine,
            "the same in a batch, where the stack stays": self.next,
            "Python's call": self.bind - self.engine,
        }


@dataclass(frozen=True)
class Costs:
    """One run's figures. ``verify`` is cycles that the pack's first use after a reset takes more than any other,
    ``sizes`` flash and RAM, in bytes, of each part of the firmware, ``curves`` kernels at growing sizes.
    """

    board: str
    pack: str
    verify: float
    kernels: tuple[KernelCost, ...]
    calls: CallCost
    sizes: Mapping[str, Any]
    curves: tuple[KernelCost, ...] = ()


def run_bench(board: Board, pack: Pack, report: Report, curves: bool = False) -> Costs:
    """Measure ``board``, on which ``pack`` must be active. A pack with an empty kernel takes its place for a moment.

    With ``curves`` also at sizes from 32 elements, doubled until memory or the deadline ends it.

    Raises NoPack or UsageError when another pack is active, for it could not be put back, and UsageError when the
    firmware is not what was built here last: nobody knew its sizes.
    """
    status = board.require_pack(pack)
    if status["pack"]["code"] == "interpreted":
        raise UsageError("the board interprets this pack; what is measured is AOT code, so install a pack that has it")
    facts, variant = boards.load(status["board"]), VARIANTS[status["variant"]]
    firmware.built_elf(facts, variant, status["build"])
    sizes = firmware.size_report(facts, variant)
    report("the verification of the pack")
    board.soft_reset()
    _start_agent(board)
    verify = float(board.eval("verify_cycles()"))
    kernels = tuple(_kernel_cost(board, spec, report) for spec in pack.kernels.values())
    grown = tuple(cost for spec in pack.kernels.values() if curves for cost in _curve(board, spec, report))
    report("calls of an empty kernel")
    with _empty_kernel(board, pack, status["target"], status["pack"]["counter"]):
        calls = CallCost(**board.eval(f"call_cycles({_CALLS})", _TIMEOUT))
    return Costs(status["board"], f"{pack.name} {pack.version}", verify, kernels, calls, sizes, grown)


@contextmanager
def bench_board(name: str, pack: Pack) -> Iterator[Emulated]:
    """An emulated board of its own, with firmware of the bench variant, on which ``pack`` is active."""
    facts = boards.load(name)
    built = firmware.build_firmware(facts, keyset.current(), BENCH)
    with (
        tempfile.TemporaryDirectory() as folder,
        make(name, "bench", Path(folder) / "flash.bin") as emulated,
    ):
        with connect(emulated.program(built.file)) as board:
            board.install(pack.image(facts.wamrc.target_id))
        yield emulated


def _start_agent(board: Board) -> None:
    board.exec(_AGENT.read_text())
    for emitter in _EMITTERS:
        board.exec(f"{emitter} = {_formulas(board, emitter)}")


def _formulas(board: Board, emitter: str) -> str:
    """The name on ``board`` of the formulas compiled by ``emitter``; None where MicroPython has no such emitter."""
    try:
        board.exec(_FORMULAS.read_text().replace("@micropython.bytecode", f"@micropython.{emitter}"))
    except BoardError as error:
        if "invalid micropython decorator" not in str(error):
            raise
        return "None"
    return "formulas"


def aot_speeds(board: Board, pack: Pack) -> dict[str, Speed]:
    """What AOT code of the kernels of ``pack`` takes on ``board``, where it is active, at the sizes of `host bench`.

    MicroPython starts anew, with nothing in the arena. A kernel that ends in an error, or has tensors that do not fit
    or are of a type that the agent has no values for, is left out; all are on a board that does not tell its frequency.
    """
    board.soft_reset()
    try:
        board.exec(_AGENT.read_text())
    except BoardError:
        return {}
    speeds = {}
    for spec in pack.kernels.values():
        sizes = spec.bench or spec.test.symbols
        with suppress(KernelError, BoardError):
            speeds[spec.id] = Speed(_elements(spec, sizes), _per_element(board, spec, sizes, False))
    return speeds


def _kernel_cost(board: Board, spec: KernelSpec, report: Report) -> KernelCost:
    report(spec.id)
    sizes = spec.bench or spec.test.symbols
    cost = _compiled_cost(board, spec, sizes)
    if spec.id not in _IN_PYTHON:
        return cost
    bytecode, native = (
        cycles and float(cycles) / cost.elements
        for emitter in _EMITTERS
        for cycles in [board.eval(f"python_cycles({emitter}, {spec.op!r}, {list(sizes.values())})", _TIMEOUT)]
    )
    return replace(cost, micropython=bytecode, micropython_native=native)


def _compiled_cost(board: Board, spec: KernelSpec, sizes: Mapping[str, int]) -> KernelCost:
    def per_element_native(reference: bool | str) -> float | None:
        with suppress(NoSuchKernel, EpochDeadline):  # the firmware has no reference of it, or one that is too slow
            return _per_element(board, spec, sizes, reference)
        return None

    return KernelCost(
        id=spec.id,
        elements=_elements(spec, sizes),
        aot=_per_element(board, spec, sizes, False),
        native=per_element_native(True),
        native_libgcc=per_element_native(spec.id + LIBGCC),
    )


def _per_element(board: Board, spec: KernelSpec, sizes: Mapping[str, int], reference: bool | str) -> float:
    """Cycles for each element of the output, of the pack's code or of a ``reference`` in the firmware."""
    call = f"kernel_cycles({spec.id!r}, {arguments_of(spec, sizes)}, {reference!r})"
    return float(board.eval(call, _TIMEOUT)) / _elements(spec, sizes)


def _elements(spec: KernelSpec, sizes: Mapping[str, int]) -> int:
    return math.prod(spec.outputs[0].sizes(sizes))


def _curve(board: Board, spec: KernelSpec, report: Report) -> Iterator[KernelCost]:
    """Costs at 32 elements, 64 and so on, while the board has memory and time for them."""
    smallest = _SMALLEST[spec.op]
    for count in itertools.count():
        sizes = smallest | {_GROWING[spec.op]: smallest[_GROWING[spec.op]] << count}
        try:
            cost = _compiled_cost(board, spec, sizes)
        except EpochDeadline:
            return
        except BoardError as error:
            if "MemoryError" not in str(error):
                raise
            return
        report(f"{spec.id} with {cost.elements} elements")
        yield cost


def arguments_of(spec: KernelSpec, sizes: Mapping[str, int]) -> list[tuple[tuple[int, ...], str]]:
    """Shape, in elements, and dtype of what a call at these sizes takes by position, optional ones left out."""
    return [(tensor.sizes(sizes), tensor.dtype.name) for tensor in spec.arguments if not tensor.optional]


@contextmanager
def _empty_kernel(board: Board, pack: Pack, target: str, counter: int) -> Iterator[None]:
    """Have kernels that do nothing on the board instead of ``pack``, which comes back in the end."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        kernels = "".join(_EMPTY_KERNEL_TOML.format(id=id) for id in _EMPTY)
        (source / "pack.toml").write_text(_EMPTY_TOML.format(target=target, counter=counter) + kernels)
        for id in _EMPTY:
            (source / f"{id}.c").write_text(_EMPTY_C.format(id=id))
        built = build_pack(source, source / "out", keys.default_or_create(), [target])
        image = Pack.open(built).image(target)
    try:
        board.install(image)
        yield
    finally:
        board.install(pack.image(target))
