"""`host.check`: that it finds what differs, and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_builds import IDS, SPECS, CorePack
from numpy.typing import NDArray

from host import formats
from host.check import BoardLike, Local, Report, compare, run_check
from host.check_cases import KINDS, Case, cases
from host.errors import EpochDeadline, InvalidParams
from host.runtime import Runtime
from host.shapes import Solved, element_shape, solve

Array = NDArray[Any]
COUNT = 60


@pytest.fixture(scope="module")
def host_runtime() -> Runtime:
    runtime = Runtime()
    runtime.install(CorePack())
    return runtime


@pytest.fixture(scope="module")
def other_runtime() -> Runtime:
    """A second runtime, in the place of a board."""
    runtime = Runtime()
    runtime.install(CorePack())
    return runtime


class Tampered:
    """A board whose results go through ``change``."""

    def __init__(self, runtime: Runtime, change: Callable[[str, Array], Array]) -> None:
        self._local = Local(runtime)
        self._change = change

    def run(self, kernel_id: str, inputs: list[Array | None], params: dict[str, float | int | bool]) -> Array:
        return self._change(kernel_id, self._local.run(kernel_id, inputs, params))


def check(board: BoardLike, runtime: Runtime, **options: Any) -> Report:
    return run_check(board, runtime, CorePack(), board_name="test", **{"count": COUNT, **options})


# ---- cases ---------------------------------------------------------------------------------------


def all_cases(kernel_id: str, count: int = 200, **options: int) -> list[Case]:
    return list(cases(SPECS[kernel_id], 1, count, **options))


def solved(case: Case) -> Solved:
    spec = SPECS[case.kernel]
    arrays = zip(spec.arguments, case.inputs, strict=True)
    return solve(spec, {t.name: element_shape(t.dtype, array.shape) for t, array in arrays if array is not None})


def elements(case: Case) -> int:
    """Of the output."""
    return math.prod(solved(case).shapes[SPECS[case.kernel].outputs[0].name])


def nbytes(case: Case) -> int:
    """Bytes of every tensor of the call, each from a multiple of 16."""
    shapes = solved(case).shapes
    present = [tensor for tensor in SPECS[case.kernel].tensors if tensor.name in shapes]
    return sum(-(-tensor.dtype.nbytes(shapes[tensor.name]) // 16) * 16 for tensor in present)


@pytest.mark.parametrize("kernel_id", IDS)
def test_cases_are_the_same_for_the_same_seed_and_others_for_another(kernel_id: str) -> None:
    first, again = all_cases(kernel_id, 30), all_cases(kernel_id, 30)
    other = list(cases(SPECS[kernel_id], 2, 30))
    for case, same in zip(first, again, strict=True):
        assert case.title == same.title and repr(case.params) == repr(same.params)
        for array, same_array in zip(case.inputs, same.inputs, strict=True):
            assert array is same_array is None or array.tobytes() == same_array.tobytes()  # type: ignore[union-attr]
    assert [case.title for case in first] != [case.title for case in other]


@pytest.mark.parametrize("kernel_id", IDS)
def test_cases_have_every_kind_of_awkward_value(kernel_id: str) -> None:
    everything = all_cases(kernel_id)
    for position, tensor in enumerate(SPECS[kernel_id].arguments):
        present = [case.inputs[position] for case in everything]
        with np.errstate(all="ignore"):
            values = np.concatenate(
                [formats.elements(array, tensor.dtype).ravel() for array in present if array is not None]
            )
        assert np.isnan(values).any()
        assert np.isposinf(values).any() and np.isneginf(values).any()
        zeros = np.signbit(values[values == 0])
        assert zeros.any() and not zeros.all()
        if tensor.dtype.block == 1:
            limits = np.finfo(tensor.dtype.numpy)
            assert ((values != 0) & (np.abs(values) < limits.tiny)).any()
            assert (np.abs(values[np.isfinite(values)]) > limits.max / 4).any()
    assert all(any(kind in case.title for case in everything) for kind in KINDS)


UNITS = {"rope_f32": 2, "rope_f16": 2} | dict.fromkeys(
    ("rope_q8", "kv_pack_q4", "kv_pack_q8", "kv_unpack_q4", "kv_unpack_q8"), 32
)
"""Elements of the smallest call, where that is not 1: whole pairs, whole blocks."""


@pytest.mark.parametrize("kernel_id", IDS)
def test_sizes_go_from_the_smallest_to_the_largest_that_fit(kernel_id: str) -> None:
    everything, unit = all_cases(kernel_id), UNITS.get(kernel_id, 1)
    assert elements(everything[0]) == unit
    assert elements(everything[1]) == 8192 or 95 * 1024 < nbytes(everything[1]) <= 96 * 1024
    assert max(elements(case) for case in everything[2:]) > 2000
    assert all(elements(case) <= 4096 and nbytes(case) <= 96 * 1024 for case in everything[2:])
    small = [elements(case) for case in everything if nbytes(case) <= 1024]
    assert len(small) > 180
    assert all(size % unit == 0 for size in small)
    assert any(size // unit % 2 for size in small)
    tight = list(cases(SPECS[kernel_id], 1, 200, max_bytes=20_000))
    assert nbytes(tight[1]) > 19_000 and max(nbytes(case) for case in tight) <= 20_000


def test_rope_cases_cover_its_variants() -> None:
    everything = all_cases("rope_f32")
    assert {None if c.inputs[1] is None else c.inputs[1].ndim for c in everything} == {None, 2, 3}
    assert {c.params["interleaved"] for c in everything} == {False, True}
    assert {c.params["pos"] for c in everything} >= {0, 1, 32768}
    assert any(not c.params["theta"] > 0 for c in everything)


# ---- comparison ----------------------------------------------------------------------------------


def test_compare_is_by_bits_but_for_nan() -> None:
    bits = [0x00000000, 0x80000000, 0x7FC00000, 0x7FC00001, 0xFFC00000, 0x3F800000, 0x3F800000]
    other = [0x80000000, 0x80000000, 0x7FC00001, 0x7F800001, 0x7FC00000, 0x3F800001, 0x7FC00000]
    board, host = (np.array(values, np.uint32).view(np.float32) for values in (bits, other))
    assert compare(board, host).tolist() == [True, False, False, False, False, True, True]


def test_two_runtimes_agree_and_are_within_the_bounds(host_runtime: Runtime, other_runtime: Runtime) -> None:
    seen: list[tuple[str, int, int]] = []
    report = check(Local(other_runtime), host_runtime, count=200, progress=lambda *step: seen.append(step))
    assert report.passed and report.exit_code == 0 and report.mismatches == 0
    assert [(kernel.id, kernel.cases) for kernel in report.kernels] == [(id, 200) for id in IDS]
    for kernel in report.kernels:
        assert kernel.elements > 10_000 and kernel.largest_error is not None
        exact = kernel.id.startswith("kv_")
        assert kernel.largest_error == 0 if exact else 0 < kernel.largest_error <= 1
    assert seen == [(id, done + 1, 200) for id in IDS for done in range(200)]


def flip_last_bit_of_one_element(kernel_id: str, result: Array) -> Array:
    if kernel_id == "rmsnorm_f32" and result.size > 1 and np.isfinite(result.flat[1]):
        result.reshape(-1).view(np.uint32)[1] ^= 1
    return result


def test_one_flipped_bit_is_found_with_its_place_and_patterns(host_runtime: Runtime, other_runtime: Runtime) -> None:
    report = check(Tampered(other_runtime, flip_last_bit_of_one_element), host_runtime)
    rmsnorm = next(kernel for kernel in report.kernels if kernel.id == "rmsnorm_f32")
    assert 10 < rmsnorm.mismatches == report.mismatches <= COUNT
    assert not report.passed and report.exit_code == 1
    first = rmsnorm.examples[0]
    case = all_cases("rmsnorm_f32", COUNT)[first.case]
    expected = host_runtime.run("rmsnorm_f32", *case.inputs, **case.params)
    assert first.index == tuple(int(i) for i in np.unravel_index(1, expected.shape))
    assert first.host == f"0x{int(expected.view(np.uint32).flat[1]):08x}"
    assert int(first.board, 16) == int(first.host, 16) ^ 1
    assert str(first) == (
        f"rmsnorm_f32 case {first.case} ({case.title}) at {list(first.index)}: board {first.board}, host {first.host}"
    )


def test_every_mismatch_is_counted_but_only_some_are_kept(host_runtime: Runtime, other_runtime: Runtime) -> None:
    def other(_id: str, result: Array) -> Array:
        return np.full_like(result, 0.123) if result.dtype.kind == "f" else result ^ 1

    report = check(Tampered(other_runtime, other), host_runtime, count=5)
    for kernel in report.kernels:
        assert kernel.mismatches == kernel.elements
        assert len(kernel.examples) == min(10, kernel.mismatches)


def test_nan_payloads_of_a_board_do_not_count(host_runtime: Runtime, other_runtime: Runtime) -> None:
    payloads = {"float32": 0xFFC12345, "float16": 0xFE45}

    def other_nan(_id: str, result: Array) -> Array:
        if result.dtype.kind == "f":
            bits = result.view(f"u{result.itemsize}")
            bits[np.isnan(result)] = payloads[result.dtype.name]
        return result

    assert check(Tampered(other_runtime, other_nan), host_runtime).passed


def larger(result: Array, factor: float) -> Array:
    """A result that is wrong: too large, or of a block format, with a bit flipped in every byte."""
    with np.errstate(over="ignore"):
        return result * result.dtype.type(factor) if result.dtype.kind == "f" else result ^ 0x40


def test_a_result_outside_the_bound_is_counted_for_its_side(host_runtime: Runtime, other_runtime: Runtime) -> None:
    report = check(Tampered(other_runtime, lambda _id, result: larger(result, 1 + 2.0**-9)), host_runtime)
    assert all(kernel.board_outside > 100 and kernel.host_outside == 0 for kernel in report.kernels)


def test_results_that_agree_but_are_wrong_fail(host_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Runtime.run

    def wrong(self: Runtime, kernel_id: str, *inputs: Any, **named: Any) -> Array:
        return larger(original(self, kernel_id, *inputs, **named), 2)

    monkeypatch.setattr(Runtime, "run", wrong)
    report = check(Local(host_runtime), host_runtime)
    assert report.mismatches == 0
    assert not report.passed and report.exit_code == 1
    assert report.to_json()["error_code"] == "CheckFailed"


def test_a_call_that_fails_on_one_side_only_is_a_mismatch(host_runtime: Runtime, other_runtime: Runtime) -> None:
    def fail(kernel_id: str, result: Array) -> Array:
        if kernel_id == "swiglu_f32":
            raise EpochDeadline("too slow")
        return result

    report = check(Tampered(other_runtime, fail), host_runtime)
    swiglu = next(kernel for kernel in report.kernels if kernel.id == "swiglu_f32")
    assert swiglu.mismatches == COUNT
    assert swiglu.examples[0].board == "EpochDeadline" and swiglu.examples[0].index is None
    assert swiglu.examples[0].host == "float32[1]"


def test_another_shape_is_a_mismatch(host_runtime: Runtime, other_runtime: Runtime) -> None:
    report = check(Tampered(other_runtime, lambda _id, result: result.ravel()[:1]), host_runtime, count=1)
    assert report.kernels[0].examples[0].board == "float32[1]"
    assert report.kernels[0].examples[0].host == "float32[1, 1, 1, 2]"


def test_the_same_error_on_both_sides_is_agreement(host_runtime: Runtime) -> None:
    case = all_cases("rmsnorm_f32", 20)[19]
    with pytest.raises(InvalidParams):
        host_runtime.run(case.kernel, *case.inputs, **case.params)


def test_the_report_in_json_has_the_promised_keys(host_runtime: Runtime, other_runtime: Runtime) -> None:
    report = json.loads(json.dumps(check(Local(other_runtime), host_runtime, count=3).to_json()))
    assert list(report) == ["board", "pack", "code", "kernels", "mismatches", "error_code", "exit"]
    assert (report["board"], report["pack"], report["code"]) == ("test", "core 1.0.0", "aot")
    assert (report["mismatches"], report["error_code"], report["exit"]) == (0, None, 0)
    for id, kernel in zip(IDS, report["kernels"], strict=True):
        assert (kernel["id"], kernel["cases"], kernel["mismatches"]) == (id, 3, 0)
