"""The firmwares that can be built of one board."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """What a firmware has beside what all have. ``name`` is what ``kern.status()['variant']`` says.

    ``all_references``: native references of all the kernels in kernels_aot, compiled for speed, and again with libgcc's
    floats, as ``<id>_libgcc``; without it, only of the f32 kernels, which calls fall back on.
    ``interpreter``: WAMR's interpreter, assertions and log.
    """

    name: str
    all_references: bool = False
    interpreter: bool = False


RELEASE = Variant("release")
DEBUG = Variant("debug", interpreter=True)
BENCH = Variant("bench", all_references=True)

VARIANTS = {variant.name: variant for variant in (RELEASE, DEBUG, BENCH)}
