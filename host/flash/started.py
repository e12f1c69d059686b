"""After flashing: the board's REPL comes back, and tells what runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from host.board import Board
from host.errors import BoardError, CheckFailed, DeviceError, DeviceTimeout
from host.flash.firmware import Firmware
from host.link import Link

START_SECONDS = 30.0
POLL = 0.1

T = TypeVar("T")


def wait(found: Callable[[], T | None], seconds: float) -> T | None:
    """What ``found`` gives as soon as it gives something; None after ``seconds``."""
    end = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > end:
            return None
        time.sleep(POLL)
    return result


def confirm(firmware: Firmware, port: Callable[[], str | None]) -> dict[str, Any]:
    """The board's ``kern.status()``, as soon as its REPL answers on the port that ``port`` finds.

    Raises DeviceTimeout when it does not come back, and CheckFailed when something else than ``firmware`` runs.
    """
    status = _status(port)
    if (status["build"], status["version"]) != (firmware.build, firmware.version):
        raise CheckFailed(
            f"the board runs build {status['build']} (version {status['version']}),"
            f" and flashed was {firmware.build} ({firmware.version})"
        )
    return status


def _status(port: Callable[[], str | None]) -> dict[str, Any]:
    end = time.monotonic() + START_SECONDS
    while True:
        path = wait(port, end - time.monotonic())
        if not path:
            raise DeviceTimeout(f"the board did not come back within {START_SECONDS:g} s")
        try:
            with Board(Link(path, timeout=3.0)) as board:
                return board.status()
        except BoardError as error:
            raise CheckFailed(f"what runs on the board has no kern:\n{error}") from error
        except DeviceError:
            if time.monotonic() > end:
                raise
            time.sleep(POLL)
