"""The upgrade protocol with signed packs under Wasmtime: what a failure leaves, what goes back, what calls see."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from adding_packs import SPEC, AddingPack, adding_pack
from numpy.typing import NDArray
from wasmtime import Engine, Func, Instance, Memory, Module, Store, WasmtimeError

from host import errors, known_answer
from host.compatibility import CompatibilityChecker
from host.security_counters import FILE, SecurityCounters
from host.upgrade import Upgrade

F32 = NDArray[np.float32]
DESCRIPTOR = 1024
ONE, TWO, THREE = (adding_pack(number) for number in (1, 2, 3))
BROKEN = '(module (memory (export "memory") 1) (func (result i32) (f32.const 1)))'
ENGINE = Engine()


@cache
def compiled(wasm: bytes) -> Module:
    return Module(ENGINE, wasm)


class Loaded:
    """A pack's kernel, which must not be called once it is closed, nor closed while it is called."""

    def __init__(self, pack: AddingPack) -> None:
        self.pack = pack
        self.closed = 0
        self.during_call: Callable[[], object] = lambda: None
        try:
            self._module = compiled(pack.wasm)
        except WasmtimeError as error:
            raise errors.LoadError(str(error)) from error

    def call(self, x: F32) -> F32:
        assert not self.closed
        store = Store(ENGINE)
        exports = Instance(store, self._module, []).exports(store)
        memory, forward = exports["memory"], exports["add_forward"]
        assert isinstance(memory, Memory) and isinstance(forward, Func)
        at, size = DESCRIPTOR + 64, x.nbytes
        words = np.array([at, size, 0, 0, at + size, size, 0, 0, 0, 0], "<u4")
        memory.write(store, words.tobytes() + bytes(64 - words.nbytes) + x.tobytes(), DESCRIPTOR)
        self.during_call()
        assert forward(store, DESCRIPTOR) == 0
        assert not self.closed
        return np.frombuffer(memory.read(store, at + size, at + 2 * size), np.float32)

    def health_check(self) -> None:
        y = self.call(known_answer.inputs(SPEC)["x"].astype(np.float32))
        if hashlib.sha256(y.tobytes()).hexdigest() != self.pack.opened.kernels["add"].test.sha256:
            raise errors.HealthCheckFailed(f"{self.pack.version} adds another number")

    def close(self) -> None:
        self.closed += 1


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fixture:
    """An `Upgrade`, everything that it loaded, and its clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.file = folder / FILE
        self.loaded: list[Loaded] = []
        self.upgrade = self.make()

    def make(self, **options: float) -> Upgrade[AddingPack, Loaded]:
        host = CompatibilityChecker.of_this_host()
        return Upgrade(
            self._load,
            Loaded.health_check,
            Loaded.close,
            SecurityCounters(self.file),
            check=lambda pack: host.check(pack.opened.manifest),
            **{"clock": self.clock, **options},  # type: ignore[arg-type]
        )

    def _load(self, pack: AddingPack) -> Loaded:
        self.loaded.append(Loaded(pack))
        return self.loaded[-1]

    def call(self, x: F32 = np.zeros(3, np.float32)) -> F32:  # noqa: B008
        with self.upgrade.lease() as loaded:
            return loaded.call(x)

    def closed(self) -> list[int]:
        """How often each was closed."""
        return [loaded.closed for loaded in self.loaded]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Fixture]:
    made = Fixture(tmp_path)
    yield made
    made.upgrade.close()


# ---- installing ----------------------------------------------------------------------------------


def test_without_a_pack_a_call_is_refused(host: Fixture) -> None:
    with pytest.raises(errors.NoPack, match="no pack is installed"):
        host.upgrade.lease()
    assert (host.upgrade.current, host.upgrade.previous) == (None, None)


def test_the_pack_that_was_installed_last_is_called_and_the_one_before_kept(host: Fixture) -> None:
    host.upgrade.install(ONE)
    assert ONE.answers(np.zeros(3, np.float32), host.call())
    host.upgrade.install(TWO)
    assert TWO.answers(np.zeros(3, np.float32), host.call())
    assert (host.upgrade.current, host.upgrade.previous) == (TWO, ONE)
    assert (host.upgrade.swaps, host.closed()) == (2, [0, 0])


def test_of_three_packs_the_first_is_closed(host: Fixture) -> None:
    for pack in (ONE, TWO, THREE):
        host.upgrade.install(pack)
    assert (host.upgrade.previous, host.closed()) == (TWO, [1, 0, 0])


FAILURES = {
    "compatibility": (adding_pack(7, minimum="9.0.0"), errors.RuntimeTooOld, "adding 1.7.0 needs kern 9.0.0"),
    "counter": (adding_pack(7, counter=4), errors.DowngradeRefused, "adding has security counter 4, 5 was confirmed"),
    "load": (adding_pack(7, counter=5, module=BROKEN), errors.LoadError, "WebAssembly"),
    "health check": (adding_pack(7, counter=6, known=8), errors.HealthCheckFailed, "1.7.0 adds another number"),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_failure_at_any_step_leaves_the_old_pack_and_says_why(
    host: Fixture, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    pack, error, message = FAILURES[step]
    old = adding_pack(1, counter=5)
    host.upgrade.install(old)
    before = host.file.read_bytes()
    with caplog.at_level(logging.ERROR, "host.runtime"), pytest.raises(error, match=message):
        host.upgrade.install(pack)
    assert host.upgrade.current is old and old.answers(np.zeros(3, np.float32), host.call())
    assert (host.upgrade.previous, host.upgrade.swaps) == (None, 1)
    assert host.upgrade.failures == {error.__name__: 1}
    assert [loaded.closed for loaded in host.loaded] == [0, *[1] * (len(host.loaded) - 1)]
    assert host.file.read_bytes() == before, "nothing was confirmed"
    assert caplog.messages[0].startswith(f"installing adding 1.7.0 failed, adding 1.1.0 stays: {error.__name__}")


def test_a_counter_that_cannot_be_confirmed_leaves_the_old_pack(host: Fixture) -> None:
    host.upgrade.install(ONE)

    def damage(loaded: Loaded) -> None:
        host.file.write_text("{")

    host.upgrade._health_check = damage
    with pytest.raises(errors.DowngradeRefused, match="is damaged"):
        host.upgrade.install(TWO)
    assert (host.upgrade.current, host.closed()) == (ONE, [0, 1])


def test_a_first_pack_that_fails_leaves_none(host: Fixture) -> None:
    with pytest.raises(errors.HealthCheckFailed):
        host.upgrade.install(adding_pack(1, known=2))
    with pytest.raises(errors.NoPack):
        host.upgrade.lease()
    assert host.closed() == [1]
    assert not host.file.exists()


# ---- calls in flight -----------------------------------------------------------------------------


def test_a_call_ends_on_the_pack_it_began_with_and_only_then_is_that_closed(host: Fixture) -> None:
    host.upgrade.install(ONE)
    with host.upgrade.lease() as first, host.upgrade.lease() as again:
        assert first is again
        host.upgrade.install(TWO)
        host.upgrade.install(THREE)
        assert host.closed() == [0, 0, 0]
        assert ONE.answers(np.ones(2, np.float32), first.call(np.ones(2, np.float32)))
        assert THREE.answers(np.zeros(3, np.float32), host.call())
    assert host.closed() == [1, 0, 0]


def test_a_call_that_fails_ends_its_lease_too(host: Fixture) -> None:
    host.upgrade.install(ONE)
    with pytest.raises(errors.Unreachable), host.upgrade.lease():
        host.upgrade.install(TWO)
        host.upgrade.install(THREE)
        raise errors.Unreachable
    assert host.closed() == [1, 0, 0]


def test_what_closing_a_pack_raises_is_logged_and_nobody_else_s_error(
    host: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(loaded: Loaded) -> None:
        raise errors.Unreachable("kernel_cleanup")

    host.upgrade._close_loaded = fail
    for pack in (ONE, TWO, THREE):
        host.upgrade.install(pack)
    assert "closing a pack failed" in caplog.messages
    assert THREE.answers(np.zeros(3, np.float32), host.call())


def test_eight_threads_lose_no_call_and_mix_no_results_while_packs_swap_1000_times(host: Fixture) -> None:
    host.upgrade.install(ONE)
    swapping = threading.Event()
    begun = threading.Barrier(9)
    x = np.arange(1000, dtype=np.float32)

    def call_until_done() -> dict[int, int]:
        """How many calls each pack answered, by its number."""
        answered = {1: 0, 2: 0}
        begun.wait()
        while not swapping.is_set():
            with host.upgrade.lease() as loaded:
                y = loaded.call(x)
                assert loaded.pack.answers(x, y)
            answered[loaded.pack.number] += 1
        return answered

    with ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(call_until_done) for _ in range(8)]
        try:
            begun.wait()
            for index in range(1000):
                host.upgrade.install(ONE if index % 2 else TWO)
        finally:
            swapping.set()
        answered = [thread.result() for thread in threads]
    assert all(sum(counts.values()) for counts in answered)
    assert all(sum(counts[number] for counts in answered) for number in (1, 2))
    assert host.upgrade.swaps == 1001
    assert host.closed() == [1] * 999 + [0, 0], "all but the last two"


# ---- going back ----------------------------------------------------------------------------------


def test_rollback_swaps_back_and_again_forward(host: Fixture) -> None:
    host.upgrade.install(ONE)
    host.upgrade.install(TWO)
    assert host.upgrade.rollback() is ONE
    assert ONE.answers(np.zeros(3, np.float32), host.call())
    assert (host.upgrade.current, host.upgrade.previous) == (ONE, TWO)
    assert host.upgrade.rollback() is TWO
    assert (host.upgrade.rollbacks, host.upgrade.swaps, host.closed()) == (2, 2, [0, 0])


def test_there_is_no_way_back_from_the_first_pack(host: Fixture) -> None:
    with pytest.raises(errors.NoPreviousPack):
        host.upgrade.rollback()
    host.upgrade.install(ONE)
    with pytest.raises(errors.NoPreviousPack, match=r"there is no previous pack; one is kept for 300 s"):
        host.upgrade.rollback()
    assert host.upgrade.current is ONE


def test_the_way_back_ends_after_300_seconds(host: Fixture) -> None:
    host.upgrade.install(ONE)
    host.upgrade.install(TWO)
    host.clock.now += 299.9
    assert host.upgrade.previous is ONE
    host.upgrade.expire()
    assert host.closed() == [0, 0]
    host.clock.now += 0.1
    assert host.upgrade.previous is None
    with pytest.raises(errors.NoPreviousPack):
        host.upgrade.rollback()
    host.upgrade.expire()
    assert host.closed() == [1, 0]
    assert host.upgrade.current is TWO


def test_every_swap_begins_the_300_seconds_anew(host: Fixture) -> None:
    host.upgrade.install(ONE)
    host.upgrade.install(TWO)
    host.clock.now += 299
    host.upgrade.rollback()
    host.clock.now += 299
    assert host.upgrade.previous is TWO
    host.upgrade.install(THREE)
    host.clock.now += 299
    assert host.upgrade.previous is ONE
    assert host.closed() == [0, 1, 0]


def test_a_pack_whose_grace_ends_during_a_call_is_closed_after_it(host: Fixture) -> None:
    host.upgrade.install(ONE)
    with host.upgrade.lease():
        host.upgrade.install(TWO)
        host.clock.now += 300
        host.upgrade.expire()
        assert host.closed() == [0, 0]
    assert host.closed() == [1, 0]


def test_a_pack_whose_grace_ends_while_it_is_gone_back_to_stays(host: Fixture) -> None:
    host.upgrade.install(ONE)
    host.upgrade.install(TWO)

    def end_grace() -> None:
        host.clock.now += 300
        host.upgrade.expire()

    host.loaded[0].during_call = end_grace
    host.upgrade.rollback()
    host.loaded[0].during_call = lambda: None
    assert host.upgrade.current is ONE and ONE.answers(np.zeros(3, np.float32), host.call())
    assert host.closed() == [0, 0]


def test_going_back_is_refused_when_the_pack_does_not_work_any_more(host: Fixture) -> None:
    host.upgrade.install(ONE)
    host.upgrade.install(TWO)

    def fault() -> None:
        raise errors.EpochDeadline("add")

    host.loaded[0].during_call = fault
    with pytest.raises(errors.EpochDeadline):
        host.upgrade.rollback()
    assert (host.upgrade.current, host.upgrade.previous, host.upgrade.rollbacks) == (TWO, ONE, 0)
    assert TWO.answers(np.zeros(3, np.float32), host.call())


def test_going_back_below_the_confirmed_counter_is_refused(host: Fixture) -> None:
    host.upgrade.install(ONE)
    newer = adding_pack(2, counter=2)
    host.upgrade.install(newer)
    with pytest.raises(errors.DowngradeRefused, match="adding has security counter 1, 2 was confirmed before"):
        host.upgrade.rollback()
    assert host.upgrade.current is newer
    assert host.closed() == [0, 0]


# ---- by itself, and at the end -------------------------------------------------------------------


def grace_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pack-grace"]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_previous_pack_is_closed_without_anyone_calling_anything(host: Fixture) -> None:
    host.upgrade = host.make(clock=time.monotonic, grace=0.2)  # type: ignore[arg-type]
    for pack in (ONE, TWO, THREE):
        host.upgrade.install(pack)
    assert host.closed() == [1, 0, 0]
    assert len(grace_threads()) == 1
    wait_until(lambda: host.closed() == [1, 1, 0])
    wait_until(lambda: not grace_threads())


def test_close_ends_every_pack_and_its_timer(host: Fixture) -> None:
    host.upgrade.install(ONE)
    host.upgrade.install(TWO)
    with host.upgrade.lease() as loaded:
        host.upgrade.close()
        assert host.closed() == [1, 0]
        assert TWO.answers(np.zeros(3, np.float32), loaded.call(np.zeros(3, np.float32)))
    assert host.closed() == [1, 1]
    assert not grace_threads()
    for refused in (lambda: host.upgrade.install(THREE), host.upgrade.rollback, host.upgrade.lease):
        with pytest.raises(errors.NoPack):
            refused()
    host.upgrade.close()
    assert host.closed() == [1, 1]


def test_closed_packs_are_not_kept_in_memory(host: Fixture) -> None:
    for _ in range(5):
        host.upgrade.install(ONE)
    host.loaded.clear()
    gc.collect()
    assert len([thing for thing in gc.get_objects() if isinstance(thing, Loaded)]) == 2


# ---- security counters ---------------------------------------------------------------------------


def test_counters_outlast_the_process_for_each_pack_by_its_name(host: Fixture) -> None:
    host.upgrade.install(adding_pack(1, counter=3))
    host.upgrade.install(adding_pack(1, counter=1, name="other"))
    assert json.loads(host.file.read_bytes()) == {"format": 1, "counters": {"adding": 3, "other": 1}}
    assert host.file.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in host.file.parent.iterdir() if file.suffix != ".lock"] == [FILE]
    with pytest.raises(errors.DowngradeRefused, match="adding has security counter 2, 3 was confirmed before"):
        host.make().install(adding_pack(1, counter=2))


def test_counters_are_in_the_users_state_folder(state_dir: Path) -> None:
    SecurityCounters().confirm("adding", 2)
    assert (state_dir / FILE).is_file()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"format": 1}',
        '{"format": 2, "counters": {}}',
        '{"format": true, "counters": {}}',
        '{"format": 1, "counters": []}',
        '{"format": 1, "counters": {}, "more": 1}',
        '{"format": 1, "counters": {"adding": -1}}',
        '{"format": 1, "counters": {"adding": 4294967296}}',
        '{"format": 1, "counters": {"adding": 1.0}}',
        '{"format": 1, "counters": {"adding": true}}',
        '{"format": 1, "counters": {"adding": "1"}}',
        '{"format": 1, "counters": {"adding": 5, "adding": 0}}',
        '{"format": 1, "counters": {}} {}',
        '{"format": 1, "counters": {"\xe4": 1}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_an_error_that_says_so_and_stays_as_it_is(host: Fixture, text: str) -> None:
    host.file.write_text(text, encoding="utf-8")
    with pytest.raises(errors.DowngradeRefused, match=r"security-counters\.json is damaged \(.*delete it to trust"):
        host.upgrade.install(ONE)
    assert host.upgrade.current is None
    assert host.file.read_text(encoding="utf-8") == text


def test_a_file_that_cannot_be_read_refuses_too(host: Fixture) -> None:
    host.file.mkdir()
    with pytest.raises(errors.DowngradeRefused, match="is damaged"):
        host.upgrade.install(ONE)


def test_a_counter_never_falls_whoever_confirms_at_once(tmp_path: Path) -> None:
    def confirm(counter: int) -> None:
        try:
            SecurityCounters(tmp_path / FILE).confirm(f"pack{counter % 2}", counter)
        except errors.DowngradeRefused as error:
            assert "was confirmed before" in str(error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(confirm, range(64)))
    counters = SecurityCounters(tmp_path / FILE)
    assert (counters.confirmed("pack0"), counters.confirmed("pack1")) == (62, 63)
