"""A serial link to a board's REPL: run code there, move bytes both ways, and say what went wrong.

The REPL side is mpremote's own transport (raw REPL, raw paste). This module turns its errors, the serial port's and the
board's tracebacks into the classes of host.errors.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import serial
from mpremote import transport_serial
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from host import errors
from host.errors import BoardError, DeviceBusy, DeviceError, DeviceTimeout, HostError, NoDevice
from host.transcript import Transcript

_TICK = 2.0  # seconds that one read from the port may block; longer waits are made of these
_END = b"\x04"  # ends what code printed, and then its traceback, in the raw REPL
_BUSY = (errno.EBUSY, errno.EAGAIN)
_ERROR_LINE = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$", re.DOTALL)

# mpremote prints what it read before it raises an error, where our results go. Its module loses its print, not the
# process its sys.stdout, which threads with other boards use as well.
transport_serial.print = lambda *_words, **_options: None


class Link:
    """A board's raw REPL over one serial port, which it holds exclusively until ``close``.

    ``transcript`` has what was said over it last.
    """

    def __init__(self, port: str, timeout: float = 10.0) -> None:
        """Open ``port`` and stop whatever runs on the board.

        Raises NoDevice, DeviceBusy, or DeviceTimeout when no REPL answers within ``timeout`` seconds.
        """
        self.port = port
        self.transcript = Transcript()
        self._transport = self._open(timeout)

    def _open(self, timeout: float) -> SerialTransport:
        try:
            # mpremote knows a pty by its name, and polls other ports every 10 ms
            path = str(Path(self.port).resolve()) if self.port.startswith("/") else self.port
            transport = SerialTransport(path, timeout=_TICK)
        except (TransportError, OSError) as error:
            raise why_not(self.port) from error
        transport.serial.write_timeout = timeout
        try:
            with _translated(self.port):
                _enter_raw_repl(transport, timeout)
        except BaseException:
            _close(transport)
            raise
        return transport

    def close(self) -> None:
        """Leave the board at its friendly REPL and give the port back."""
        with contextlib.suppress(OSError):
            self._transport.exit_raw_repl()
        _close(self._transport)

    def exec(self, code: str, timeout: float = 10.0, title: str | None = None) -> str:
        """Run ``code`` on the board and return what it printed. A ``title`` stands for it in the transcript.

        Raises the board's own error (see ``board_error``) when the code ends with one, and DeviceTimeout when it is
        silent for ``timeout`` seconds; it is interrupted then.
        """
        self.begin(code, title)
        try:
            return self.finish(timeout)
        except KeyboardInterrupt:
            self.interrupt()
            raise

    def begin(self, code: str, title: str | None = None) -> None:
        """Start ``code`` on the board; ``read`` and ``write`` talk with it until ``finish``."""
        self.transcript.sent(title or code)
        with _translated(self.port):
            self._transport.exec_raw_no_follow(code)

    def finish(self, timeout: float = 10.0, printed: bytes = b"") -> str:
        """Wait for the code that ``begin`` started; returns ``printed``, which was read already, and what followed."""
        output = printed.removesuffix(_END)
        if not printed.endswith(_END):
            output += self._until_end(timeout)
        self.transcript.printed(_text(output))
        error = self._until_end(timeout)
        if error:
            self.transcript.happened(_text(error))
            raise board_error(_text(error))
        return _text(output)

    def _until_end(self, timeout: float) -> bytes:
        data = bytearray()
        try:
            with _translated(self.port):
                # a consumer, since mpremote itself copies all it has for every byte that it adds
                self._transport.read_until(1, _END, timeout=timeout, data_consumer=data.extend)
        finally:
            if not data.endswith(_END):
                self.transcript.printed(_text(data))
        if not data.endswith(_END):
            self.interrupt()
            raise DeviceTimeout(f"the board on {self.port} was silent for {timeout:g} s and was interrupted")
        return bytes(data.removesuffix(_END))

    def interrupt(self) -> None:
        """Stop what runs and come back to the raw REPL's prompt."""
        self.transcript.happened("interrupted")
        with _translated(self.port):
            _enter_raw_repl(self._transport, timeout=10.0)

    def soft_reset(self) -> None:
        """Restart MicroPython: every object of the REPL is gone, as are pins and timers that were set up."""
        self.transcript.happened("soft reset")
        with _translated(self.port):
            self._transport.enter_raw_repl(soft_reset=True)

    def write(self, data: bytes) -> None:
        """Send bytes to the code that runs."""
        self.transcript.data(sent=len(data))
        with _translated(self.port):
            self._transport.serial.write(data)

    def read(self, size: int, timeout: float = 10.0) -> bytes:
        """Exactly ``size`` bytes. Raises DeviceTimeout when none comes for ``timeout`` seconds."""
        data = bytearray()
        last = time.monotonic()
        while len(data) < size:
            with _translated(self.port):
                new = self._transport.serial.read(size - len(data))
            if new:
                self.transcript.data(received=len(new))
                data += new
                last = time.monotonic()
            elif time.monotonic() - last > timeout:
                raise DeviceTimeout(f"the board on {self.port} sent nothing for {timeout:g} s")
        return bytes(data)


def board_error(traceback: str) -> HostError:
    """The error that a board's ``traceback`` stands for: its own class for a kern error, else BoardError."""
    line = next((line for line in reversed(traceback.splitlines()) if line and not line.startswith(" ")), "")
    match = _ERROR_LINE.match(line)
    cls = errors.by_name(match[1].rpartition(".")[2]) if match else None
    if match is None or cls is None:
        return BoardError(traceback.strip() or "the board stopped without saying why")
    message, *details = _arguments(match[2] or "")
    if issubclass(cls, errors.KernelTrap | errors.MemoryAccessViolation):
        return cls(message, *details)
    return cls(message)


def _arguments(text: str) -> tuple[str, *tuple[int | None, ...]]:
    """An exception's arguments as MicroPython prints them: a tuple when there are more than one."""
    if text.startswith("("):
        with contextlib.suppress(ValueError, SyntaxError):
            message, *details = ast.literal_eval(text)
            return str(message), *details
    return (text,)


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace").replace("\r\n", "\n")


def _enter_raw_repl(transport: SerialTransport, timeout: float) -> None:
    """Stop what runs; again if need be, for a program that reads stdin may take the Ctrl-A after Ctrl-C for data."""
    end = time.monotonic() + timeout
    while True:
        try:
            transport.enter_raw_repl(soft_reset=False, timeout_overall=_TICK)
            _synchronise(transport)
            return
        except TransportError:
            if time.monotonic() > end:
                raise


def _synchronise(transport: SerialTransport) -> None:
    """Skip whatever is still on its way, such as a second banner: all comes before the answer to a question of ours."""
    nonce = os.urandom(4).hex()
    transport.serial.write(f"print('{nonce}')\x04".encode())
    answer = f"{nonce}\r\n\x04\x04".encode()  # mpremote wants the prompt after it for itself
    if not transport.read_until(1, answer, timeout_overall=_TICK).endswith(answer):
        raise TransportError("the raw REPL does not answer")


def _close(transport: SerialTransport) -> None:
    """Close, though the port may be gone: a pty has no modem lines, and an unplugged port fails at anything."""
    with contextlib.suppress(OSError):
        transport.close()
    transport.serial.close()


def why_not(port: str) -> DeviceError:
    """Why ``port`` cannot be opened, which mpremote keeps to itself."""
    try:
        serial.serial_for_url(port, exclusive=True).close()
    except ValueError as error:
        return NoDevice(f"{port!r} is not a serial port: {error}")
    except OSError as error:
        if error.errno in _BUSY or (os.name == "nt" and "PermissionError" in str(error)):
            return DeviceBusy(f"{port} is in use by another program; close its terminal or `host` command first")
        if error.errno in (errno.EACCES, errno.EPERM):
            return NoDevice(f"may not open {port}; on Linux, join its group: sudo usermod -aG dialout $USER")
        return NoDevice(f"no board on {port}: {os.strerror(error.errno) if error.errno else error}")
    return DeviceBusy(f"{port} was in use by another program for a moment; try again")


@contextlib.contextmanager
def _translated(port: str) -> Iterator[None]:
    """Turn mpremote's and the port's errors into ours."""
    try:
        yield
    except serial.SerialTimeoutException as error:
        raise DeviceTimeout(f"the board on {port} does not take what is sent to it") from error
    except OSError as error:
        raise NoDevice(f"the board on {port} went away: {error}") from error
    except (TransportError, struct.error) as error:  # mpremote unpacks what it read, however little
        raise DeviceTimeout(f"the board on {port} did not answer as a REPL does: {error}") from error
