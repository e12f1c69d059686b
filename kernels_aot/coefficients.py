"""The coefficients in include/kernel_math.h: `python kernels_aot/coefficients.py` prints them.

Each polynomial has the smallest largest relative error over z in [0, 1], found by least squares whose weights move to
where the error is largest (Lawson's algorithm), and alternating signs, which the header leaves to its evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
LN2 = float(np.log(2.0)) * (1 + 2.0**-21)
"""The largest argument of exp_minus_fixed, with room for the rounding of its reduction."""


def minimax(function: Callable[[F64], F64], degree: int) -> tuple[F64, float]:
    """The polynomial nearest to ``function`` on [0, 1], lowest coefficient first, and its largest relative error."""
    z = (1 - np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)) / 2
    wanted = function(z)
    basis = np.polynomial.chebyshev.chebvander(2 * z - 1, degree) / wanted[:, None]
    weights = np.full(len(z), 1 / len(z))
    for _ in range(60):
        root = np.sqrt(weights)
        fit = np.linalg.lstsq(basis * root[:, None], root, rcond=None)[0]
        error = np.abs(basis @ fit - 1)
        weights *= error
        weights /= weights.sum()
    series = np.polynomial.chebyshev.Chebyshev(fit, domain=[0, 1])
    coefficients = series.convert(kind=np.polynomial.Polynomial).coef
    return np.asarray(coefficients, np.float64), float(error.max())


def sine(z: F64) -> F64:
    """sin(2 pi d) / d for a distance d of sqrt(z) / 8 turns."""
    distance = np.sqrt(z) / 8
    return np.sin(2 * np.pi * distance) / distance


def cosine(z: F64) -> F64:
    """cos(2 pi d) for a distance d of sqrt(z) / 8 turns."""
    return np.cos(2 * np.pi * np.sqrt(z) / 8)


def tables() -> dict[str, tuple[list[int], float]]:
    """Every table of the header as it holds it, and the polynomial's largest relative error."""
    exp, exp_error = minimax(lambda z: np.exp(-LN2 * z), 6)
    sin, sin_error = minimax(sine, 3)
    cos, cos_error = minimax(cosine, 4)
    return {
        "exp_coefficients": (_fixed(exp / LN2 ** np.arange(7), 31), exp_error),
        "sin_coefficients": (_fixed(sin, 29), sin_error),
        "cos_coefficients": (_fixed(cos, 31), cos_error),
    }


def _fixed(coefficients: F64, bits: int) -> list[int]:
    return [round(abs(float(value)) * 2**bits) for value in coefficients]


if __name__ == "__main__":
    for name, (values, error) in tables().items():
        print(f"{name}: {', '.join(f'0x{value:08X}' for value in values)}  // 2^{np.log2(error):.1f}")
