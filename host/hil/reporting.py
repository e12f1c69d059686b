"""How a run with boards is reported: infrastructure errors apart from failures, and which boards ran what.

A test report that says ``infrastructure`` is one of a DeviceError: the way to a board was missing, busy or broken, so
nothing is known of what was to be tested. A BoardError is none: the board answered, with a traceback.

What a worker of pytest-xdist has to tell goes with its reports: in that attribute, and as properties of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from host.errors import BoardError, DeviceBusy, DeviceError
from host.hil import junit

EXIT_CODE = 75
"""Of a run in which no test failed, but boards did: EX_TEMPFAIL of sysexits.h, try again later."""
TRANSCRIPT = "board transcript"
FAULT_LOG = "board fault log"
REPEATED = "repeated_after"
"""The property with an infrastructure error that a test was run again for."""
_CATEGORY = "infrastructure error"
_Status = tuple[str, str, tuple[str, dict[str, bool]]]


def is_infrastructure(error: BaseException) -> bool:
    """Whether ``error`` is one of the way to a board."""
    return isinstance(error, DeviceError) and not isinstance(error, BoardError)


def mark(report: pytest.TestReport, item: pytest.Item, raised: pytest.ExceptionInfo[BaseException]) -> None:
    """Make ``report`` one of an infrastructure error, with a short traceback: its message says what is to be known."""
    error = raised.value
    text = f"{type(error).__name__}: {error}"
    report.longrepr = raised.getrepr(style="short", chain=False, tbfilter=item._traceback_filter)
    vars(report).update(
        infrastructure=text,
        worth_repeating=not isinstance(error, DeviceBusy),  # which was waited for already
    )
    report.user_properties.append(("infrastructure_error", text))


def mark_board(report: pytest.TestReport) -> None:
    """Make ``report`` one of a test with a board: only its properties are this plugin's."""
    vars(report).update(has_board=True)


def infrastructure(report: pytest.TestReport) -> str | None:
    """The infrastructure error that ``report`` is about, if it is."""
    return getattr(report, "infrastructure", None)


def worth_repeating(report: pytest.TestReport) -> bool:
    """Whether the test may go better when it is run again."""
    return bool(getattr(report, "worth_repeating", False))


@dataclass
class _Used:
    """A board that tests ran on."""

    firmware: str
    packs: list[str]
    tests: int = 0


class Reporting:
    """The part of the plugin that the process has which writes the reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._failed = self._infrastructure = 0
        self._boards: dict[str, _Used] = {}
        self._repeated: list[tuple[str, str]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> _Status | None:
        """Its own category, letter and word."""
        if infrastructure(report):
            return _CATEGORY, "I", ("INFRASTRUCTURE", {"yellow": True})
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Iterator[None]:
        """Count, and complete what JUnit XML has: before a teardown's report closes the test's element, else after."""
        if report.when == "teardown":
            self._note(report)
            self._attach(report)
            yield
        else:
            yield
            self._attach(report)
        if report.failed:
            if infrastructure(report):
                self._infrastructure += 1
                junit.as_error(self._config, report)
            else:
                self._failed += 1

    def _attach(self, report: pytest.TestReport) -> None:
        if report.failed:
            for title, text in report.sections:
                if title in (TRANSCRIPT, FAULT_LOG):
                    junit.attach(self._config, report, title, text)

    def _note(self, report: pytest.TestReport) -> None:
        if not getattr(report, "has_board", False):
            return
        properties = dict(report.user_properties)
        if "board" in properties and "firmware" in properties:
            used = self._boards.setdefault(str(properties["board"]), _Used(str(properties["firmware"]), []))
            used.tests += 1
            if (pack := str(properties["pack"])) not in used.packs:
                used.packs.append(pack)
        self._repeated += [(report.nodeid, str(text)) for name, text in report.user_properties if name == REPEATED]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Infrastructure errors, what was repeated, and the boards, as far as there were any."""
        write = terminalreporter
        if errors := write.getreports(_CATEGORY):
            write.write_sep("=", "INFRASTRUCTURE ERRORS")
        for report in errors:
            write.write_sep("_", f"{report.nodeid} ({report.when})", yellow=True, bold=True)
            write.write_line(report.longreprtext)
            for title, text in report.sections:
                write.write_sep("-", title)
                write.write_line(text.rstrip("\n"))
        if self._boards or self._repeated:
            write.write_sep("=", "boards")
        for name, used in self._boards.items():
            tests = f"{used.tests} test{'s' if used.tests != 1 else ''}"
            write.write_line(f"{name}: {used.firmware}; pack {', '.join(used.packs)}; {tests}")
        for nodeid, text in self._repeated:
            write.write_line(f"{nodeid} was repeated after {text}")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """The exit code of a run whose only trouble were boards."""
        if exitstatus == pytest.ExitCode.TESTS_FAILED and self._infrastructure and not self._failed:
            session.exitstatus = EXIT_CODE
