"""Strict Ed25519: of what verifiers differ about, nothing is taken. firmware/kern/ed25519.c gives the same answers.

Besides RFC 8032: S is below the group's order; the encodings of the key and of R are canonical, and neither is a point
of small order; the equation holds as it is, not only times the cofactor. `cryptography` checks the equation, as it is.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PRIME = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_Y_OF_ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER = frozenset({0, 1, _PRIME - 1, _Y_OF_ORDER_8, _PRIME - _Y_OF_ORDER_8})
"""y of the eight points that eight times give the neutral element."""


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the owner of ``public_key`` (32 bytes) made ``signature`` (64 bytes) over ``message``."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    if scalar >= _ORDER or not _is_strict(public_key) or not _is_strict(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_strict(point: bytes) -> bool:
    """Canonically encoded and not of small order; whether it is on the curve is for `cryptography` to say."""
    y = int.from_bytes(point, "little") % 2**255
    return y < _PRIME and y not in _SMALL_ORDER
