"""The upgrade protocol, requirement S4: another pack takes over while calls run, or nothing changes.

    upgrade = Upgrade(load=compile_pack, health_check=run_known_answers, close=free, counters=SecurityCounters())
    upgrade.install(pack)
    with upgrade.lease() as loaded:     # what load returned for the pack that is current
        ...                             # stays open until here, whatever is installed meanwhile

The rules:

1. Compatibility and security counter are checked, then the pack is loaded, then its health is checked. A failure at any
   of these steps leaves what was current, and the error says what failed.
2. The security counter is confirmed only after the health check, and before the swap.
3. The swap is one assignment. A call uses what was current when it began, to its end.
4. The pack before is kept for the grace period, for `rollback`. It is closed after that, or when the next one is
   installed, as soon as the last call on it has ended.
5. Going back is an upgrade too: the counter must permit it, and the health is checked again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from host.errors import NoPack, NoPreviousPack
from host.security_counters import Counters

_log = logging.getLogger("host.runtime")

GRACE = 300.0
"""Seconds for which the pack before can be gone back to."""


class Upgradable(Protocol):
    """What `Upgrade` needs to know of a pack."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def security_counter(self) -> int: ...


P = TypeVar("P", bound=Upgradable)
T = TypeVar("T")


class Upgrade(Generic[P, T]):
    """The pack that is current, as something loaded of type ``T``, and the one before. Threads may use it at once."""

    def __init__(
        self,
        load: Callable[[P], T],
        health_check: Callable[[T], None],
        close: Callable[[T], None],
        counters: Counters,
        *,
        check: Callable[[P], None] = lambda pack: None,
        clock: Callable[[], float] = time.monotonic,
        grace: float = GRACE,
    ) -> None:
        """``check`` refuses a pack that cannot run here, ``load`` compiles it, ``health_check`` tries what was loaded;
        each raises what is wrong. ``close`` frees what was loaded. ``grace`` is in seconds of ``clock``.
        """
        self._check, self._load, self._health_check, self._close_loaded = check, load, health_check, close
        self._counters = counters
        self._clock = clock
        self._grace = grace
        self._changing = threading.Lock()  # held through an install, which may take seconds
        self._lock = threading.Lock()  # held for a few assignments, by every call
        self._current: _Generation[P, T] | None = None
        self._previous: _Generation[P, T] | None = None
        self._until = 0.0  # when the previous one's grace ends
        self._timer: threading.Timer | None = None
        self._closed = False
        self.swaps = 0
        self.rollbacks = 0
        self.failures: Counter[str] = Counter()

    @property
    def current(self) -> P | None:
        """The pack that calls use."""
        generation = self._current
        return generation.pack if generation else None

    def is_current(self, loaded: T) -> bool:
        """Whether that is what was loaded for the current pack."""
        generation = self._current
        return generation is not None and generation.loaded is loaded

    @property
    def previous(self) -> P | None:
        """The pack that `rollback` would go back to."""
        with self._lock:
            return self._previous.pack if self._previous and self._clock() < self._until else None

    def lease(self) -> _Generation[P, T]:
        """A context for one call, entered at once: what was loaded for the current pack stays open until it ends.

        Raises NoPack when there is none.
        """
        with self._lock:
            generation = self._current
            if generation is not None:
                generation.leases += 1
                return generation
        raise NoPack("no pack is installed")

    def install(self, pack: P) -> None:
        """Put ``pack`` in the current one's place, which then is the previous one.

        Raises DowngradeRefused, and whatever checking and loading raise; the current pack then stays.
        """
        with self._changing:
            self._require_open()
            try:
                self._check(pack)
                self._counters.check(pack.name, pack.security_counter)
                loaded = self._load(pack)
            except BaseException as error:
                self._failed(f"installing {_show(pack)}", error)
                raise
            try:
                self._health_check(loaded)
                self._counters.confirm(pack.name, pack.security_counter)
            except BaseException as error:
                self._failed(f"installing {_show(pack)}", error)
                self._free(loaded)
                raise
            self._swap(_Generation(self, pack, loaded))
            self.swaps += 1

    def rollback(self) -> P:
        """Go back to the previous pack and return it; the one that was current is the previous one then.

        Raises NoPreviousPack when there is none or its grace period is over, DowngradeRefused when its security
        counter is too low, and whatever the health check raises; the current pack then stays.
        """
        with self._changing:
            self._require_open()
            with self._lock:
                previous = self._previous
                if previous is None or self._clock() >= self._until:
                    raise NoPreviousPack(f"there is no previous pack; one is kept for {self._grace:g} s")
                previous.leases += 1  # its grace may end while its health is checked
            with previous as loaded:
                try:
                    self._counters.check(previous.pack.name, previous.pack.security_counter)
                    self._health_check(loaded)
                except BaseException as error:
                    self._failed(f"going back to {_show(previous.pack)}", error)
                    raise
                self._swap(previous)
            self.rollbacks += 1
            return previous.pack

    def expire(self) -> None:
        """Let go of the previous pack if its grace period is over. A timer does this; nobody has to."""
        with self._lock:
            expired = self._previous
            if expired is None or self._clock() < self._until:
                return
            self._previous = None
            idle = self._retire(expired)
        if idle:
            self._free(expired.loaded)

    def close(self) -> None:
        """Let go of every pack: each is closed when the last call on it ends. Nothing can be installed any more."""
        with self._changing:
            with self._lock:
                self._closed = True
                timer, self._timer = self._timer, None
                left = [generation for generation in (self._current, self._previous) if generation]
                self._current = self._previous = None
                idle = [generation for generation in left if self._retire(generation)]
            for generation in idle:
                self._free(generation.loaded)
            if timer is not None:
                timer.cancel()
                timer.join()

    def _swap(self, new: _Generation[P, T]) -> None:
        """Make ``new`` current, and what was current the previous one, whose grace begins."""
        with self._lock:
            dropped = self._previous
            self._previous, self._current = self._current, new
            new.retired = False
            idle = dropped is not None and dropped is not new and self._retire(dropped)
            self._until = self._clock() + self._grace
            if self._previous is not None and self._timer is None:
                self._start_timer(self._grace)
        if idle and dropped is not None:
            self._free(dropped.loaded)
        _log.info("%s is current", _show(new.pack), extra={"pack": new.pack.name, "version": new.pack.version})

    def _end_lease(self, generation: _Generation[P, T]) -> None:
        with self._lock:
            generation.leases -= 1
            idle = generation.retired and not generation.leases
        if idle:
            self._free(generation.loaded)

    def _retire(self, generation: _Generation[P, T]) -> bool:
        """Have ``generation`` closed when its last lease ends. Returns True when it has none: then the caller does."""
        generation.retired = True
        return not generation.leases

    def _start_timer(self, seconds: float) -> None:
        # A daemon, as a pack that is still in its grace period is no reason for Python not to end.
        self._timer = threading.Timer(seconds, self._on_timer)
        self._timer.name = "pack-grace"
        self._timer.daemon = True
        self._timer.start()

    def _on_timer(self) -> None:
        self.expire()
        with self._lock:
            self._timer = None
            if self._previous is not None:  # a newer one than the timer was set for
                self._start_timer(max(self._until - self._clock(), 0.0))

    def _free(self, loaded: T) -> None:
        """Close what was loaded. The call in whose thread this happens has nothing to do with what goes wrong here."""
        try:
            self._close_loaded(loaded)
        except Exception:
            _log.exception("closing a pack failed")

    def _failed(self, what: str, error: BaseException) -> None:
        current = self._current
        stays = f"{_show(current.pack)} stays" if current else "no pack is installed"
        name = type(error).__name__
        self.failures[name] += 1
        _log.error("%s failed, %s: %s: %s", what, stays, name, error, extra={"cause": f"{name}: {error}"})

    def _require_open(self) -> None:
        if self._closed:
            raise NoPack("the runtime is closed")


class _Generation(Generic[P, T]):
    """A loaded pack, and how many calls use it. As a context it is one of these leases, counted already."""

    __slots__ = ("_upgrade", "leases", "loaded", "pack", "retired")

    def __init__(self, upgrade: Upgrade[P, T], pack: P, loaded: T) -> None:
        self._upgrade = upgrade
        self.pack = pack
        self.loaded = loaded
        self.leases = 0
        self.retired = False

    def __enter__(self) -> T:
        return self.loaded

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._upgrade._end_lease(self)


def _show(pack: Upgradable) -> str:
    return f"{pack.name} {pack.version}"
