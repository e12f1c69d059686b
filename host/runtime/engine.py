"""A Wasmtime engine as kernels need it: its configuration, its clock, its modules and its arena."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sized
from dataclasses import dataclass

from wasmtime import Config, Engine

from host.pack.flavours import FEATURES
from host.pack.linking import PAGE
from host.pack.spec import TICK_MS
from host.runtime.arena import Arena
from host.runtime.cache import ModuleCache
from host.runtime.memory import use_our_memories

WASM_STACK = 128 << 10
"""Bytes of native stack that a call may use; kernels keep their own stack in linear memory."""


@dataclass(frozen=True)
class Settings:
    """What engines differ in: the features that kernels may use, whether a call can be interrupted, whether its
    instructions are counted.
    """

    features: tuple[str, ...] = FEATURES
    epochs: bool = True
    counted: bool = False

    def config(self) -> Config:
        """Wasmtime as requirement R2 has it; whatever kernels may not use is off."""
        config = Config()
        config.cranelift_opt_level = "speed"
        config.epoch_interruption = self.epochs
        config.consume_fuel = self.counted  # of which Wasmtime takes one for each instruction
        config.wasm_simd = "simd128" in self.features
        config.wasm_bulk_memory = "bulk-memory" in self.features
        config.wasm_multi_value = True
        config.wasm_relaxed_simd = False
        config.wasm_threads = False
        config.wasm_memory64 = False
        config.max_wasm_stack = WASM_STACK
        config.memory_guard_size = PAGE
        return config


class KernelEngine:
    """An engine, and what all kernels on it share."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        config = self.settings.config()
        use_our_memories(config)
        self.wasmtime = Engine(config)
        self.modules = ModuleCache(self.wasmtime, repr((self.settings, WASM_STACK)))
        self.arena = Arena()
        self.instances: weakref.WeakSet[object] = weakref.WeakSet()
        """Those that there are, idle or in a call."""
        self._clock = Clock(self.wasmtime, self.instances)

    def close(self) -> None:
        """Stop the clock when no instance is left. No kernel may be called afterwards."""
        self._clock.stop()


class Clock:
    """The thread that advances an engine's epoch every `TICK_MS`, for as long as somebody may wait for it."""

    def __init__(self, engine: Engine, users: Sized = ()) -> None:
        self._engine = engine
        self._users = users
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kernel-epochs", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(TICK_MS / 1000):
            self._engine.increment_epoch()
        while len(self._users):  # calls in flight still have their deadline
            time.sleep(TICK_MS / 1000)
            self._engine.increment_epoch()

    def stop(self) -> None:
        """End the thread once there are no ``users``."""
        self._stopped.set()
        if not len(self._users):
            self._thread.join()
