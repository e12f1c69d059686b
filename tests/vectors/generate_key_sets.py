"""Writes key_sets.json beside it: ``python tests/vectors/generate_key_sets.py``. The same bytes every time.

Offsets are docs/board-image.md's.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from host.pack.keys import PublicKey, Trust
from host.pack.keyset import KeySet
from host.pack.keyset_image import HEADER, SIGNATURE, encode
from vectors import FOLDER, KEY_SET, KEYS, OK, KeySetVector, key_set_answer

LOST = {KEYS["lost"].public.key_id: ""}
BAD = "MalformedPack"


def key_set(names: Sequence[str], version: int = 4, threshold: int = 2, revoked: Mapping[bytes, str] = LOST) -> bytes:
    trust = Trust(tuple(KEYS[name].public for name in names), threshold, revoked)
    return encode(KeySet(version, trust))


def signed(data: bytes, *names: str) -> bytes:
    """``data`` with these keys' signatures, whatever it holds."""
    signatures = sorted((KEYS[name].public.key_id, KEYS[name].sign(data)) for name in names)
    return data + b"".join(SIGNATURE.pack(*entry) for entry in signatures)


def patched(data: bytes, offset: int, patch: bytes) -> bytes:
    return data[:offset] + patch + data[offset + len(patch) :]


NEXT = key_set(["test", "second", "fourth"])
GOOD = signed(NEXT, "test", "second")


def cases() -> Iterator[KeySetVector]:
    for name, data, expect in (*good(), *by_whom(), *succession(), *header(), *entries()):
        yield KeySetVector(name, data, False, expect)
    for name, data, expect in superseded():
        yield KeySetVector(f"a superseded set, too: {name}", data, True, expect)


Case = tuple[str, bytes, str]


def good() -> Iterator[Case]:
    yield "by two of three, which it keeps", GOOD, OK
    yield "by all who may", signed(NEXT, "test", "second", "third", "fourth"), OK
    yield "of one key, one of three that sign", signed(key_set(["fourth"], threshold=1), "test", "third", "fourth"), OK
    yield "of the highest version", signed(key_set(["test", "second"], 2**32 - 1), "test", "second"), OK
    more = {bytes([index]) + bytes(7): "" for index in range(63)}
    yield "with 64 revoked", signed(key_set(["test", "second"], revoked=more | LOST), "test", "second"), OK
    gone = {KEYS["test"].public.key_id: ""} | LOST
    yield "by a key that it revokes", signed(key_set(["second", "third"], revoked=gone), "test", "second", "third"), OK
    strangers = tuple(PublicKey("", bytes([index]) * 32) for index in range(6))
    eight = replace(KEY_SET.trust, keys=(*strangers, KEYS["test"].public, KEYS["second"].public))
    yield "with 8 keys", signed(encode(KeySet(4, eight)), "test", "second"), OK


def by_whom() -> Iterator[Case]:
    yield "by nobody", NEXT, "NoTrustedKey"
    for name in ("test", "third", "fourth"):
        yield f"by {name} alone", signed(NEXT, name), "NoTrustedKey"
    yield "by one old and one new key", signed(NEXT, "test", "fourth"), "NoTrustedKey"
    yield (
        "by its own keys, not the old ones",
        signed(key_set(["fourth", "stranger"]), "fourth", "stranger"),
        "NoTrustedKey",
    )
    yield "by the old keys, not its own", signed(key_set(["fourth"], threshold=1), "test", "second"), "NoTrustedKey"
    yield "by too few of its own keys", signed(key_set(["test", "fourth"]), "test", "second"), "NoTrustedKey"
    yield "by a stranger too", signed(NEXT, "test", "second", "stranger"), "NoTrustedKey"
    yield "by a revoked key", signed(NEXT, "lost"), "KeyRevoked"
    yield "by a revoked key too", signed(NEXT, "test", "second", "lost"), "KeyRevoked"
    back = key_set(["test", "second", "lost"], revoked={})
    yield "with a revoked key again, which signs", signed(back, "test", "lost"), "NoTrustedKey"
    end = len(NEXT)
    yield "over another set", NEXT + signed(key_set(["test", "second"]), "test", "second")[-144:], "BadSignature"
    yield "changed after signing", patched(GOOD, 8, b"\5"), "BadSignature"
    first, second = GOOD[end + 8 : end + 72], GOOD[end + 80 :]
    yield "signatures of each other", patched(patched(GOOD, end + 8, second), end + 80, first), "BadSignature"
    for bit in range(0, 8 * SIGNATURE.size, 41):
        at = 8 * (end + 72) + bit
        flipped = patched(GOOD, at // 8, bytes([GOOD[at // 8] ^ 1 << at % 8]))
        yield f"bit {bit} of the second signature", flipped, key_set_answer(flipped)


def succession() -> Iterator[Case]:
    down = "DowngradeRefused"
    for version in (0, 1, 2, 3):
        yield f"version {version}", signed(key_set(["test", "second"], version), "test", "second"), down
    yield "the same set", signed(encode(KEY_SET), "test", "second"), down
    yield "revokes nobody", signed(key_set(["test", "second"], revoked={}), "test", "second"), down
    other = {KEYS["stranger"].public.key_id: ""}
    yield "revokes another", signed(key_set(["test", "second"], revoked=other), "test", "second"), down
    yield "has a revoked key", signed(key_set(["test", "second", "lost"], revoked={}), "test", "second"), down


def header() -> Iterator[Case]:
    for length in (0, 1, 4, 15, 16, 17, 111, 112, 119, 120, 121, 191, 192, 200, len(GOOD) - 1):
        yield f"truncated to {length}", GOOD[:length], key_set_answer(GOOD[:length])
    yield "a byte too many", GOOD + b"\0", BAD
    yield "72 bytes too many, an id of zeros", GOOD + bytes(72), BAD
    for name, offset, patch in (
        ("magic", 0, b"KSEU"), ("an image's magic", 0, b"KIMG"), ("format version 0", 4, b"\0\0"),
        ("format version 2", 4, b"\2\0"), ("header size", 6, b"\x14\0"), ("threshold 0", 12, b"\0"),
        ("threshold 4 of 3", 12, b"\4"), ("no keys", 13, b"\0"), ("2 keys, 3 there", 13, b"\2"),
        ("4 keys, 3 there", 13, b"\4"), ("9 keys", 13, b"\x09"), ("255 keys", 13, b"\xff"),
        ("nobody revoked, one there", 14, b"\0\0"), ("2 revoked, 1 there", 14, b"\2\0"),
        ("65 revoked", 14, struct.pack("<H", 65)), ("65535 revoked", 14, b"\xff\xff"),
    ):  # fmt: skip
        yield name, signed(patched(NEXT, offset, patch), "test", "second"), BAD
    nine = HEADER.pack(b"KSET", 1, 16, 4, 1, 9, 0) + b"".join(sorted(bytes([index]) * 32 for index in range(9)))
    yield "9 keys, all there", signed(nine, "test", "second"), BAD
    many = HEADER.pack(b"KSET", 1, 16, 4, 1, 1, 65) + KEYS["test"].public.raw
    many += b"".join(bytes([index]) + bytes(7) for index in range(65))
    yield "65 revoked, all there", signed(many, "test", "second"), BAD
    ids = b"".join(bytes([index]) * 8 + bytes(64) for index in range(17))
    yield "17 signatures", NEXT + ids, BAD
    yield "16 signatures by nobody", NEXT + ids[: 16 * 72], "NoTrustedKey"


def entries() -> Iterator[Case]:
    keys, revoked, end = HEADER.size, HEADER.size + 96, HEADER.size + 104
    one, two = NEXT[keys : keys + 32], NEXT[keys + 32 : keys + 64]
    yield "keys not sorted", signed(patched(NEXT, keys, two + one), "test", "second"), BAD
    yield "a key twice", signed(patched(NEXT, keys, one + one), "test", "second"), BAD
    own = PublicKey("", one).key_id
    yield "a key of it revoked", signed(patched(NEXT, revoked, own), "test", "second"), BAD
    two_revoked = key_set(["test", "second"], revoked=LOST | {bytes(8): ""})
    at = len(two_revoked) - 16
    yield (
        "revoked not sorted",
        signed(patched(two_revoked, at, two_revoked[at + 8 :] + bytes(8)), "test", "second"),
        BAD,
    )
    yield "revoked twice", signed(patched(two_revoked, at, two_revoked[at + 8 :] * 2), "test", "second"), BAD
    yield "signatures not sorted", NEXT + GOOD[end + 72 :] + GOOD[end : end + 72], BAD
    yield "a signature twice", NEXT + GOOD[end : end + 72] * 2, BAD


def superseded() -> Iterator[Case]:
    revoked = {KEYS[name].public.key_id: "" for name in ["second", "lost"]}
    after = key_set(["test", "third", "fourth"], revoked=revoked)
    yield "that revokes nobody who signs", signed(after, "test", "third"), OK
    yield "that revokes who signs", signed(after, "test", "second"), "KeyRevoked"
    yield "that revokes who signs, though it is a key again", signed(NEXT, "test", "second"), "NoTrustedKey"
    left_out = key_set(["test", "third", "fourth"])
    yield "that revokes whom this one does not", signed(left_out, "test", "third"), "DowngradeRefused"


def text() -> str:
    """key_sets.json."""
    found = []
    for case in cases():
        assert key_set_answer(case.data, case.superseded) == case.expect, case.name
        found.append(json.dumps(vars(case) | {"data": case.data.hex()}))
    return "[\n" + ",\n".join(found) + "\n]\n"


if __name__ == "__main__":
    (FOLDER / "key_sets.json").write_text(text())
