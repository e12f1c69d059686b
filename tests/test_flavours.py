"""The simd128 flavour of each kernel gives the portable one's bits: for check cases, every tail, and dense sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from kernel_builds import KERNELS, SPECS, CorePack, call_of, example, same_bits, wasm
from numpy.typing import NDArray
from wasmtime import Config, Engine, Module, WasmtimeError

from host.check_cases import cases
from host.errors import KernelError
from host.pack.flavours import FLAVOURS, PORTABLE
from host.pack.spec import DType, KernelSpec
from host.runtime import Runtime
from host.shapes import array_shape

Array = NDArray[Any]
F32 = NDArray[np.float32]
SIMD = "simd128"
COPYING = ("cache", "adaptation")  # categories of kernels that do not work in place
IDS = [kernel_id for kernel_id, kernel in KERNELS.items() if SIMD in kernel.modules]
CHUNK = 1 << 20
"""Elements of one call of a sweep."""


class Both:
    """Each flavour in a runtime of its own."""

    def __init__(self) -> None:
        self._runtimes = {flavour: Runtime(FLAVOURS[flavour]) for flavour in (PORTABLE, SIMD)}
        for runtime in self._runtimes.values():
            runtime.install(CorePack())

    def run(self, kernel_id: str, *inputs: Array | None, **params: Any) -> Array:
        """The result that both give, bit by bit; f32 NaN may differ in sign and payload."""
        portable, simd = (self._outcome(flavour, kernel_id, inputs, params) for flavour in (PORTABLE, SIMD))
        assert np.array_equal(bits(portable), bits(simd))
        return simd

    def backward(self, kernel_id: str, *inputs: Array, **params: Any) -> None:
        """The same of gradients."""
        portable, simd = (runtime.backward(kernel_id, *inputs, **params) for runtime in self._runtimes.values())
        for name, gradient in portable.items():
            assert np.array_equal(bits(gradient), bits(simd[name]))

    def refused(self, kernel_id: str, *inputs: Array | None, **params: Any) -> bool:
        """Whether both refuse a call, for the same reason."""
        errors = []
        for flavour in (PORTABLE, SIMD):
            try:
                self._outcome(flavour, kernel_id, inputs, params)
                errors.append(None)
            except KernelError as error:
                errors.append(type(error))
        assert errors[0] == errors[1]
        return errors[0] is not None

    def _outcome(self, flavour: str, kernel_id: str, inputs: tuple[Array | None, ...], params: Any) -> Array:
        # An array that is read first is also where the result goes.
        copies = [None if array is None else array.copy() for array in inputs]
        return self._runtimes[flavour].run(kernel_id, *copies, **params)

    def close(self) -> None:
        for runtime in self._runtimes.values():
            runtime.close()


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    both = Both()
    yield both
    both.close()


def bits(array: Array) -> NDArray[np.unsignedinteger[Any]]:
    """What must be equal: of f32 NaN only that they are."""
    raw = array.view(f"u{array.dtype.itemsize}")
    return np.where(np.isnan(array), np.uint32(0x7FC00000), raw) if array.dtype == np.float32 else raw


# ---- modules -------------------------------------------------------------------------------------


def test_every_kernel_has_a_simd128_flavour() -> None:
    assert set(IDS) == set(SPECS)


@pytest.mark.parametrize("kernel_id", IDS)
def test_only_the_simd128_flavour_has_vector_instructions(kernel_id: str) -> None:
    config = Config()
    config.wasm_simd = False
    config.wasm_relaxed_simd = False
    engine = Engine(config)
    Module(engine, wasm(kernel_id, PORTABLE))
    with pytest.raises(WasmtimeError, match="SIMD"):
        Module(engine, wasm(kernel_id, SIMD))


# ---- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_id", IDS)
def test_flavours_agree_over_the_cases_of_a_check(both: Both, kernel_id: str) -> None:
    for case in cases(SPECS[kernel_id], seed=11, count=400):
        if not both.refused(kernel_id, *case.inputs, **case.params):
            both.run(kernel_id, *case.inputs, **case.params)


TAILS: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]] = {
    "rope_f32": ({"batch": 1, "seq": 2, "heads": 2}, {"dim": 2}),
    "rope_f16": ({"batch": 1, "seq": 2, "heads": 2}, {"dim": 2}),
    "rope_q8": ({"batch": 1, "seq": 2, "heads": 2}, {"dim": 32}),
    "rmsnorm_f32": ({"rows": 3}, {"dim": 1}),
    "rmsnorm_f16": ({"rows": 3}, {"dim": 1}),
    "swiglu_f32": ({}, {"n": 1}),
    "swiglu_f16": ({}, {"n": 1}),
    "kv_pack_q4": ({"rows": 1}, {"dim": 32}),
    "kv_pack_q8": ({"rows": 1}, {"dim": 32}),
    "kv_unpack_q4": ({"rows": 1}, {"dim": 32}),
    "kv_unpack_q8": ({"rows": 1}, {"dim": 32}),
    "lora_apply_f32": ({"rows": 13, "d_in": 9, "rank": 5, "d_out": 11}, {"d_in": 1, "rank": 1, "d_out": 1}),
    "lora_apply_f16": ({"rows": 13, "d_in": 9, "rank": 5, "d_out": 11}, {"d_in": 1, "rank": 1, "d_out": 1}),
}
"""Sizes, and the symbols each of which takes the first 70 multiples of its unit, others staying."""


@pytest.mark.parametrize("ordinary", [True, False], ids=["normal numbers", "random bits"])
@pytest.mark.parametrize("kernel_id", IDS)
def test_flavours_agree_for_every_length_of_a_tail(both: Both, kernel_id: str, ordinary: bool) -> None:
    rng = np.random.default_rng(3)
    fixed, units = TAILS[kernel_id]
    for symbol, unit in units.items():
        for length in range(unit, 71 * unit, unit):
            inputs = random_inputs(SPECS[kernel_id], {**fixed, symbol: length}, rng, ordinary)
            params = {"pos": 77, "interleaved": bool(rng.integers(2))} if SPECS[kernel_id].op == "rope" else {}
            both.run(kernel_id, *inputs, **params)


@pytest.mark.parametrize("kernel_id", [kernel_id for kernel_id in IDS if SPECS[kernel_id].backward])
def test_flavours_agree_on_gradients(both: Both, kernel_id: str) -> None:
    rng = np.random.default_rng(4)
    gradients = SPECS[kernel_id].of_backward()
    assert gradients is not None
    fixed, units = TAILS[kernel_id]
    for symbol, unit in units.items():
        for length in range(unit, 71 * unit, unit):
            for ordinary in (True, False):
                both.backward(kernel_id, *random_inputs(gradients, {**fixed, symbol: length}, rng, ordinary))


@pytest.mark.parametrize("kernel_id", [kernel_id for kernel_id in IDS if SPECS[kernel_id].category not in COPYING])
def test_output_may_be_input_a_itself(kernel_id: str) -> None:
    code, apart = call_of(example(kernel_id)).run_wasm()
    assert code == 0
    call = call_of(example(kernel_id))
    call.change(output_offset=call.words["input_a.offset"])
    code, in_place = call.run_wasm(SIMD)
    assert code == 0
    assert same_bits(kernel_id, in_place, apart)


def random_inputs(
    spec: KernelSpec, symbols: Mapping[str, int], rng: np.random.Generator, ordinary: bool
) -> list[Array]:
    """Every argument that is not optional."""
    return [
        random_array(tensor.dtype, tuple(dim.value(symbols) for dim in tensor.shapes[0]), rng, ordinary)
        for tensor in spec.arguments
        if not tensor.optional
    ]


def random_array(dtype: DType, shape: tuple[int, ...], rng: np.random.Generator, ordinary: bool) -> Array:
    if ordinary and dtype.block == 1:
        return rng.standard_normal(shape).astype(dtype.numpy)
    raw = rng.integers(0, 256, dtype.nbytes(shape), np.uint8)
    return raw.view(dtype.numpy).reshape(array_shape(dtype, shape))


# ---- silu ----------------------------------------------------------------------------------------


def test_silu_agrees_over_floats_of_both_signs(both: Both) -> None:
    every = 61
    for first in range(0, 2**32, every * CHUNK):
        gate = np.arange(first, min(first + every * CHUNK, 2**32), every, np.uint32).view(np.float32)
        both.run("swiglu_f32", gate, np.ones_like(gate))


@pytest.mark.parametrize("centre", [0.0, 0.5, 1.0, 31.0, 32.0, 87.0, 88.72284, 103.97208, 127.0, 128.0, 255.0, 256.0])
def test_silu_agrees_where_its_steps_change(both: Both, centre: float) -> None:
    middle = int(np.float32(centre).view(np.uint32))
    near = np.arange(max(middle - CHUNK // 2, 0), middle + CHUNK // 2, dtype=np.uint32)
    gate = np.concatenate([near, near | np.uint32(0x80000000)]).view(np.float32)
    both.run("swiglu_f32", gate, np.ones_like(gate))


def test_silu_agrees_around_multiples_of_ln_2(both: Both) -> None:
    """Where the exponent of exp changes, and its polynomial meets the ends of its range."""
    multiples = (np.arange(1, 200) * np.log(2.0)).astype(np.float32).view(np.uint32)
    near = (multiples[:, None] + np.arange(-500, 500, dtype=np.int64)).astype(np.uint32).ravel()
    gate = np.concatenate([near, near | np.uint32(0x80000000)]).view(np.float32)
    both.run("swiglu_f32", gate, np.ones_like(gate))


# ---- f16 -----------------------------------------------------------------------------------------


def f16_of(both: Both, x: F32) -> NDArray[np.float16]:
    """x as f16, by a rotation of (1, 0) whose cosine is x and whose sine is 0."""
    ones = np.tile(np.array([1, 0], np.float16), len(x)).reshape(1, 1, 1, -1)
    pairs = np.stack([x, np.zeros_like(x)], axis=-1)[None]
    return both.run("rope_f16", ones, pairs).ravel()[::2]


def assert_numpys_f16(both: Both, x: F32) -> None:
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    expected[np.isnan(x)] = np.array(0x7E00, np.uint16).view(np.float16)
    assert np.array_equal(f16_of(both, x).view(np.uint16), expected.view(np.uint16))


def test_every_f16_comes_back_from_f32(both: Both) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    assert np.array_equal(f16_of(both, every.astype(np.float32)), every, equal_nan=True)
    rotated = np.stack([every, np.zeros_like(every)], axis=-1).reshape(1, 1, 1, -1)
    unturned = np.tile(np.array([1, 0], np.float32), (1, len(every), 1)).reshape(1, -1, 2)
    y = both.run("rope_f16", rotated, unturned).ravel()[::2]
    assert np.array_equal(y[~np.isnan(every)].view(np.uint16), every[~np.isnan(every)].view(np.uint16))
    assert (y[np.isnan(every)].view(np.uint16) == 0x7E00).all()


@pytest.mark.parametrize("interleaved", [True, False])
def test_a_rare_f16_anywhere_in_a_row_changes_only_its_pair(both: Both, interleaved: bool) -> None:
    """Portable code turns pairs in one loop up to the first f16 that is no ordinary one, and all others in another."""
    rare = np.array([0.0, -0.0, 2.0**-14, 3e-6, -65504, np.inf, np.nan], np.float16)
    dim = 22
    x = np.linspace(0.5, 2, dim).astype(np.float16)
    rows = np.tile(x, (len(rare), dim, 1))
    rows[:, np.arange(dim), np.arange(dim)] = rare[:, None]
    rows = np.concatenate([x[None], rows.reshape(-1, dim)])[None, None]
    y = both.run("rope_f16", rows, None, pos=1, interleaved=interleaved)
    wide = both.run("rope_f32", rows.astype(np.float32), None, pos=1, interleaved=interleaved)
    with np.errstate(over="ignore"):
        assert np.array_equal(y, wide.astype(np.float16), equal_nan=True)


def test_every_tie_between_f16s_goes_to_the_even_one(both: Both) -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    above = np.append(halves[1:], np.float32(65536))
    ties = ((halves.astype(np.float64) + above) / 2).astype(np.float32).view(np.uint32)
    near = np.concatenate([ties + np.uint32(d) for d in (0, 1, 2)] + [ties - np.uint32(d) for d in (1, 2)])
    assert_numpys_f16(both, np.concatenate([near, near | np.uint32(0x80000000)]).view(np.float32))


def test_floats_round_to_f16_as_in_numpy(both: Both) -> None:
    every = 331
    for first in range(0, 2**32, every * CHUNK):
        x = np.arange(first, min(first + every * CHUNK, 2**32), every, np.uint32).view(np.float32)
        assert_numpys_f16(both, x)


# ---- blocks --------------------------------------------------------------------------------------


def rounded_blocks(x: F32, largest: float) -> F32:
    """x in blocks of 32, the first element of each ``largest``, so that the scale is 1 and x is what is rounded."""
    rows = np.zeros((-(-len(x) // 31), 32), np.float32)
    rows[:, 0] = largest
    rows[:, 1:] = np.resize(x, (len(rows), 31))
    return rows


@pytest.mark.parametrize("kernel_id, largest", [("kv_pack_q8", 127.0), ("kv_pack_q4", -8.0)])
def test_quants_are_rounded_alike(both: Both, kernel_id: str, largest: float) -> None:
    end = int(np.float32(abs(largest)).view(np.uint32))
    halves = (np.arange(0, 2 * abs(largest) + 1) / 2).astype(np.float32).view(np.uint32)
    near = (halves[:, None] + np.arange(-2000, 1)).clip(0, end).astype(np.uint32).ravel()
    spread = np.arange(0, end, 257, np.uint32)
    x = np.concatenate([near, spread, near | np.uint32(0x80000000), spread | np.uint32(0x80000000)]).view(np.float32)
    both.run(kernel_id, rounded_blocks(x, largest))


@pytest.mark.parametrize("kernel_id", ["kv_pack_q8", "kv_pack_q4"])
def test_blocks_of_every_magnitude_are_packed_alike(both: Both, kernel_id: str) -> None:
    rng = np.random.default_rng(7)
    scales = 2.0 ** rng.uniform(-150, 127, (20000, 1))
    with np.errstate(over="ignore"):
        x = (rng.uniform(-1, 1, (20000, 32)) * scales).astype(np.float32)
    both.run(kernel_id, x)


@pytest.mark.parametrize("kernel_id", ["kv_pack_q8", "kv_pack_q4"])
def test_degenerate_blocks_are_packed_alike(both: Both, kernel_id: str) -> None:
    rng = np.random.default_rng(8)
    limits = [0, 1, 0x00200000, 0x00200001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000]
    edges = np.array(limits + [bits | 0x80000000 for bits in limits], np.uint32).view(np.float32)
    few = rng.choice(np.append(edges, [np.float32(1)] * 40), (20000, 32))
    one_kind = np.repeat(rng.choice(edges, (2000, 1)), 32, axis=1)
    signs = rng.choice(np.array([0, 0x80000000], np.uint32), (2000, 32))
    two_signs = (one_kind.view(np.uint32) ^ signs).view(np.float32)
    scales = np.repeat(np.arange(0, 0x01000000, 1021, np.uint32).view(np.float32)[:, None], 32, axis=1)
    both.run(kernel_id, np.concatenate([few, one_kind, two_signs, scales]))


@pytest.mark.parametrize("kernel_id, quants", [("kv_unpack_q8", 32), ("kv_unpack_q4", 16), ("rope_q8", 32)])
def test_blocks_of_every_scale_are_unpacked_alike(both: Both, kernel_id: str, quants: int) -> None:
    rows = np.random.default_rng(9).integers(0, 256, (65536, 2 + quants), np.uint8)
    rows[:, :2] = np.arange(65536, dtype=np.uint16)[:, None].view(np.uint8)
    both.run(kernel_id, rows.reshape(16, 64, 64, -1) if kernel_id == "rope_q8" else rows)


def test_every_product_of_a_scale_and_a_quant_is_numpys(both: Both) -> None:
    scales = np.arange(65536, dtype=np.uint16)[:, None]
    of_q8 = [(quants, quants) for quants in np.arange(-128, 128, dtype=np.int8).reshape(8, 32)]
    of_q4 = (np.arange(16, dtype=np.uint8) * 17, np.tile(np.arange(-8, 8), 2))  # each in both halves of its byte
    for kernel_id, (stored, quants) in [*(("kv_unpack_q8", each) for each in of_q8), ("kv_unpack_q4", of_q4)]:
        rows = np.hstack([scales.view(np.uint8), np.tile(stored.view(np.uint8), (65536, 1))])
        with np.errstate(invalid="ignore"):
            products = scales.view(np.float16).astype(np.float32) * quants.astype(np.float32)
        assert np.array_equal(bits(both.run(kernel_id, rows)), bits(products))


# ---- rope ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [1.0, 1.5, 10000.0, 500000.0, 2.0**40])
@pytest.mark.parametrize("pos", [0, 1, 4095, 2**31, 2**32 - 256])
def test_computed_angles_agree(both: Both, theta: float, pos: int) -> None:
    x = np.random.default_rng(1).standard_normal((1, 256, 1, 142)).astype(np.float32)
    both.run("rope_f32", x, theta=theta, pos=pos)


def test_angles_that_are_given_agree(both: Both) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 64, 1, 2050)).astype(np.float32)
    angles = rng.integers(0, 2**32, (64, 1025), np.uint32).view(np.float32)
    both.run("rope_f32", x, angles)


# ---- lora ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_id", ["lora_apply_f32", "lora_apply_f16"])
def test_lora_agrees_for_every_number_of_rows(both: Both, kernel_id: str) -> None:
    """Eight rows are taken together, then four, then one; and one at a time where the rank is high."""
    rng = np.random.default_rng(6)
    for rows in range(1, 18):
        for rank in (3, 64, 127, 128, 129):
            sizes = {"rows": rows, "d_in": 130, "rank": rank, "d_out": 70}
            both.run(kernel_id, *random_inputs(SPECS[kernel_id], sizes, rng, rows % 2 == 0))
