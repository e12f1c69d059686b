"""`host.runtime.fastcall`: both ways of calling do the same, and which one is taken depends on Wasmtime's version."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from wat_kernels import FAULTS, FAULTY, OnePack, module, one_input_spec

from host import errors
from host.pack.spec import Param
from host.runtime import Runtime, fastcall

WAYS = ("unchecked", "public")


@pytest.fixture(params=WAYS)
def faulty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A runtime that calls in one of the ways."""
    fastcall._is_written_for.cache_clear()
    if request.param == "public":
        monkeypatch.setattr(fastcall, "WRITTEN_FOR", "49")
    spec = one_input_spec("faulty", Param("what", "u32", 0), ticks=5)
    with warnings.catch_warnings(), Runtime() as runtime:
        warnings.simplefilter("ignore")
        runtime.install(OnePack(spec, portable=module(FAULTY)))
        yield runtime
    fastcall._is_written_for.cache_clear()


ENDS = {**FAULTS, 150: errors.KernelTrap}


def test_results_codes_and_traps_are_the_same(faulty: Runtime) -> None:
    x = faulty.tensor(1)
    good = faulty.bind("faulty", x)
    for what, error in ENDS.items():
        assert [good()[0], good()[0]] == [1, 2]
        for _ in range(2):
            with pytest.raises(errors.KernelError) as caught:
                faulty.bind("faulty", x, what=what)()
            assert type(caught.value) is error
        message = str(caught.value)
        assert message.startswith("faulty") and "backtrace" not in message


def test_every_call_gets_its_budget_in_full(faulty: Runtime) -> None:
    """Many times the budget passes, but between the calls of one instance."""
    bound = faulty.bind("faulty", faulty.tensor(1))
    for count in range(1, 4):
        assert bound()[0] == count
        time.sleep(0.08)


def test_another_version_of_wasmtime_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version("wasmtime")
    assert installed.split(".")[0] == fastcall.WRITTEN_FOR, "what pyproject.toml allows"
    fastcall._is_written_for.cache_clear()
    monkeypatch.setattr(fastcall, "WRITTEN_FOR", "49")
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("faulty", Param("what", "u32", 0)), portable=module(FAULTY)))
        with pytest.warns(RuntimeWarning, match=f"written for wasmtime 49, installed is {installed}") as caught:
            runtime.run("faulty", np.zeros(1, np.float32))
            runtime.run("faulty", runtime.tensor(1))
        assert len(caught) == 1
    fastcall._is_written_for.cache_clear()


def test_no_memory_is_lost_by_traps() -> None:
    """A trap is an object of Wasmtime's, which the exception owns."""
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("faulty", Param("what", "u32", 0)), portable=module(FAULTY)))

        def trap(times: int) -> int:
            for _ in range(times):
                with pytest.raises(errors.Unreachable):
                    runtime.run("faulty", np.zeros(1, np.float32), what=4)
            return resident_kilobytes()

        trap(200)
        before = resident_kilobytes()
        assert trap(400) - before < 4000


def resident_kilobytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
