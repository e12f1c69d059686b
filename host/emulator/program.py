"""A board whose firmware is an ELF file that a program of this computer runs: QEMU's boards, and the unix port.

    with ProgramBoard("qemu_m33") as board:       # or `host emulate qemu_m33` in another terminal
        serial.Serial(board.program(elf))

The board's serial port is the program's standard input and output. Its flash is an ordinary file, which the firmware
itself reads at start and writes at every erase and program operation: ending the program is a power cut. A reset of
the machine happens inside the program, and the port stays; when the program ends, the port goes.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from host import boards
from host.boards import Program
from host.emulator import instance as instances
from host.emulator.powered import Powered
from host.emulator.pty_port import PtyPort
from host.errors import PartMissing, UsageError

_WINDOW = 16384  # bytes on their way, each way; then whoever sends must wait
_LOOK_FOR_OPEN = 10  # milliseconds between two looks whether a program opened the port: nothing else tells
_LOOK_FOR_FIRMWARE = 50
_STDERR_SHOWN = 2000


class ProgramBoard(Powered):
    """A board that a program runs, powered from ``start()`` to ``stop()``, once it has firmware.

    ``flash`` is the file with its flash, made blank if it is not there. Its events: power_on, no_firmware, connected,
    disconnected, firmware_taken, power_off, crashed: the program ended by itself or cannot be run, as ``message`` says.
    """

    def __init__(self, name: str, flash: Path | None = None, instance: str = instances.DEFAULT) -> None:
        board = boards.load(name)
        if not isinstance(board.boot, Program):
            raise UsageError(f"board {name} is not run by a program")
        super().__init__(name, instance, flash, board.flash.size)
        self._command = command(board.boot, self.firmware, self.flash)
        # the following belong to the thread
        self._process: subprocess.Popen[bytes] | None = None
        self._port: PtyPort | None = None
        self._port_open = False
        self._to_program = bytearray()

    @property
    def pid(self) -> int | None:
        """Process id of the program, if the board is powered."""
        process = self._process
        return process.pid if process else None

    def reset(self) -> None:
        """Power off and on again: a program has no reset pin."""
        self.power_off()
        self.power_on()

    # ---- in the thread ----

    def _serve(self) -> None:
        is_open = self._port is not None and self._port.is_open
        ready = self._poll(is_open)
        if self._wake_read in ready:
            self._run_work()
        if self.incoming.exists():
            self._take_firmware()
        if self._process:
            self._serve_program(self._process, ready)
        if self._port:
            self._serve_port(self._port)

    def _poll(self, is_open: bool) -> dict[int, int]:
        """What can be read or written now, by file descriptor, as poll tells."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if self._process:
            stdin, stdout = _pipes(self._process)
            poll.register(stdout, select.POLLIN if self._has_room else 0)
            if self._to_program:
                poll.register(stdin, select.POLLOUT)
        if self._port and is_open:
            wanted = select.POLLIN if len(self._to_program) < _WINDOW else 0
            poll.register(self._port, wanted | (select.POLLOUT if self._port.has_outgoing else 0))
        return dict(poll.poll(_LOOK_FOR_FIRMWARE if is_open or not self._port else _LOOK_FOR_OPEN))

    @property
    def _has_room(self) -> bool:
        return self._port is None or self._port.outgoing < _WINDOW

    def _serve_program(self, process: subprocess.Popen[bytes], ready: dict[int, int]) -> None:
        stdin, stdout = _pipes(process)
        if stdin.fileno() in ready:
            self._feed(stdin)
        happened = ready.get(stdout.fileno(), 0)
        if happened & select.POLLIN:
            data = os.read(stdout.fileno(), _WINDOW)
            if not data:
                self._ended(process)
            elif self._port and self._port.is_open:
                self._port.write(data)  # what nobody listens to is lost, as on any serial line
        elif happened & select.POLLHUP:
            self._ended(process)

    def _feed(self, stdin: IO[bytes]) -> None:
        try:
            del self._to_program[: os.write(stdin.fileno(), self._to_program)]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # the program's end is seen where its output is read
            self._to_program.clear()

    def _serve_port(self, port: PtyPort) -> None:
        is_open = port.is_open
        # who closed the port may have written before; the terminal holds only a few KB of that
        while (len(self._to_program) < _WINDOW or not is_open) and (data := port.read(_WINDOW)):
            self._to_program += data
        if is_open:
            port.flush()
        elif self._port_open:
            port.drop()
        self._port_open = is_open

    # ---- power and firmware ----

    def _take_firmware(self) -> None:
        if self._process:
            self._power_off()
        self.incoming.replace(self.firmware)
        self._tell("firmware_taken")
        self._power_on()

    def _power_on(self) -> None:
        if self._process:
            return
        if not self.firmware.is_file():
            self._tell("no_firmware")
            return
        lock = self._flash_lock.file
        assert lock is not None
        with self.stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._command],  # no program outlives this process
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=self.folder,
                pass_fds=(lock,),  # held for as long as the program can write the flash
                start_new_session=True,  # Ctrl-C in a terminal is for the host alone
            )
        os.set_blocking(_pipes(self._process)[0].fileno(), False)
        self._tell("power_on")
        self._port, self._port_open = PtyPort(self.port), False
        self._tell("connected")

    def _power_off(self) -> None:
        if self._process:
            self._process.kill()
            self._free(self._process)
            self._tell("disconnected")
        self._tell("power_off")

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        """The program ended by itself, or closed its output, which makes it useless."""
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        said = self.stderr.read_text(errors="replace")[-_STDERR_SHOWN:].strip()
        name = Path(self._command[0]).name
        self._tell("disconnected")
        # before the port goes: who gets an error then can ask for the reason
        self._tell("crashed", message=f"{name} ended {how}{f': {said}' if said else ''}")
        self._free(process)

    def _free(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        for pipe in _pipes(process):
            pipe.close()
        if self._port:
            self._port.drop()
            self._port.close()
        self._process = self._port = None
        self._port_open = False
        self._to_program.clear()


def command(program: Program, firmware: Path, flash: Path) -> list[str]:
    """The words that run ``firmware`` with the flash in the file ``flash``. Raises PartMissing without the program."""
    places = {"{firmware}": str(firmware), "{flash}": str(flash)}
    words = [_filled(word, places) for word in program.command]
    for needed in (words[0], "setpriv"):
        if needed != str(firmware) and shutil.which(needed) is None:
            raise PartMissing(f"{needed} is needed to run this board; install it with: python3 tools/setup.py")
    return words


def _filled(word: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        if name in word and name != word and "," in place:
            raise UsageError(f"{place}: a comma in this path would end an option of the program; use another folder")
        word = word.replace(name, place)
    return word


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """The program's standard input and output."""
    assert process.stdin and process.stdout
    return process.stdin, process.stdout
