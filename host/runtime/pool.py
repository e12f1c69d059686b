"""Instances that wait for their next call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from host.errors import NoPack
from host.runtime.instance import KernelInstance

_MOST_IDLE = 16


class InstancePool:
    """Instances of one kernel that no call is using. A call takes one and gives it back, unless it ended badly.

    It relies on single operations of a deque being atomic instead of a lock.
    """

    def __init__(self, make: Callable[[], KernelInstance]) -> None:
        self._make = make
        self._idle: deque[KernelInstance] = deque()
        self._closed = False

    def take(self) -> KernelInstance:
        """The instance that was used last, or a new one. Raises LoadError, and NoPack when the pool is closed."""
        try:
            return self._idle.pop()
        except IndexError:
            if self._closed:
                raise NoPack("the pack that this call is for is no longer installed") from None
            return self._make()

    def give_back(self, instance: KernelInstance) -> None:
        """Keep an instance for another call."""
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(instance)
        else:
            instance.cleanup()
        if self._closed:
            self._clean_up()

    def close(self) -> None:
        """Let the kernel end every instance; those in use when they are given back."""
        self._closed = True
        self._clean_up()

    def _clean_up(self) -> None:
        while True:
            try:
                instance = self._idle.pop()
            except IndexError:
                return
            instance.cleanup()
