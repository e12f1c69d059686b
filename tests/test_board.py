"""The link to an emulated board: code, bytes both ways, errors by name, and what happens when either side goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host import errors
from host.board import Board, connect
from host.emulator import EmulatedBoard, ProgramBoard
from host.errors import (
    BoardError,
    DeviceBusy,
    DeviceError,
    DeviceTimeout,
    HashMismatch,
    InvalidParams,
    KernelTrap,
    MemoryAccessViolation,
    NoDevice,
    NoTrustedKey,
)
from host.link import board_error
from host.pack import Pack
from host.runtime import Runtime

pytestmark = pytest.mark.every_board

Emulated = EmulatedBoard | ProgramBoard


@pytest.fixture(scope="module")
def pack(core_pack: Path) -> Pack:
    """The pack that the board has."""
    return Pack.open(core_pack)


@pytest.fixture(scope="module")
def runtime(pack: Pack) -> Iterator[Runtime]:
    """The same pack under Wasmtime."""
    with Runtime() as runtime:
        runtime.install(pack)
        yield runtime


# ---- code ----------------------------------------------------------------------------------------


def test_exec_returns_what_the_board_printed(board: Board) -> None:
    assert board.exec("print('a\\nb', 1 + 1)") == "a\nb 2\n"


def test_eval_returns_values(board: Board) -> None:
    assert board.eval("{'a': (1, 2.5, None), 'b': [b'\\x00\\x03\\xff', 'é']}") == {
        "a": (1, 2.5, None),
        "b": [b"\x00\x03\xff", "é"],
    }


@pytest.mark.parametrize("expression", ["object", "print('boot') or 1", "float('nan')"])
def test_what_is_no_value_is_an_error_that_shows_it(board: Board, expression: str) -> None:
    with pytest.raises(DeviceError, match=r"printed .*(class 'object'|boot|nan).* where a value was expected"):
        board.eval(expression)
    assert board.eval("1") == 1


def test_code_longer_than_any_buffer_arrives(board: Board) -> None:
    assert board.exec("x = 0\n" + "x += 1\n" * 1000 + "print(x)") == "1000\n"


def test_a_python_error_is_a_board_error_with_its_traceback(board: Board) -> None:
    with pytest.raises(BoardError) as error:
        board.exec("def f():\n    return 1 // 0\nf()")
    assert "line 2, in f" in str(error.value)
    assert "ZeroDivisionError" in str(error.value)


def test_a_kern_error_is_raised_by_its_name(board: Board) -> None:
    with pytest.raises(HashMismatch, match="swiglu: 1 of 2"):
        board.exec("import kern; raise kern.HashMismatch('swiglu: 1 of 2')")


def test_code_that_takes_too_long_is_stopped_and_the_next_runs(board: Board) -> None:
    with pytest.raises(DeviceTimeout):
        board.exec("while True: pass", timeout=0.5)
    assert board.eval("6 * 7") == 42


def test_soft_reset_forgets_objects_and_keeps_the_pack(board: Board, pack: Pack) -> None:
    board.exec("answer = 42")
    board.soft_reset()
    assert board.eval("'answer' in globals()") is False
    assert board.status()["pack"]["name"] == pack.name


def test_a_board_that_restarted_by_itself_is_usable(board: Board) -> None:
    board.run("swiglu_f32", [np.ones(3, "f4"), np.ones(3, "f4")])
    board.exec("import sys; sys.exit()")
    assert board.run("swiglu_f32", [np.ones(3, "f4"), np.zeros(3, "f4")]).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("EpochDeadline: rope_f32", errors.EpochDeadline, "rope_f32"),
        ("kern.NoTrustedKey: ab:cd", NoTrustedKey, "ab:cd"),
        ("Unreachable: ", errors.Unreachable, ""),
        ("Unreachable", errors.Unreachable, ""),
        ("MemoryError: arena: 5 bytes wanted", BoardError, "MemoryError: arena"),
        ("", BoardError, "without saying why"),
    ],
)
def test_tracebacks_become_errors(text: str, kind: type[errors.HostError], message: str) -> None:
    before = 'Traceback (most recent call last):\n  File "<stdin>", line 1, in <module>\n'
    error = board_error(f"{before}{text}\n" if text else "")
    assert type(error) is kind
    assert message in str(error)


def test_a_traps_code_is_kept() -> None:
    error = board_error("KernelTrap: ('code_f32: kernel returned', 77)\n")
    assert isinstance(error, KernelTrap)
    assert (str(error), error.trap_code) == ("code_f32: kernel returned", 77)


def test_an_access_violations_place_is_kept() -> None:
    error = board_error("MemoryAccessViolation: ('out of bounds', 65536, 4)\n")
    assert isinstance(error, MemoryAccessViolation)
    assert (error.offset, error.size) == (65536, 4)


@given(st.text())
def test_any_traceback_becomes_an_error(text: str) -> None:
    assert isinstance(board_error(text), errors.HostError)


# ---- kernels -------------------------------------------------------------------------------------


def test_run_gives_the_bits_that_wasmtime_gives(board: Board, runtime: Runtime) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 2, 8)).astype("f4")
    ours = runtime.run("rope_f32", x, theta=500000.0, pos=7, interleaved=False)
    theirs = board.run("rope_f32", [x, None], {"theta": 500000.0, "pos": 7, "interleaved": False})
    assert theirs.shape == x.shape
    assert theirs.tobytes() == ours.tobytes()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=200), repeat=st.integers(1, 5))
def test_any_bytes_arrive_as_they_are(board: Board, runtime: Runtime, data: bytes, repeat: int) -> None:
    """Ctrl-C, Ctrl-D and the like are data here. silu of these bits differs from Wasmtime's if one of them changed."""
    bits = np.frombuffer((data * repeat * 4)[: len(data) * repeat * 4 // 4 * 4], "<f4")
    ours, theirs = runtime.run("swiglu_f32", bits, bits), board.run("swiglu_f32", [bits, bits])
    both_nan = np.isnan(ours) & np.isnan(theirs)
    assert np.array_equal(ours.view("<u4")[~both_nan], theirs.view("<u4")[~both_nan])


def test_a_parameter_arrives_bit_for_bit(board: Board) -> None:
    """Of 1e-5 in decimal, MicroPython's parser may make another float; its bits must be those of numpy."""
    eps = np.float32(1.1754942e-38)
    x = np.zeros((1, 4), "f4")
    assert board.run("rmsnorm_f32", [x, np.ones(4, "f4")], {"eps": float(eps)}).tolist() == [[0, 0, 0, 0]]
    with pytest.raises(InvalidParams):
        board.run("rmsnorm_f32", [x, np.ones(4, "f4")], {"eps": float("nan")})


@pytest.mark.parametrize("size", [1, 44, 45, 46, 89, 90, 91, 135, 1000])
def test_sizes_around_a_chunk_arrive(board: Board, size: int) -> None:
    up = np.arange(size, dtype="f4")
    assert np.array_equal(board.run("swiglu_f32", [np.full(size, 100, "f4"), up]), 100 * up)


def test_arguments_that_do_not_fit_are_the_boards_error_and_the_next_call_works(board: Board) -> None:
    with pytest.raises(BoardError, match="ValueError"):
        board.run("swiglu_f32", [np.ones(3, "f4"), np.ones(4, "f4")])
    with pytest.raises(BoardError, match="MemoryError"):
        board.run("swiglu_f32", [np.ones(20000, "f4"), np.ones(20000, "f4")])
    assert board.run("swiglu_f32", [np.zeros(3, "f4"), np.ones(3, "f4")]).tolist() == [0, 0, 0]


def test_many_runs_use_up_no_memory(board: Board) -> None:
    x = np.ones(3000, "f4")
    board.run("swiglu_f32", [x, x])
    board.exec("import gc; gc.collect()")
    before = board.status()["arena"]["free"]
    for _ in range(8):
        board.run("swiglu_f32", [x, x])
    board.exec("import gc; gc.collect()")
    assert board.status()["arena"]["free"] == before


# ---- installing ----------------------------------------------------------------------------------


def test_install_reports_progress_and_what_is_active(board: Board, pack: Pack, target: str) -> None:
    image = pack.image(target)
    seen: list[tuple[int, int]] = []
    installed = board.install(image, lambda done, total: seen.append((done, total)))
    assert (installed["name"], installed["version"]) == (pack.name, pack.version)
    assert seen == sorted(seen)
    assert seen[-1] == (len(image), len(image))
    assert board.kernels() == tuple(pack.kernels)


def test_a_refused_image_is_its_own_error_and_the_link_goes_on(board: Board, pack: Pack, target: str) -> None:
    image = bytearray(pack.image(target))
    image[-20] ^= 1
    before = board.status()["pack"]
    with pytest.raises(errors.PackError):
        board.install(bytes(image))
    assert board.status()["pack"] == before


def test_ctrl_c_in_the_middle_of_a_push_leaves_a_working_board(board: Board, pack: Pack, target: str) -> None:
    before = board.status()["pack"]

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        board.install(pack.image(target), stop)
    assert board.status()["pack"] == before
    board.install(pack.image(target))


# ---- either side goes away -----------------------------------------------------------------------


def test_a_port_that_is_in_use_is_busy(board: Board) -> None:
    with pytest.raises(DeviceBusy, match="in use"):
        connect(board.port)


def test_a_port_that_is_not_there_is_no_device(tmp_path: Path) -> None:
    with pytest.raises(NoDevice, match="No such file"):
        connect(str(tmp_path / "ttyACM0"))


def test_a_file_that_is_no_port_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoDevice):
        connect(str(tmp_path / "file"))


def test_a_host_that_stops_sending_leaves_the_board_at_its_prompt(
    emulated_board: Emulated, board: Board, pack: Pack, target: str
) -> None:
    """As when the host is killed: the board gives up by itself, without anyone's Ctrl-C."""
    board.run("swiglu_f32", [np.ones(1, "f4"), np.ones(1, "f4")])
    before = board.status()["pack"]
    board._link.begin(f"_host.call(_host.install, {len(pack.image(target))})")
    with pytest.raises(BoardError, match="the host stopped sending"):
        board._link.finish(timeout=30)
    assert board.status()["pack"] == before


@pytest.mark.pico_only  # a program's port has no plug
def test_unplugging_in_the_middle_of_a_push_is_no_device_and_the_board_still_works(
    emulated_board: EmulatedBoard, core_pack: Path, pack: Pack, target: str
) -> None:
    board = connect(str(emulated_board.wait_for_port(30)))
    before = board.status()["pack"]

    def unplug(done: int, total: int) -> None:
        if done > total // 2:
            emulated_board.unplug()

    with pytest.raises(NoDevice, match="went away"):
        board.install(pack.image(target), unplug)
    board.close()
    emulated_board.plug()
    with connect(str(emulated_board.wait_for_port(30))) as again:
        assert again.status()["pack"] == before
        assert again.run("swiglu_f32", [np.zeros(3, "f4"), np.ones(3, "f4")]).tolist() == [0, 0, 0]


def test_connecting_interrupts_a_program_that_runs(emulated_board: Emulated) -> None:
    with connect(str(emulated_board.wait_for_port(30))) as board:
        board._link.begin("while True: pass")
    started = time.monotonic()
    with connect(str(emulated_board.wait_for_port(30))) as board:
        assert board.eval("1") == 1
    assert time.monotonic() - started < 10
