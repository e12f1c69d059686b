"""The board that is a process of this computer: signals as interrupts and faults, a file as flash, start and end.

What it has in common with other boards is tested with them: ``every_board`` in conftest.py.
"""

from __future__ import annotations

import os
import pty
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import deadline_rounds
import numpy as np
import pytest
from conftest import meanwhile
from installing import with_kernels

from host import boards, errors, pack
from host.board import Board, connect
from host.emulator import ProgramBoard
from host.link import Link
from host.pack.image import decode_image

pytestmark = pytest.mark.parametrize("emulated_board", ["unix"], indirect=True, scope="session")

UNIX = boards.load("unix")
TARGET = UNIX.wamrc.target_id
X = np.array([5, 6, 7, 8], "<i4")
ALARM = signal.SIGRTMIN  # of the deadline, in guard_unix.c


@pytest.fixture
def process(emulated_board: ProgramBoard, core_pack_again: None) -> ProgramBoard:
    """The board as a process."""
    return emulated_board


def assert_well(board: Board) -> None:
    assert board.run("code", [X], {"arg": 0}).tolist() == X.tolist()


# ---- deadlines and faults ----


def test_deadlines_and_signals_at_any_instruction_spoil_nothing(process: ProgramBoard, faulty: Board) -> None:
    """Alarms that come too early, input that is none, and timers: all where kernels are, and between them."""
    assert process.pid is not None
    pid, moments = process.pid, random.Random(3)
    faulty.exec(deadline_rounds.AGENT)
    with meanwhile(
        lambda: os.kill(pid, moments.choice([ALARM, signal.SIGIO, signal.SIGALRM])),
        lambda: moments.uniform(0, 0.002),
    ):
        met, inside, well, wrong = faulty.eval("go(60)", 60)
    assert wrong == 0
    assert met == 60 and inside > 0 and well > 60
    assert sum(faulty.stats()["faults"].values()) == 60


def test_a_busy_computer_ends_no_call_early(process: ProgramBoard, faulty: Board) -> None:
    """A call that needs two thirds of its deadline has it, though it takes twice as long by the clock."""
    assert process.pid is not None
    faulty.exec(
        "import kern, time\n"
        "def timed(arg):\n"
        " f = kern.bind('arithmetic', kern.tensor((8,), 'i32', list(range(8))), arg=arg)\n"
        " start = time.ticks_us(); f()\n"
        " return f.cycles, time.ticks_diff(time.ticks_us(), start)\n"
        "n = 1000\n"
        "while timed(n)[0] < 20_000_000: n *= 2\n"
        "n = n * 66_000_000 // timed(n)[0]"
    )
    cores = os.sched_getaffinity(process.pid)
    with busy(min(cores), 3):
        os.sched_setaffinity(process.pid, {min(cores)})
        try:
            used, took = faulty.eval("timed(n)", 30)
            with pytest.raises(errors.EpochDeadline):
                faulty.run("spin", [X], {"arg": 1})
        finally:
            os.sched_setaffinity(process.pid, cores)
    assert 50_000_000 < used < 100_000_000
    assert took > 120_000


@contextmanager
def busy(core: int, count: int) -> Iterator[None]:
    """So many processes that use all they get of that core, each in a session of its own: a session has one share."""
    command = ["sh", "-c", "while :; do :; done"]
    children = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        for child in children:
            os.sched_setaffinity(child.pid, {core})
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


FAULTS = {
    "invalid instruction": b"\x0f\x0b",
    "privileged instruction": b"\xf4",
    "load below the stack": b"\x8b\x04\x25" + (UNIX.memory.stack_address - 8).to_bytes(4, "little"),
    "store to the flash": b"\xc6\x04\x25" + UNIX.flash.address.to_bytes(4, "little") + b"\x01",
    "push without end": b"\x50\xeb\xfd",
    "jump to nowhere": b"\x31\xc0\xff\xe0",
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_the_processor_refuses_ends_the_kernel_only(faulty: Board, faults_pack: pack.Pack, name: str) -> None:
    """wamrc makes no such code; here it takes the place of a kernel's, validly signed."""
    image = faults_pack.image(TARGET)
    with pytest.raises(errors.Unreachable):
        faulty.run("unreach", [X], {"arg": 1})
    at = faulty.stats()["last_fault"]["pc"] - UNIX.flash.address - slot_of(faulty)
    kernels = decode_image(image).kernels
    body = next(kernel.body for kernel in kernels if kernel.spec.id == "unreach")
    at -= image.index(body)
    patched = body[: at - 1] + FAULTS[name] + body[at - 1 + len(FAULTS[name]) :]
    faulty.install(with_kernels(image, (replace(k, body=patched) if k.body is body else k for k in kernels)))
    for _ in range(3):
        with pytest.raises(errors.NativeFault):
            faulty.run("unreach", [X], {"arg": 1})
        assert faulty.stats()["last_fault"]["address"] is None
        assert_well(faulty)


def test_a_fault_outside_of_kernels_ends_the_process(process: ProgramBoard) -> None:
    so_far = len(process.events)
    board = connect(str(process.wait_for_port()))
    board.exec("import kern, machine")
    with pytest.raises((errors.DeviceError, OSError)):
        board.exec("machine.mem32[8]")
    board.close()
    assert "SIGSEGV" in process.wait_for_event("crashed", after=so_far)["message"]
    process.power_on()


def slot_of(board: Board) -> int:
    """Where in flash the active pack is."""
    return {"a": UNIX.flash.slot_a, "b": UNIX.flash.slot_b}[board.status()["pack"]["slot"]]


# ---- flash ----


def test_programming_only_clears_bits(process: ProgramBoard) -> None:
    block = UNIX.flash.filesystem_size // UNIX.flash.sector - 1
    with connect(str(process.wait_for_port())) as board:
        board.exec(
            f"import board; flash = board.Flash(); page = bytearray(256)\nflash.ioctl(6, {block})\n"
            f"flash.writeblocks({block}, b'\\xf0' * 256, 0); flash.writeblocks({block}, b'\\xcc' * 256, 0)\n"
            f"flash.readblocks({block}, page, 0)"
        )
        assert board.eval("bytes(page)") == b"\xc0" * 256
        for beyond in (
            "flash.readblocks(1 << 52, page)",
            f"flash.readblocks({block + 1}, page)",
            f"flash.writeblocks({block}, page, 4096 - 128)",
        ):
            with pytest.raises(errors.BoardError, match="OSError"):
                board.exec(beyond)
    with process.flash.open("rb") as file:
        file.seek(UNIX.flash.filesystem + block * UNIX.flash.sector)
        assert file.read(256) == b"\xc0" * 256


def test_a_process_that_is_killed_while_it_installs_has_a_pack_afterwards(
    process: ProgramBoard, core_pack: Path, faults_pack: pack.Pack
) -> None:
    """At random moments; every one of them is in tests/c/store_check.c."""
    moments = random.Random(5)
    both = (faults_pack.image(TARGET), pack.Pack.open(core_pack).image(TARGET))
    images = {decode_image(image).manifest_sha256.hex(): image for image in both}
    with connect(str(process.wait_for_port())) as board:
        for image in images.values():
            board.install(image)
    for _ in range(8):
        with connect(str(process.wait_for_port())) as board:
            status = board.status()["pack"]
            assert status["manifest"] in images
            image = next(image for manifest, image in images.items() if manifest != status["manifest"])
            assert process.pid is not None
            threading.Timer(moments.uniform(0.01, 0.3), os.kill, (process.pid, signal.SIGKILL)).start()
            so_far = len(process.events)
            with pytest.raises((errors.DeviceError, OSError)):
                while True:
                    board.install(image)
            process.wait_for_event("crashed", after=so_far)
        process.power_on()


# ---- the process ----


def run_firmware(process: ProgramBoard, *words: str | Path, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([process.firmware, *words], input=text, capture_output=True, timeout=20, check=False)


def test_it_runs_what_comes_in_and_ends_with_it(process: ProgramBoard, tmp_path: Path) -> None:
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * UNIX.flash.size)
    done = run_firmware(process, flash, text=b"import kern\r\nprint('pack', kern.status()['pack'])\r\n")
    assert done.returncode == 0
    assert b"\r\npack None\r\n" in done.stdout and done.stderr == b""


def test_a_flash_that_cannot_be_had_says_why(process: ProgramBoard, tmp_path: Path) -> None:
    short = tmp_path / "short.bin"
    short.write_bytes(b"\xff" * 100)
    for words, message in (
        ((), b"usage: .*firmware.elf FLASH"),
        ((tmp_path / "none",), b"flash .*none: No such file"),
        ((short,), b"flash .*short.bin has 100 bytes, must have 2097152"),
    ):
        done = run_firmware(process, *words)
        assert done.returncode == 1
        assert re.search(message, done.stderr)
        assert done.stdout == b""


def test_it_runs_in_a_terminal_too(process: ProgramBoard, tmp_path: Path) -> None:
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * UNIX.flash.size)
    ours, theirs = pty.openpty()
    with subprocess.Popen([process.firmware, flash], stdin=theirs, stdout=theirs, start_new_session=True) as child:
        try:
            os.set_blocking(ours, False)
            read_until(ours, b">>> ")
            os.write(ours, b"while True: pass\r\r")
            time.sleep(0.1)
            os.write(ours, b"\x03")
            read_until(ours, b"KeyboardInterrupt")
            os.write(ours, b"import machine; machine.reset()\r")
            read_until(ours, b"MicroPython")
        finally:
            child.kill()
    os.close(ours)
    os.close(theirs)


def read_until(file: int, end: bytes) -> None:
    got, until = b"", time.monotonic() + 10
    while end not in got:
        assert time.monotonic() < until, got
        try:
            got += os.read(file, 4096)
        except BlockingIOError:
            time.sleep(0.01)


def test_ctrl_c_reaches_a_program_that_sleeps_or_works(process: ProgramBoard) -> None:
    link = Link(str(process.wait_for_port()))
    try:
        for code in ("import time; time.sleep(100)", "while True: pass", "import sys; sys.stdin.read(1)"):
            link.begin(f"print('go')\n{code}")
            assert link.read(4) == b"go\r\n"
            start = time.monotonic()
            link.write(b"\x03")
            with pytest.raises(errors.BoardError, match="KeyboardInterrupt"):
                link.finish()
            assert time.monotonic() - start < 2
    finally:
        link.close()
