"""What the tests of installing and tools/power_cuts.py share: signed variants of an image, and looks at a board."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from host.board import Board
from host.pack import keys
from host.pack.image import ImageKernel, decode_image, encode_image

Slots = dict[str, str]
"""State of what is in each slot, and its version, or the name of the error that it is refused with."""


def resigned(image: bytes, **changes: object) -> bytes:
    """The image with some fields of its header changed, validly signed."""
    return encode_image(replace(decode_image(image), **changes), keys.default_or_create())  # type: ignore[arg-type]


def with_kernels(image: bytes, kernels: Iterable[ImageKernel]) -> bytes:
    """The image with these kernels, validly signed. It is another pack, so its manifest has another hash."""
    kernels = tuple(kernels)
    return resigned(
        image, kernels=kernels, manifest_sha256=hashlib.sha256(b"".join(kernel.body for kernel in kernels)).digest()
    )


def small(image: bytes, **changes: object) -> bytes:
    """The same with rmsnorm_f32 only: small enough to be typed."""
    kernels = tuple(kernel for kernel in decode_image(image).kernels if kernel.spec.id == "rmsnorm_f32")
    return resigned(image, kernels=kernels, **changes)


def save(board: Board, image: bytes, path: str = "/new.kimg") -> None:
    """Write a file on the board, at whose REPL there is `kern` then."""
    board.exec(f"import kern; f = open({path!r}, 'wb')")
    for at in range(0, len(image), 512):
        board.exec(f"f.write({image[at : at + 512]!r})")
    board.exec("f.close()")


def slots(board: Board) -> Slots:
    """What the board says is in its slots."""
    return {found["state"]: found.get("version", found.get("error")) for found in board.packs()}
