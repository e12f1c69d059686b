"""The firmware's float operators in C, built for the PC with sanitizers: WebAssembly's results, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from c_parts import KERN, build, run
from numpy.typing import NDArray

AWKWARD = [0, 1, 0x7FFFFF, 0x800000, 0x3F000000, 0x3EFFFFFF, 0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3FC00000, 0x40200000]
AWKWARD += [0x4AFFFFFF, 0x4B000000, 0x4B000001, 0x4F000000, 0x5EFFFFFF, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000]


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NDArray[np.uint64]]:
    """Apply a float operator of the firmware to arrays of bits."""
    program = build(tmp_path_factory.mktemp("c"), "floats_check", ["floats.c"], [f"-I{KERN.parent / 'softfloat'}"])
    names = ["abs", "ceil", "floor", "trunc", "nearest", "min", "max", "from_i64", "from_u64", "to_i64", "to_u64"]

    def apply(name: str, a: NDArray[np.uint32], b: NDArray[np.uint32] | None = None) -> NDArray[np.uint64]:
        second = np.zeros_like(a) if b is None else b
        words = np.stack([np.full_like(a, names.index(name)), a, second], 1).tobytes()
        return np.frombuffer(run([program], words).stdout, np.uint64)

    return apply


def bits(count: int = 200_000) -> NDArray[np.uint32]:
    """Floats of every kind, as bits: random ones and the awkward ones of both signs."""
    random_bits = np.random.default_rng(1).integers(0, 2**32, count, np.uint32)
    awkward = np.array(AWKWARD, np.uint32)
    return np.concatenate([awkward, awkward | np.uint32(0x80000000), random_bits])


def same(got: NDArray[np.uint64], expected: NDArray[np.float32]) -> bool:
    """Equal bits, or both NaN."""
    low = got.astype(np.uint32)
    nan = np.isnan(low.view(np.float32)) & np.isnan(expected)
    return bool(np.all((low == expected.view(np.uint32)) | nan))


@pytest.mark.parametrize("name", ["abs", "ceil", "floor", "trunc", "nearest"])
def test_float_operator_of_one_argument_is_exact(operators: Callable[..., NDArray[np.uint64]], name: str) -> None:
    reference = {
        "abs": np.abs,
        "ceil": np.ceil,
        "floor": np.floor,
        "trunc": np.trunc,
        "nearest": np.rint,
    }
    a = bits()
    with np.errstate(invalid="ignore"):
        expected = reference[name](a.view(np.float32))
    assert same(operators(name, a), expected)


@pytest.mark.parametrize("name", ["min", "max"])
def test_min_and_max_know_nan_and_signed_zero(operators: Callable[..., NDArray[np.uint64]], name: str) -> None:
    awkward = np.array(AWKWARD + [value | 0x80000000 for value in AWKWARD], np.uint32)
    pairs = np.array(np.meshgrid(awkward, awkward), np.uint32).reshape(2, -1)
    a, b = (np.concatenate([pairs[i], np.roll(bits(), i)]) for i in range(2))
    x, y = a.view(np.float32), b.view(np.float32)
    choose = np.minimum if name == "min" else np.maximum
    with np.errstate(invalid="ignore"):
        expected = choose(x, y)
    zeros = (x == 0) & (y == 0)
    signs = (a | b) if name == "min" else (a & b)
    expected = np.where(zeros, (signs & np.uint32(0x80000000)).view(np.float32), expected)
    assert same(operators(name, a, b), expected)


def test_conversions_from_and_to_64_bits_round_as_ieee_754_does(operators: Callable[..., NDArray[np.uint64]]) -> None:
    source = np.random.default_rng(2)
    wide = source.integers(0, 2**64, 100_000, np.uint64) >> source.integers(0, 64, 100_000, np.uint64)
    halves = wide.view(np.uint32).reshape(-1, 2)
    low, high = halves[:, 0].copy(), halves[:, 1].copy()
    assert same(operators("from_u64", low, high), wide.astype(np.float32))
    assert same(operators("from_i64", low, high), wide.view(np.int64).astype(np.float32))
    a = bits()
    with np.errstate(invalid="ignore"):
        x = a.view(np.float32).astype(np.float64)
    signed = a[(x > -(2.0**63)) & (x < 2.0**63)]
    assert np.array_equal(operators("to_i64", signed).view(np.int64), signed.view(np.float32).astype(np.int64))
    unsigned = a[(x >= 0) & (x < 2.0**64)]
    assert np.array_equal(operators("to_u64", unsigned), unsigned.view(np.float32).astype(np.uint64))
