"""The pytest plugin: options, the fixtures `board`, `pack` and `board_name`, and retries. docs/hil.md is its manual."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from host.errors import UsageError
from host.hil import choice, reporting

if TYPE_CHECKING:
    from host.board import Board
    from host.hil.held import HeldBoard
    from host.pack import Pack

_WAIT = "60"
_RETRIES = "2"
_DEALT = "host_board"
"""What a worker of pytest-xdist is told: its board, and whether others have the same."""
_HELD = pytest.StashKey["HeldBoard"]()
"""Of a test: the board that it has."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, and settings of the same names for pytest.ini."""
    group = parser.getgroup("boards", "boards with kern firmware (package host)")
    group.addoption(
        "--board",
        action="append",
        metavar="BOARD",
        help="Board that tests with the fixture 'board' run on: a port's path, id:SERIAL, vid:pid[:serial],"
        f" emu:BOARD[:NAME], or BOARD, the emulated one. May be repeated. Default: {choice.DEFAULT}.",
    )
    group.addoption(
        "--pack",
        metavar="PATH",
        help="Pack that is active on the board when a test begins: its folder, archive or source."
        " Default: that of the root folder, when there is a pack.toml; else the one that the board has.",
    )
    group.addoption(
        "--board-wait",
        metavar="SECONDS",
        help=f"How long to wait for a board that another process uses; 0 to fail at once. Default: {_WAIT}.",
    )
    group.addoption(
        "--board-retries",
        metavar="N",
        help=f"How often to repeat a test that ended with an infrastructure error. Default: {_RETRIES}.",
    )
    parser.addini("board", "As --board, one a line.", "linelist")
    parser.addini("pack", "As --pack, from the root folder.")
    parser.addini("board_wait", "As --board-wait.", default=_WAIT)
    parser.addini("board_retries", "As --board-retries.", default=_RETRIES)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that make no sense before anything runs."""
    for setting in ("board_wait", "board_retries"):
        _number(config, setting)
    names = _names(config)
    try:
        for name in config.getoption("--board") or ():
            choice.port_of(name)
    except UsageError as error:
        raise pytest.UsageError(f"--board {name}: {error}") from error
    if _is_worker(config):
        return
    if _has_workers(config):
        config.pluginmanager.register(_Dealing(names), "host-dealing")
    elif len(set(names)) < len(names):
        raise pytest.UsageError(f"a board is named twice: --board {' --board '.join(names)}")
    config.pluginmanager.register(reporting.Reporting(config), "host-reporting")


def pytest_report_header(config: pytest.Config) -> str | None:
    """The boards that were asked for; what they are is known once a test used them, and is in the summary."""
    return f"boards: {', '.join(_names(config))}" if config.getoption("--board") else None


# ---- choosing ----


def _names(config: pytest.Config) -> list[str]:
    return config.getoption("--board") or config.getini("board") or [choice.DEFAULT]


def _number(config: pytest.Config, name: str) -> float:
    text = config.getoption(f"--{name.replace('_', '-')}")
    if text is None:
        text = config.getini(name)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise pytest.UsageError(f"--{name.replace('_', '-')} {text}: must be a number, 0 or more")
    return number


def _pack_path(config: pytest.Config) -> Path | None:
    if named := config.getoption("--pack"):
        return config.invocation_params.dir / str(named)
    if named := config.getini("pack"):
        return config.rootpath / str(named)
    return config.rootpath if (config.rootpath / "pack.toml").is_file() else None


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _has_workers(config: pytest.Config) -> bool:
    return bool(config.getoption("tx", None))


class _Dealing:
    """In the process that has pytest-xdist's workers: a board for each of them."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._dealer = choice.Dealer(names)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """A worker is about to start."""
        shared = node.workerinput["workercount"] > len(self._names)
        node.workerinput[_DEALT] = {"name": self._dealer.deal(node.gateway.id), "shared": shared}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker ended; another may take its place."""
        self._dealer.give_back(node.gateway.id)


def _dealt(config: pytest.Config) -> dict[str, Any]:
    alone = {"name": _names(config)[0], "shared": False}
    return dict(getattr(config, "workerinput", {}).get(_DEALT, alone))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test with a board runs on every one; with workers, on that of its worker."""
    names = _names(metafunc.config)
    if "board_name" in metafunc.fixturenames and len(names) > 1 and not _is_worker(metafunc.config):
        metafunc.parametrize("board_name", names, scope="session", indirect=True)


# ---- fixtures ----


@pytest.fixture(scope="session")
def board_name(request: pytest.FixtureRequest) -> str:
    """Which board it is, as `--board` says."""
    return str(getattr(request, "param", _dealt(request.config)["name"]))


@pytest.fixture(scope="session")
def _held_board(board_name: str, request: pytest.FixtureRequest) -> Iterator[HeldBoard]:
    from host.hil.held import HeldBoard

    config = request.config
    held = HeldBoard(board_name, _pack_path(config), _number(config, "board_wait"), _say(config))
    yield held
    held.finish()


@pytest.fixture
def board(_held_board: HeldBoard, request: pytest.FixtureRequest) -> Iterator[Board]:
    """A board with kern firmware, freshly reset, with the run's pack active: a host.Board."""
    request.node.stash[_HELD] = _held_board
    link = _held_board.begin()
    request.node.user_properties.extend(_held_board.identity.items())
    yield link
    if _dealt(request.config)["shared"]:
        _held_board.give_back()


@pytest.fixture
def pack(board: Board, _held_board: HeldBoard) -> Pack:
    """The run's pack, verified, and active on the board: a host.Pack."""
    return _held_board.pack


def _say(config: pytest.Config) -> Any:
    """How to tell people something while a test runs; workers have nobody to tell."""
    terminal, capture = map(config.pluginmanager.get_plugin, ("terminalreporter", "capturemanager"))

    def say(text: str) -> None:
        if terminal is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                terminal.ensure_newline()
                terminal.write_line(text)

    return say


# ---- running and reporting ----


def _uses_board(item: pytest.Item) -> bool:
    return "_held_board" in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test that has a board, again after infrastructure errors; what is reported is the last time."""
    if not _uses_board(item):
        return None
    left = int(_number(item.config, "board_retries"))
    properties = list(item.user_properties)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    while True:
        item.user_properties[:] = properties
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = next((report for report in reports if reporting.worth_repeating(report)), None)
        if failed is None or left == 0:
            break
        left -= 1
        properties.append((reporting.REPEATED, reporting.infrastructure(failed)))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell infrastructure errors from failures, and attach what the board has to say."""
    report = yield
    held = item.stash.get(_HELD, None)
    if held is None:
        return report
    reporting.mark_board(report)
    if report.failed:
        infrastructure = call.excinfo is not None and reporting.is_infrastructure(call.excinfo.value)
        if infrastructure:
            assert call.excinfo is not None
            reporting.mark(report, item, call.excinfo)
            item.user_properties[:] = report.user_properties
        if transcript := held.transcript():
            report.sections.append((reporting.TRANSCRIPT, transcript))
        if infrastructure:
            held.let_go()  # to be opened anew; who talks to it until then gets a DeviceError, too
        elif faults := held.fault_log():
            report.sections.append((reporting.FAULT_LOG, faults))
    return report
