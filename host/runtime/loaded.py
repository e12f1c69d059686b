"""A pack's kernels, compiled: what is exchanged as one when another pack is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from host.compatibility import CompatibilityChecker
from host.errors import HealthCheckFailed, NoSuchKernel
from host.pack.manifest import Manifest, ManifestKernel
from host.pack.spec import KernelSpec
from host.runtime.engine import KernelEngine
from host.runtime.kernel import Kernel
from host.upgrade import Upgradable


class PackLike(Upgradable, Protocol):
    """What `Runtime.install` needs of a pack; `host.pack.Pack` is one."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def kernels(self) -> Mapping[str, KernelSpec]: ...
    def kernel(self, kernel_id: str) -> ManifestKernel: ...
    def wasm(self, kernel_id: str, flavour: str) -> bytes: ...


@dataclass(frozen=True)
class Loaded:
    """The kernels of a pack by id, and those of their gradients."""

    pack: PackLike
    kernels: Mapping[str, Kernel]
    backward: Mapping[str, Kernel]

    def find(self, kernel_id: str) -> Kernel:
        """A kernel. Raises NoSuchKernel, naming those that there are."""
        return self._find("no kernel", kernel_id, self.kernels)

    def find_backward(self, kernel_id: str) -> Kernel:
        """A kernel's gradients. Raises NoSuchKernel when it has none."""
        return self._find("no gradients of a kernel", kernel_id, self.backward)

    def _find(self, what: str, kernel_id: str, among: Mapping[str, Kernel]) -> Kernel:
        try:
            return among[kernel_id]
        except KeyError:
            known = ", ".join(among) or "none"
            raise NoSuchKernel(f"{what} {kernel_id!r} in {self.pack.name}; it has: {known}") from None

    def health_check(self) -> None:
        """Run every kernel's known-answer test, if it has one, under its real limits.

        Raises HealthCheckFailed for another answer, and whatever the call raises.
        """
        for kernel in self.kernels.values():
            expected = kernel.spec.test.sha256
            if expected is not None and (actual := kernel.known_answer_sha256()) != expected:
                raise HealthCheckFailed(f"{kernel.spec.id}: known answer has sha256 {actual}, must be {expected}")

    def close(self) -> None:
        """Let every kernel end its instances. Calls in flight finish; no other can begin."""
        for kernel in [*self.kernels.values(), *self.backward.values()]:
            kernel.close()


def load(engine: KernelEngine, pack: PackLike) -> Loaded:
    """Compile every kernel of ``pack``, in the flavour that makes most of the engine's features.

    Raises RuntimeTooOld, MissingFeature and LoadError.
    """
    kernels, backward = {}, {}
    checker = CompatibilityChecker.of_this_host(engine.settings.features)
    for id, spec in pack.kernels.items():
        wasm = pack.wasm(id, checker.choose(pack.kernel(id)))
        kernels[id] = Kernel(engine, wasm, spec)
        if (gradients := spec.of_backward()) is not None:
            backward[id] = Kernel(engine, wasm, gradients)
    return Loaded(pack, kernels, backward)
