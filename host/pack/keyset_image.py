"""Key set images, version 1: key sets as boards read them; docs/board-image.md describes them byte by byte.

One says what a keyset.json does, without names and reasons. It is signed by the same keys, over other bytes; it lies
beside keyset.json as ``keyset.kset``. Unsigned, it is what firmware is built with. firmware/kern/keyset.c reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from host.errors import MalformedPack, NoTrustedKey, UsageError
from host.pack import keyset
from host.pack.keys import KeyPair, PublicKey, Trust
from host.pack.keyset import KeySet

HEADER = struct.Struct("<4sHHIBBH")
"""Magic, format version, header size, version, threshold, number of keys, number of revoked ids."""
SIGNATURE = struct.Struct("<8s64s")
MAGIC = b"KSET"
FORMAT_VERSION = 1
MAX_KEYS = 8
MAX_REVOKED = 64
MAX_SIGNATURES = 16
_KEY_SIZE, _ID_SIZE = 32, 8


@dataclass(frozen=True)
class KeySetImage:
    """What an image says, its keys unnamed. ``signed`` is what its signatures, by key id, are over."""

    key_set: KeySet
    signed: bytes
    signatures: Mapping[bytes, bytes]


def encode(key_set: KeySet) -> bytes:
    """The image, unsigned; the same bytes every time. Raises UsageError when a board has no room for it."""
    trust = key_set.trust
    if not 1 <= len(trust.by_id) <= MAX_KEYS or len(trust.revoked) > MAX_REVOKED:
        raise UsageError(
            f"a board holds 1 to {MAX_KEYS} trusted and up to {MAX_REVOKED} revoked keys; "
            f"there are {len(trust.by_id)} and {len(trust.revoked)}"
        )
    counts = (trust.threshold, len(trust.by_id), len(trust.revoked))
    header = HEADER.pack(MAGIC, FORMAT_VERSION, HEADER.size, key_set.version, *counts)
    public = (key.raw for _key_id, key in sorted(trust.by_id.items()))
    return header + b"".join(public) + b"".join(sorted(trust.revoked))


def sign(image: bytes, pairs: Iterable[KeyPair]) -> bytes:
    """The image with signatures by ``pairs`` too. Raises UsageError when there is no room for them."""
    decoded = decode(image)
    signatures = {**decoded.signatures, **{pair.public.key_id: pair.sign(decoded.signed) for pair in pairs}}
    if len(signatures) > MAX_SIGNATURES:
        raise UsageError(f"a key set for boards holds {MAX_SIGNATURES} signatures, and no more")
    return decoded.signed + b"".join(SIGNATURE.pack(*entry) for entry in sorted(signatures.items()))


def decode(image: bytes) -> KeySetImage:
    """What ``image`` says, whoever signed it. Raises MalformedPack unless it is in its one form."""
    _require(len(image) >= HEADER.size, "it is shorter than a header")
    *kind, version, threshold, key_count, revoked_count = HEADER.unpack_from(image)
    _require(kind == [MAGIC, FORMAT_VERSION, HEADER.size], "it has another header")
    _require(key_count <= MAX_KEYS and revoked_count <= MAX_REVOKED, "it has more keys than a board holds")
    _require(1 <= threshold <= key_count, f"threshold is {threshold}, there are {key_count} keys")
    keys_end = HEADER.size + _KEY_SIZE * key_count
    end = keys_end + _ID_SIZE * revoked_count
    count, rest = divmod(len(image) - end, SIGNATURE.size)
    _require(rest == 0 and 0 <= count <= MAX_SIGNATURES, "its size is not that of what it counts")
    public = [PublicKey("unnamed", raw) for raw in _split(image[HEADER.size : keys_end], _KEY_SIZE)]
    revoked = _split(image[keys_end:end], _ID_SIZE)
    signatures = [SIGNATURE.unpack(entry) for entry in _split(image[end:], SIGNATURE.size)]
    ids = [key.key_id for key in public]
    for listed in (ids, revoked, [key_id for key_id, _signature in signatures]):
        _require(listed == sorted(set(listed)), "its entries are not sorted by key id, each once")
    _require(not set(ids) & set(revoked), "a key of it is revoked")
    trust = Trust(tuple(public), threshold, dict.fromkeys(revoked, "a key set for boards gives no reason"))
    return KeySetImage(KeySet(version, trust), image[:end], dict(signatures))


def accept(image: bytes, current: KeySet) -> KeySet:
    """The key set in ``image``, which may follow ``current``: what a board says to it, check by check.

    Raises MalformedPack, KeyRevoked, NoTrustedKey, BadSignature or DowngradeRefused.
    """
    decoded = decode(image)
    following = decoded.key_set
    require_signed(decoded, current.trust)
    keyset.require_successor(following, current)
    return following


def decode_as(image: bytes, following: KeySet) -> KeySetImage:
    """What ``image`` says, whoever signed it. Raises MalformedPack unless that is what ``following`` says."""
    decoded = decode(image)
    if decoded.signed != encode(following):
        raise MalformedPack("the key set for boards does not say the same as keyset.json beside it")
    return decoded


def require_signed(image: KeySetImage, trusted: Trust) -> None:
    """Raises KeyRevoked, NoTrustedKey or BadSignature unless enough of ``trusted`` and of its own keys signed the
    image, and nobody else.
    """
    own = image.key_set.trust
    known = {**own.by_id, **trusted.by_id}
    for key_id, signature in image.signatures.items():
        if key_id not in known:
            raise trusted.refusal([key_id])
        known[key_id].verify(signature, image.signed)
    for trust in (trusted, own):
        if len(image.signatures.keys() & trust.by_id.keys()) < trust.threshold:
            raise NoTrustedKey(str(trust.refusal(image.signatures)))


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise MalformedPack(f"key set for boards: {message}")
