"""`host.runtime`: calls under Wasmtime, and how everything that can go wrong in one ends."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import struct
import time
from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pytest
from kernel_builds import SPECS, CorePack, wasm
from wasmtime import TrapCode, wat2wasm
from wat_kernels import (
    ADD,
    COPY,
    COPY_WIDE,
    F32,
    FAULTS,
    FAULTY,
    FOREVER,
    INFO,
    N,
    OnePack,
    X,
    arrays,
    module,
    one_input_spec,
)

from host import errors, known_answer, measure
from host.measure import check_identity
from host.pack.flavours import FEATURES
from host.pack.linking import PAGE
from host.pack.spec import DTYPES, Backward, KnownAnswer, Param, Region, Tensor
from host.runtime import TRAPS, KernelInfo, Runtime, known_answer_sha256, module_info, run_counted, run_module
from host.runtime.memory import LinearMemory

CORE = {
    id: SPECS[id] for id in ("rope_f32", "rmsnorm_f32", "swiglu_f32", "kv_pack_q4", "kv_unpack_q8", "lora_apply_f32")
}


class Core(CorePack):
    """Some of the core kernels: those whose calls differ."""

    kernels = CORE


@pytest.fixture(scope="module")
def core() -> Iterator[Runtime]:
    with Runtime() as runtime:
        runtime.install(Core())
        yield runtime


@pytest.fixture
def faulty() -> Iterator[Runtime]:
    """A runtime whose kernel does what its parameter ``what`` says, with a budget of 100 ms."""
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("faulty", Param("what", "u32", 0), ticks=10), portable=module(FAULTY)))
        yield runtime


# ---- calls ---------------------------------------------------------------------------------------


def test_kernels_are_listed_in_the_pack_s_order(core: Runtime) -> None:
    assert core.kernels() == tuple(CORE)


def test_inputs_can_be_positional_named_lists_or_absent(core: Runtime) -> None:
    x, freqs = arrays((1, 2, 1, 4), (2, 2))
    expected = core.run("rope_f32", x, freqs)
    assert np.array_equal(core.run("rope_f32", x, freqs=freqs), expected)
    assert np.array_equal(core.run("rope_f32", x=x.tolist(), freqs=freqs), expected)
    assert np.array_equal(core.run("rope_f32", x, None, pos=3), core.run("rope_f32", x, pos=3))


def test_arrays_of_any_memory_layout_give_the_same(core: Runtime) -> None:
    (x,) = arrays((4, 3, 2, 8))
    expected = core.run("rope_f32", x)
    assert np.array_equal(core.run("rope_f32", np.asfortranarray(x)), expected)
    assert np.array_equal(core.run("rope_f32", np.repeat(x, 2, axis=0)[::2]), expected)


def test_the_result_goes_to_out_when_given(core: Runtime) -> None:
    gate, up = arrays((9,), (9,))
    out = np.zeros(9, np.float32)
    assert core.run("swiglu_f32", gate, up, out=out) is out
    assert np.array_equal(out, core.run("swiglu_f32", gate, up))


@pytest.fixture
def add() -> Iterator[Runtime]:
    """A runtime with y += x."""
    y = Tensor("y", Region.OUTPUT, F32, (N,), inout=True)
    with Runtime() as runtime:
        runtime.install(OnePack(dataclasses.replace(one_input_spec("add"), outputs=(y,)), portable=module(ADD)))
        yield runtime


def test_an_output_that_is_read_first_is_the_first_argument_and_takes_the_result(add: Runtime) -> None:
    x, y = np.array([1.5], np.float32), np.array([2.0], np.float32)
    assert add.run("add", y, x) is y
    assert y.tolist() == [3.5]
    assert add.run("add", y=y, x=x) is y
    assert y.tolist() == [5.0]
    assert add.run("add", x, y=y) is y
    assert y.tolist() == [6.5]
    assert add.run("add", x, out=y) is y
    assert y.tolist() == [8.0]


def test_a_list_for_an_output_that_is_read_first_stays_as_it_is(add: Runtime) -> None:
    y = [2.0]
    result = add.run("add", y, [1.5])
    assert (result.tolist(), y) == ([3.5], [2.0])
    assert result.dtype == np.float32


def test_an_output_that_is_read_first_may_be_a_view_of_any_layout(add: Runtime) -> None:
    whole = np.array([[1, 2], [3, 4]], np.float32)
    add.run("add", whole[1:, 1], [1.0])
    assert whole.tolist() == [[1, 2], [3, 5]]


def test_an_output_that_is_read_first_must_be_given_once_and_fit(add: Runtime) -> None:
    x = np.ones(1, np.float32)
    with pytest.raises(TypeError, match="add: input x is missing"):
        add.run("add", x)
    with pytest.raises(TypeError, match="add: y is read first, and is missing"):
        add.run("add", x=x)
    with pytest.raises(TypeError, match="add: y is read first, and is missing"):
        add.run("add", None, x)
    with pytest.raises(TypeError, match="add takes 1 inputs, got 2"):
        add.run("add", x, x, out=x)
    with pytest.raises(TypeError, match="add takes 2 inputs, got 3"):
        add.run("add", x, x, x)
    with pytest.raises(ValueError, match=r"add: dimension 0 \(n\) of y is 2, must be 1"):
        add.run("add", np.ones(2, np.float32), x)
    with pytest.raises(TypeError, match="add: y has dtype float64, must be float32"):
        add.run("add", np.ones(1), x)
    assert x.tolist() == [1.0]


def test_lora_adds_to_its_first_argument(core: Runtime) -> None:
    x, a, b, y = arrays((2, 3), (3, 4), (4, 5), (2, 5))
    expected = y + 0.5 * (x @ a @ b)
    assert core.run("lora_apply_f32", y, x, a, b, scale=0.5) is y
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_out_must_be_an_array(core: Runtime) -> None:
    gate, up = arrays((2,), (2,))
    with pytest.raises(TypeError, match="swiglu_f32: out is a list, must be an array"):
        core.run("swiglu_f32", gate, up, out=[0.0, 0.0])  # type: ignore[arg-type]


def test_tensors_of_blocks_are_bytes(core: Runtime) -> None:
    (x,) = arrays((2, 64))
    packed = core.run("kv_pack_q4", x)
    assert (packed.shape, packed.dtype) == ((2, 36), np.uint8)
    with pytest.raises(ValueError, match=r"^kv_pack_q4: dim is 33, y needs a multiple of 32$"):
        core.run("kv_pack_q4", x[:, :33])
    with pytest.raises(ValueError, match=r"^kv_unpack_q8: x: a row of q8 has 35 bytes, must be a multiple of 34$"):
        core.run("kv_unpack_q8", np.zeros((2, 35), np.uint8))


def test_calls_of_one_shape_differ_in_their_parameters(core: Runtime) -> None:
    """Among them values that are equal but not the same, and one that cannot be looked up."""
    x = np.ones((1, 1, 1, 4), np.float32)
    one, two = core.run("rope_f32", x, pos=1), core.run("rope_f32", x, pos=2)
    assert not np.array_equal(one, two)
    for pos in (True, 1.0, np.int64(1), np.array(1)):
        assert np.array_equal(core.run("rope_f32", x, pos=pos), one)
    with pytest.raises(ValueError, match="pos"):
        core.run("rope_f32", x, pos="0")
    assert np.array_equal(core.run("rope_f32", x, pos=0), x)


def test_zeros_keep_their_sign(sign: Runtime) -> None:
    x = np.zeros(1, np.float32)
    signs = [np.signbit(sign.run("sign", x, value=value)[0]) for value in (0.0, -0.0, 0, 0.0, -0.0)]
    assert signs == [False, True, False, False, True]


@pytest.fixture
def sign() -> Iterator[Runtime]:
    """A runtime whose kernel returns its parameter."""
    text = """(func (export "sign_forward") (param $desc i32) (result i32)
      (i32.store (i32.load offset=16 (local.get $desc)) (i32.load offset=4 (i32.load offset=32 (local.get $desc))))
      (i32.const 0))"""
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("sign", Param("value", "f32", 1.0)), portable=module(text)))
        yield runtime


# ---- gradients -----------------------------------------------------------------------------------

# dx[0] = dy[0] + scale, and forward is COPY
GRADIENT = (
    COPY
    + """
  (func (export "kernel_backward") (param $desc i32) (result i32)
    (f32.store (i32.load offset=16 (local.get $desc))
      (f32.add (f32.load (i32.load (local.get $desc)))
        (f32.load offset=4 (i32.load offset=32 (local.get $desc)))))
    (i32.const 0))"""
)


@pytest.fixture
def gradient() -> Iterator[Runtime]:
    backward = Backward((Tensor("dy", Region.INPUT_A, F32, (N,)),), (Tensor("dx", Region.OUTPUT, F32, (N,)),))
    spec = dataclasses.replace(one_input_spec("copy", Param("scale", "f32", 0.5)), backward=backward)
    with Runtime() as runtime:
        runtime.install(OnePack(spec, portable=module(GRADIENT)))
        yield runtime


def test_gradients_come_by_name_from_the_kernel_s_own_params(gradient: Runtime) -> None:
    dy = np.array([2.0], np.float32)
    assert {name: dx.tolist() for name, dx in gradient.backward("copy", dy).items()} == {"dx": [2.5]}
    assert gradient.backward("copy", dy=dy, scale=4.0)["dx"].tolist() == [6.0]
    assert gradient.run("copy", dy).tolist() == [2.0]
    assert (gradient.stats()["calls"], gradient.stats()["errors"]) == (3, {})


def test_gradients_of_a_kernel_that_has_none_are_no_such_kernel(gradient: Runtime, add: Runtime) -> None:
    dy = np.array([2.0], np.float32)
    with pytest.raises(errors.NoSuchKernel, match="no gradients of a kernel 'add' in one; it has: none"):
        add.backward("add", dy)
    with pytest.raises(errors.NoSuchKernel, match="no gradients of a kernel 'ghost' in one; it has: copy"):
        gradient.backward("ghost", dy)
    with Runtime() as empty, pytest.raises(errors.NoPack):
        empty.backward("copy", dy)


def test_arguments_of_gradients_are_checked_as_those_of_calls(gradient: Runtime) -> None:
    with pytest.raises(TypeError, match="copy: input dy is missing"):
        gradient.backward("copy")
    with pytest.raises(TypeError, match="no parameter 'x'; its parameters: scale"):
        gradient.backward("copy", [1.0], x=1)


def test_memory_grows_for_large_tensors_and_later_calls_still_work(core: Runtime) -> None:
    small = arrays((7,), (7,))
    before = core.run("swiglu_f32", *small)
    gate, up = arrays((3_000_000,), (3_000_000,))
    assert core.run("swiglu_f32", gate, up).shape == (3_000_000,)
    assert np.array_equal(core.run("swiglu_f32", *small), before)


def test_calls_and_faults_are_counted(faulty: Runtime) -> None:
    x = np.zeros(1, np.float32)
    faulty.run("faulty", x)
    for _ in range(2):
        with pytest.raises(errors.Unreachable):
            faulty.run("faulty", x, what=4)
    assert (faulty.stats()["calls"], faulty.stats()["errors"]) == (3, {"Unreachable": 2})


# ---- arguments that do not fit -------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_python_errors(core: Runtime) -> None:
    x, weight = arrays((2, 8), (8,))
    with pytest.raises(TypeError, match="x has dtype float64, must be float32"):
        core.run("rmsnorm_f32", x.astype(np.float64), weight)
    with pytest.raises(ValueError, match="dimension 0 \\(dim\\) of weight is 7, must be 8"):
        core.run("rmsnorm_f32", x, weight[:7])
    with pytest.raises(TypeError, match="input weight is missing"):
        core.run("rmsnorm_f32", x)
    with pytest.raises(TypeError, match="takes 2 inputs, got 3"):
        core.run("rmsnorm_f32", x, weight, weight)
    with pytest.raises(TypeError, match="input x is given twice"):
        core.run("rmsnorm_f32", x, weight, x=x)
    with pytest.raises(TypeError, match="no parameter 'epsilon'; its parameters: eps"):
        core.run("rmsnorm_f32", x, weight, epsilon=1.0)
    with pytest.raises(ValueError, match="dimension 1 \\(dim\\) of y is 9, must be 8"):
        core.run("rmsnorm_f32", x, weight, out=np.zeros((2, 9), np.float32))


def test_unknown_kernels_and_missing_packs_are_named(core: Runtime) -> None:
    with pytest.raises(errors.NoSuchKernel, match="no kernel 'rope_f64' in core; it has: rope_f32, rmsnorm_f32"):
        core.run("rope_f64", np.zeros((1, 1, 1, 2), np.float32))
    with Runtime() as empty, pytest.raises(errors.NoPack):
        empty.run("rope_f32", np.zeros((1, 1, 1, 2), np.float32))


def test_tensors_beyond_the_kernel_s_pages_are_a_memory_error(faulty: Runtime) -> None:
    with pytest.raises(MemoryError, match="needs 8 pages of memory, the limit is 4"):
        faulty.run("faulty", np.zeros(60_000, np.float32))
    assert faulty.run("faulty", np.zeros(20_000, np.float32)).shape == (20_000,)


# ---- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what, error", FAULTS.items())
def test_each_fault_has_its_own_error_and_the_next_call_works(
    faulty: Runtime, what: int, error: type[errors.KernelError]
) -> None:
    x = np.zeros(1, np.float32)
    with pytest.raises(errors.KernelError, match=r"^faulty(: [a-z]| returned )") as caught:
        faulty.run("faulty", x, what=what)
    assert type(caught.value) is error and "backtrace" not in str(caught.value)
    assert faulty.run("faulty", x)[0] == 1


@pytest.mark.parametrize(("what", "offset"), [(2, 0xFFFFFFFC), (3, 0x7FFFFFFF)])
def test_an_access_outside_memory_tells_where(faulty: Runtime, what: int, offset: int) -> None:
    with pytest.raises(errors.MemoryAccessViolation) as caught:
        faulty.run("faulty", np.zeros(1, np.float32), what=what)
    assert (caught.value.offset, caught.value.size, caught.value.kernel) == (offset, None, "faulty")


def test_of_bulk_memory_instructions_nobody_knows_where() -> None:
    fill = """(func (export "copy_forward") (param i32) (result i32)
      (memory.fill (i32.const 1) (i32.const 0) (i32.const -1)) (i32.const 0))"""
    with pytest.raises(errors.MemoryAccessViolation) as caught:
        run_module(module(fill), one_input_spec("copy"), X, {})
    assert caught.value.offset is None


@pytest.mark.parametrize("code", [101, 107])
def test_a_return_code_is_kept_in_the_error(faulty: Runtime, code: int) -> None:
    with pytest.raises(errors.KernelTrap) as caught:
        faulty.run("faulty", np.zeros(1, np.float32), what=code)
    assert caught.value.trap_code == code - 100


def test_an_instance_is_kept_between_calls_and_dropped_after_an_error(faulty: Runtime) -> None:
    x = np.zeros(1, np.float32)
    assert [faulty.run("faulty", x)[0] for _ in range(3)] == [1, 2, 3]
    with pytest.raises(errors.InvalidInput):
        faulty.run("faulty", x, what=101)
    assert faulty.run("faulty", x)[0] == 1


def test_an_endless_kernel_is_stopped_after_its_budget(faulty: Runtime) -> None:
    start = time.monotonic()
    with pytest.raises(errors.EpochDeadline):
        faulty.run("faulty", np.zeros(1, np.float32), what=1)
    # 10 ticks of 10 ms; how late it may be depends on how busy this machine is.
    assert 0.1 <= time.monotonic() - start < 1


def test_the_table_knows_every_trap_that_a_kernel_can_cause() -> None:
    possible = {code for code in TrapCode if code.value <= TrapCode.INTERRUPT.value}
    assert set(TRAPS) == possible


# ---- modules -------------------------------------------------------------------------------------


def lacking(name: str, instead: str = "") -> str:
    """The text of a kernel's module, one of its exports replaced."""
    exports = {
        "memory": '(memory (export "memory") 1)',
        "__heap_base": '(global (export "__heap_base") i32 (i32.const 1024))',
        "copy_forward": '(func (export "copy_forward") (param i32) (result i32) (i32.const 0))',
        "kernel_init": '(func (export "kernel_init") (param i32 i32) (result i32) (i32.const 0))',
        "kernel_info": '(func (export "kernel_info") (result i32) (i32.const 512))',
        "kernel_cleanup": '(func (export "kernel_cleanup"))',
    }
    return f"(module {' '.join((exports | {name: instead}).values())})"


EXPORTS = ("memory", "__heap_base", "copy_forward", "kernel_init", "kernel_info", "kernel_cleanup")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('(module (import "env" "log" (func)))', "copy: imports 'log', but a kernel has no imports"),
        *((lacking(name), f"^copy does not export {name}$") for name in EXPORTS),
        (
            lacking("kernel_init", '(func (export "kernel_init"))'),
            r"^copy exports kernel_init as \(\) -> \(\), must be",
        ),
        (
            lacking("kernel_info", '(func (export "kernel_info"))'),
            r"^copy exports kernel_info as \(\) -> \(\), must be",
        ),
        (
            lacking("memory", '(global (export "memory") i32 (i32.const 0))'),
            "^copy exports memory as i32, must be memory$",
        ),
        (lacking("memory", '(memory (export "memory") 9)'), "^copy: .*memory minimum size"),
        (lacking("memory", '(memory (export "memory") 1) (table 9 funcref)'), "^copy: .*table"),
    ],
)
def test_a_module_that_is_no_kernel_is_a_load_error(text: str, message: str) -> None:
    with pytest.raises(errors.LoadError, match=message):
        run_module(bytes(wat2wasm(text)), one_input_spec("copy"), X, {})


def test_gradients_that_are_described_but_not_there_are_a_load_error() -> None:
    backward = Backward((Tensor("dy", Region.INPUT_A, F32, (N,)),), (Tensor("dx", Region.OUTPUT, F32, (N,)),))
    spec = dataclasses.replace(one_input_spec("copy"), backward=backward)
    with Runtime() as runtime, pytest.raises(errors.LoadError, match="copy does not export kernel_backward"):
        runtime.install(OnePack(spec, portable=module()))


def test_bytes_that_are_no_module_are_a_load_error() -> None:
    with pytest.raises(errors.LoadError, match="copy: "):
        run_module(b"\0asm garbage", one_input_spec("copy"), X, {})


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("(i32.const 3)", "copy: kernel_init returned 3"),
        ("(unreachable)", "kernel_init of copy: .*unreachable"),
        (f"{FOREVER} (i32.const 0)", "kernel_init of copy: interrupt"),
        ("(i32.load (i32.const -4))", "kernel_init of copy: .* 0xfffffffc .*out of bounds memory access"),
    ],
    ids=["fails", "traps", "spins", "reads outside"],
)
def test_a_kernel_that_cannot_be_initialised_is_a_load_error(init: str, message: str) -> None:
    spec = one_input_spec("copy", ticks=5)
    start = time.monotonic()
    with pytest.raises(errors.LoadError, match=message):
        run_module(module(init=init), spec, X, {})
    assert time.monotonic() - start < 5
    known = dataclasses.replace(spec, test=dataclasses.replace(spec.test, sha256="0" * 64))
    with Runtime() as runtime, pytest.raises(errors.LoadError, match=message):
        runtime.install(OnePack(known, portable=module(init=init)))


def test_kernel_init_gets_the_default_of_every_parameter() -> None:
    """Here it returns what it was given when that is not what it must be."""
    init = """(if (result i32) (i32.and
        (i32.and (i32.eq (local.get $len) (i32.const 8)) (i32.eqz (i32.rem_u (local.get $at) (i32.const 16))))
        (i32.and (f32.eq (f32.load (local.get $at)) (f32.const 1.5))
          (i32.eq (i32.load offset=4 (local.get $at)) (i32.const -7))))
      (then (i32.const 0)) (else (local.get $len)))"""
    params = Param("scale", "f32", 1.5), Param("shift", "i32", -7)
    assert run_module(module(init=init), one_input_spec("copy", *params), X, {})["y"].tolist() == [0.0]
    with pytest.raises(errors.LoadError, match="kernel_init returned 4"):
        run_module(module(init=init), one_input_spec("copy", params[0]), X, {})


@pytest.mark.parametrize("cleanup", ["(unreachable)", FOREVER], ids=["traps", "spins"])
def test_a_kernel_that_does_not_clean_up_ends_all_the_same(cleanup: str) -> None:
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("copy", ticks=5), portable=module(cleanup=cleanup)))
        assert runtime.run("copy", X["x"]).tolist() == [0.0]
        start = time.monotonic()
    assert time.monotonic() - start < 5


def test_an_endless_kernel_is_stopped_while_its_instructions_are_counted() -> None:
    functions = f'(func (export "copy_forward") (param i32) (result i32) {FOREVER} (i32.const 0))'
    with pytest.raises(errors.EpochDeadline):
        run_counted(module(functions), one_input_spec("copy", ticks=5), X)


def test_instructions_of_a_call_are_counted_exactly() -> None:
    counts = {run_counted(module(), one_input_spec("copy"), X) for _ in range(3)}
    assert len(counts) == 1
    assert 5 < counts.pop() < 15


# ---- kernel_info ---------------------------------------------------------------------------------


def info(size: int = 56, abi: int = 1, name: bytes = b"copy", version: bytes = b"1.0.0") -> bytes:
    return struct.pack("<II24s24s", size, abi, name, version)


def test_kernel_info_is_what_the_module_says() -> None:
    spec = one_input_spec("copy")
    assert module_info(module(), spec) == KernelInfo(1, "copy", "1.0.0")
    longest = info(name=b"n" * 23, version=b"1.2.3-" + b"4" * 17, abi=2**32 - 1)
    said = module_info(module(info=longest), spec)
    assert said == KernelInfo(2**32 - 1, "n" * 23, "1.2.3-" + "4" * 17)


@pytest.mark.parametrize(
    ("info_at", "data", "message"),
    [
        ("(i32.const 65536)", INFO, "copy: kernel_info returns 65536, where no struct can be"),
        ("(i32.const 65484)", INFO, "copy: kernel_info returns 65484, where no struct can be"),
        ("(i32.const -4)", INFO, "copy: kernel_info returns 4294967292, where no struct can be"),
        ("(i32.const 514)", INFO, "copy: kernel_info returns 514, where no struct can be"),
        ("(i32.const 512)", info(size=60), "copy: kernel_info has size 60, must be 56"),
        ("(i32.const 512)", info(size=0), "copy: kernel_info has size 0, must be 56"),
        ("(i32.const 512)", info(name=b"n" * 24), "copy: kernel_info has b'nnn.*' where a text must be"),
        ("(i32.const 512)", info(name=b"copy\0x"), "where a text must be"),
        ("(i32.const 512)", info(version=b"\xff"), "where a text must be"),
    ],
    ids=[
        "outside", "half outside", "negative", "not aligned", "longer", "empty", "no NUL", "behind NUL", "not ASCII",
    ],
)  # fmt: skip
def test_kernel_info_in_any_other_form_is_malformed(info_at: str, data: bytes, message: str) -> None:
    with pytest.raises(errors.MalformedPack, match=message):
        module_info(module(info=data, info_at=info_at), one_input_spec("copy"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (info(name=b"other"), r"copy \(simd128\): kernel_info says name 'other', must be 'copy'"),
        (info(version=b"1.0.1"), r"copy \(simd128\): kernel_info says version '1.0.1', must be '1.0.0'"),
        (info(abi=2), r"copy \(simd128\): kernel_info says ABI 2, must be 1"),
    ],
)
def test_each_flavour_must_be_the_kernel_that_it_is_described_as(data: bytes, message: str) -> None:
    spec = one_input_spec("copy")
    check_identity({"portable": module(), "simd128": module()}, spec, "1.0.0")
    with pytest.raises(errors.MalformedPack, match=message):
        check_identity({"portable": module(), "simd128": module(info=data)}, spec, "1.0.0")


# ---- flavours ------------------------------------------------------------------------------------

FOUR = np.array([1, 2, 3, 4], np.float32)


def test_the_flavour_that_makes_most_of_the_features_is_taken() -> None:
    """The portable flavour here copies one element, the other four at a time."""
    pack = OnePack(one_input_spec("copy"), portable=module(), simd128=module(COPY_WIDE))
    for features, expected in [
        (FEATURES, [1, 2, 3, 4]),
        (("simd128", "bulk-memory"), [1, 2, 3, 4]),
        (("bulk-memory",), [1, 0, 0, 0]),
    ]:
        with Runtime(features=features) as runtime:
            runtime.install(pack)
            assert runtime.run("copy", FOUR).tolist() == expected


def test_a_feature_that_is_not_there_is_named_with_those_that_are() -> None:
    pack = OnePack(one_input_spec("copy"), portable=module(), simd128=module(COPY_WIDE))
    for features, available in [((), "none"), (("simd128",), "simd128")]:
        with Runtime(features=features) as runtime:
            with pytest.raises(errors.MissingFeature, match=f"copy needs bulk-memory; available: {available}"):
                runtime.install(pack)
            assert runtime.kernels() == ()


def test_a_module_that_uses_more_than_its_flavour_says_does_not_load() -> None:
    pack = OnePack(one_input_spec("copy"), portable=module(COPY_WIDE))
    with (
        Runtime(features=("bulk-memory",)) as runtime,
        pytest.raises(errors.LoadError, match=r"(?s)copy: .*SIMD support is not enabled"),
    ):
        runtime.install(pack)


def test_a_kernel_that_needs_a_newer_wasmtime_is_refused_with_both_versions() -> None:
    installed = metadata.version("wasmtime")
    with Runtime() as runtime:
        for needed in ("50.0.0", installed.split(".")[0] + ".0.0", "9.255.255"):
            runtime.install(OnePack(one_input_spec("copy"), wasmtime_min_version=needed, portable=module()))
        with pytest.raises(
            errors.RuntimeTooOld, match=f"copy needs wasmtime 500.0.0, installed is {re.escape(installed)}"
        ):
            runtime.install(OnePack(one_input_spec("copy"), wasmtime_min_version="500.0.0", portable=module()))
        assert runtime.kernels() == ("copy",), "what was installed stays"


def test_a_flavour_that_gives_other_bits_is_a_build_error() -> None:
    spec = one_input_spec("copy")
    same = {"portable": module(), "simd128": module(COPY + "(func)")}
    assert measure.known_answer(same, spec) == known_answer_sha256(module(), spec)
    with pytest.raises(errors.BuildError, match="copy: the simd128 flavour gives other bits than the portable one"):
        measure.known_answer({"portable": module(), "simd128": module(COPY_WIDE)}, spec)


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "fits"), [(4, True), (5, False)])
def test_a_table_has_at_most_the_elements_that_the_manifest_allows(size: int, fits: bool) -> None:
    wasm_ = module(f"{COPY} (table {size} funcref)")
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("copy"), portable=wasm_))
        if fits:
            assert runtime.run("copy", FOUR)[0] == 1
        else:
            with pytest.raises(errors.LoadError, match=r"copy: .*table"):
                runtime.run("copy", FOUR)


def test_a_kernel_cannot_grow_its_memory_beyond_its_pages() -> None:
    """memory.grow answers -1 then, which the kernel returns as its code; 3 fit in 4."""
    for pages, code in ((3, 1), (4, -1)):
        grow = f"""(func (export "copy_forward") (param i32) (result i32) (memory.grow (i32.const {pages})))"""
        with pytest.raises(errors.KernelTrap) as caught:
            run_module(module(grow), one_input_spec("copy"), X, {})
        assert caught.value.trap_code == code


GROWING = '(func (export "copy_forward") (param i32) (result i32) (memory.grow (i32.const 1)))'


@pytest.mark.parametrize(
    ("kernel", "elements", "grows_to"),
    [(COPY, 1, PAGE), (COPY, PAGE // 8, 2 * PAGE), (GROWING, 1, 2 * PAGE)],
    ids=["a new memory", "room for a call", "the kernel's memory.grow"],
)
def test_an_interruption_while_memory_is_made_is_no_error_of_the_kernels(
    kernel: str, elements: int, grows_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes at any moment, also in what Wasmtime calls, through which no exception may go."""
    x = {"x": np.zeros(elements, np.float32)}
    grow = LinearMemory.grow

    def interrupted(self: LinearMemory, size: int) -> None:
        if size == grows_to:
            raise KeyboardInterrupt
        grow(self, size)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LinearMemory, "grow", interrupted)
        run_module(module(kernel), one_input_spec("copy"), x, {})
    with pytest.raises(errors.LoadError, match="table"):
        run_module(module(f"{COPY} (table 5 funcref)"), one_input_spec("copy"), X, {})
    assert run_module(module(COPY), one_input_spec("copy"), X, {})["y"] == 0


def test_run_module_gives_every_output_by_name() -> None:
    gate, up = arrays((5,), (5,))
    outputs = run_module(wasm("swiglu_f32"), SPECS["swiglu_f32"], {"gate": gate, "up": up}, {})
    assert list(outputs) == ["y"] and outputs["y"].shape == (5,)


# ---- known answers -------------------------------------------------------------------------------


def test_known_answer_inputs_are_one_xorshift_stream() -> None:
    spec = dataclasses.replace(SPECS["rmsnorm_f32"], test=KnownAnswer(2, {"rows": 2, "dim": 19}))
    state, values = 2, []
    for _ in range(2 * 19 + 19):
        state ^= (state << 13) % 2**32
        state ^= state >> 17
        state ^= (state << 5) % 2**32
        values.append(((state >> 8) - 2**23) / 2**23)
    made = known_answer.inputs(spec)
    assert list(made) == ["x", "weight"]
    assert made["x"].ravel().tolist() + made["weight"].tolist() == values


@pytest.mark.parametrize(
    "dtype, expected",
    [
        # Values 1 to 4 of the stream that starts at 1: 0x00042021 0x04080601 0x9dcca8c5 0x1255994f.
        ("i8", [0x21, 0x01, 0xC5 - 256, 0x4F]),
        ("u16", [0x2021, 0x0601, 0xA8C5, 0x994F]),
        ("u32", [0x00042021, 0x04080601, 0x9DCCA8C5, 0x1255994F]),
        ("f16", [(0x00042021 >> 21) / 1024 - 1, (0x04080601 >> 21) / 1024 - 1, (0x9DCCA8C5 >> 21) / 1024 - 1]),
    ],
)
def test_known_answer_inputs_of_every_dtype(dtype: str, expected: list[float]) -> None:
    made = known_answer.inputs(one_input_spec("k", dtype=DTYPES[dtype]))["x"]
    assert made.dtype == np.dtype(DTYPES[dtype].numpy)
    assert made.tolist()[: len(expected)] == expected


def test_known_answer_inputs_of_blocks() -> None:
    spec = dataclasses.replace(one_input_spec("k", dtype=DTYPES["q8"]), test=KnownAnswer(1, {"n": 32}))
    made = known_answer.inputs(spec)["x"]
    assert made.shape == (34,)
    assert made[:5].tolist() == [0x21, 0x20, 0x01, 0xC5, 0x4F]


def test_the_known_answer_is_the_sha256_of_the_output() -> None:
    spec = SPECS["swiglu_f32"]
    y = run_module(wasm(spec.id), spec, known_answer.inputs(spec), {})["y"]
    assert known_answer_sha256(wasm(spec.id), spec) == hashlib.sha256(y.tobytes()).hexdigest()


def test_a_pack_that_gives_another_answer_is_refused_and_the_old_one_stays() -> None:
    spec = SPECS["swiglu_f32"]
    wrong = dataclasses.replace(spec, test=dataclasses.replace(spec.test, sha256="0" * 64))
    with Runtime() as runtime:
        runtime.install(Core())
        with pytest.raises(errors.HealthCheckFailed, match="swiglu_f32: known answer"):
            runtime.install(OnePack(wrong, portable=wasm(spec.id)))
        assert runtime.kernels() == tuple(CORE)
        right = dataclasses.replace(spec.test, sha256=known_answer_sha256(wasm(spec.id), spec))
        runtime.install(OnePack(dataclasses.replace(spec, test=right), portable=wasm(spec.id)))
        assert runtime.kernels() == ("swiglu_f32",)
