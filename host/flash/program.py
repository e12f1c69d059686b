"""Flash a board whose firmware a program of this computer runs: put the ELF file where the program finds it.

A board that runs (`host emulate`, or in this process) is started anew with it; of one that does not, the firmware stays
in the instance's folder for whenever it runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from host import emulator, ports
from host.board import Progress
from host.boards import Board
from host.errors import NoDevice, UsageError
from host.flash import started
from host.flash.firmware import Firmware
from host.flash.uf2 import Report


@contextmanager
def target(board: Board, port: str | None) -> Iterator[emulator.Running]:
    """The instance to flash: the one that ``port`` or HOST_PORT means, else the only one that runs, else the default.

    Raises UsageError when that is no instance of ``board``.
    """
    try:
        meant = ports.resolve(port, board.name)
    except NoDevice:
        if port or os.environ.get("HOST_PORT"):
            raise
        meant = emulator.Running(board.name).address
    if not meant.startswith(ports.EMULATED) or ports.emulated_instance(meant)[0] != board.name:
        raise UsageError(f"{meant} is no {board.name}: that is run by this computer, as --port emu:{board.name}[:NAME]")
    with ports.emulated(meant) as running:
        yield running


def flash(
    firmware: Firmware, target: emulator.Running, report: Report, progress: Progress | None = None
) -> dict[str, Any]:
    """Put ``firmware`` on the board and return its ``kern.status()`` as it runs.

    Raises DeviceTimeout when the firmware is not taken, NoDevice with what the program said when it ends, and
    CheckFailed when something else than ``firmware`` runs afterwards.
    """
    report(f"copying {firmware.path.name} to {target.folder}")
    target.load(firmware.path)
    if progress:
        size = firmware.path.stat().st_size
        progress(size, size)
    report("waiting for the board to start")

    def port() -> str | None:
        target.check_power()
        return str(target.port) if target.port.exists() else None

    return started.confirm(firmware, port)
