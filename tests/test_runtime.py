"""`host.runtime`: calls under Wasmtime, and how everything that can go wrong in one ends."""

from __future__ import annotations

import dataclasses
import hashlib
import time

import numpy as np
import pytest
from kernel_builds import SPECS, CorePack, wasm
from numpy.typing import NDArray
from wasmtime import TrapCode, wat2wasm

from host import errors, known_answer
from host.pack.spec import DTYPES, Dim, DType, KernelSpec, KnownAnswer, Limits, Param, Region, Tensor
from host.runtime import TRAPS, Runtime, known_answer_sha256, run_module

N = (Dim("n"),)
F32 = DTYPES["f32"]

# y[0] = how many calls this instance has had; `what` chooses what goes wrong after that.
FAULTY = """(module
  (memory (export "memory") 1)
  (global (export "__heap_base") i32 (i32.const 1024))
  (global $calls (mut i32) (i32.const 0))
  (type $none (func))
  (table 4 funcref)
  (elem (i32.const 0) $nothing)
  (func $nothing)
  (func $deeper (param i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "faulty_forward") (param $desc i32) (result i32)
    (local $what i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (f32.store (i32.load offset=16 (local.get $desc)) (f32.convert_i32_u (global.get $calls)))
    (local.set $what (i32.load offset=4 (i32.load offset=32 (local.get $desc))))
    (block $end (block $undefined (block $mismatch (block $deep (block $nan (block $overflow (block $zero
    (block $unreachable (block $write (block $read (block $forever
    (br_table $end $forever $read $write $unreachable $zero $overflow $nan $deep $mismatch $undefined $end
      (local.get $what)))
    (loop $again (br $again)))
    (return (i32.load (i32.const -4))))
    (i32.store (i32.const 0x7fffffff) (i32.const 1)))
    (unreachable))
    (return (i32.div_s (i32.const 1) (i32.sub (local.get $what) (local.get $what)))))
    (return (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $what) (i32.const 7)))))
    (return (i32.trunc_f32_s (f32.div (f32.const 0) (f32.convert_i32_u (i32.sub (local.get $what) (i32.const 7)))))))
    (return (call $deeper (i32.const 0))))
    (return (call_indirect (param i32) (result i32) (i32.const 0) (i32.const 0))))
    (call_indirect (type $none) (i32.const 2)))
    (select (i32.sub (local.get $what) (i32.const 100)) (i32.const 0)
      (i32.gt_u (local.get $what) (i32.const 100)))))"""

# y[0] += x[0]
ADD = """(module
  (memory (export "memory") 1)
  (global (export "__heap_base") i32 (i32.const 1024))
  (func (export "add_forward") (param $desc i32) (result i32)
    (f32.store (i32.load offset=16 (local.get $desc))
      (f32.add (f32.load (i32.load offset=16 (local.get $desc))) (f32.load (i32.load (local.get $desc)))))
    (i32.const 0)))"""


def one_input_spec(name: str, *params: Param, dtype: DType = F32, pages: int = 4, ticks: int = 1000) -> KernelSpec:
    """y[n] from x[n]."""
    return KernelSpec(
        id=name,
        op=name,
        category="test",
        entry_point=f"{name}_forward",
        symbols=("n",),
        inputs=(Tensor("x", Region.INPUT_A, dtype, (N,)),),
        outputs=(Tensor("y", Region.OUTPUT, dtype, (N,)),),
        scratch=(),
        params=params,
        limits=Limits(pages, ticks, 4),
        fallback=None,
        test=KnownAnswer(1, {"n": 4}),
    )


class OnePack:
    """A pack of one kernel."""

    name = "one"
    version = "1.0.0"

    def __init__(self, spec: KernelSpec, module: bytes) -> None:
        self.kernels = {spec.id: spec}
        self._module = module

    def wasm(self, kernel_id: str) -> bytes:
        return self._module


@pytest.fixture(scope="module")
def core() -> Runtime:
    runtime = Runtime()
    runtime.install(CorePack())
    return runtime


@pytest.fixture
def faulty() -> Runtime:
    """A runtime whose kernel does what its parameter ``what`` says, with a budget of 100 ms."""
    runtime = Runtime()
    spec = one_input_spec("faulty", Param("what", "u32", 0), ticks=10)
    runtime.install(OnePack(spec, bytes(wat2wasm(FAULTY))))
    return runtime


def arrays(*shapes: tuple[int, ...]) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


# ---- calls ---------------------------------------------------------------------------------------


def test_kernels_are_listed_in_the_pack_s_order(core: Runtime) -> None:
    assert core.kernels() == ("rope_f32", "rmsnorm_f32", "swiglu_f32")


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


def test_an_output_that_is_read_first_starts_as_out() -> None:
    y = Tensor("y", Region.OUTPUT, F32, (N,), inout=True)
    spec = dataclasses.replace(one_input_spec("add"), outputs=(y,))
    x = np.array([1.5], np.float32)
    with Runtime() as runtime:
        runtime.install(OnePack(spec, bytes(wat2wasm(ADD))))
        out = np.array([2.0], np.float32)
        assert runtime.run("add", x, out=out) is out
        assert out.tolist() == [3.5]
        with pytest.raises(TypeError, match="add: y is read first, and is missing"):
            runtime.run("add", x)


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
    assert faulty.stats() == {"calls": 3, "faults": {"Unreachable": 2}}


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
    with pytest.raises(errors.NoSuchKernel, match="no kernel 'rope_f64' in core; its kernels: rope_f32, rmsnorm_f32"):
        core.run("rope_f64", np.zeros((1, 1, 1, 2), np.float32))
    with Runtime() as empty, pytest.raises(errors.NoPack):
        empty.run("rope_f32", np.zeros((1, 1, 1, 2), np.float32))


def test_tensors_beyond_the_kernel_s_pages_are_a_memory_error(faulty: Runtime) -> None:
    with pytest.raises(MemoryError, match="needs 8 pages of memory, the limit is 4"):
        faulty.run("faulty", np.zeros(60_000, np.float32))
    assert faulty.run("faulty", np.zeros(20_000, np.float32)).shape == (20_000,)


# ---- faults --------------------------------------------------------------------------------------

FAULTS = {
    1: errors.EpochDeadline,
    2: errors.MemoryAccessViolation,
    3: errors.MemoryAccessViolation,
    4: errors.Unreachable,
    5: errors.IntegerDivideByZero,
    6: errors.IntegerOverflow,
    7: errors.InvalidConversion,
    8: errors.StackOverflow,
    9: errors.IndirectCallTypeMismatch,
    10: errors.UndefinedElement,
    101: errors.InvalidInput,
    102: errors.InvalidOutput,
    103: errors.InvalidParams,
    104: errors.KernelOutOfMemory,
    105: errors.KernelNotImplemented,
    106: errors.KernelInternalError,
    107: errors.KernelTrap,
}


@pytest.mark.parametrize("what, error", FAULTS.items())
def test_each_fault_has_its_own_error_and_the_next_call_works(
    faulty: Runtime, what: int, error: type[errors.KernelError]
) -> None:
    x = np.zeros(1, np.float32)
    with pytest.raises(errors.KernelError) as caught:
        faulty.run("faulty", x, what=what)
    assert type(caught.value) is error
    assert faulty.run("faulty", x)[0] == 1


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


def test_a_module_that_is_no_kernel_is_a_load_error() -> None:
    spec = one_input_spec("faulty")
    x = {"x": np.zeros(1, np.float32)}
    for text, message in [
        ('(module (import "env" "log" (func)))', "imports 'log', but a kernel has no imports"),
        ("(module)", "exports no memory 'memory'"),
        ('(module (memory (export "memory") 1))', "exports no func 'faulty_forward'"),
        ('(module (memory (export "memory") 9))', "memory minimum size"),
        ('(module (memory (export "memory") 1) (table 9 funcref))', "table"),
    ]:
        with pytest.raises(errors.LoadError, match=message):
            run_module(bytes(wat2wasm(text)), spec, x, {})
    with pytest.raises(errors.LoadError, match="faulty: "):
        run_module(b"\0asm garbage", spec, x, {})


def test_run_module_gives_every_output_by_name() -> None:
    gate, up = arrays((5,), (5,))
    outputs = run_module(wasm("swiglu_f32"), SPECS["swiglu_f32"], {"gate": gate, "up": up}, {})
    assert list(outputs) == ["y"] and outputs["y"].shape == (5,)


# ---- known answers -------------------------------------------------------------------------------


def test_known_answer_inputs_are_one_xorshift_stream() -> None:
    state, values = 2, []
    for _ in range(2 * 19 + 19):
        state ^= (state << 13) % 2**32
        state ^= state >> 17
        state ^= (state << 5) % 2**32
        values.append(((state >> 8) - 2**23) / 2**23)
    made = known_answer.inputs(SPECS["rmsnorm_f32"])
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
        runtime.install(CorePack())
        with pytest.raises(errors.HealthCheckFailed, match="swiglu_f32: known answer"):
            runtime.install(OnePack(wrong, wasm(spec.id)))
        assert len(runtime.kernels()) == 3
        right = dataclasses.replace(spec.test, sha256=known_answer_sha256(wasm(spec.id), spec))
        runtime.install(OnePack(dataclasses.replace(spec, test=right), wasm(spec.id)))
        assert runtime.kernels() == ("swiglu_f32",)
