"""Several threads call kernels at once, and what one of them does harms no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from kernel_builds import SPECS, CorePack
from wat_kernels import COPY, FAULTY, OnePack, module, one_input_spec

from host import errors
from host.pack.spec import Param
from host.runtime import Runtime
from host.runtime.engine import WASM_STACK

# Counts up to `what` millions, then y[0] = x[0].
SLOW = """
  (func (export "slow_forward") (param $desc i32) (result i32)
    (local $left i64)
    (local.set $left (i64.mul (i64.const 1000000) (i64.load32_u offset=4 (i32.load offset=32 (local.get $desc)))))
    (loop $again
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
    (i32.store (i32.load offset=16 (local.get $desc)) (i32.load (i32.load (local.get $desc))))
    (i32.const 0))"""

# y[0] = how deep it got, until there is no stack left.
DEEP = """
  (func $deeper (param $at i32) (param $depth i32) (result i32)
    (i32.store (local.get $at) (local.get $depth))
    (i32.add (i32.const 1) (call $deeper (local.get $at) (i32.add (local.get $depth) (i32.const 1)))))
  (func (export "deep_forward") (param $desc i32) (result i32)
    (call $deeper (i32.load offset=16 (local.get $desc)) (i32.const 1)))"""


def in_threads(work: Callable[[int], None], threads: int = 8) -> None:
    """Run ``work`` in threads that start at once; raises what the first of them raised."""
    start = threading.Barrier(threads)

    def run(number: int) -> None:
        start.wait(30)
        work(number)

    with ThreadPoolExecutor(threads) as pool:
        done: list[Future[None]] = [pool.submit(run, number) for number in range(threads)]
        for future in done:
            future.result(60)


@pytest.fixture(scope="module")
def core() -> Iterator[Runtime]:
    with Runtime() as runtime:
        runtime.install(CorePack())
        yield runtime


@pytest.fixture
def slow() -> Iterator[Runtime]:
    spec = one_input_spec("slow", Param("what", "u32", 0), ticks=100)
    with Runtime() as runtime:
        runtime.install(OnePack(spec, portable=module(SLOW)))
        yield runtime


def test_threads_get_their_own_results_from_one_kernel(core: Runtime) -> None:
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal((2, 4, 2, 16)).astype(np.float32) for _ in range(8)]
    expected = [core.run("rope_f32", x, pos=number) for number, x in enumerate(inputs)]
    tensors = [core.tensor(x.shape, "f32", x) for x in inputs]

    def work(number: int) -> None:
        bound = core.bind("rope_f32", tensors[number], pos=number)
        for _ in range(200):
            assert np.array_equal(core.run("rope_f32", inputs[number], pos=number), expected[number])
            assert np.array_equal(core.run("rope_f32", tensors[number], pos=number), expected[number])
            assert np.array_equal(bound(), expected[number])

    in_threads(work)


def test_threads_call_all_kernels_at_once(core: Runtime) -> None:
    ids = [id for id in SPECS if id.startswith(("swiglu", "rmsnorm"))]
    rng = np.random.default_rng(3)

    def call(id: str, size: int) -> np.ndarray:
        dtype = np.dtype(SPECS[id].inputs[0].dtype.numpy)
        x = (np.arange(size) % 7 - 3).astype(dtype)
        return core.run(id, x, x)

    sizes = rng.integers(1, 300, 50).tolist()
    expected = {(id, size): call(id, size) for id in ids for size in sizes}

    def work(number: int) -> None:
        for at in range(400):
            id, size = ids[(at + number) % len(ids)], sizes[at * (number + 1) % len(sizes)]
            assert np.array_equal(call(id, size), expected[id, size])

    in_threads(work)


def test_each_call_has_an_instance_alone_and_idle_ones_are_used_again() -> None:
    """The kernel counts its instance's calls: the counts are those of a few instances, each counted once."""
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("faulty", Param("what", "u32", 0)), portable=module(FAULTY)))
        counts: list[int] = []

        def work(number: int) -> None:
            for _ in range(300):
                counts.append(int(runtime.run("faulty", np.zeros(1, np.float32))[0]))

        in_threads(work)
        assert len(counts) == 2400 and counts.count(1) <= 8
        assert all(counts.count(count) <= counts.count(1) for count in set(counts))
        assert runtime.stats()["calls"] == 2400


def test_a_call_runs_while_another_thread_is_in_the_same_kernel(slow: Runtime) -> None:
    x = np.array([1.5], np.float32)
    ended: list[str] = []

    def spin() -> None:
        with pytest.raises(errors.EpochDeadline):
            slow.run("slow", x, what=2**31)
        ended.append("deadline")

    thread = threading.Thread(target=spin)
    thread.start()
    for _ in range(50):
        assert slow.run("slow", x) == x
    ended.append("calls")
    thread.join()
    assert ended == ["calls", "deadline"]


def test_a_deadline_in_one_thread_leaves_the_others_theirs() -> None:
    with Runtime() as runtime:
        spec = one_input_spec("faulty", Param("what", "u32", 0), ticks=10)
        runtime.install(OnePack(spec, portable=module(FAULTY)))

        def work(number: int) -> None:
            x = np.zeros(1, np.float32)
            for _ in range(3):
                if number % 2:
                    start = time.monotonic()
                    with pytest.raises(errors.EpochDeadline):
                        runtime.run("faulty", x, what=1)
                    assert time.monotonic() - start >= 0.1
                else:
                    for what, error in {4: errors.Unreachable, 2: errors.MemoryAccessViolation}.items():
                        with pytest.raises(error):
                            runtime.run("faulty", x, what=what)
                        runtime.run("faulty", x)

        in_threads(work, 6)
        assert runtime.stats()["errors"] == {"EpochDeadline": 9, "Unreachable": 9, "MemoryAccessViolation": 9}


def test_a_call_in_flight_finishes_on_the_pack_that_it_began_with(slow: Runtime) -> None:
    x = np.array([1.5], np.float32)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(slow.run, "slow", x, what=300)
        time.sleep(0.03)
        assert not result.done()
        slow.install(OnePack(one_input_spec("copy"), portable=module(COPY)))
        assert slow.run("copy", x) == x
        assert not result.done(), "it was in flight while the packs changed"
        assert result.result(10) == x


def test_a_call_in_flight_has_its_deadline_also_when_the_runtime_is_closed(slow: Runtime) -> None:
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(slow.run, "slow", np.zeros(1, np.float32), what=2**31)
        time.sleep(0.03)
        slow.close()
        with pytest.raises(errors.EpochDeadline):
            result.result(10)


def test_the_clock_ends_with_the_runtime() -> None:
    before = threading.active_count()
    for _ in range(20):
        with Runtime() as runtime:
            runtime.install(OnePack(one_input_spec("copy"), portable=module(COPY)))
            runtime.run("copy", [1.0])
    assert threading.active_count() <= before + 1


def test_a_call_may_use_so_much_stack_and_no_more() -> None:
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("deep"), portable=module(DEEP)))

        def work(number: int) -> None:
            bound = runtime.bind("deep", np.zeros(1, np.float32))
            with pytest.raises(errors.StackOverflow):
                bound()
            depth = int(bound.out.view(np.int32)[0])
            # A frame has at least a return address and a frame pointer.
            assert 100 < depth <= WASM_STACK / 16

        in_threads(work, 4)
