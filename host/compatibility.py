"""Whether this host can run what a pack holds: requirement S2. What a board can run, its gate decides.

Versions are ordered as Python packages' are: 50.0.0rc1 is older than 50.0.0, and 1.0.0+local is 1.0.0 built by someone
else, so it counts as 1.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Self

from packaging.version import Version

from host.errors import MissingFeature, RuntimeTooNew, RuntimeTooOld
from host.pack import flavours
from host.pack.flavours import FEATURES
from host.pack.manifest import Manifest, ManifestKernel


@dataclass(frozen=True)
class CompatibilityChecker:
    """A host that may run packs: versions of wasmtime and of this project (``kern``), and what kernels may use."""

    wasmtime: str
    kern: str
    features: tuple[str, ...]

    @classmethod
    def of_this_host(cls, features: Iterable[str] = FEATURES) -> Self:
        """What is installed here."""
        return cls(version("wasmtime"), version("host"), tuple(features))

    def check(self, manifest: Manifest) -> None:
        """That this host can run every kernel of the pack.

        Raises RuntimeTooOld, RuntimeTooNew or MissingFeature, saying what is required and what there is.
        """
        pack = f"{manifest.name} {manifest.version}"
        minimum, maximum = manifest.min_runtime_version, manifest.max_runtime_version
        if _older(self.kern, minimum):
            raise RuntimeTooOld(f"{pack} needs kern {minimum} or newer, this is {self.kern}")
        if maximum is not None and _older(maximum, self.kern):
            raise RuntimeTooNew(f"{pack} works up to kern {maximum}, this is {self.kern}")
        for kernel in manifest.kernels:
            self.choose(kernel)

    def choose(self, kernel: ManifestKernel) -> str:
        """The flavour of a kernel that suits this host best. Raises RuntimeTooOld or MissingFeature."""
        name, needed = kernel.spec.id, kernel.wasmtime_min_version
        if _older(self.wasmtime, needed):
            raise RuntimeTooOld(f"{name} needs wasmtime {needed}, installed is {self.wasmtime}")
        flavour = flavours.best({name: module.features for name, module in kernel.modules.items()}, self.features)
        if flavour is None:
            needed = ", ".join(kernel.portable.features)
            available = ", ".join(sorted(self.features)) or "none"
            raise MissingFeature(f"{name} needs {needed}; available: {available}")
        return flavour


def choose(kernel: ManifestKernel, features: Iterable[str]) -> str:
    """The flavour of a kernel that suits the Wasmtime installed, with ``features``, best.

    Raises RuntimeTooOld or MissingFeature, saying what is required and what there is.
    """
    return CompatibilityChecker.of_this_host(features).choose(kernel)


def check_wamr(manifest: Manifest, board: str) -> None:
    """That a board with WAMR ``board`` (its version) is new enough for every kernel. Raises RuntimeTooOld."""
    for kernel in manifest.kernels:
        if _older(board, kernel.wamr_min_version):
            raise RuntimeTooOld(f"{kernel.spec.id} needs WAMR {kernel.wamr_min_version}, the board has {board}")


def _older(one: str, other: str) -> bool:
    """Whether version ``one`` comes before ``other``, both without what follows ``+``."""
    return Version(Version(one).public) < Version(Version(other).public)
