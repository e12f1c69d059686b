"""`Runtime.tensor`, `bind` and `batch`: calls on memory that kernels share, without copies."""

from __future__ import annotations

import dataclasses
import gc
import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import SPECS, CorePack, example, named_inputs
from wat_kernels import ADD, F32, FAULTY, N, OnePack, arrays, module, one_input_spec

from host import errors
from host.pack.spec import Param, Region, Tensor
from host.runtime import Array, Bound, Runtime
from host.runtime.arena import PRIVATE

# y[0] = x[0] + n, where n counts the calls that this instance has had; then it writes over all that it can reach
# below the arena.
SPOILER = """
  (global $calls (mut i32) (i32.const 0))
  (func (export "spoiler_forward") (param $desc i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (f32.store (i32.load offset=16 (local.get $desc))
      (f32.add (f32.load (i32.load (local.get $desc))) (f32.convert_i32_u (global.get $calls))))
    (memory.fill (i32.const 0) (i32.const 255) (i32.const 65536))
    (i32.const 0))"""

# y[0] = x[i], whatever i
PEEK = """
  (func (export "peek_forward") (param $desc i32) (result i32)
    (i32.store (i32.load offset=16 (local.get $desc))
      (i32.load (i32.load offset=4 (i32.load offset=32 (local.get $desc)))))
    (i32.const 0))"""


@pytest.fixture(scope="module")
def core() -> Iterator[Runtime]:
    with Runtime() as runtime:
        runtime.install(CorePack())
        yield runtime


def runtime_of(
    name: str, functions: str, *params: Param, pages: int = 4, ticks: int = 10, inout: bool = False
) -> Runtime:
    spec = one_input_spec(name, *params, pages=pages, ticks=ticks)
    if inout:
        spec = dataclasses.replace(spec, outputs=(Tensor("y", Region.OUTPUT, F32, (N,), inout=True),))
    runtime = Runtime()
    runtime.install(OnePack(spec, portable=module(functions)))
    return runtime


def same_memory(one: Array, other: Array) -> bool:
    return one.__array_interface__["data"] == other.__array_interface__["data"]


# ---- tensors -------------------------------------------------------------------------------------


def test_tensors_are_zeros_or_the_data_in_the_shape_and_dtype_asked_for(core: Runtime) -> None:
    x = core.tensor((2, 3), "f16")
    assert (x.shape, x.dtype, x.any()) == ((2, 3), np.float16, False)
    assert core.tensor(5).dtype == np.float32
    assert core.tensor((), "i32").shape == ()
    assert core.tensor((0, 4)).shape == (0, 4)
    assert core.tensor((2, 2), "u8", [[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    x[...] = 1
    del x
    gc.collect()
    assert not core.tensor((2, 3), "f16").any(), "also where another one was"


def test_tensors_of_blocks_have_their_shape_in_elements(core: Runtime) -> None:
    assert core.tensor((3, 64), "q4").shape == (3, 36)
    assert core.tensor((3, 64), "q8").dtype == np.uint8
    with pytest.raises(ValueError, match="last dimension of a q8 tensor is 33, must be a multiple of 32"):
        core.tensor((3, 33), "q8")


def test_tensors_that_cannot_be_are_refused(core: Runtime) -> None:
    with pytest.raises(ValueError, match="no dtype 'f64'; dtypes: f32, f16"):
        core.tensor(1, "f64")
    with pytest.raises(ValueError, match="negative dimension"):
        core.tensor((1, -1))
    with pytest.raises(MemoryError):
        core.tensor((1 << 20, 1 << 12))


def test_tensors_made_together_lie_as_in_a_region(core: Runtime) -> None:
    a, b = core.tensors(((3, 3), "f32"), ((3, 5), "f32"))
    distance = b.__array_interface__["data"][0] - a.__array_interface__["data"][0]
    assert distance == 48 and a.shape == (3, 3) and b.shape == (3, 5)


def test_tensors_stay_when_the_runtime_is_closed() -> None:
    with Runtime() as runtime:
        x = runtime.tensor((1000,), "f32", np.arange(1000))
    assert x.sum() == 499500


# ---- run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_id", SPECS)
def test_calls_on_tensors_give_the_same_bits_as_on_arrays(core: Runtime, kernel_id: str) -> None:
    inputs = named_inputs(example(kernel_id))
    expected = core.run(kernel_id, **{name: array.copy() for name, array in inputs.items()}).tobytes()
    for chosen in itertools.product((np.copy, partial(as_tensor, core)), repeat=len(inputs)):
        for _ in range(2):  # an output that is read first needs its old content again
            given_ = {name: make(array) for make, (name, array) in zip(chosen, inputs.items(), strict=True)}
            assert core.run(kernel_id, **given_).tobytes() == expected, chosen


def as_tensor(runtime: Runtime, array: Array) -> Array:
    tensor = runtime.tensor(array.nbytes, "u8").view(array.dtype).reshape(array.shape)
    tensor[...] = array
    return tensor


def test_the_result_is_a_tensor_when_an_argument_is_so_calls_chain(core: Runtime) -> None:
    x, weight = arrays((2, 3, 4, 8), (8,))
    first = core.run("rope_f32", core.tensor(x.shape, "f32", x))
    second = core.run("rmsnorm_f32", first, weight)
    assert first.base is not None and second.base is not None
    assert np.array_equal(second, core.run("rmsnorm_f32", core.run("rope_f32", x), weight))


def test_a_kernel_writes_straight_into_out(core: Runtime) -> None:
    gate, up = (core.tensor(a.shape, "f32", a) for a in arrays((9,), (9,)))
    out = core.tensor((3, 9))
    assert core.run("swiglu_f32", gate, up, out=out[1]).base is out.base
    assert np.array_equal(out[1], core.run("swiglu_f32", gate.copy(), up.copy()))
    assert not out[0].any() and not out[2].any()


def test_out_may_overlap_an_input_or_have_any_layout(core: Runtime) -> None:
    x, weight = arrays((4, 8), (8,))
    expected = core.run("rmsnorm_f32", x, weight)
    tensor = core.tensor(x.shape, "f32", x)
    assert core.run("rmsnorm_f32", tensor, weight, out=tensor) is tensor
    assert np.array_equal(tensor, expected)
    for out in (core.tensor((4, 16))[:, ::2], core.tensor((8, 4)).T, np.zeros((4, 8), np.float32)):
        core.run("rmsnorm_f32", core.tensor(x.shape, "f32", x), weight, out=out)
        assert np.array_equal(out, expected)


def test_an_out_that_is_read_only_stays_as_it_is(core: Runtime) -> None:
    gate, up, out = (core.tensor((9,), "f32", np.ones(9)) for _ in range(3))
    core.run("swiglu_f32", gate, up, out=out)
    before = out.copy()
    out.flags.writeable = False
    gate[...] = 2
    with pytest.raises(ValueError, match="read-only"):
        core.run("swiglu_f32", gate, up, out=out)
    with pytest.raises(ValueError, match="writable"):
        core.bind("swiglu_f32", gate, up, out=out)
    assert np.array_equal(out, before)


def test_tensors_of_another_runtime_are_ordinary_arrays(core: Runtime) -> None:
    gate, up = arrays((9,), (9,))
    with Runtime() as other:
        theirs = other.tensor((9,), "f32", gate)
        assert np.array_equal(core.run("swiglu_f32", theirs, up), core.run("swiglu_f32", gate, up))


def test_results_never_move_or_change_when_other_calls_need_more_memory(core: Runtime) -> None:
    x, up = core.tensor((7,), "f32", np.arange(7)), core.tensor((7,), "f32", np.ones(7))
    bound = core.bind("swiglu_f32", x, up)
    expected = bound().copy()
    big = [core.tensor((1 << 20,), "f32", np.full(1 << 20, i)) for i in range(3)]
    core.run("swiglu_f32", big[0], big[1], out=big[2])
    assert np.array_equal(bound.out, expected) and np.array_equal(bound(), expected)
    x[0] = 5
    assert bound()[0] == core.run("swiglu_f32", x.copy(), up.copy())[0]


def test_a_tensor_beyond_the_kernel_s_memory_limit_is_a_memory_error() -> None:
    with runtime_of("add", ADD, inout=True) as runtime:
        low = runtime.tensor(1000)
        filler = runtime.tensor(3 << 14)  # to the end of the fourth page, and more
        high = runtime.tensor(1000)
        with pytest.raises(
            MemoryError, match=r"add: a tensor of the call ends at \d+ bytes of memory, the limit is 262144"
        ):
            runtime.run("add", high, low)
        with pytest.raises(MemoryError, match=r"add: no room for \d+ bytes below 262144, which is its limit"):
            runtime.run("add", low, np.zeros(1000, np.float32))
        assert runtime.run("add", np.ones(1000, np.float32), np.ones(1000, np.float32))[0] == 2, (
            "arrays need no room there"
        )
        del filler, high
        gc.collect()
        assert runtime.run("add", low, np.ones(1000, np.float32))[0] == 1


def test_a_kernel_that_spoils_its_own_memory_spoils_no_other_and_no_tensor() -> None:
    """Each instance has its own first page; the next call finds its descriptor there all the same."""
    with runtime_of("spoiler", SPOILER) as runtime:
        x = runtime.tensor(4, "f32", [10, 11, 12, 13])
        bound, other = runtime.bind("spoiler", x), runtime.bind("spoiler", x)
        assert [bound()[0], other()[0], bound()[0]] == [11, 12, 13]
        assert x.tolist() == [10, 11, 12, 13]


def test_a_kernel_reaches_the_arena_and_traps_beyond_it() -> None:
    with runtime_of("peek", PEEK, Param("at", "u32", 0)) as runtime:
        x = runtime.tensor(4, "i32", [1, 2, 3, 4]).view(np.float32)
        assert runtime.run("peek", x, at=PRIVATE + 4).view(np.int32)[0] == 2
        for call in (lambda: runtime.run("peek", x, at=2 * PRIVATE), lambda: runtime.run("peek", x.copy(), at=PRIVATE)):
            with pytest.raises(errors.MemoryAccessViolation, match="out of bounds memory access"):
                call()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3000), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_any_mix_of_arrays_and_tensors_gives_what_numpy_does(calls: list[tuple[int, bool, bool]]) -> None:
    with runtime_of("add", WHOLE_ADD, pages=64, inout=True) as runtime:
        kept = []
        for size, x_is_tensor, y_is_tensor in calls:
            x, y = np.arange(size, dtype=np.float32), np.full(size, 0.5, np.float32)
            expected = x + y
            if x_is_tensor:
                x = runtime.tensor(size, "f32", x)
            if y_is_tensor:
                y = runtime.tensor(size, "f32", y)
            assert runtime.run("add", y, x) is y
            kept.append((y, expected))
        for y, expected in kept:
            assert np.array_equal(y, expected)


# y += x, all of it
WHOLE_ADD = """
  (func (export "add_forward") (param $desc i32) (result i32)
    (local $i i32) (local $end i32)
    (local.set $end (i32.load offset=4 (local.get $desc)))
    (loop $again
      (f32.store (i32.add (i32.load offset=16 (local.get $desc)) (local.get $i))
        (f32.add (f32.load (i32.add (i32.load offset=16 (local.get $desc)) (local.get $i)))
          (f32.load (i32.add (i32.load (local.get $desc)) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 4)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $end))))
    (i32.const 0))"""


# ---- bind and batch ------------------------------------------------------------------------------


def test_a_bound_call_works_on_what_its_tensors_hold_then(core: Runtime) -> None:
    gate, up = arrays((9,), (9,))
    bound = core.bind("swiglu_f32", gate, up)
    assert np.array_equal(bound(), core.run("swiglu_f32", gate, up)) and bound() is bound.out
    gate[...] = 0
    assert bound().any(), "arrays are copied when they are bound"
    bound.tensors["gate"][...] = 0
    assert not bound().any()
    assert set(bound.tensors) == {"gate", "up", "y"} and bound.tensors["y"] is bound.out


def test_a_bound_call_uses_tensors_where_they_lie(core: Runtime) -> None:
    x, a, b, y = arrays((2, 3), (3, 4), (4, 5), (2, 5))
    ta, tb = core.tensors(((3, 4), "f32"), ((4, 5), "f32"))
    ta[...], tb[...] = a, b
    tx, ty = core.tensor(x.shape, "f32", x), core.tensor(y.shape, "f32", y)
    bound = core.bind("lora_apply_f32", ty, tx, ta, tb, scale=0.5)
    for name, tensor in {"x": tx, "a": ta, "b": tb, "y": ty}.items():
        assert bound.tensors[name] is tensor, name
    expected = y + 0.5 * (x @ a @ b)
    np.testing.assert_allclose(bound(), expected, rtol=1e-4, atol=1e-5)
    assert same_memory(bound.out, ty)


def test_tensors_that_do_not_lie_as_their_region_needs_are_copied(core: Runtime) -> None:
    x, a, b, y = arrays((2, 3), (3, 4), (4, 5), (2, 5))
    tb, ta = core.tensors(((4, 5), "f32"), ((3, 4), "f32"))
    ta[...], tb[...] = a, b
    bound = core.bind("lora_apply_f32", core.tensor(y.shape, "f32", y), x, ta, tb)
    assert bound.tensors["a"] is not ta and bound.tensors["b"] is not tb
    np.testing.assert_allclose(bound(), y + x @ a @ b, rtol=1e-4, atol=1e-5)


def test_bound_calls_chain_through_one_tensor(core: Runtime) -> None:
    x, weight = arrays((2, 3, 4, 8), (8,))
    rope = core.bind("rope_f32", x, theta=500.0)
    norm = core.bind("rmsnorm_f32", rope.out, weight)
    assert norm.tensors["x"] is rope.out
    core.batch([rope, norm])
    assert np.array_equal(norm.out, core.run("rmsnorm_f32", core.run("rope_f32", x, theta=500.0), weight))


def test_what_bind_cannot_write_to_is_refused(core: Runtime) -> None:
    gate, up = arrays((9,), (9,))
    with pytest.raises(ValueError, match="swiglu_f32: y must be a tensor of this runtime"):
        core.bind("swiglu_f32", gate, up, out=np.zeros(9, np.float32))
    tensor = core.tensor((9,))
    with pytest.raises(ValueError, match="overlaps no input"):
        core.bind("swiglu_f32", tensor, up, out=tensor)
    with pytest.raises(ValueError, match="lora_apply_f32: y must be a tensor"):
        core.bind("lora_apply_f32", *arrays((2, 5), (2, 3), (3, 4), (4, 5)))
    with pytest.raises(errors.NoSuchKernel):
        core.bind("ghost")
    with pytest.raises(TypeError, match="input up is missing"):
        core.bind("swiglu_f32", gate)


def test_a_batch_makes_its_calls_in_order_and_ends_at_the_first_error() -> None:
    with runtime_of("faulty", FAULTY, Param("what", "u32", 0)) as runtime:
        x = np.zeros(1, np.float32)
        good = [runtime.bind("faulty", x) for _ in range(3)]
        assert [out[0] for out in runtime.batch(good)] == [1, 2, 3]
        bad = runtime.bind("faulty", x, what=4)
        with pytest.raises(errors.Unreachable):
            runtime.batch([good[0], bad, good[1]])
        assert [good[0].out[0], good[1].out[0]] == [4, 2]
        assert runtime.batch([]) == []
        assert good[2]()[0] == 1, "in a new instance"
        assert (runtime.stats()["calls"], runtime.stats()["errors"]) == (6, {"Unreachable": 1})


def test_a_batch_of_several_kernels_keeps_their_order(core: Runtime) -> None:
    (x,) = arrays((2, 64))
    pack = core.bind("kv_pack_q8", x)
    unpack = core.bind("kv_unpack_q8", pack.out)
    again = core.bind("kv_pack_q8", unpack.out)
    outputs = core.batch([pack, unpack, again, pack])
    assert outputs[0] is pack.out and outputs[2] is again.out
    assert np.array_equal(unpack.out, core.run("kv_unpack_q8", core.run("kv_pack_q8", x)))


def test_errors_of_bound_calls_are_those_of_run_and_the_next_call_works() -> None:
    with runtime_of("faulty", FAULTY, Param("what", "u32", 0)) as runtime:
        x = runtime.tensor(1)
        good = runtime.bind("faulty", x)
        for what, error in {1: errors.EpochDeadline, 2: errors.MemoryAccessViolation, 101: errors.InvalidInput}.items():
            bad = runtime.bind("faulty", x, what=what)
            assert good()[0] == 1
            with pytest.raises(error) as caught:
                bad()
            assert caught.value.kernel == "faulty"
            assert good()[0] == 1, "an instance that failed is not used again"
            with pytest.raises(error):
                bad()


def test_bound_calls_end_with_their_pack(core: Runtime) -> None:
    runtime = runtime_of("add", ADD, inout=True)
    bound = runtime.bind("add", runtime.tensor(1), runtime.tensor(1))
    assert isinstance(bound, Bound)
    bound()
    runtime.install(OnePack(dataclasses.replace(one_input_spec("copy")), portable=module()))
    with pytest.raises(errors.NoPack):
        bound()
    runtime.close()
