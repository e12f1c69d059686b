"""A board that runs the kern firmware, over its serial port.

    with host.connect("emu:rpi_pico") as board:
        board.install(pack.image("thumbv6m-soft"))
        y = board.run("rope_f32", [x, None], {"theta": 10000.0})

Small things go as Python code through the raw REPL. Bytes go through an agent (board_agent.py.txt), which is sent
to the board once a connection:

    host → board    the data in chunks of 180 bytes, as base64, which has no Ctrl-C in it: a person, or the next
                    program, can always stop the board, whatever became of this one
    board → host    ``+`` for every chunk taken; the host is no further ahead than what the board's buffer holds
                    ``=``, u16 size of text, u32 size of data, then a result's ``repr`` and its raw bytes; or
                    ``-`` for an error: the host ends what it sent with a newline, then the traceback follows

The board gives up when nothing comes for five seconds, and is back at its prompt.
"""

from __future__ import annotations

import ast
import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from host import ports
from host.errors import DeviceError, DeviceTimeout, NoPack, UsageError
from host.firmware_variants import VARIANTS
from host.link import Link
from host.pack import Pack, decode_image
from host.pack.spec import BYTECODE_TARGET, DTYPES, DType
from host.shapes import array_shape, element_shape
from host.transcript import Transcript

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

_AGENT = Path(__file__).with_name("board_agent.py.txt")
_CHUNK = 180  # bytes, as the agent has it
_RUN_TIMEOUT = 10.0
_INSTALL_TIMEOUT = 60.0


def connect(port: str | None = None) -> Board:
    """Open the board that ``port`` means: a path, ``id:SERIAL``, ``vid:pid[:serial]``, ``emu:BOARD``; without one,
    ``HOST_PORT`` or the only candidate.

    An emulated board that is not running is started, and stopped again by ``close``. Raises NoDevice, DeviceBusy,
    DeviceTimeout.
    """
    with ExitStack() as stack:
        path = stack.enter_context(ports.opened(port))
        return Board(Link(path), stack.pop_all())


def image_target(pack: Pack, status: Mapping[str, Any]) -> str:
    """The target of the image of ``pack`` that a board with that ``status()`` takes: its own, or, for a debug build and
    a pack without that, bytecode.
    """
    interpreter = VARIANTS[status["variant"]].interpreter
    if interpreter and status["target"] not in pack.manifest.images and BYTECODE_TARGET in pack.manifest.images:
        return BYTECODE_TARGET
    return str(status["target"])


class Board:
    """One connected board. Errors of ``kern`` on the board are raised here as the classes of host.errors."""

    def __init__(self, link: Link, held: ExitStack | None = None) -> None:
        """Talk through ``link``; what is ``held`` for it (an emulator that was started) ends with it."""
        self._link = link
        self._held = held or ExitStack()
        self._ahead = 0  # chunks that the agent lets the host send ahead; 0 while it may not be there

    @property
    def port(self) -> str:
        """Path of the serial port."""
        return self._link.port

    @property
    def transcript(self) -> Transcript:
        """What was said over the port last, to read when something went wrong."""
        return self._link.transcript

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the board at its prompt and free the port."""
        with self._held:
            self._link.close()

    # ---- the REPL ----

    def exec(self, code: str, timeout: float = 10.0) -> str:
        """Run Python code on the board; returns what it printed. Raises BoardError, or kern's own error."""
        self._ahead = 0  # for all we know: the code may restart MicroPython
        return self._link.exec(code, timeout)

    def eval(self, expression: str, timeout: float = 10.0) -> Any:
        """The value of ``expression`` on the board: numbers, strings, bytes, None, and containers of them.

        Raises DeviceError for any other, and as ``exec`` does.
        """
        return self._value(self.exec(f"print(repr({expression}))", timeout))

    def soft_reset(self) -> None:
        """Restart MicroPython; the installed pack stays."""
        self._ahead = 0
        self._link.soft_reset()

    def reboot_to_bootsel(self) -> None:
        """Restart into the boot ROM, which shows a drive to copy firmware to. The connection is of no more use."""
        self._link.begin("import machine; machine.bootloader()")

    # ---- kern ----

    def status(self) -> dict[str, Any]:
        """``kern.status()``: version, build, target, pack, keys, arena and pool."""
        return dict(self._kern("status()"))

    def stats(self) -> dict[str, Any]:
        """``kern.stats()``: calls and faults since the last reset."""
        return dict(self._kern("stats()"))

    def kernels(self) -> tuple[str, ...]:
        """Ids of the active pack's kernels."""
        return tuple(self._kern("kernels()"))

    def require_pack(self, pack: Pack) -> dict[str, Any]:
        """``status()``, once it is certain that ``pack`` is the active one, to the byte.

        Raises NoPack when there is none, and UsageError when there is another.
        """
        status = self.status()
        active = status["pack"]
        if active is None:
            raise NoPack(f"no pack is installed on {self.port}; install it with: host push")
        if active["manifest"] != decode_image(pack.image(image_target(pack, status))).manifest_sha256.hex():
            there = f"{active['name']} {active['version']}"
            here = f"{pack.name} {pack.version}"
            other = f"another build of {here}" if there == here else f"{there} and not {here}"
            raise UsageError(
                f"the board has {other}; install this one with `host push`, or choose the board's with --pack"
            )
        return status

    def packs(self) -> list[dict[str, Any]]:
        """``kern.packs()``: what is in the slots, the active pack first, then the one that can be gone back to."""
        return list(self._kern("packs()"))

    def install(self, image: bytes, progress: Progress | None = None, confirm: bool = True) -> dict[str, Any]:
        """Send a board image and make it the active pack; returns it as ``status()["pack"]`` does.

        With ``confirm=False`` it is on trial: unless ``confirm()`` follows, the next reset goes back. Raises a
        PackError when the board refuses it, which leaves the pack that was active.
        """
        installed, _ = self._call(f"_host.install({confirm})", image, progress, _INSTALL_TIMEOUT)
        return dict(installed)

    def confirm(self) -> dict[str, Any]:
        """End the trial of the active pack, which stays, and return it. Raises NoPack, FlashError."""
        return dict(self._kern("confirm()"))

    def rollback(self) -> dict[str, Any]:
        """Go back to the previous pack and return it, as ``status()["pack"]`` does.

        Raises NoPreviousPack when there is none or its time is over, and another PackError when the board no longer
        accepts it; the active pack then stays.
        """
        return dict(self._kern("rollback()"))

    def install_keys(self, image: bytes) -> dict[str, Any]:
        """Send a key set's image; the board trusts it from now on. Returns ``status()["keys"]``.

        Raises a PackError when the board refuses it, and trusts whom it did.
        """
        keys, _ = self._call("_host.install_keys", image, None, _INSTALL_TIMEOUT)
        return dict(keys)

    def run(
        self,
        kernel_id: str,
        inputs: Sequence[np.ndarray | None],
        params: Mapping[str, float | int | bool] | None = None,
        timeout: float = _RUN_TIMEOUT,
    ) -> np.ndarray:
        """Run a kernel of the active pack on ``inputs``, in their order, None for an optional one that is absent.

        An in-out output comes before them; what it has become is returned.

        f32 parameters arrive bit for bit. q8 and q4 tensors are arrays of u1 whose last dimension is in bytes. Raises
        a KernelError as the board did, or BoardError for arguments that it does not accept.
        """
        arrays = [None if array is None else np.ascontiguousarray(array) for array in inputs]
        dtypes = self._dtypes(kernel_id, arrays)
        known = [
            None if array is None else (element_shape(dtype, array.shape), dtype.name)
            for array, dtype in zip(arrays, dtypes, strict=True)
        ]
        words = ", ".join(f"{name!r}: {_literal(value)}" for name, value in (params or {}).items())
        data = b"".join(array.tobytes() for array in arrays if array is not None)
        result, output = self._call(f"_host.run({kernel_id!r}, {known!r}, {{{words}}})", data, None, timeout)
        shape, dtype = result
        return _array(shape, dtype, output)

    def _kern(self, call: str) -> Any:
        return self._value(self._link.exec(f"print(repr(__import__('kern').{call}))"))

    def _value(self, text: str) -> Any:
        """The value that the board printed."""
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise DeviceError(f"the board on {self.port} printed {text!r} where a value was expected") from error

    def _dtypes(self, kernel_id: str, arrays: Sequence[np.ndarray | None]) -> list[DType]:
        """The tensor type of each array. Arrays of u1 may be blocks: what they are, the kernel's description says."""
        if any(array is not None and array.dtype == np.uint8 for array in arrays):
            kernel = self._kern(f"kernels({kernel_id!r})")
            declared = [tensor for tensor in kernel["outputs"] if tensor["inout"]] + kernel["inputs"]
            return [DTYPES[tensor["dtype"]] for tensor, _ in zip(declared, arrays, strict=False)]
        return [_dtype(array.dtype) if array is not None else DTYPES["f32"] for array in arrays]

    # ---- the agent ----

    def _call(self, function: str, data: bytes, progress: Progress | None, timeout: float) -> tuple[Any, bytes]:
        """Have the agent call ``function`` on a source of ``data``; returns its result and its bytes."""
        self._ahead = self._ahead or self._find_agent() or self._send_agent()
        self._link.begin(f"_host.call({function}, {len(data)})")
        try:
            if not self._send(data, progress, timeout) or self._mark(timeout) != b"=":
                self._link.write(b"\n")
                self._link.finish()
                raise DeviceError(f"the board on {self.port} announced an error and then did not raise one")
            text_size, data_size = struct.unpack("<HI", self._link.read(6))
            text = self._link.read(text_size)
            output = self._link.read(data_size)
            self._link.finish()
        except (KeyboardInterrupt, DeviceTimeout):
            self._link.interrupt()
            raise
        return self._value(text.decode(errors="replace")), output

    def _find_agent(self) -> int:
        return int(self._link.exec("print(_host.AHEAD if '_host' in globals() else 0)"))

    def _send_agent(self) -> int:
        """Send the agent, without comments and with the least indentation; both take time on the wire."""
        lines = (line for line in _AGENT.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#"))
        code = "\n".join(line.replace("    ", " ") for line in lines) + "\nprint(_host.AHEAD)"
        return int(self._link.exec(code, title=f"# {_AGENT.name}"))

    def _send(self, data: bytes, progress: Progress | None, timeout: float) -> bool:
        """Send ``data`` in chunks; False when the board found an error before it had all of it."""
        sent = taken = 0
        while taken < len(data):
            if sent < min(taken + self._ahead * _CHUNK, len(data)):
                self._link.write(base64.b64encode(data[sent : sent + _CHUNK]))
                sent += _CHUNK
                continue
            if self._mark(timeout) != b"+":
                return False
            taken = min(taken + _CHUNK, len(data))
            if progress:
                progress(taken, len(data))
        return True

    def _mark(self, timeout: float) -> bytes:
        mark = self._link.read(1, timeout)
        if mark not in (b"+", b"=", b"-"):
            rest = self._link.finish(printed=mark)
            raise DeviceError(f"the board on {self.port} printed {rest!r} during a transfer")
        return mark


def _dtype(kind: np.dtype) -> DType:
    for dtype in DTYPES.values():
        if dtype.block == 1 and np.dtype(dtype.numpy) == kind:
            return dtype
    raise TypeError(f"no tensor has numpy's dtype {kind}")


def _array(shape: tuple[int, ...], dtype_name: str, data: bytes) -> np.ndarray:
    """The array that holds a board's tensor of ``shape`` elements."""
    dtype = DTYPES[dtype_name]
    return np.frombuffer(data, dtype.numpy).reshape(array_shape(dtype, shape)).copy()


def _literal(value: float | int | bool) -> str:
    """``value`` as code on the board, a float by its bits."""
    if isinstance(value, bool | np.bool_):
        return repr(bool(value))
    if isinstance(value, int | np.integer):
        return repr(int(value))
    return f"_host.f32({int(np.array(value, '<f4').view('<u4'))})"
