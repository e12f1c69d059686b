"""The node process that executes the board, and the frames that it speaks on its standard input and output.

A frame is a kind, the length of its payload (u32, little-endian) and the payload. tools/emulator/channel.mjs has the
kinds.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from host import parts, project
from host.emulator import rom
from host.errors import PartMissing

WINDOW = 16384  # bytes sent to the board that it has not taken; as in channel.mjs
_HEADER = struct.Struct("<cI")


class Process:
    """One powered board. Its end is a power cut: the flash file is up to date at every moment."""

    def __init__(self, flash: Path, realtime: bool, lock: int) -> None:
        """``lock`` is a file descriptor that the process holds open for as long as it can write the flash."""
        node = shutil.which("node")
        if node is None:
            raise PartMissing("node is needed to run the emulator; install nodejs")
        command = [node, str(project.root() / "tools" / "emulator" / "main.mjs"), str(rom.image()), str(flash)]
        self._process = subprocess.Popen(
            command if realtime else [*command, "--turbo"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "RP2040JS_DIR": str(parts.path("rp2040js"))},
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C in a terminal is for the host alone
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin.fileno()
        self.output = self._process.stdout.fileno()
        self._received = bytearray()

    @property
    def pid(self) -> int:
        """Process id, for tests that kill it."""
        return self._process.pid

    def send_data(self, data: bytes) -> None:
        """Bytes for the board's serial port."""
        self._send(b"D", data)

    def send_taken(self, count: int) -> None:
        """Tell that ``count`` bytes of the board's went on."""
        self._send(b"A", struct.pack("<I", count))

    def send_command(self, command: str, **arguments: Any) -> None:
        """A command, as main.mjs lists them."""
        self._send(b"J", json.dumps({"command": command, **arguments}).encode())

    def _send(self, kind: bytes, payload: bytes) -> None:
        frame = _HEADER.pack(kind, len(payload)) + payload
        with suppress(BrokenPipeError):  # the process's end is seen where its output is read
            while frame:
                frame = frame[os.write(self._input, frame) :]

    def receive(self) -> Iterator[tuple[bytes, bytes]] | None:
        """The kinds and payloads that arrived, once ``output`` is readable; None when the process has ended."""
        chunk = os.read(self.output, 65536)
        if not chunk:
            return None
        self._received += chunk
        return self._frames()

    def _frames(self) -> Iterator[tuple[bytes, bytes]]:
        while len(self._received) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._received)
            end = _HEADER.size + length
            if len(self._received) < end:
                return
            payload = bytes(self._received[_HEADER.size : end])
            del self._received[:end]
            yield kind, payload

    def kill(self) -> None:
        """End the process, if it still runs, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
