"""How far results are from what they should be, as counts: enough for a plot, however many elements there were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from host import reference
from host.reference import Expected

ERROR_LIMITS = (0.0, *(2.0**power for power in range(-8, 1)))
"""The largest error, as a fraction of the bound, that each bin but the last takes; the last takes all beyond 1."""
DISTANCE_LIMITS = (1, 2, 4, 16, 256, 65536)
"""The largest distance that each bin but the last takes."""


@dataclass(frozen=True)
class Errors:
    """Errors of a kernel's results against its float64 reference, by fraction of the reference's bound.

    ``counts`` are by ``ERROR_LIMITS``, and elements outside their bound last. Apart from them: ``not_finite``, where
    the reference is NaN or infinite and the result is the same, and ``unbounded``, where an intermediate value
    overflows and anything is right. ``largest`` is the largest fraction, infinite ones apart.
    """

    counts: tuple[int, ...] = (0,) * (len(ERROR_LIMITS) + 1)
    not_finite: int = 0
    unbounded: int = 0
    largest: float = 0.0

    @classmethod
    def of(cls, value: NDArray[np.float64], expected: Expected) -> Self:
        """Of results ``value``, element by element."""
        outside = reference.outside(value, expected)
        unbounded = np.isposinf(expected.bound) & ~outside
        finite = np.isfinite(expected.value)
        with np.errstate(all="ignore"):
            error = np.abs(value - expected.value)
            fraction = np.where(error == 0, 0.0, error / expected.bound)
        bins = np.searchsorted(ERROR_LIMITS, fraction[finite & ~unbounded & ~outside])
        counts = np.bincount(bins, minlength=len(ERROR_LIMITS) + 1)
        counts[-1] += outside.sum()
        return cls(
            tuple(int(count) for count in counts),
            int((~finite & ~unbounded & ~outside).sum()),
            int(unbounded.sum()),
            float(fraction[np.isfinite(fraction)].max(initial=0.0)),
        )

    @property
    def outside(self) -> int:
        """Elements beyond their bound."""
        return self.counts[-1]

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            _sum(self.counts, other.counts),
            self.not_finite + other.not_finite,
            self.unbounded + other.unbounded,
            max(self.largest, other.largest),
        )


@dataclass(frozen=True)
class Distances:
    """Distances between two sides' elements where they differ: in ULPs of a float, in steps of an integer.

    ``counts`` are by ``DISTANCE_LIMITS``, and those further apart last; ``nan`` where only one side is NaN.
    """

    counts: tuple[int, ...] = (0,) * (len(DISTANCE_LIMITS) + 1)
    nan: int = 0

    @classmethod
    def of(cls, one: NDArray[Any], other: NDArray[Any]) -> Self:
        """Between arrays of one shape and dtype, of elements that differ."""
        nan = np.isnan(one) | np.isnan(other) if one.dtype.kind == "f" else np.zeros(one.shape, bool)
        apart = np.abs(_ordered(one[~nan]) - _ordered(other[~nan]))
        counts = np.bincount(np.searchsorted(DISTANCE_LIMITS, apart), minlength=len(DISTANCE_LIMITS) + 1)
        return cls(tuple(int(count) for count in counts), int(nan.sum()))

    def __add__(self, other: Distances) -> Distances:
        return Distances(_sum(self.counts, other.counts), self.nan + other.nan)


def _ordered(values: NDArray[Any]) -> NDArray[np.int64]:
    """Integers in the order of ``values``; those of neighbouring floats differ by 1, but -0 comes right before 0."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    bits = values.view(f"<i{values.dtype.itemsize}").astype(np.int64)
    sign = np.int64(-1) << np.int64(8 * values.dtype.itemsize - 1)
    return np.where(bits < 0, sign - bits - 1, bits)


def _sum(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
