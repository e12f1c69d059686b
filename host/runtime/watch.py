"""What a runtime does around the calls of one kernel: count and time them, and see to those that end badly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from host.errors import KernelError
from host.metrics import Metrics
from host.pack.spec import KernelSpec
from host.recovery import Failure, Recovery
from host.runtime.call import Array, Params
from host.upgrade import Upgradable


class Watch:
    """The calls of a kernel of ``pack``.

    ``record`` counts one that took so many nanoseconds, however it ended; ``is_current`` says whether the pack still is
    the one that calls are for.
    """

    def __init__(
        self,
        metrics: Metrics,
        recovery: Recovery,
        pack: Upgradable,
        spec: KernelSpec,
        is_current: Callable[[], bool],
    ) -> None:
        self.record = metrics.calls(spec.id, "wasm").record
        self.is_current = is_current
        self._metrics = metrics
        self._recovery = recovery
        self._pack = pack
        self._spec = spec

    def failed(
        self,
        error: KernelError,
        arrays: Mapping[str, Array],
        params: Params,
        *,
        intact: bool,
        words: tuple[int, ...] | None = None,
    ) -> dict[str, Array]:
        """Count and log an error. Returns the reference's outputs by name, one that was given being filled with its
        result, or raises the error: see host/recovery.py.
        """
        self._metrics.failed(self._spec.id, error)
        pack = self._pack
        failure = Failure(pack.name, pack.version, self._spec, arrays, params, error, intact, words)
        outputs = self._recovery.recover(failure)
        for name in outputs.keys() & arrays.keys():
            arrays[name][...] = outputs[name]
            outputs[name] = arrays[name]
        return outputs
