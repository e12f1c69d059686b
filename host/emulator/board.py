"""An emulated board in this process.

A thread moves bytes between the node process that executes the board and a pseudo terminal, and plays the parts of the
cable and of the boot ROM's drive.
"""

from __future__ import annotations

import itertools
import json
import queue
import select
from pathlib import Path
from typing import Any, Literal

from host import boards
from host.emulator import instance as instances
from host.emulator.bootsel import Drive
from host.emulator.powered import Event, Powered
from host.emulator.process import WINDOW, Process
from host.emulator.pty_port import PtyPort
from host.errors import DeviceTimeout, NoDevice, UsageError

_LOOK_FOR_OPEN = 0.01  # seconds between two looks whether a program opened the port: nothing else tells
_LOOK_AT_DRIVE = 0.05
_ANSWER = 30.0


class EmulatedBoard(Powered):
    """A Raspberry Pi Pico with a USB cable and a BOOTSEL button. Powered from ``start()`` to ``stop()``.

    ``flash`` is the file with its flash, made blank if it is not there; a board with blank flash is in BOOTSEL. With
    ``realtime=False`` the board does not wait while its processor sleeps: its clock runs ahead of the wall's.

    Its events: power_on, connected, disconnected, reset, bootsel, uf2_programmed, uf2_refused, power_cut, power_off,
    lockup, unsupported, crashed. tools/emulator/main.mjs says what else each carries.
    """

    def __init__(
        self,
        name: str = "rpi_pico",
        flash: Path | None = None,
        instance: str = instances.DEFAULT,
        realtime: bool = True,
    ) -> None:
        self._facts = boards.load(name)
        if self._facts.emulator is None:
            raise UsageError(f"board {name} has no emulator")
        super().__init__(name, instance, flash, self._facts.flash.size)
        self._realtime = realtime
        # the following belong to the thread
        self._process: Process | None = None
        self._port: PtyPort | None = None
        self._port_open = False
        self._drive: Drive | None = None
        self._untaken = 0
        self._replies: dict[int, queue.SimpleQueue[Event | None]] = {}
        self._reply_ids = itertools.count()

    # ---- power ----

    def cut_power_at(self, operation: int, outcome: Literal["undone", "half", "done"], seed: int = 0) -> None:
        """Cut the power at the ``operation``-th flash operation from now (1: the next), left as ``outcome`` says.

        An operation is one sector erased or one page programmed. Half done is a sector or page in which some bits are
        what they were and others what they were to be; ``seed`` decides which. The event is ``power_cut``.
        """
        self._command("cut", operation=operation, outcome=outcome, seed=seed)

    def jump_clock(self, microseconds: int, least: int = 1, most: int = 1, seed: int = 1) -> None:
        """Let the board's clock jump ahead by ``microseconds`` again and again: each time after ``least`` to ``most``
        processor cycles, drawn from ``seed`` (not 0), so that what it makes due comes between any two instructions.

        It goes on until a reset, or until it is called with 0. Cycle counts do not jump.
        """
        if not 1 <= least <= most or not 1 <= seed < 1 << 31:
            raise ValueError(f"no jumps after {least} to {most} cycles from seed {seed}")
        self._command("jump", seed=seed, nanos=microseconds * 1000, least=least, most=most)

    # ---- buttons and cable ----

    def reset(self) -> None:
        """Pull the RUN pin. A board in BOOTSEL leaves it, if there is something in its flash."""
        self._do(self._reset)

    def enter_bootsel(self) -> None:
        """Apply power with the BOOTSEL button held."""
        self._do(self._enter_bootsel)

    def unplug(self) -> None:
        """Pull the USB cable's data lines; the board keeps its power."""
        self._do(self._unplug)

    def plug(self) -> None:
        """Put the cable back: the board is enumerated again and gets a new port."""
        self._command("plug")

    # ---- questions ----

    @property
    def pid(self) -> int | None:
        """Process id of the node process, if the board is powered and not in BOOTSEL."""
        process = self._process
        return process.pid if process else None

    def cycles(self) -> int:
        """Processor cycles since power-up, asleep or awake. Raises NoDevice when the processor has no power."""
        return int(self.counters()["cycles"])

    def counters(self) -> Event:
        """``cycles``, ``nanos`` (board time), ``flash_operations`` and ``hard_faults`` since power-up; ``jumps`` of the
        clock since the last reset.
        """
        answer: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._do(lambda: self._ask(answer))
        try:
            reply = answer.get(timeout=_ANSWER)
        except queue.Empty:
            raise DeviceTimeout(f"the emulated {self.board} did not answer within {_ANSWER:g} s") from None
        if reply is None:
            raise NoDevice(f"the emulated {self.board} lost its power")
        return {name: value for name, value in reply.items() if name not in ("event", "id")}

    # ---- from here on: in the thread, but for _command ----

    def _command(self, command: str, **arguments: Any) -> None:
        self._do(lambda: self._powered().send_command(command, **arguments))

    def _powered(self) -> Process:
        if self._process is None:
            raise NoDevice(f"the processor of the emulated {self.board} has no power or is in BOOTSEL")
        return self._process

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if self._process:
            poll.register(self._process.output, select.POLLIN)
        if self._port and self._port_open:
            wanted = select.POLLIN if self._untaken < WINDOW else 0
            poll.register(self._port, wanted | (select.POLLOUT if self._port.has_outgoing else 0))
        ready = {file for file, _ in poll.poll(self._patience())}
        if self._wake_read in ready:
            self._run_work()
        if self._process and self._process.output in ready:
            self._hear()
        if self._port:
            self._serve_port(self._port)
        if self._drive:
            self._serve_drive(self._drive)

    def _patience(self) -> int | None:
        """Milliseconds until the thread must look at something that cannot wake it."""
        if self._drive:
            return round(_LOOK_AT_DRIVE * 1000)
        return round(_LOOK_FOR_OPEN * 1000) if self._port and not self._port_open else None

    # ---- power and modes ----

    def _power_on(self) -> None:
        if self._process is None and self._drive is None:
            lock = self._flash_lock.file
            assert lock is not None
            self._process = Process(self.flash, self._realtime, lock)
            self._tell("power_on")

    def _power_off(self) -> None:
        self._end_process()
        self._remove_drive()
        self._tell("power_off")

    def _end_process(self) -> None:
        self._close_port()
        if self._process:
            self._process.kill()
            self._process = None
        self._untaken = 0
        for answer in self._replies.values():
            answer.put(None)
        self._replies.clear()

    def _reset(self) -> None:
        if self._process:
            self._close_port()
            self._process.send_command("reset")
        elif self._drive:
            self._remove_drive()
            self._power_on()
        else:
            self._powered()

    def _enter_bootsel(self) -> None:
        self._end_process()
        if self._drive is None:
            self._drive = Drive(self.bootsel_dir, self._facts, self.flash)
            self._tell("bootsel")

    def _remove_drive(self) -> None:
        if self._drive:
            self._drive.remove()
            self._drive = None

    def _serve_drive(self, drive: Drive) -> None:
        outcome = drive.poll()
        if outcome is None:
            return
        path, refusal = outcome
        if refusal is not None:
            self._tell("uf2_refused", file=path.name, reason=refusal)
            return
        self._remove_drive()
        self._tell("uf2_programmed", file=path.name)
        self._power_on()

    # ---- the process ----

    def _hear(self) -> None:
        process = self._powered()
        frames = process.receive()
        if frames is None:
            self._end_process()
            self._tell("crashed", message="the emulator's process ended by itself")
            return
        for kind, payload in frames:
            if kind == b"D":
                self._from_board(process, payload)
            elif kind == b"A":
                self._untaken -= int.from_bytes(payload, "little")
            else:
                self._heard(json.loads(payload))
            if self._process is None:  # what was heard ended it
                return

    def _heard(self, event: Event) -> None:
        name = event.pop("event")
        if name == "reply":
            answer = self._replies.pop(event["id"], None)
            if answer:
                answer.put(event)
            return
        if name == "bootsel":
            self._enter_bootsel()
            return
        if name in ("power_cut", "lockup"):
            self._end_process()
        elif name == "reset":
            self._close_port()
        elif name == "connected":
            self._close_port()
            self._port = PtyPort(self.port)
        self._tell(name, **event)

    def _ask(self, answer: queue.SimpleQueue[Event | None]) -> None:
        process = self._powered()
        number = next(self._reply_ids)
        self._replies[number] = answer
        process.send_command("query", id=number)

    # ---- the serial port ----

    def _unplug(self) -> None:
        self._powered().send_command("unplug")
        self._close_port()

    def _close_port(self) -> None:
        if self._port:
            unsent = self._port.drop()
            self._port.close()
            self._port, self._port_open = None, False
            if self._process:
                self._process.send_taken(unsent)
            self._tell("disconnected")

    def _from_board(self, process: Process, data: bytes) -> None:
        if self._port and self._port_open:
            self._port.write(data)
        else:
            process.send_taken(len(data))

    def _serve_port(self, port: PtyPort) -> None:
        process = self._powered()
        is_open = port.is_open
        touched = not is_open and not self._port_open and port.was_touched
        if (is_open or touched) and not self._port_open:
            self._port_open = True
            process.send_command("line", baud=port.baud, dtr=True)
        if not self._port_open:
            return
        while self._untaken < WINDOW and (data := port.read(WINDOW - self._untaken)):
            self._untaken += len(data)
            process.send_data(data)
        if is_open:
            if port.has_outgoing and (written := port.flush()):
                process.send_taken(written)
        else:
            self._port_open = False
            process.send_command("line", baud=port.baud, dtr=False)
            process.send_taken(port.drop())
            port.forget_baud()
