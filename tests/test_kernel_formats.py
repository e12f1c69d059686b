"""Kernels that store f16, Q8_0 or Q4_0: every byte against numpy's f16, PyPI's `gguf`, and the f32 kernels."""

from __future__ import annotations

import ctypes
import warnings
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from kernel_builds import IDS, SPECS, CorePack, native, pointer
from numpy.typing import NDArray

from host import formats
from host.check import Local, compare
from host.check_cases import cases
from host.pack.spec import DTYPES
from host.runtime import Runtime

F32 = NDArray[np.float32]
FORMATS = {"q4": gguf.GGMLQuantizationType.Q4_0, "q8": gguf.GGMLQuantizationType.Q8_0}


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    runtime = Runtime()
    runtime.install(CorePack())
    return runtime


# ---- f16 -----------------------------------------------------------------------------------------


def test_every_f16_becomes_the_f32_that_numpy_has() -> None:
    halves = np.arange(65536, dtype=np.uint16)
    result = np.empty(65536, np.float32)
    native().f16_load_array(pointer(halves), pointer(result), ctypes.c_size_t(65536))
    assert not compare(result, halves.view(np.float16).astype(np.float32)).any()


def assert_rounds_as_numpy(bits: NDArray[np.uint32]) -> None:
    x = bits.view(np.float32)
    result = np.empty(len(x), np.uint16)
    native().f16_store_array(pointer(x), pointer(result), ctypes.c_size_t(len(x)))
    with np.errstate(all="ignore"):
        expected = x.astype(np.float16)
    assert not compare(result.view(np.float16), expected).any()
    assert (result[np.isnan(x)] == 0x7E00).all(), "one NaN for all"


def test_f32_rounds_to_f16_to_nearest_even_at_every_f16_and_halfway_between_two() -> None:
    bits = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    bits = bits[np.isfinite(bits.view(np.float32))].astype(np.int64)
    near = [np.clip(bits + offset, 0, 2**32 - 1).astype(np.uint32) for offset in (-1, 0, 1, 4095, 4096, 4097, 8192)]
    denormals = (np.arange(1, 2049) * np.float32(2.0**-25)).view(np.uint32)  # the halfway points among the denormals
    near += [denormals + np.uint32(offset) for offset in (0, 1)] + [denormals - np.uint32(1)]
    assert_rounds_as_numpy(np.concatenate(near))


def test_f32_rounds_to_f16_as_numpy_does_all_over_its_range() -> None:
    assert_rounds_as_numpy(np.arange(0, 2**32, 1009, np.uint32))


@pytest.mark.parametrize("op", ["rope", "rmsnorm", "swiglu", "lora_apply"])
def test_an_f16_kernel_is_the_f32_kernel_rounded_once(runtime: Runtime, op: str) -> None:
    for case in cases(SPECS[f"{op}_f16"], seed=4, count=200):
        if case.index % 20 == 19:
            continue  # parameters that the kernel refuses
        result = Local(runtime).run(case.kernel, list(case.inputs), dict(case.params))
        wide = [a.astype(np.float32) if a is not None and a.dtype == np.float16 else a for a in case.inputs]
        with np.errstate(all="ignore"):
            expected = Local(runtime).run(f"{op}_f32", wide, dict(case.params)).astype(np.float16)
        assert not compare(result, expected).any(), case.title


# ---- blocks --------------------------------------------------------------------------------------


def near_ties(rng: np.random.Generator, rows: int) -> F32:
    """Halves and wholes of a scale, each with its neighbours: what rounds one way or the other by its last bit."""
    scale = rng.standard_normal((rows, 1)).astype(np.float32)
    exact = rng.integers(-254, 255, (rows, 64)).astype(np.float32) * scale / np.float32(2)
    exact[:, 0] = 127 * scale[:, 0]
    return np.nextafter(exact, rng.choice(np.array([-np.inf, 0, np.inf], np.float32), exact.shape))


ROWS = {
    "normal": lambda rng: rng.standard_normal((2000, 64)),
    "any magnitude": lambda rng: rng.choice([-1, 1], (2000, 64)) * 2.0 ** rng.uniform(-100, 120, (2000, 64)),
    "one magnitude": lambda rng: rng.choice([-1, 1], (200, 64)) * 2.0 ** rng.integers(-100, 120, (200, 1)),
    "sixteenths": lambda rng: rng.standard_normal((2000, 1)) * rng.integers(-17, 18, (2000, 64)) / 16,
    "halves": lambda rng: rng.integers(-16, 17, (2000, 64)) * 2.0 ** rng.integers(-21, 20, (2000, 1)),
    "near ties": lambda rng: near_ties(rng, 2000),
    "near ties of eight": lambda rng: near_ties(rng, 2000) % np.float32(8),
    "tiny": lambda rng: rng.integers(-(2**23), 2**23, (2000, 64)) * 2.0**-135,
    "zeros": lambda rng: rng.choice([0.0, -0.0], (200, 64)),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("name", FORMATS)
def test_packing_writes_what_gguf_writes(runtime: Runtime, name: str, kind: str) -> None:
    x = ROWS[kind](np.random.default_rng(1)).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = quantize(x, FORMATS[name])
    assert np.array_equal(runtime.run(f"kv_pack_{name}", x), expected)
    assert np.array_equal(formats.quantize(x, DTYPES[name]), expected)


# Below, the scale's reciprocal overflows, and what gguf's cast to an integer gives is the processor's choice.
MAGNITUDES = st.floats(2.0**-118, float(np.finfo(np.float32).max), width=32)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=500)
@given(x=st_numpy.arrays(np.float32, (1, 32), elements=MAGNITUDES | MAGNITUDES.map(lambda x: -x) | st.just(0.0)))
def test_packing_any_block_writes_what_gguf_writes(runtime: Runtime, name: str, x: F32) -> None:
    with np.errstate(all="ignore"):
        expected = quantize(x, FORMATS[name])
    assert np.array_equal(runtime.run(f"kv_pack_{name}", x), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_unpacking_reads_what_gguf_reads_whatever_the_bytes(runtime: Runtime, name: str) -> None:
    size = DTYPES[name].size
    blocks = np.random.default_rng(2).integers(0, 256, (65536, size), np.uint8)
    blocks[:, :2] = np.arange(65536, dtype="<u2").view(np.uint8).reshape(-1, 2)  # every scale there is
    with np.errstate(all="ignore"):
        expected = dequantize(blocks, FORMATS[name])
    assert not compare(runtime.run(f"kv_unpack_{name}", blocks), expected).any()
    assert not compare(formats.dequantize(blocks, DTYPES[name]), expected).any()


def degenerate_blocks() -> dict[str, tuple[F32, int]]:
    """Blocks for which gguf leaves the quants to the processor, and the scale that each must get."""
    normal = np.random.default_rng(3).standard_normal(32).astype(np.float32)

    def with_one(value: float) -> F32:
        block = normal.copy()
        block[5] = value
        return block

    return {
        "a NaN": (with_one(np.nan), 0x7E00),
        "a NaN and an infinity": (with_one(np.nan) * np.where(np.arange(32) == 9, np.inf, 1), 0x7E00),
        "an infinity": (with_one(np.inf), 0x7C00),
        "a reciprocal that overflows": (normal * np.float32(2.0**-140), 0x0000),
    }


@pytest.mark.parametrize("kind", degenerate_blocks())
@pytest.mark.parametrize("name", FORMATS)
def test_a_degenerate_block_keeps_its_scale_and_stands_for_zeros(runtime: Runtime, name: str, kind: str) -> None:
    block, scale = degenerate_blocks()[kind]
    x = block.astype(np.float32)[None]
    packed = runtime.run(f"kv_pack_{name}", x)
    assert int(packed[0, :2].view("<u2")[0]) & 0x7FFF == scale
    assert (packed[0, 2:] == (0 if name == "q8" else 0x88)).all()
    assert np.array_equal(packed, formats.quantize(x, DTYPES[name]))


def test_rope_of_q8_rows_is_rope_of_what_they_hold_packed_again(runtime: Runtime) -> None:
    for case in cases(SPECS["rope_q8"], seed=5, count=200):
        if case.index % 20 == 19:
            continue  # parameters that the kernel refuses
        x, freqs = case.inputs
        with np.errstate(all="ignore"):
            wide = dequantize(x, FORMATS["q8"])
            turned = runtime.run("rope_f32", wide, freqs, **case.params)
            expected = formats.quantize(turned, DTYPES["q8"])
            ordinary = usable(turned)
            by_gguf = quantize(turned, FORMATS["q8"])
        result = runtime.run("rope_q8", x, freqs, **case.params)
        assert np.array_equal(result, expected), case.title
        same = (result == by_gguf).reshape(*result.shape[:-1], -1, 34).all(axis=-1)
        assert (same | ~ordinary).all(), case.title


def usable(x: F32) -> NDArray[np.bool_]:
    """Blocks whose quants gguf does not leave to the processor."""
    largest = np.abs(x).reshape(*x.shape[:-1], -1, 32).max(axis=-1)
    ordinary: NDArray[np.bool_] = np.isfinite(largest) & ((largest == 0) | (largest > 2.0**-118))
    return ordinary


@pytest.mark.parametrize("kernel_id", [id for id in IDS if any(t.dtype.block > 1 for t in SPECS[id].tensors)])
def test_a_tail_block_is_refused_by_name(runtime: Runtime, kernel_id: str) -> None:
    x = SPECS[kernel_id].inputs[0]
    shape: tuple[int, ...] = (1, 1, 1, 48) if kernel_id == "rope_q8" else (1, 48)
    bytes_or_floats: NDArray[Any] = (
        np.zeros((*shape[:-1], x.dtype.size + 8), np.uint8) if x.dtype.block > 1 else np.zeros(shape, np.float32)
    )
    with pytest.raises(ValueError, match=rf"{kernel_id}.*(48|{x.dtype.size + 8}).*multiple of (32|{x.dtype.size})"):
        runtime.run(kernel_id, bytes_or_floats)


def test_elements_of_signalling_nans_are_nans_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bits, name in ((np.array([0x7D01, 0xFC01], np.uint16), "f16"), (np.array([0x7F800001], np.uint32), "f32")):
            floats = bits.view({"f16": np.float16, "f32": np.float32}[name])
            assert np.isnan(formats.elements(floats, DTYPES[name])).all()
