"""After an error: what is logged, and when the numpy reference answers instead of a kernel that faulted."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kernel_builds import IDS, SPECS, example, named_inputs, wasm
from numpy.typing import NDArray
from wasmtime import wat2wasm

from host import errors, formats, reference
from host.errors import KernelError
from host.recovery import Failure, Recovery, is_fault, reference_outputs
from host.reference import REFERENCES, Expected
from host.runtime import run_module

ROPE = SPECS["rope_f32"]
SWIGLU = replace(SPECS["swiglu_f32"], backward=None, limits=replace(SPECS["swiglu_f32"].limits, max_epoch_ticks=1))

# What goes wrong in swiglu_forward, and the error that this is.
FAULTS = {
    "unreachable": errors.Unreachable,
    "(i32.load (i32.const -4))": errors.MemoryAccessViolation,
    "(i32.div_s (i32.const 1) (i32.const 0))": errors.IntegerDivideByZero,
    "(i32.div_s (i32.const 0x80000000) (i32.const -1))": errors.IntegerOverflow,
    "(i32.trunc_f32_s (f32.const nan))": errors.InvalidConversion,
    "(call $swiglu_forward (local.get 0)) (i32.const 1) i32.add": errors.StackOverflow,
    "(call_indirect (param i32) (result i32) (i32.const 0) (i32.const 0))": errors.UndefinedElement,
    "(loop $again (br $again)) unreachable": errors.EpochDeadline,
}


def faulting(body: str, init: str = "(i32.const 0)") -> KernelError:
    """The error of a call of swiglu whose forward function is ``body``, run under Wasmtime."""
    module = f"""(module
      (memory (export "memory") 1)
      (table 1 funcref)
      (global (export "__heap_base") i32 (i32.const 1024))
      (func (export "kernel_init") (param i32 i32) (result i32) {init})
      (func (export "kernel_info") (result i32) (i32.const 0))
      (func (export "kernel_cleanup"))
      (func $swiglu_forward (export "swiglu_forward") (param i32) (result i32) {body}))"""
    with pytest.raises(KernelError) as caught:
        run_module(bytes(wat2wasm(module)), SWIGLU, arrays(), {})
    return caught.value


def arrays() -> dict[str, NDArray[Any]]:
    return {"gate": np.array([1, -2, 3], np.float32), "up": np.array([4, 5, -6], np.float32)}


def failure(error: KernelError | None = None, **changes: Any) -> Failure:
    """A call of swiglu that ended with ``error``, a trap unless another is given."""
    made = Failure("core", "1.0.0", SWIGLU, arrays(), {}, error or errors.Unreachable("swiglu_f32: trap"), intact=True)
    return replace(made, **changes)


# ---- the reference as a kernel -------------------------------------------------------------------


@pytest.mark.parametrize("kernel_id", IDS)
def test_the_reference_answers_as_the_kernel_within_its_bound(kernel_id: str) -> None:
    case, spec = example(kernel_id), SPECS[kernel_id]
    inputs = named_inputs(case)
    (output,) = spec.outputs
    ours = reference_outputs(spec, inputs, {})[output.name]
    copies = {name: array.copy() for name, array in inputs.items()}
    theirs = run_module(wasm(kernel_id), spec, copies, {})[output.name]
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    expected = reference.expected(kernel_id, inputs, case.params)
    assert expected is not None
    for result in (ours, theirs):
        assert not reference.outside(formats.elements(result, output.dtype), expected).any()


@pytest.mark.parametrize("kernel_id", ["kv_pack_q4", "kv_pack_q8", "kv_unpack_q4", "kv_unpack_q8"])
def test_where_the_formula_is_exact_so_are_the_bytes(kernel_id: str) -> None:
    spec, inputs = SPECS[kernel_id], named_inputs(example(kernel_id))
    ours, theirs = reference_outputs(spec, inputs, {}), run_module(wasm(kernel_id), spec, inputs, {})
    assert ours["y"].tobytes() == theirs["y"].tobytes()


def test_parameters_are_the_calls_or_have_their_defaults() -> None:
    x = np.random.default_rng(1).standard_normal((1, 3, 2, 8)).astype(np.float32)
    for params in ({}, {"theta": 100.0, "pos": 7, "interleaved": False}):
        ours = reference_outputs(ROPE, {"x": x}, params)["y"]
        np.testing.assert_allclose(ours, run_module(wasm("rope_f32"), ROPE, {"x": x}, params)["y"], atol=1e-5)


def test_values_beyond_f16_are_infinite() -> None:
    up = np.array([60000, -60000], np.float16)
    y = reference_outputs(SPECS["swiglu_f16"], {"gate": np.full(2, 100, np.float16), "up": up}, {})["y"]
    assert y.tolist() == [np.inf, -np.inf]


def test_a_reference_of_another_shape_or_none_is_an_error() -> None:
    flat = {"swiglu_f32": lambda inputs, params: Expected(np.zeros(1), np.zeros(1))}
    with pytest.raises(ValueError, match=r"reference swiglu_f32 gives shape \(1,\), must be \(3,\)"):
        reference_outputs(SWIGLU, arrays(), {}, flat)
    with pytest.raises(errors.NoSuchKernel, match="no reference 'swiglu_f32' for swiglu_f32"):
        reference_outputs(SWIGLU, arrays(), {}, {})


# ---- when it answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("body", FAULTS)
def test_after_a_fault_the_reference_answers(body: str) -> None:
    error = faulting(body)
    assert type(error) is FAULTS[body]
    counted: list[tuple[str, int]] = []
    y = Recovery(fell_back=lambda *told: counted.append(told)).recover(failure(error))["y"]
    gate, up = arrays().values()
    np.testing.assert_allclose(y, gate / (1 + np.exp(-gate)) * up, rtol=1e-6)
    assert y.dtype == np.float32
    ((kernel, nanoseconds),) = counted
    assert kernel == "swiglu_f32" and nanoseconds > 0


def test_a_kernel_that_cannot_start_is_a_fault() -> None:
    error = faulting("(i32.const 0)", init="unreachable")
    assert type(error) is errors.LoadError
    assert "y" in Recovery().recover(failure(error))


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, -1])
def test_a_return_code_is_the_kernels_answer_and_stands(code: int, caplog: pytest.LogCaptureFixture) -> None:
    error = faulting(f"(i32.const {code})")
    assert isinstance(error, errors.KernelTrap) and not is_fault(error)
    stands(Recovery(), failure(error), "the kernel itself returned it", caplog)
    assert caplog.records[0].levelname == "WARNING"


def stands(recovery: Recovery, failed: Failure, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """Assert that there is no fallback, for the reason given, and the error is the one that there was."""
    counted: list[str] = []
    recovery._fell_back = lambda kernel, nanoseconds: counted.append(kernel)
    with pytest.raises(KernelError) as caught:
        recovery.recover(failed)
    assert caught.value is failed.error
    assert counted == []
    assert caplog.messages[-1].endswith(f"; no fallback: {why}")


def test_in_strict_mode_every_error_stands(caplog: pytest.LogCaptureFixture) -> None:
    stands(Recovery(strict=True), failure(), "strict mode", caplog)
    assert caplog.records[0].levelname == "ERROR"


def test_inputs_that_the_kernel_may_have_changed_are_not_given_to_the_reference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stands(Recovery(), failure(intact=False), "the kernel may have changed its inputs", caplog)


def test_an_output_that_is_read_first_is_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    spec, inputs = SPECS["lora_apply_f32"], named_inputs(example("lora_apply_f32"))
    before = inputs["y"].copy()
    y = Recovery().recover(failure(spec=spec, arrays=inputs))["y"]
    assert not np.shares_memory(y, inputs["y"]) and np.array_equal(inputs["y"], before)
    np.testing.assert_allclose(y, before + inputs["x"] @ inputs["a"] @ inputs["b"], rtol=1e-4, atol=1e-4)


def test_without_a_reference_the_error_stands(caplog: pytest.LogCaptureFixture) -> None:
    nameless, strange = replace(SWIGLU, fallback=None), replace(SWIGLU, fallback="swiglu_f64")
    stands(Recovery(), failure(spec=nameless), "the manifest names none", caplog)
    stands(Recovery(), failure(spec=strange), "there is no reference swiglu_f64", caplog)
    stands(Recovery({}), failure(), "there is no reference swiglu_f32", caplog)
    assert "y" in Recovery({"swiglu_f64": REFERENCES["swiglu_f32"]}).recover(failure(spec=strange))


def test_gradients_are_not_made_up_for_by_the_forward_formula(caplog: pytest.LogCaptureFixture) -> None:
    spec = ROPE.of_backward()
    assert spec is not None
    dy = {"dy": np.zeros((1, 1, 1, 2), np.float32)}
    stands(Recovery(), failure(spec=spec, arrays=dy), "gradients have no reference", caplog)


def test_a_reference_that_fails_leaves_the_kernels_error(caplog: pytest.LogCaptureFixture) -> None:
    def fail(inputs: object, params: object) -> Expected:
        raise ZeroDivisionError("in the reference")

    why = "the reference failed with ZeroDivisionError: in the reference"
    stands(Recovery({"swiglu_f32": fail}), failure(), why, caplog)


# ---- what is logged ------------------------------------------------------------------------------


def test_the_log_record_has_everything_about_the_call(caplog: pytest.LogCaptureFixture) -> None:
    error = errors.MemoryAccessViolation("swiglu_f32: out of bounds memory access", offset=0xFFFFFFFC)
    Recovery().recover(failure(error))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("host.runtime", logging.WARNING)
    assert record.getMessage() == (
        "core 1.0.0: swiglu_f32 ended with MemoryAccessViolation: swiglu_f32: out of bounds memory access; "
        "the reference swiglu_f32 answered instead"
    )
    fields = {name: record.__dict__[name] for name in failure().fields()} | {"fallback": record.__dict__["fallback"]}
    assert json.loads(json.dumps(fields)) == {
        "pack": "core",
        "version": "1.0.0",
        "kernel": "swiglu_f32",
        "descriptor": {"gate": "float32[3]", "up": "float32[3]"},
        "params": {},
        "error": "MemoryAccessViolation",
        "cause": "swiglu_f32: out of bounds memory access",
        "trap_offset": 0xFFFFFFFC,
        "fallback": "swiglu_f32",
    }


def test_a_call_with_a_descriptor_of_its_own_is_logged_with_its_words(caplog: pytest.LogCaptureFixture) -> None:
    words = (2048, 12, 2064, 12, 2080, 12, 0, 0, 2096, 4)
    with pytest.raises(errors.Unreachable):
        Recovery().recover(failure(words=words, intact=False))
    assert caplog.records[0].__dict__["descriptor"] == list(words)
    assert caplog.records[0].__dict__["fallback"] is None


def test_parameters_of_the_call_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    x = np.zeros((1, 1, 1, 2), np.float32)
    Recovery().recover(failure(spec=ROPE, arrays={"x": x}, params={"theta": 500.0}))
    assert caplog.records[0].__dict__["params"] == {"theta": 500.0}
