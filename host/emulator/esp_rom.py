"""An emulated ESP32, ESP32-C3 or ESP32-S3 in download mode: a serial port that esptool flashes as a real one's.

    with EspRom("esp32c3") as rom:                # or `host emulate esp32c3` in another terminal
        subprocess.run(["esptool", "--port", str(rom.port), "--before", "no-reset", "write-flash", "0", "firmware.bin"])
        rom.flash.read_bytes()

Only the boot ROM's loader and esptool's stub are there (host.emulator.esp_loader): nothing of what was flashed runs.
A pseudo terminal has no RTS and DTR, by which esptool resets a real chip; closing the port stands in for them, and
gives the ROM's loader again.
"""

from __future__ import annotations

import mmap
import random
import select
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from host import boards
from host.boards import Esptool
from host.emulator import instance as instances
from host.emulator import slip
from host.emulator.esp_loader import Loader
from host.emulator.powered import Event, Owned
from host.emulator.pty_port import PtyPort
from host.errors import UsageError

_LOOK = 10  # milliseconds between two looks whether a program opened or closed the port: nothing else tells
_CHUNK = 4096


@dataclass
class Noise:
    """A bad line: of all bytes, each way, the share ``dropped`` is lost and ``corrupted`` has one bit flipped.

    The same ``seed`` hits the same bytes, counted from the chip's first SYNC: connecting takes more or fewer tries.
    """

    seed: int
    dropped: float = 0.0
    corrupted: float = 0.0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, data: bytes) -> bytes:
        """What arrives of ``data``."""
        arrived = bytearray()
        for byte in data:
            fate = self._random.random()
            if fate < self.dropped:
                continue
            hit = fate < self.dropped + self.corrupted
            arrived.append(byte ^ 1 << self._random.randrange(8) if hit else byte)
        return bytes(arrived)


class EspRom(Owned):
    """An emulated chip, powered from ``start()`` to ``stop()``.

    ``flash`` is the file with its flash, made blank if it is not there. ``noise`` is what the line does to bytes: to
    the chip, and from it.
    """

    def __init__(
        self,
        name: str,
        flash: Path | None = None,
        instance: str = instances.DEFAULT,
        noise: tuple[Noise | None, Noise | None] = (None, None),
    ) -> None:
        board = boards.load(name)
        if not isinstance(board.boot, Esptool):
            raise UsageError(f"board {name} is not flashed by esptool")
        super().__init__(name, instance, flash, board.boot.flash_size)
        self._facts = board.boot
        self._noise = noise
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> Self:
        if self._thread is not None:
            return self
        self._claim()
        try:
            self._memory = self._map_flash()
            self.loader = Loader(self._facts, memoryview(self._memory))
            self._port = PtyPort(self.port)
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=f"emulated {self.board}", daemon=True)
            self._thread.start()
            instances.publish(self, self.flash)
        except BaseException:
            self.stop()
            self._release()
            raise
        return self

    def stop(self) -> None:
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        self._thread = None
        self._port.close()
        self._memory.flush()
        (self.folder / "info.json").unlink(missing_ok=True)
        self._release()

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened since power-up, oldest first: connected, then refused (``command``, ``code``) requests."""
        refused = ({"event": "refused", "command": command, "code": code} for command, code in self.loader.refusals)
        return ({"event": "connected"}, *refused)

    def _map_flash(self) -> mmap.mmap:
        with self.flash.open("r+b") as file:
            return mmap.mmap(file.fileno(), 0)

    # ---- in the thread ----

    def _run(self) -> None:
        decoder = slip.Decoder()
        while not self._stopping.is_set():
            if not self._port.is_open:
                self.loader.reset()
                decoder = slip.Decoder()
                self._port.drop()
                self._stopping.wait(_LOOK / 1000)
                continue
            poll = select.poll()
            poll.register(self._port, select.POLLIN | (select.POLLOUT if self._port.has_outgoing else 0))
            poll.poll(_LOOK)
            self._port.flush()
            self._serve(decoder, self._port.read(_CHUNK))

    def _serve(self, decoder: slip.Decoder, data: bytes) -> None:
        if self.loader.baud not in (None, self._port.baud):
            return  # at another speed than the chip's, bytes are nonsense
        noise_in, noise_out = self._noise if self.loader.synced else (None, None)
        for packet in decoder.feed(noise_in(data) if noise_in else data):
            for reply in self.loader.request(packet):
                framed = slip.encode(reply)
                self._port.write(noise_out(framed) if noise_out else framed)
        self._port.flush()
