"""Guests: wasm modules that import WASI-NN and nothing else.

    with Guest(wasm, models={"digits": OnnxBackend().open("digits.onnx")}) as guest:
        guest.call("classify")

A guest runs under the same Wasmtime configuration, clock and limits as kernels do. Whatever it does wrong in a WASI-NN
call is an error number to it and a log record here; whatever else it does wrong ends the call with a `KernelError` and
its instance with it: the next call has a new one, without graphs and contexts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from wasmtime import (
    Caller,
    Engine,
    Func,
    FuncType,
    Instance,
    Linker,
    Memory,
    Module,
    Store,
    Trap,
    ValType,
    WasmtimeError,
)

from host.errors import LoadError
from host.pack.linking import PAGE
from host.pack.spec import TICK_MS
from host.runtime.engine import Clock, Settings
from host.runtime.traps import from_trap
from host.wasi_nn.abi import FUNCTIONS, MODULE, Encoding, Errno, NNError
from host.wasi_nn.gguf import GgufBackend
from host.wasi_nn.graph import Backend, Graph
from host.wasi_nn.memory import GuestMemory
from host.wasi_nn.onnx import OnnxBackend
from host.wasi_nn.session import GuestLimits, Session

_log = logging.getLogger(__name__)


class Guest:
    """A wasm module with WASI-NN, in an instance of its own on an engine of its own. Threads wait for each other."""

    def __init__(
        self,
        wasm: bytes,
        *,
        models: Mapping[str, Graph] | None = None,
        backends: Mapping[Encoding, Backend] | None = None,
        limits: GuestLimits | None = None,
        name: str = "guest",
    ) -> None:
        """``models`` are what ``load_by_name`` finds; ``backends`` load the guest's own bytes, by default ONNX and
        GGUF.

        An empty ``backends`` leaves the guest with named models only. ``name`` is for messages. Raises LoadError for a
        module that does not compile or start, or imports anything else.
        """
        self.name = name
        self.last_error: NNError | None = None
        """What the latest WASI-NN call that failed has to say to the host."""
        self._models = dict(models or {})
        self._backends = dict(backends) if backends is not None else default_backends()
        self._limits = limits or GuestLimits()
        self._lock = threading.Lock()
        self._engine = Engine(Settings().config())
        self._module = self._compile(wasm)
        self._running: _Running | None = None
        self._ended = False
        self._clock = Clock(self._engine)
        try:
            self._instance()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for a call that is under way, drop the instance and stop the clock. The guest has ended."""
        with self._lock:
            self._running, self._ended = None, True
            self._clock.stop()

    def call(self, export: str, *arguments: float) -> Any:
        """Call an exported function. Returns its result: a number, None or a list.

        Raises LoadError when there is no such function or an instance cannot start, TypeError for arguments that do not
        fit, EpochDeadline when the call uses up its ticks, and other KernelErrors.
        """
        with self._lock:
            running = self._instance()
            function = running.exports.get(export)
            if not isinstance(function, Func):
                raise LoadError(f"{self.name}: no exported function {export!r}")
            types = function.type(running.store).params
            if len(arguments) != len(types):
                raise TypeError(f"{self.name}: {export} takes {len(types)} arguments, got {len(arguments)}")
            return self._enter(running, lambda: function(running.store, *arguments))

    def read(self, offset: int, size: int) -> bytes:
        """A copy of ``size`` bytes of the guest's memory. Raises ValueError when they are not all there."""
        with self._lock:
            store, memory = self._memory(offset, size)
            return bytes(memory.read(store, offset, offset + size))

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes into the guest's memory. Raises ValueError when they do not fit."""
        with self._lock:
            store, memory = self._memory(offset, len(data))
            if data:
                memory.write(store, data, offset)

    def _compile(self, wasm: bytes) -> Module:
        try:
            module = Module(self._engine, wasm)
        except WasmtimeError as error:
            raise LoadError(f"{self.name}: {error}") from error
        for wanted in module.imports:
            if wanted.module != MODULE or wanted.name not in FUNCTIONS:
                raise LoadError(f"{self.name}: imports {wanted.module}.{wanted.name}, a guest gets {MODULE} only")
        return module

    def _instance(self) -> _Running:
        """The instance, a new one where the last has ended. Raises LoadError after `close`."""
        if self._ended:
            raise LoadError(f"{self.name} is closed")
        if self._running is None:
            session = Session(self._backends, self._models, self._limits)
            running = _Running(self._engine, session, self._limits)
            linker = Linker(self._engine)
            i32 = ValType.i32()
            for name, count in FUNCTIONS.items():
                body = partial(self._answer, name, getattr(session, name))
                linker.define_func(MODULE, name, FuncType([i32] * count, [i32]), body, access_caller=True)
            try:
                instance = self._enter(running, lambda: linker.instantiate(running.store, self._module))
            except WasmtimeError as error:
                raise LoadError(f"{self.name}: {error}") from error
            assert isinstance(instance, Instance)
            running.exports = instance.exports(running.store)
            self._running = running
        return self._running

    def _enter(self, running: _Running, into: Callable[[], Any]) -> Any:
        """Run guest code within its limits. The instance is dropped after a trap or any other way to leave it early."""
        running.session.deadline = time.monotonic() + self._limits.max_epoch_ticks * TICK_MS / 1000
        # One tick more than the budget: the first comes at any moment.
        running.store.set_epoch_deadline(self._limits.max_epoch_ticks + 1)
        try:
            return into()
        except Trap as trap:
            self._running = None
            raise from_trap(self.name, trap) from trap
        except TypeError:  # an argument that is no number of its type; the guest was not entered
            raise
        except BaseException:
            self._running = None
            raise

    def _answer(self, name: str, function: Callable[..., None], caller: Caller, *arguments: int) -> int:
        """A WASI-NN call: no exception leaves it but those that are to end the program."""
        try:
            function(GuestMemory(caller), *(argument & 0xFFFFFFFF for argument in arguments))
        except NNError as error:
            self.last_error = error
        except MemoryError as error:
            self.last_error = NNError(Errno.TOO_LARGE, f"no memory: {error}")
        except Exception as error:
            _log.exception("%s: %s: a backend failed", self.name, name)
            self.last_error = NNError(Errno.RUNTIME_ERROR, f"{type(error).__name__}: {error}")
        else:
            return Errno.SUCCESS.value
        _log.debug("%s: %s: %s: %s", self.name, name, self.last_error.errno.name.lower(), self.last_error)
        return self.last_error.errno.value

    def _memory(self, offset: int, size: int) -> tuple[Store, Memory]:
        running = self._instance()
        memory = running.exports.get("memory")
        have = memory.data_len(running.store) if isinstance(memory, Memory) else 0
        if not isinstance(memory, Memory) or offset < 0 or offset + size > have:
            raise ValueError(f"{self.name}: {size} bytes at {offset}, memory has {have}")
        return running.store, memory


class _Running:
    """An instance of a guest, with its store and all that it has loaded."""

    def __init__(self, engine: Engine, session: Session, limits: GuestLimits) -> None:
        self.session = session
        self.exports: Mapping[str, Any] = {}
        self.store = Store(engine)
        self.store.set_limits(
            memory_size=limits.max_memory_pages * PAGE,
            table_elements=limits.max_table_elements,
            memories=1,
            tables=1,
        )


def default_backends() -> dict[Encoding, Backend]:
    """What guests' own bytes are loaded with."""
    return {Encoding.ONNX: OnnxBackend(), Encoding.GGML: GgufBackend()}
