"""Boards whose firmware a program of this computer runs: that program, its serial port, its flash file, and flashing.

What holds for any program is tried with small ones that every system has, for firmware of a board of the test's own;
what firmware has to do with it, on every such board that there is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial
from conftest import ROOT, RunHost

from host import boards, emulator, flash, ports
from host import firmware as firmware_builds
from host.board import connect
from host.boards import Program, Wamrc
from host.emulator import ProgramBoard
from host.errors import BuildError, DeviceBusy, HostError, NoDevice, PartMissing, UsageError
from host.link import Link
from host.pack import keys, keyset

CAT, TRUE = Path("/bin/cat").resolve(), Path("/bin/true").resolve()
SHELL = Path("/bin/sh").resolve()
REAL = [board.name for board in boards.ported() if isinstance(board.boot, Program)]

TARGET = "x86_64-own"
OWN = f"""
name = "own"
title = "Own board"
chip = "none"
port = "unix"
micropython_board = "none"
target = "{TARGET}"

[program]
command = ["{{firmware}}", "{{flash}}"]

[status]
needs = ""
run_on = ["this computer"]

[emulator]
kind = "program"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the project that has one board more, ``own``: a program that gets the flash file as an argument."""
    root = tmp_path / "project"
    for folder in ("host", "boards"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tools"):
        (root / name).symlink_to(ROOT / name)
    pico = (ROOT / "boards" / "rpi_pico" / "board.toml").read_text()
    kern = pico[pico.index("[memory]") : pico.index("[uf2]")]
    with (root / "boards" / "targets.toml").open("a") as targets:
        targets.write(f'["{TARGET}"]\nflags = []\n')
    (root / "boards" / "own").mkdir()
    (root / "boards" / "own" / "board.toml").write_text(OWN + kern)
    return root


@pytest.fixture
def own_board(own: Path, monkeypatch: pytest.MonkeyPatch, state_dir: Path) -> boards.Board:
    """The same board in this process."""
    path = own / "boards" / "own" / "board.toml"
    targets = {**boards.targets(), TARGET: Wamrc(TARGET, ())}
    monkeypatch.setattr(boards, "targets", lambda: targets)
    board = boards.parse(tomllib.loads(path.read_text()), path)
    load = boards.load
    monkeypatch.setattr(boards, "load", lambda name: board if name == "own" else load(name))
    monkeypatch.setattr(boards, "names", lambda: ["own"])
    return board


def own_env(own: Path) -> dict[str, str]:
    """The environment in which `host` is that copy's, not the one in the current folder."""
    return {"PYTHONPATH": str(own), "PYTHONSAFEPATH": "1"}


def script(tmp_path: Path, text: str) -> Path:
    """A flash file that is a program for the shell, which is firmware of the board ``own`` as well as any."""
    path = tmp_path / "flash.sh"
    path.write_text(text)
    return path


# ---- the program and its port


def test_bytes_arrive_whole_both_ways_however_slowly_they_are_read(own_board: boards.Board, tmp_path: Path) -> None:
    sent = bytes(range(256)) * 2048
    with ProgramBoard("own", script(tmp_path, "exec cat")) as board:
        with serial.Serial(board.program(SHELL), timeout=10) as port:
            writer = threading.Thread(target=port.write, args=(sent,))
            writer.start()
            writer.join(0.5)
            assert writer.is_alive()  # nobody reads, so the program stops reading, and so do we
            received = bytearray()
            while len(received) < len(sent) and (data := port.read(min(1000, len(sent) - len(received)))):
                received += data
            writer.join()
        assert received == sent


def test_a_board_without_firmware_waits_for_it_and_says_how_to_flash_it(own_board: boards.Board) -> None:
    with ProgramBoard("own") as board:
        assert [event["event"] for event in board.events] == ["no_firmware"]
        assert not board.port.exists()
        with pytest.raises(NoDevice, match=r"no firmware; flash it with: host flash --board own --port emu:own$"):
            connect("emu:own")
    assert board.flash.read_bytes() == b"\xff" * own_board.flash.size


def test_a_program_that_dies_at_once_tells_why(own_board: boards.Board, tmp_path: Path) -> None:
    with ProgramBoard("own", script(tmp_path, "echo no such machine >&2; exit 7")) as board:
        with pytest.raises(NoDevice, match=r"firmware\.elf ended with exit code 7: no such machine") as error:
            Link(board.program(SHELL))
            pytest.fail("there is a REPL")
        assert error.value.exit_code == 3
        assert not board.port.exists()


def test_a_killed_program_loses_its_port_and_keeps_its_flash(own_board: boards.Board, tmp_path: Path) -> None:
    flash_file = script(tmp_path, 'echo "# run" >> "$0"; exec cat\n')
    with ProgramBoard("own", flash_file) as board:
        with serial.Serial(board.program(SHELL), timeout=10) as port:
            port.write(b"up")
            assert port.read(2) == b"up"
            assert board.pid is not None
            os.kill(board.pid, signal.SIGKILL)
            with pytest.raises(serial.SerialException):
                port.read(1)
        assert "SIGKILL" in board.wait_for_event("crashed")["message"]
        board.power_on()
        with serial.Serial(str(board.wait_for_port()), timeout=10) as port:
            port.write(b"again")
            assert port.read(5) == b"again"
        board.reset()
        board.wait_for_port()
    assert flash_file.read_text().count("# run") >= 2


def test_a_board_that_cannot_be_powered_says_why_and_takes_firmware_again(
    own_board: boards.Board, tmp_path: Path
) -> None:
    with ProgramBoard("own", script(tmp_path, "exec cat")) as board:
        board.stderr.mkdir()  # in the way of the file
        with pytest.raises(NoDevice, match=r"has no power: crashed IsADirectoryError: .*stderr\.txt"):
            board.program(SHELL)
        board.stderr.rmdir()
        with serial.Serial(board.program(SHELL), timeout=10) as port:
            port.write(b"up")
            assert port.read(2) == b"up"


def test_one_flash_file_and_one_instance_run_once(own_board: boards.Board, tmp_path: Path) -> None:
    with ProgramBoard("own", tmp_path / "flash.bin"):
        with pytest.raises(DeviceBusy, match=rf"flash image .* in use by process {os.getpid()}"):
            ProgramBoard("own", tmp_path / "flash.bin", "second").start()
        with pytest.raises(DeviceBusy, match=r"emulated board own \(default\)"):
            ProgramBoard("own", tmp_path / "other.bin").start()


def test_a_program_or_path_that_will_not_do_is_named(own_board: boards.Board) -> None:
    with pytest.raises(PartMissing, match=r"nonesuch is needed.*setup\.py"):
        emulator.program.command(Program(("nonesuch", "{flash}")), Path("/f"), Path("/flash"))
    with pytest.raises(UsageError, match="comma"):
        emulator.program.command(Program(("cat", "arg={flash}")), Path("/f"), Path("/a,b"))
    assert emulator.program.command(Program(("cat", "arg={flash}")), Path("/f"), Path("/a b"))[1] == "arg=/a b"
    with pytest.raises(UsageError, match="rpi_pico is not run by a program"):
        ProgramBoard("rpi_pico")


# ---- host emulate


@contextmanager
def emulate(own: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`host emulate own`, in a process of its own."""
    command = [sys.executable, "-m", "host", "emulate", "own", *options]
    env = {**os.environ, **own_env(own), "NO_COLOR": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_is_flashed_in_another_process_is_run_and_its_end_is_told(
    own: Path, own_board: boards.Board, tmp_path: Path
) -> None:
    flash_file = script(tmp_path, "echo out of order >&2; read line; exit 9")
    with emulate(own, "--flash", str(flash_file)) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline().strip() == str(emulator.Running("own").port)
        running = emulator.find_running("own")
        assert running
        assert [device.path for device in ports.devices()] == ["emu:own"]
        with serial.Serial(running.program(SHELL)) as port:
            port.write(b"\n")
        assert process.wait(timeout=20) == 3
        assert "the emulated own stopped (crashed): " in (said := process.stderr.read())
        assert "exit code 9: out of order" in said
    with pytest.raises(NoDevice, match="does not run any more"):
        running.wait_for_port(5)


def test_a_killed_host_takes_its_program_along(own: Path, own_board: boards.Board, tmp_path: Path) -> None:
    with emulate(own, "--flash", str(script(tmp_path, "exec sleep 1000"))) as process:
        assert process.stdout
        process.stdout.readline()
        running = emulator.find_running("own")
        assert running
        running.program(SHELL)
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while emulator.instance.Lock(tmp_path / "flash.sh.lock").held():  # the program holds it too
            assert time.monotonic() < end
            time.sleep(0.05)
        assert emulator.find_running("own") is None
        with ProgramBoard("own", tmp_path / "flash.sh") as board:  # nothing that it left is in the way
            board.wait_for_port()


def test_ctrl_c_in_a_terminal_is_for_the_host_alone(own_board: boards.Board, tmp_path: Path) -> None:
    with ProgramBoard("own", script(tmp_path, "exec cat")) as board:
        board.program(SHELL)
        assert board.pid is not None
        assert os.getsid(board.pid) == board.pid != os.getsid(0)


# ---- host flash


def firmware_file(tmp_path: Path, program: Path) -> Path:
    (tmp_path / "firmware.json").write_text(json.dumps({"build_id": "0123", "version": "1.0"}))
    return Path(shutil.copy(program, tmp_path / "firmware.elf"))


def test_flashing_what_ends_at_once_says_so_and_keeps_what_was_flashed(
    cli: RunHost, own: Path, state_dir: Path, tmp_path: Path
) -> None:
    file = firmware_file(tmp_path, TRUE)
    done = cli("flash", "--board", "own", "--firmware", file, **own_env(own))
    assert done.returncode == 3
    assert "true" not in done.stdout and "ended with exit code 0" in done.stderr
    folder = state_dir / "emulator" / "own" / "default"
    assert (folder / "firmware.elf").read_bytes() == file.read_bytes()
    assert not list(folder.glob(".incoming*"))


def test_a_file_that_is_no_firmware_for_the_board_is_refused(own_board: boards.Board, tmp_path: Path) -> None:
    file = firmware_file(tmp_path, CAT)
    assert flash.read_firmware(own_board, file).build == "0123"
    elf = bytearray(file.read_bytes())
    file.write_bytes(b"UF2\n" + elf[4:])
    with pytest.raises(UsageError, match="is not an executable ELF file"):
        flash.read_firmware(own_board, file)
    file.write_bytes(elf[:10])
    with pytest.raises(UsageError, match="has 10 bytes"):
        flash.read_firmware(own_board, file)
    file.write_bytes(elf[:18] + b"\x28\x00" + elf[20:])
    with pytest.raises(UsageError, match=r"for ELF machine 40, 64 bits; own \(x86_64-own\) takes 62, 64 bits"):
        flash.read_firmware(own_board, file)
    (tmp_path / "firmware.json").unlink()
    with pytest.raises(BuildError, match=r"firmware\.json is missing"):
        flash.read_firmware(own_board, file)


def test_a_port_that_is_no_such_board_is_refused(
    own_board: boards.Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = flash.Job(own_board, flash.read_firmware(own_board, firmware_file(tmp_path, CAT)), "/dev/ttyACM0")
    with pytest.raises(UsageError, match=r"/dev/ttyACM0 is no own.*--port emu:own\[:NAME\]"):
        job.run(lambda _text: None)
    monkeypatch.setenv("HOST_PORT", "id:E66118C4E3")
    with pytest.raises(NoDevice, match="id:E66118C4E3"):
        flash.Job(own_board, job.firmware).run(lambda _text: None)


def test_esptools_options_and_a_drive_are_not_for_it(cli: RunHost, own: Path, tmp_path: Path) -> None:
    for option in (["--erase"], ["--drive", str(tmp_path)]):
        done = cli("flash", "--board", "own", *option, **own_env(own))
        assert done.returncode == 2
        assert "own" in done.stderr


# ---- the boards that there are


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProgramBoard]:
    """Every board that a program runs, flashed as `host flash` does it."""
    facts = boards.load(request.param)
    keys.default_or_create()
    firmware_builds.build_firmware(facts, keyset.current())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_STATE_DIR", str(tmp_path_factory.mktemp(facts.name)))
        job = flash.Job(facts, flash.read_firmware(facts))
        status = job.run(lambda _text: None)
        assert status and status["build"] == job.firmware.build
        with ProgramBoard(facts.name) as board:
            yield board


def test_it_runs_what_was_flashed_the_next_time_too(real: ProgramBoard) -> None:
    with connect(str(real.wait_for_port())) as board:
        assert board.status()["build"] == flash.read_firmware(boards.load(real.board)).build


def test_a_running_board_is_started_anew_with_what_is_flashed(real: ProgramBoard) -> None:
    facts = boards.load(real.board)
    before = real.pid
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_STATE_DIR", str(real.folder.parents[2]))
        flash.Job(facts, flash.read_firmware(facts), real.address).run(lambda _text: None)
    assert real.pid != before


def test_large_transfers_through_its_repl_lose_nothing(real: ProgramBoard) -> None:
    link = Link(str(real.wait_for_port()))
    try:
        printed = link.exec("for i in range(10000): print('%07d' % i)", 60)
        assert printed == "".join(f"{i:07d}\n" for i in range(10000))
        link.begin(
            "import sys\nh = 0\nfor i in range(512):\n for c in sys.stdin.read(100): h = h * 31 + ord(c) & 0xfffffff\n"
            "print(h)"
        )
        sent, expected = bytes(65 + i * 7 % 26 for i in range(51200)), 0
        for byte in sent:
            expected = expected * 31 + byte & 0xFFFFFFF
        link.write(sent)
        assert int(link.finish(60)) == expected
    finally:
        link.close()


def test_a_file_on_it_survives_a_power_cut(real: ProgramBoard) -> None:
    with connect(str(real.wait_for_port())) as board:
        board.exec("with open('kept', 'w') as file: file.write('kept')")
    assert real.pid is not None
    so_far = len(real.events)
    os.kill(real.pid, signal.SIGKILL)
    real.wait_for_event("crashed", after=so_far)
    real.power_on()
    with connect(str(real.wait_for_port())) as board:
        assert board.eval("open('kept').read()") == "kept"


def test_what_was_sent_before_it_is_up_is_not_held_back(real: ProgramBoard) -> None:
    real.reset()
    with serial.Serial(str(real.wait_for_port().resolve()), timeout=20) as port:
        port.write(b"\r\x01")  # and nothing more that could push it along
        assert port.read_until(b"raw REPL; CTRL-B to exit\r\n>").endswith(b">")
        port.write(b"\x02")


def test_a_reset_of_the_machine_keeps_the_port_and_leaves_no_file_open(real: ProgramBoard) -> None:
    def opened() -> int:
        links = Path(f"/proc/{real.pid}/fd").iterdir()
        return sum(link.readlink() == real.flash.resolve() for link in links)

    link = Link(str(real.wait_for_port()))
    before = real.pid, opened()
    link.begin("import machine; machine.reset()")
    end = time.monotonic() + 20
    while True:
        try:
            link.interrupt()
            break
        except HostError:
            assert time.monotonic() < end
    assert link.exec("print('up')") == "up\n"
    link.close()
    assert (real.pid, opened()) == before
