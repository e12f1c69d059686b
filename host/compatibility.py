"""Whether this host can run what a pack holds: requirement S2. What a board can run, its gate decides."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

from packaging.version import Version

from host.errors import MissingFeature, RuntimeTooOld
from host.pack import flavours
from host.pack.manifest import Manifest, ManifestKernel


def choose(kernel: ManifestKernel, features: Iterable[str]) -> str:
    """The flavour of a kernel that suits a Wasmtime with ``features`` best.

    Raises RuntimeTooOld or MissingFeature, saying what is required and what there is.
    """
    name, needed, installed = kernel.spec.id, kernel.wasmtime_min_version, version("wasmtime")
    if Version(installed) < Version(needed):
        raise RuntimeTooOld(f"{name} needs wasmtime {needed}, installed is {installed}")
    available = set(features)
    flavour = flavours.best({name: module.features for name, module in kernel.modules.items()}, available)
    if flavour is None:
        needed = ", ".join(kernel.portable.features)
        raise MissingFeature(f"{name} needs {needed}; available: {', '.join(sorted(available)) or 'none'}")
    return flavour


def check_wamr(manifest: Manifest, board: str) -> None:
    """That a board with WAMR ``board`` (its version) is new enough for every kernel. Raises RuntimeTooOld."""
    for kernel in manifest.kernels:
        if Version(board) < Version(kernel.wamr_min_version):
            raise RuntimeTooOld(f"{kernel.spec.id} needs WAMR {kernel.wamr_min_version}, the board has {board}")
