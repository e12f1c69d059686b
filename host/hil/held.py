"""A board that a run of tests holds: locked, opened, and clean before each test.

Clean is a board after a soft reset, with the run's pack active: nothing in MicroPython's heap, kern not imported yet,
its counters at zero. The run's pack is the one that was asked for, else the one that was active when the board was
opened.

A board is locked in a file in the state folder of the machine that it is connected to, so that runs wait for each
other, and its port is open as long as it is held, so that no other program gets in between. An emulated board that runs
already is treated like a real one. One that does not is this run's own: new, with the firmware that `host build` made.
"""

from __future__ import annotations

import os
import pprint
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

from host import boards, emulator, flash, ports, project
from host.board import Board, connect, image_target
from host.emulator.instance import Lock
from host.errors import BoardError, CheckFailed, DeviceBusy, DeviceError, HostError, PackError, UsageError
from host.hil.choice import port_of
from host.pack import Pack, decode_image
from host.pack.source import FILE, read_source

_RETURN_SECONDS = 15.0  # for a board that went away to come back
_POLL = 0.2


class HeldBoard:
    """The board ``name``, from its first use to ``finish``.

    ``wait`` is for how many seconds it may be in use by others, which ``say`` tells people; ``pack`` is the path of the
    run's pack, or of its source.
    """

    def __init__(self, name: str, pack: Path | None, wait: float, say: Callable[[str], None]) -> None:
        self.name = name
        self._port = port_of(name)
        self._pack_path = pack
        self._pack: Pack | None = None
        self._wait = wait
        self._say = say
        self._own: str | None = None  # the instance of an emulated board that is this run's own
        self._flashed = False  # whether that has firmware
        self._held = ExitStack()
        self._board: Board | None = None
        self._home: str | None = None  # the manifest of the run's pack
        self._was_open = False
        self._hopeful = True  # a board that did not come once is not waited for again
        self.identity: dict[str, str] = {}
        """What the board is and runs, by words for people."""

    @property
    def pack(self) -> Pack:
        """The run's pack, verified. Raises UsageError when there is none, and a PackError when it is refused."""
        if self._pack is None:
            if self._pack_path is None:
                raise UsageError(f"there is no pack to test: name one with --pack, or run pytest where {FILE} is")
            self._pack = Pack.open(_built(self._pack_path))
        return self._pack

    def begin(self) -> Board:
        """The board, clean. It is opened if it is not open, and once more when it does not answer."""
        if self._board:
            try:
                return self._clean(self._board)
            except BoardError:
                raise
            except DeviceError:
                self.let_go()
        return self._clean(self._open())

    def transcript(self) -> str:
        """What was said to the board since ``begin``, and what it said."""
        return str(self._board.transcript) if self._board else ""

    def fault_log(self) -> str:
        """``kern.stats()``, or why there is none."""
        if self._board is None:
            return ""
        try:
            return pprint.pformat(self._board.stats(), sort_dicts=False, width=100)
        except HostError as error:
            return f"kern.stats() is not to be had: {error}"

    def let_go(self) -> None:
        """Close the board and free it, as it is."""
        self._board = None
        held, self._held = self._held, ExitStack()
        held.close()

    def give_back(self) -> None:
        """Free a board that others wait for, with the run's pack on it; one of the run's own stays."""
        if self._board and self._own is None:
            with suppress(HostError):
                self._clean(self._board)
            self.let_go()

    def finish(self) -> None:
        """Free the board; one of the run's own is gone for good."""
        self.give_back()
        self.let_go()
        if self._own:
            shutil.rmtree(emulator.Running(*ports.emulated_instance(self._own)).folder, ignore_errors=True)
            self._own = None

    # ---- opening ----

    def _open(self) -> Board:
        """Raises DeviceBusy or another DeviceError when the board is not to be had, though it was waited for."""
        started = time.monotonic()
        said = False
        while True:
            try:
                self._board = self._take()
            except BoardError:
                raise
            except DeviceError as error:
                busy = isinstance(error, DeviceBusy)
                patience = self._wait if busy else _RETURN_SECONDS if self._was_open else 0.0
                if not self._hopeful or time.monotonic() - started > patience:
                    self._hopeful = False
                    raise
                if busy and not said:
                    self._say(f"waiting up to {self._wait:g} s for {self.name}: {error}")
                    said = True
                time.sleep(_POLL)
            else:
                self._was_open = self._hopeful = True
                return self._board

    def _take(self) -> Board:
        with ExitStack() as stack:
            port = self._own_emulator(stack)
            if port is None:
                port = ports.resolve(self._port)
                lock = Lock(project.state_dir() / "boards" / f"{quote(_device(port), safe='')}.lock")
                lock.acquire(self.name)
                stack.callback(lock.release)
            board = stack.enter_context(connect(port))
            self._held = stack.pop_all()
            return board

    def _own_emulator(self, stack: ExitStack) -> str | None:
        """Power this run's own emulated board, if it is to have one, and return what host.ports calls it."""
        if not self._port.startswith(ports.EMULATED):
            return None
        kind, instance = ports.emulated_instance(self._port)
        if self._own is None and emulator.find_running(kind, instance):
            return None
        self._own = self._own or f"{ports.EMULATED}{kind}:{instance}-pytest-{os.getpid()}"
        stack.enter_context(ports.emulated(self._own))
        facts = boards.load(kind)
        if not self._flashed and facts.emulator != emulator.ESP_ROM:
            flash.Job(facts, flash.read_firmware(facts), self._own).run(lambda _: None)
            self._flashed = True
        return self._own

    # ---- between tests ----

    def _clean(self, board: Board) -> Board:
        if not self._at_home(board):
            board.soft_reset()  # ends a trial
            self._bring_home(board)
        board.soft_reset()
        board.transcript.clear()
        return board

    def _at_home(self, board: Board) -> bool:
        """Whether a reset is all that the board needs."""
        if self._home is None:
            return False
        try:
            active = board.status()["pack"]
        except BoardError:  # what a test left in the heap may be in kern's way
            return False
        return active is not None and active["confirmed"] and active["manifest"] == self._home

    def _bring_home(self, board: Board) -> None:
        """Make the run's pack active. Raises CheckFailed when it cannot be."""
        status = board.status()
        active = status["pack"]
        if self._pack_path:
            image = self.pack.image(image_target(self.pack, status))
            self._home = decode_image(image).manifest_sha256.hex()
            if active is None or active["manifest"] != self._home:
                active = board.install(image)
        elif self._home and (active is None or active["manifest"] != self._home):
            active = self._rolled_back(board)
        elif active:
            self._home = active["manifest"]
        self.identity = {
            "board": self.name,
            "firmware": f"kern {status['version']}, build {status['build']} ({status['board']}, {status['target']})",
            "pack": f"{active['name']} {active['version']} ({active['manifest'][:16]})" if active else "none",
        }

    def _rolled_back(self, board: Board) -> dict[str, object]:
        try:
            active = board.rollback()
        except PackError as error:
            raise CheckFailed(
                f"a test left another pack on {self.name}, and the one before cannot be brought back ({error});"
                " with --pack it is installed again"
            ) from error
        if active["manifest"] != self._home:
            raise CheckFailed(f"tests left other packs on {self.name}; name the one to begin with: --pack")
        return active


def _device(port: str) -> str:
    """One name for the same device, whatever symbolic links lead to it."""
    return os.path.realpath(port) if port.startswith("/") else port


def _built(path: Path) -> Path:
    """The pack itself: ``path``, or, of a pack's source, what `host pack build` made of it. Raises UsageError."""
    if not (path / FILE).is_file():
        if not path.exists():
            raise UsageError(f"there is no pack {path}")
        return path
    built = read_source(path).built
    if not built.exists():
        raise UsageError(f"{built} is not built; make it with: host pack build")
    return built
