"""Where the parts of a call lie: docs/kernel-abi.md, "Descriptor"."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from host.pack.spec import KernelSpec, Region, Tensor
from host.shapes import Solved

ALIGN = 16
"""Every tensor, the descriptor and the params block start at a multiple of this."""

_DESCRIPTOR = struct.Struct("<10I8x")  # the params block lies behind it, aligned
PARAMS_AT = _DESCRIPTOR.size
"""Where the params block lies, from the descriptor on."""


@dataclass(frozen=True)
class RegionLayout:
    """A region's tensors, one behind the other: the offset of each from the region's start, and the region's size."""

    tensors: tuple[tuple[Tensor, int], ...]
    size: int


def regions(spec: KernelSpec, solved: Solved) -> dict[Region, RegionLayout]:
    """Those regions of a call that have a tensor."""
    found = {}
    for region in Region:
        placed, end = [], 0
        for tensor in spec.tensors:
            if tensor.region == region and tensor.name in solved.shapes:
                placed.append((tensor, align(end)))
                end = align(end) + tensor.dtype.nbytes(solved.shapes[tensor.name])
        if placed:
            found[region] = RegionLayout(tuple(placed), end)
    return found


def block(at: int, places: Mapping[Region, tuple[int, int]], params: bytes) -> bytes:
    """Descriptor and params block, to be put at the offset ``at``; ``places`` are the regions' offsets and sizes."""
    words = [word for region in Region for word in places.get(region, (0, 0))]
    return _DESCRIPTOR.pack(*words, at + PARAMS_AT, len(params)) + params


def words(block: bytes) -> tuple[int, ...]:
    """The descriptor's ten words in a `block`."""
    return _DESCRIPTOR.unpack_from(block)


def align(offset: int) -> int:
    """The next multiple of `ALIGN`."""
    return -(-offset // ALIGN) * ALIGN
