"""What emulated boards of this process have in common: locks, flash file; of most of them also power and events."""

from __future__ import annotations

import os
import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from host.emulator import instance as instances
from host.errors import DeviceTimeout, NoDevice

Event = dict[str, Any]
"""What happened: ``event`` names it, ``time`` is time.monotonic()."""

_ENDS = ("power_off", "power_cut", "lockup", "crashed")
T = TypeVar("T")


class Owned(instances.Running):
    """A board that this process runs, from ``start()`` to ``stop()``.

    ``flash`` is the file with its flash, made blank, ``flash_size`` bytes of it, if it is not there.
    """

    def __init__(self, name: str, instance: str, flash: Path | None, flash_size: int) -> None:
        super().__init__(name, instance)
        self.flash = (flash or self.folder / "flash.bin").resolve()
        self._flash_size = flash_size
        self._flash_lock = instances.Lock(self.flash.with_name(self.flash.name + ".lock"))
        self._folder_lock = instances.Lock(self.folder / "lock")

    @abstractmethod
    def start(self) -> Self:
        """Apply power. Raises DeviceBusy when another process runs this instance or this flash file."""

    @abstractmethod
    def stop(self) -> None:
        """Cut the power and free what the instance holds. Does nothing when it is not running."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _claim(self) -> None:
        """Lock the instance and its flash file, and make that if it is not there. Raises DeviceBusy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._flash_lock.acquire(f"flash image {self.flash}")
        try:
            self._folder_lock.acquire(f"emulated board {self.board} ({self.instance})")
            self._blank_flash()
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        """Unlock both."""
        for lock in (self._flash_lock, self._folder_lock):
            lock.release()

    def _blank_flash(self) -> None:
        if not self.flash.exists():
            new = self.flash.with_name(f".{self.flash.name}.{os.getpid()}")
            new.write_bytes(b"\xff" * self._flash_size)
            new.rename(self.flash)


class Powered(Owned):
    """A board that a thread powers, which runs ``_serve``."""

    def __init__(self, name: str, instance: str, flash: Path | None, flash_size: int) -> None:
        super().__init__(name, instance, flash, flash_size)
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    # ---- power ----

    def start(self) -> Self:
        if self._thread is not None:
            return self
        self._claim()
        try:
            self._wake_read, self._wake_write = os.pipe()
            os.set_blocking(self._wake_write, False)
            self.port.unlink(missing_ok=True)  # left by a killed process
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name=f"emulated {self.board}", daemon=True)
            self._thread.start()
            self._do(self._power_on)
            instances.publish(self, self.flash)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        if self._thread is not None:
            self._do(self._stop)
            self._thread.join()
            self._thread = None
            os.close(self._wake_read)
            os.close(self._wake_write)
            (self.folder / "info.json").unlink(missing_ok=True)
        self._release()

    def power_off(self) -> None:
        """Cut the power now."""
        self._do(self._power_off)

    def power_on(self) -> None:
        """Apply power again, after ``power_off`` or after the board lost it by itself."""
        self._do(self._power_on)

    # ---- questions ----

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that happened since the object was made, oldest first."""
        with self._changed:
            return tuple(self._events)

    def wait_for_event(self, name: str, timeout: float = 30.0, after: int = 0) -> Event:
        """The first event ``name`` at index ``after`` of ``events`` or later. Raises DeviceTimeout."""
        with self._changed:

            def found() -> Event | None:
                return next((event for event in self._events[after:] if event["event"] == name), None)

            self._changed.wait_for(lambda: found() is not None, timeout)
            event = found()
        if event is None:
            raise DeviceTimeout(f"the emulated {self.board} did not report {name} within {timeout:g} s")
        return event

    def check_power(self) -> None:
        """Raise NoDevice, with the reason, when the board does not run."""
        if self._thread is None:
            raise NoDevice(f"the emulated {self.board} ({self.instance}) is not running")
        last = self.events[-1]
        if last["event"] in _ENDS:
            reason = last.get("message", "")
            raise NoDevice(f"the emulated {self.board} has no power: {last['event']} {reason}".rstrip())

    # ---- from here on: in the thread, but for _do ----

    def _do(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the thread, wait for it, and return or raise what it does."""
        if self._thread is None:
            raise NoDevice(f"the emulated {self.board} ({self.instance}) is not running")
        done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                done.put((work(), None))
            except BaseException as error:  # handed to the caller's thread
                done.put((None, error))

        self._work.put(run)
        os.write(self._wake_write, b"!")
        result, error = done.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # it is a T when there was no error

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._serve()
            except Exception as error:  # of its files or its port; without a thread, _do would wait for ever
                self._power_off()
                self._tell("crashed", message=f"{type(error).__name__}: {error}")

    @abstractmethod
    def _serve(self) -> None:
        """Wait until something is to be done, ``_wake_read`` being readable included, and do it."""

    @abstractmethod
    def _power_on(self) -> None:
        """Apply power, if there is none."""

    @abstractmethod
    def _power_off(self) -> None:
        """Cut the power, and tell."""

    def _run_work(self) -> None:
        """Do what other threads want done, once ``_wake_read`` is readable."""
        os.read(self._wake_read, 4096)
        while not self._work.empty():
            self._work.get()()

    def _stop(self) -> None:
        self._stopping = True
        self._power_off()

    def _tell(self, event: str, **details: Any) -> None:
        with self._changed:
            self._events.append({"event": event, "time": time.monotonic(), **details})
            self._changed.notify_all()
