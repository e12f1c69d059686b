"""Fixtures: the real firmware, pack and emulated board that the tests run on.

Keys, flash images and builds go to folders of the tests' own, so that nothing of the user's is touched. What is built
stays in ``build/test`` and is reused while its inputs do not change.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEST_BUILD = ROOT / "build" / "test"
os.environ["HOST_BUILD_DIR"] = str(TEST_BUILD)
os.environ["HOST_CONFIG_DIR"] = str(TEST_BUILD / "config")
os.environ["HOST_STATE_DIR"] = str(TEST_BUILD / "state")
os.environ.pop("HOST_PORT", None)
# What a shell starts in the background ignores SIGINT, and so would its children, some of which tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

from host import bench, boards, firmware, pack  # noqa: E402
from host.board import Board, connect, image_target  # noqa: E402
from host.boards import Board as Facts  # noqa: E402
from host.emulator import ESP_ROM, EmulatedBoard, ProgramBoard, make  # noqa: E402
from host.pack import keys, keyset  # noqa: E402

RunHost = Callable[..., "subprocess.CompletedProcess[str]"]
collect_ignore = ["hil_example"]  # a user's repository, with tests that have the plugin's fixtures


def pytest_configure(config: pytest.Config) -> None:
    """Refuse the plugin's option: `board` is a fixture of this file's here."""
    if config.getoption("--board", None):
        raise pytest.UsageError("--board: these tests have the emulated boards and no others; see docs/hil.md")
    config.addinivalue_line("markers", "every_board: with each emulated board that runs kern, not the Pico only")
    config.addinivalue_line("markers", "pico_only: not so, for what only the emulated Pico can do")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The boards of `emulated_board`, where a test or its module is marked ``every_board``."""
    marked = metafunc.definition.get_closest_marker
    if "emulated_board" in metafunc.fixturenames and marked("every_board") and not marked("pico_only"):
        names = [board.name for board in boards.ported() if board.emulator not in (None, ESP_ROM)]
        metafunc.parametrize("emulated_board", names, indirect=True, scope="session")


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own: no emulated board of anyone else is in it."""
    folder = tmp_path / "state"
    monkeypatch.setenv("HOST_STATE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def firmware_uf2() -> Path:
    """The rpi_pico firmware, trusting the tests' key."""
    keys.default_or_create()
    return firmware.build_firmware(boards.load("rpi_pico"), keyset.current()).file


@pytest.fixture(scope="session")
def core_pack() -> Path:
    """The project's own pack, built and signed with the tests' key."""
    return pack.build_pack(ROOT / "kernels_aot", TEST_BUILD / "packs", keys.default_or_create())


@pytest.fixture(scope="session")
def faults_pack() -> pack.Pack:
    """The pack of kernels that go wrong."""
    return pack.Pack.open(pack.build_pack(ROOT / "tests" / "faults", TEST_BUILD / "faults", keys.default_or_create()))


@pytest.fixture(scope="session")
def emulated_board(
    request: pytest.FixtureRequest, core_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedBoard | ProgramBoard]:
    """An emulated board, the Pico or what the test is marked for, flashed and with the core pack installed."""
    facts = boards.load(getattr(request, "param", "rpi_pico"))
    keys.default_or_create()
    built = firmware.build_firmware(facts, keyset.current())
    folder = tmp_path_factory.mktemp("emulator")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_STATE_DIR", str(folder))
        with make(facts.name, flash=folder / "flash.bin") as emulated:
            assert isinstance(emulated, EmulatedBoard | ProgramBoard)
            with connect(emulated.program(built.file)) as board:
                board.install(pack.Pack.open(core_pack).image(facts.wamrc.target_id))
            yield emulated


@pytest.fixture(scope="session")
def facts(emulated_board: EmulatedBoard | ProgramBoard) -> Facts:
    """The facts about the emulated board."""
    return boards.load(emulated_board.board)


@pytest.fixture(scope="session")
def target(facts: Facts) -> str:
    """What the emulated board's code is compiled for."""
    return facts.wamrc.target_id


@pytest.fixture(scope="session")
def emulated_bench(core_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedBoard]:
    """An emulated Pico whose firmware has native references of all kernels, with the core pack installed.

    Its state folder, which it keeps from when it is made, is no other test's: it is not among the boards they find.
    """
    keys.default_or_create()
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOST_STATE_DIR", str(tmp_path_factory.mktemp("bench")))
            emulated = running.enter_context(bench.bench_board("rpi_pico", pack.Pack.open(core_pack)))
        yield emulated


@pytest.fixture
def board(emulated_board: EmulatedBoard | ProgramBoard) -> Iterator[Board]:
    """The emulated board over its serial port, freshly reset."""
    with connect(str(emulated_board.wait_for_port(30))) as link:
        link.soft_reset()
        yield link


@pytest.fixture
def cycles_per_us(board: Board) -> int:
    """How many of what the board counts as cycles are in a microsecond."""
    return int(board.eval("__import__('machine').freq() // 1000000"))


@pytest.fixture(scope="module")
def core_pack_again(emulated_board: EmulatedBoard | ProgramBoard, core_pack: Path) -> Iterator[None]:
    """For modules that install other packs: the core pack comes back when the module is through."""
    yield
    with connect(str(emulated_board.wait_for_port(30))) as link:
        have_pack(link, pack.Pack.open(core_pack))


@pytest.fixture
def faulty(board: Board, faults_pack: pack.Pack, core_pack_again: None) -> Board:
    """The emulated board with the faults pack, freshly reset."""
    have_pack(board, faults_pack)
    return board


def have_pack(board: Board, wanted: pack.Pack) -> None:
    """Make ``wanted`` the active pack, unless it is: to send it takes seconds."""
    status = board.status()
    image = wanted.image(image_target(wanted, status))
    active = status["pack"]
    if not (active and active["confirmed"] and active["manifest"] == pack.decode_image(image).manifest_sha256.hex()):
        board.install(image)


@contextmanager
def meanwhile(act: Callable[[], None], pause: Callable[[], float]) -> Iterator[None]:
    """Do ``act`` in a thread, again and again, each time after ``pause()`` seconds."""
    end = threading.Event()

    def repeat() -> None:
        while not end.wait(pause()):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.fixture
def cli() -> RunHost:
    """Runs the real ``host`` command and returns the finished process; keyword arguments set environment variables."""

    def run(*args: str | Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "host", *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "NO_COLOR": "1", **env},
            check=False,
        )

    return run
