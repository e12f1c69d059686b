"""Seeded calls for `host.check`: awkward sizes and awkward values, for any kernel that a pack describes.

They are small on the whole, as every byte crosses a serial port and every element is computed without an FPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import formats
from host.pack.spec import DType, KernelSpec, Param
from host.runtime import ALIGN
from host.shapes import Sizes, array_shape

Array = NDArray[Any]
F64 = NDArray[np.float64]
Fill = Callable[[np.random.Generator, int], F64]

MAX_BYTES = 96 * 1024
"""Tensors of one call, together: what fits the arena of every board."""
MAX_ELEMENTS = 4096
"""Elements of the output of a call whose shape is random: even 4096 rows of one element keep a board's deadline."""
_LARGEST = 2 * MAX_ELEMENTS  # elements of the largest case's output, for the same reason
_WORK = 4  # the product of all symbols may be this many times the elements: more would be too much to compute


@dataclass(frozen=True)
class Case:
    """One call. ``inputs`` are what a call takes by position, None where an optional one is absent."""

    kernel: str
    index: int
    title: str
    inputs: tuple[Array | None, ...]
    params: Mapping[str, Any]


PARAM_VALUES: Mapping[tuple[str, str], Sequence[float | int]] = {
    ("rope", "theta"): (10000.0, 500000.0, 1e6, 1.0, 1.5, 2.0**40),
    ("rope", "pos"): (0, 1, 100, 2047, 12345, 32767, 32768),
    ("rmsnorm", "eps"): (1e-5, 1e-6, 0.0, 1.0, 1e-40, 1e30),
    ("lora_apply", "scale"): (1.0, 0.5, -2.0, 0.0, 1e-40, 1e10),
}
"""Values worth trying, by operation and parameter."""

INVALID_VALUES: Mapping[tuple[str, str], Sequence[float]] = {
    ("rope", "theta"): (0.0, -10000.0, math.nan, math.inf, 2.0**41),
    ("rmsnorm", "eps"): (-1e-5, math.nan, math.inf),
    ("lora_apply", "scale"): (math.nan, math.inf, -math.inf),
}
"""Values that a kernel must refuse; a case in 20 has one."""


def cases(
    spec: KernelSpec, seed: int, count: int, max_bytes: int = MAX_BYTES, max_elements: int = MAX_ELEMENTS
) -> Iterator[Case]:
    """``count`` calls of ``spec``, the same for the same arguments.

    The first has the smallest shapes, the second the largest that fits ``max_bytes`` of tensors. Others have random
    shapes of at most ``max_elements`` of output; most are small, one in 100 takes all the room there is. Values cover
    denormals, zeros, infinities, NaN and random bits.
    """
    kinds = [*KINDS, _BITS]
    for index in range(count):
        rng = np.random.default_rng([seed, index, *spec.id.encode()])
        optional = {t.name: int(rng.integers(-1, len(t.shapes))) for t in spec.inputs if t.optional}
        present = {t.name: optional.get(t.name, 0) for t in spec.arguments if optional.get(t.name, 0) >= 0}
        symbols = _choose(spec, present, index, rng, max_bytes, max_elements)
        titles: list[str] = []
        inputs: list[Array | None] = []
        for number, tensor in enumerate(spec.arguments):
            if tensor.name not in present:
                inputs.append(None)
                continue
            shape = tensor.sizes(symbols, present[tensor.name])
            kind = kinds[(index + number * int(rng.integers(len(kinds)))) % len(kinds)]
            titles.append(f"{tensor.name} {kind} {list(shape)}")
            inputs.append(_values(tensor.dtype, shape, kind, rng))
        params = {p.name: _param(spec, p, rng, invalid=index % 20 == 19) for p in spec.params}
        titles += [f"{name}={value:g}" for name, value in params.items()]
        yield Case(spec.id, index, ", ".join(titles), tuple(inputs), params)


def _choose(
    spec: KernelSpec,
    present: Mapping[str, int],
    index: int,
    rng: np.random.Generator,
    max_bytes: int,
    max_elements: int,
) -> dict[str, int]:
    """The symbols of case ``index``; ``present`` has the alternative shape of each input that takes part."""
    if index == 0:
        return _Fit(spec, present, max_bytes, max_elements).smallest()
    if index == 1:
        return _Fit(spec, present, max_bytes, max(max_elements, _LARGEST)).largest()
    fill = index % 100 == 1
    room = max_bytes if fill else min(max_bytes, 16384 if index % 20 == 2 else 1024)
    return _Fit(spec, present, room, max_elements).random(rng, fill=fill)


@dataclass(frozen=True)
class _Fit:
    """What symbols may be."""

    spec: KernelSpec
    present: Mapping[str, int]
    max_bytes: int
    max_elements: int

    def smallest(self) -> dict[str, int]:
        """What each symbol must be a multiple of for its dimensions to be whole, and every row whole blocks."""
        units = dict.fromkeys(self.spec.symbols, 1)
        for tensor in self.spec.tensors:
            for shape in tensor.shapes:
                for dim in shape:
                    if dim.symbol is not None:
                        whole = dim.div * (tensor.dtype.block if dim is shape[-1] else 1)
                        units[dim.symbol] = math.lcm(units[dim.symbol], whole // math.gcd(whole, dim.mul))
        return units

    def largest(self) -> dict[str, int]:
        """All the room for the last symbol, others at their smallest."""
        symbols = self.smallest()
        last = self.spec.symbols[-1]
        return {**symbols, last: symbols[last] * self._room(symbols, last)}

    def random(self, rng: np.random.Generator, *, fill: bool) -> dict[str, int]:
        """Each symbol takes a random part of the room that is left; the last takes all of it to ``fill``."""
        symbols = self.smallest()
        order = [str(symbol) for symbol in rng.permutation(self.spec.symbols)]
        for symbol in order:
            unit = symbols[symbol]
            room = self._room(symbols, symbol)
            all_of_it = fill and symbol == order[-1]
            symbols[symbol] = unit * (room if all_of_it else int(2 ** rng.uniform(0, math.log2(room + 1))))
        return symbols

    def _room(self, symbols: Mapping[str, int], symbol: str) -> int:
        """How many times larger ``symbol`` may be, others being as they are; at least once."""
        low, high = 1, self.max_elements + 1
        while high - low > 1:
            middle = (low + high) // 2
            fits = self._fits({**symbols, symbol: middle * symbols[symbol]})
            low, high = (middle, high) if fits else (low, middle)
        return low

    def _fits(self, symbols: Mapping[str, int]) -> bool:
        elements = math.prod(self.spec.outputs[0].sizes(symbols))
        size = sum(
            -(-tensor.dtype.nbytes(tensor.sizes(symbols, self.present.get(tensor.name, 0))) // ALIGN) * ALIGN
            for tensor in self.spec.tensors
            if tensor.name in self.present or tensor not in self.spec.inputs
        )
        work = math.prod(symbols.values())
        return size <= self.max_bytes and elements <= self.max_elements and work <= _WORK * self.max_elements


def _param(spec: KernelSpec, param: Param, rng: np.random.Generator, *, invalid: bool) -> float | int | bool:
    key = (spec.op, param.name)
    if param.type == "bool":
        return bool(rng.integers(2))
    values = INVALID_VALUES.get(key, ()) if invalid else ()
    choice = rng.choice(np.array(values or PARAM_VALUES.get(key, (param.default,))))
    return float(np.float32(choice)) if param.type == "f32" else int(choice)


def _magnitudes(low: float, high: float) -> Fill:
    """Both signs, magnitudes from 2^low to 2^high."""

    def fill(rng: np.random.Generator, count: int) -> F64:
        return np.asarray(rng.choice([-1.0, 1.0], count) * 2.0 ** rng.uniform(low, high, count), np.float64)

    return fill


def _quarter_turns(rng: np.random.Generator, count: int) -> F64:
    """Floats next to multiples of pi / 2, up to 32768."""
    exact = (rng.integers(-20861, 20862, count) * (math.pi / 2)).astype(np.float32)
    towards = rng.choice(np.array([-np.inf, 0, np.inf], np.float32), count)
    return np.asarray(np.nextafter(exact, towards), np.float64)


def _special(rng: np.random.Generator, count: int) -> F64:
    """Values at the edges, one in two of them ordinary."""
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 2.0**-149, -(2.0**-149), 2.0**-126, 1.0, -1.0]
    edges += [3.4028234663852886e38, -3.4028234663852886e38, 88.72284, -87.33655, -103.97208, -32.0]
    return np.where(rng.random(count) < 0.5, rng.choice(edges, count), rng.standard_normal(count))


KINDS: Mapping[str, Fill] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "special": _special,
    "unit": lambda rng, n: rng.uniform(-1, 1, n),
    "denormal": lambda rng, n: rng.integers(-(2**23), 2**23, n).astype(np.float64) * 2.0**-149,
    "positions": lambda rng, n: rng.integers(-32768, 32769, n).astype(np.float64),
    "any magnitude": _magnitudes(-148, 127.9),
    "zeros": lambda rng, n: rng.choice([0.0, -0.0], n),
    "quarter turns": _quarter_turns,
    "large": _magnitudes(100, 127.9),
    "ten times normal": lambda rng, n: 10 * rng.standard_normal(n),
    "one NaN": lambda rng, n: np.where(np.arange(n) == rng.integers(n), np.nan, rng.standard_normal(n)),
    "one infinity": lambda rng, n: np.where(np.arange(n) == rng.integers(n), -np.inf, rng.standard_normal(n)),
}
"""How the elements of an input are made, by name."""
_BITS = "random bits"  # the one kind that is not of numbers


def _values(dtype: DType, shape: Sizes, kind: str, rng: np.random.Generator) -> Array:
    """An array of ``dtype``. Integers are random bits whatever the kind."""
    if kind == _BITS or (np.dtype(dtype.numpy).kind != "f" and dtype.block == 1):
        raw = rng.integers(0, 256, dtype.nbytes(shape), np.uint8)
        return raw.view(dtype.numpy).reshape(array_shape(dtype, shape))
    with np.errstate(all="ignore"):
        values = KINDS[kind](rng, math.prod(shape)).reshape(shape)
        if dtype.block > 1:
            return formats.quantize(values.astype(np.float32), dtype)
        return values.astype(dtype.numpy)
