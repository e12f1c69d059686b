"""Flavours of a kernel: the same source for processors with more or fewer features, giving the same bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PORTABLE = "portable"
"""What boards run, and any host can."""

FLAVOURS: Mapping[str, tuple[str, ...]] = {
    PORTABLE: ("bulk-memory",),
    "simd128": ("bulk-memory", "simd128"),
}
"""What each may use beyond WebAssembly 1.0, as kernels.json names it."""

FEATURES = tuple(sorted({feature for features in FLAVOURS.values() for feature in features}))
"""Every feature there is."""


def best(offered: Mapping[str, Iterable[str]], available: Iterable[str]) -> str | None:
    """Of flavours, given with what each needs, the one that makes most of ``available``; None if none can run."""
    have = set(available)
    fitting = {name: set(needs) for name, needs in offered.items() if set(needs) <= have}
    return max(fitting, key=lambda name: len(fitting[name]), default=None)
