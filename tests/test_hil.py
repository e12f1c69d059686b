"""The pytest plugin, as a user's repository has it: pytest in a process of its own, on real emulated boards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT, TEST_BUILD, RunHost, meanwhile

from host import boards, firmware
from host.emulator import EmulatedBoard
from host.emulator.instance import Lock
from host.errors import UsageError
from host.hil import choice
from host.hil.reporting import EXIT_CODE
from host.link import Link
from host.pack import keyset

RunPytest = Callable[..., "subprocess.CompletedProcess[str]"]

NOTHING_OF_BOARDS = """
import sys

def test_nothing_was_loaded():
    assert not {"host.hil.held", "host.board", "host.ports", "serial", "numpy"} & set(sys.modules)

def test_properties_of_the_same_names_are_the_tests_own(record_property):
    record_property("board", "surf")
    record_property("firmware", "none")
"""
FAILING = """
def test_that_fails(board):
    board.exec("import kern")
    assert board.eval("6 * 7") == 43

def test_whose_kernel_fails(board):
    board.exec("kern.run('no_such_kernel')")
"""
LEAVING_THINGS = """
import pytest
import host

FREE = []

def active(board):
    return board.status()["pack"]["name"]

def test_begins_clean(board):
    assert board.eval("'kern' in __import__('sys').modules") is False
    assert active(board) == "core"
    FREE.append(board.status()["arena"]["free"])
    board.exec("import kern\\nleft = kern.tensor((1000,))")
    with pytest.raises(host.KernelError):
        board.exec("kern.run('no_such_kernel')")

def test_has_nothing_of_the_test_before(board):
    assert board.eval("'left' in globals()") is False
    assert board.stats()["calls"] == 0
    assert board.status()["arena"]["free"] == FREE[0]
    board.install(host.Pack.open({other!r}).image("thumbv6m-soft"))
    assert active(board) == "faults"

def test_has_the_packs_of_the_beginning(board):
    assert active(board) == "core"
    board.install(host.Pack.open({other!r}).image("thumbv6m-soft"), confirm=False)
    board.exec("def stuck():\\n while True: pass")
    with pytest.raises(host.DeviceTimeout):
        board.exec("stuck()", timeout=0.5)

def test_has_no_trial_of_the_test_before(board):
    assert active(board) == "core"
    assert board.status()["pack"]["confirmed"]
    board.close()

def test_has_a_board_that_answers(board):
    assert active(board) == "core"
"""
CUTTING_POWER = """
import time
from pathlib import Path

import pytest

CUT = Path(__file__).with_name("cut")

def cut_power(board):
    CUT.touch()
    while True:
        board.eval("1", timeout=2)

def test_that_goes_well_the_second_time(board, tmp_path_factory):
    print("printed by the test")
    once = Path(__file__).with_name("once")
    if not once.exists():
        once.touch()
        cut_power(board)

def test_that_never_goes_well(board):
    board.exec("print('before the cut')")
    cut_power(board)

def test_afterwards(board):
    assert board.eval("1") == 1
"""
KILLING_THE_EMULATOR = """
import os, signal, time
from pathlib import Path

def test_whose_emulator_dies_once(board):
    once = Path(__file__).with_name("once")
    if not once.exists():
        once.touch()
        for task in Path("/proc/self/task").iterdir():
            for pid in map(int, (task / "children").read_text().split()):
                if b"main.mjs" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        while True:
            board.eval("1", timeout=2)
    assert board.status()["pack"]["name"] == "clip"
"""
MANY = """
import os
import pytest

@pytest.mark.parametrize("number", range(6))
def test_board(board, board_name, number, record_property):
    record_property("port", board.port)
    record_property("worker", os.environ["PYTEST_XDIST_WORKER"])
    assert board.eval(f"{number} + 1") == number + 1
"""


@pytest.fixture
def run_pytest(tmp_path: Path) -> RunPytest:
    """Runs pytest in a folder of its own with ``test``, or what is there already; ``env`` is set in its environment."""

    def run(*args: str | Path, test: str | None = None, timeout: float = 240, **env: str) -> RunPytest:
        if test is not None:
            (tmp_path / "test_inner.py").write_text(test)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junit-xml=report.xml", *map(str, args)],
            cwd=tmp_path,
            env={**environment, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def run_on_board(run_pytest: RunPytest, emulated_board: EmulatedBoard, core_pack_again: None) -> RunPytest:
    """The same with the session's emulated board as emu:rpi_pico, run by another process as pytest sees it."""
    emulated_board.wait_for_port()

    def run(*args: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
        return run_pytest(*args, HOST_STATE_DIR=str(state_of(emulated_board)), **options)

    return run


def state_of(board: EmulatedBoard) -> Path:
    """The state folder that the board is in."""
    return board.folder.parents[2]


def cases(folder: Path) -> dict[str, ElementTree.Element]:
    """The testcase elements of the JUnit XML, by name."""
    return {str(case.get("name")): case for case in ElementTree.parse(folder / "report.xml").iter("testcase")}


def properties(case: ElementTree.Element) -> dict[str, str]:
    return {str(each.get("name")): str(each.get("value")) for each in case.iter("property")}


def test_the_example_runs_in_a_repository_of_its_own(
    run_pytest: RunPytest, cli: RunHost, firmware_uf2: Path, state_dir: Path, tmp_path: Path
) -> None:
    """On an emulated board of its own, which leaves nothing behind, and comes back when its emulator is killed."""
    shutil.copytree(ROOT / "tests" / "hil_example", tmp_path, dirs_exist_ok=True)
    assert cli("pack", "build", tmp_path).returncode == 0
    finished = run_pytest(test=KILLING_THE_EMULATOR)
    assert finished.returncode == 0, finished.stdout
    assert "5 passed" in finished.stdout
    assert "emu:rpi_pico: kern 0.1.0, build " in finished.stdout
    assert "; pack clip 0.1.0 (" in finished.stdout
    assert "test_whose_emulator_dies_once was repeated after " in finished.stdout
    assert not list((state_dir / "emulator" / "rpi_pico").iterdir())


def test_the_example_runs_on_boards_of_other_kinds(run_pytest: RunPytest, cli: RunHost, tmp_path: Path) -> None:
    """Each test on each of them, named by their kind alone."""
    for name in ("unix", "qemu_m33"):
        firmware.build_firmware(boards.load(name), keyset.current())
    shutil.copytree(ROOT / "tests" / "hil_example", tmp_path, dirs_exist_ok=True)
    assert cli("pack", "build", tmp_path).returncode == 0
    finished = run_pytest("--board", "unix", "--board", "qemu_m33")
    assert finished.returncode == 0, finished.stdout
    assert "8 passed" in finished.stdout
    assert "(unix, x86_64-sysv); pack clip" in finished.stdout
    assert "(qemu_m33, thumbv8m.main-hard); pack clip" in finished.stdout


def test_a_board_of_its_own_without_firmware_is_no_board_and_leaves_nothing_behind(
    run_pytest: RunPytest, state_dir: Path, tmp_path: Path
) -> None:
    finished = run_pytest(test="def test(board):\n    pass", HOST_BUILD_DIR=str(tmp_path / "nothing"))
    assert finished.returncode == 1, finished.stdout
    assert "make it with: host build rpi_pico" in finished.stdout
    assert not list((state_dir / "emulator" / "rpi_pico").iterdir())


def test_nothing_is_loaded_or_said_where_no_test_has_a_board(run_pytest: RunPytest) -> None:
    finished = run_pytest(test=NOTHING_OF_BOARDS)
    assert finished.returncode == 0, finished.stdout
    assert "board" not in finished.stdout


def test_a_failed_test_comes_with_transcript_and_fault_log(run_on_board: RunPytest, tmp_path: Path) -> None:
    finished = run_on_board("-q", test=FAILING)
    assert finished.returncode == 1, finished.stdout
    assert "2 failed" in finished.stdout
    failed = cases(tmp_path)["test_that_fails"]
    kernel = cases(tmp_path)["test_whose_kernel_fails"]
    assert failed.find("failure") is not None
    for text in (finished.stdout, "".join(node.text or "" for node in failed.iter("system-out"))):
        assert ">>> print(repr(6 * 7))\n    42\n" in text
        assert "'last_fault': None" in text
    assert "NameError: name 'kern' isn't defined" in "".join(node.text or "" for node in kernel.iter("system-out"))
    assert properties(failed)["board"] == "emu:rpi_pico"
    assert properties(failed)["pack"].startswith("core 1.0.0 (")


@pytest.mark.parametrize("named", [False, True], ids=["what the board had", "--pack"])
def test_each_test_begins_with_a_clean_board(
    run_on_board: RunPytest, core_pack: Path, faults_pack: object, named: bool
) -> None:
    """The run's pack comes back by a rollback when it is what the board had, and by installing when it is known."""
    other = str(next((TEST_BUILD / "faults").glob("faults-*")))
    test = LEAVING_THINGS.replace("{other!r}", repr(other))
    finished = run_on_board(*(["--pack", core_pack] if named else []), test=test)
    assert finished.returncode == 0, finished.stdout


@contextmanager
def power_cutter(board: EmulatedBoard, asked: Path) -> Iterator[None]:
    """Cut the board's power for a moment whenever the file ``asked`` shows up."""

    def look() -> None:
        if asked.exists():
            asked.unlink()
            board.power_off()
            time.sleep(0.5)
            board.power_on()

    with meanwhile(look, lambda: 0.05):
        yield
    board.wait_for_port()


def test_a_power_cut_is_an_infrastructure_error_and_repeated(
    run_on_board: RunPytest, emulated_board: EmulatedBoard, tmp_path: Path
) -> None:
    with power_cutter(emulated_board, tmp_path / "cut"):
        finished = run_on_board("--board-retries=1", test=CUTTING_POWER)
    assert finished.returncode == EXIT_CODE, finished.stdout
    assert "test_inner.py .I." in finished.stdout
    assert "2 passed, 1 infrastructure error in" in finished.stdout
    assert "INFRASTRUCTURE ERRORS" in finished.stdout
    assert "    before the cut" in finished.stdout
    assert "test_that_goes_well_the_second_time was repeated after " in finished.stdout
    suite = next(ElementTree.parse(tmp_path / "report.xml").iter("testsuite"))
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")
    broken = cases(tmp_path)["test_that_never_goes_well"]
    assert broken.find("failure") is None
    assert broken.find("error") is not None
    assert "infrastructure_error" in properties(broken)
    assert "repeated_after" in properties(cases(tmp_path)["test_that_goes_well_the_second_time"])


def test_a_board_in_use_is_not_touched(run_on_board: RunPytest, emulated_board: EmulatedBoard) -> None:
    lock = Lock(state_of(emulated_board) / "boards" / "emu%3Arpi_pico.lock")
    lock.acquire("the board")
    try:
        finished = run_on_board("--board-wait=0", test=MANY.replace("range(6)", "[1]"))
    finally:
        lock.release()
    assert finished.returncode == EXIT_CODE, finished.stdout
    assert f"emu:rpi_pico is in use by process {os.getpid()}" in finished.stdout
    assert "repeated" not in finished.stdout


def test_a_board_in_use_is_waited_for(run_on_board: RunPytest, emulated_board: EmulatedBoard) -> None:
    """Here by a program that knows nothing of the lock, and has the port open."""
    link = Link(str(emulated_board.port))
    timer = threading.Timer(3.0, link.close)
    timer.start()
    finished = run_on_board("--board-wait=60", test="def test(board):\n    pass")
    timer.join()
    assert finished.returncode == 0, finished.stdout
    assert "waiting up to 60 s for emu:rpi_pico: " in finished.stdout


def test_with_several_boards_each_test_runs_on_each(run_on_board: RunPytest, emulated_board: EmulatedBoard) -> None:
    """Two names of one board: it is free again when the second one's turn comes."""
    port = str(emulated_board.port)
    finished = run_on_board("-v", "--board", "rpi_pico", "--board", port, test="def test(board):\n    pass")
    assert finished.returncode == 0, finished.stdout
    assert "test_inner.py::test[rpi_pico] PASSED" in finished.stdout
    assert f"test_inner.py::test[{port}] PASSED" in finished.stdout


def test_workers_share_a_board_when_there_is_but_one(run_on_board: RunPytest, tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    finished = run_on_board("-n", "2", test=MANY)
    assert finished.returncode == 0, finished.stdout
    assert "emu:rpi_pico: kern" in finished.stdout
    assert "; 6 tests" in finished.stdout
    assert {properties(case)["worker"] for case in cases(tmp_path).values()} == {"gw0", "gw1"}
    assert len({properties(case)["port"] for case in cases(tmp_path).values()}) == 1


def test_workers_on_two_machines_each_have_the_board_there(
    run_on_board: RunPytest, emulated_board: EmulatedBoard, tmp_path: Path
) -> None:
    """A state folder stands for a machine: it has its own locks and running boards."""
    pytest.importorskip("xdist")
    folders = (state_of(emulated_board), tmp_path / "state")
    workers = [f"--tx=popen//env:HOST_STATE_DIR={folder}" for folder in folders]
    finished = run_on_board("--dist=load", *workers, "--board=emu:rpi_pico", "--board=emu:rpi_pico", test=MANY)
    assert finished.returncode == 0, finished.stdout
    ports = {properties(case)["worker"]: properties(case)["port"] for case in cases(tmp_path).values()}
    assert all(ports[worker].startswith(str(folder)) for worker, folder in zip(("gw0", "gw1"), folders, strict=True))


def test_a_worker_that_takes_anothers_place_gets_its_board() -> None:
    dealer = choice.Dealer(["a", "b"])
    assert [dealer.deal(f"gw{number}") for number in range(3)] == ["a", "b", "a"]
    dealer.give_back("gw1")
    assert dealer.deal("gw3") == "b"
    assert dealer.deal("gw4") == "b"


def test_the_name_of_a_kind_of_board_means_the_emulated_one() -> None:
    assert choice.port_of("rpi_pico") == "emu:rpi_pico"
    assert choice.port_of("emu:rpi_pico:left") == "emu:rpi_pico:left"
    assert choice.port_of("/dev/ttyACM0") == "/dev/ttyACM0"
    with pytest.raises(UsageError, match="no board 'rp_pico'"):
        choice.port_of("rp_pico")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--board=rp_pico"], "--board rp_pico: no board 'rp_pico'; known boards: "),
        (["--board=/dev/a", "--board=/dev/a"], "a board is named twice: --board /dev/a --board /dev/a"),
        (["--board-wait=long"], "--board-wait long: must be a number, 0 or more"),
        (["--board-retries=nan"], "--board-retries nan: must be a number, 0 or more"),
    ],
)
def test_options_that_make_no_sense_end_the_run(run_pytest: RunPytest, options: list[str], message: str) -> None:
    finished = run_pytest(*options, test="def test():\n    pass")
    assert finished.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in finished.stderr
