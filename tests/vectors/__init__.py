"""Board images, good and bad, that the decoders in Python and C must judge alike.

``vectors.json`` says how each is made from one of the ``.kimg`` files here and what a board with ``GATE``, with an
interpreter or without, that trusts ``TRUSTED`` answers: ``OK`` or the name of the error. ``load`` makes the bytes. All
of it is written by generate.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from host.errors import PackError
from host.pack import keyset_image
from host.pack.image import Gate, verify_image, version_number
from host.pack.keys import KeyPair, PublicKey, Trust
from host.pack.keyset import KeySet

FOLDER = Path(__file__).parent
OK = "OK"


def _key(name: str, seed: bytes) -> KeyPair:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return KeyPair(PublicKey(name, private.public_key().public_bytes_raw()), private)


# Everyone knows these private keys. Nothing but tests may ever trust them.
KEYS = {
    "test": _key("test", b"TEST ONLY: signs tests/vectors !"),
    "stranger": _key("stranger", b"TEST ONLY: a key nobody trusts !"),
    **{name: _key(name, f"TEST ONLY: {name:>19} !".encode()) for name in ["second", "third", "fourth", "lost"]},
}
TRUSTED = Trust((KEYS["test"].public,), 1, {KEYS["lost"].public.key_id: "left on a train"})
KEY_SET = KeySet(
    3, replace(TRUSTED, keys=tuple(KEYS[name].public for name in ["test", "second", "third"]), threshold=2)
)
"""Whom a board trusts that gets key_sets.json, and the images too: for them it says what ``TRUSTED`` does."""
SUPERSEDED = KeySet(2, Trust((KEYS["third"].public,), 1, {KEYS[name].public.key_id: "" for name in ["second", "lost"]}))
"""What some boards have besides: it revokes a key of ``KEY_SET``."""
GATE = Gate(
    target="thumbv6m-soft",
    runtime_version="0.1.0",
    slot_size=4096,
    kernel_page=2048,
    security_counter=5,
)


@dataclass(frozen=True)
class Vector:
    """An image and what to answer to it."""

    name: str
    data: bytes
    expect: str
    gate: Gate


def load() -> list[Vector]:
    """Every vector, with its bytes as a board would get them."""
    return [
        Vector(entry["name"], _bytes(entry), entry["expect"], replace(GATE, interpreter=entry["interpreter"]))
        for entry in json.loads((FOLDER / "vectors.json").read_text())
    ]


@dataclass(frozen=True)
class KeySetVector:
    """A key set's image, and what a board with ``KEY_SET`` answers to it; one with ``SUPERSEDED`` too if it says so."""

    name: str
    data: bytes
    superseded: bool
    expect: str


def key_sets() -> list[KeySetVector]:
    """Every case of key_sets.json, which generate_key_sets.py writes."""
    return [
        KeySetVector(entry["name"], bytes.fromhex(entry["data"]), entry["superseded"], entry["expect"])
        for entry in json.loads((FOLDER / "key_sets.json").read_text())
    ]


def key_set_answer(data: bytes, superseded: bool = False) -> str:
    """What the decoder in Python says to a key set's image: ``OK`` or the error's name."""
    current = KEY_SET
    if superseded:
        revoked = {**SUPERSEDED.trust.revoked, **KEY_SET.trust.revoked}
        left = tuple(key for key in KEY_SET.trust if key.key_id not in revoked)
        current = KeySet(KEY_SET.version, Trust(left, KEY_SET.trust.threshold, revoked))
    try:
        keyset_image.accept(data, current)
    except PackError as error:
        return type(error).__name__
    return OK


@dataclass(frozen=True)
class Signature:
    """An Ed25519 signature; ``why`` it is bad, or empty for a good one."""

    name: str
    key: bytes
    message: bytes
    signature: bytes
    why: str


def signatures() -> list[Signature]:
    """Every case of ed25519.json, which generate_ed25519.py writes."""
    return [
        Signature(
            entry["name"], *(bytes.fromhex(entry[field]) for field in ("key", "message", "signature")), entry["why"]
        )
        for entry in json.loads((FOLDER / "ed25519.json").read_text())
    ]


def gate_request(case: Vector) -> bytes:
    """What tests/c/gate_check.c reads."""
    gate, key_set = case.gate, keyset_image.encode(KEY_SET).hex()
    limits = f"{gate.security_counter} {gate.slot_size} {gate.kernel_page} {int(gate.interpreter)}"
    line = f"{len(case.data)} {key_set} {gate.target} {version_number(gate.runtime_version)} {limits}\n"
    return line.encode() + case.data


def key_set_request(data: bytes, superseded: bool) -> bytes:
    """What tests/c/keyset_check.c reads."""
    second = keyset_image.encode(SUPERSEDED).hex() if superseded else "-"
    return f"{keyset_image.encode(KEY_SET).hex()} {second} {data.hex() or '-'}\n".encode()


def answer(data: bytes, gate: Gate = GATE) -> str:
    """What the decoder in Python says to an image: ``OK`` or the error's name."""
    try:
        verify_image(data, TRUSTED, gate)
    except PackError as error:
        return type(error).__name__
    return OK


def flipped(data: bytes, bit: int) -> bytes:
    """``data`` with that bit another one."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def sign(data: bytes, key: KeyPair) -> bytes:
    """``data`` with the signature of ``key`` in its place, which the table size in the header tells."""
    end = 192 + int.from_bytes(data[12:16], "little")
    return data[:end] + key.sign(data[:end]) + data[end + 64 :]


def _bytes(entry: dict[str, object]) -> bytes:
    """The steps of a vector in their order: patches, signature, truncation, extra bytes."""
    data = bytearray((FOLDER / str(entry["base"])).read_bytes())
    for offset, text in entry["patches"]:  # type: ignore[attr-defined]
        patch = bytes.fromhex(text)
        data[offset : offset + len(patch)] = patch
    signed = sign(bytes(data), KEYS[str(entry["sign"])]) if entry["sign"] else bytes(data)
    length = entry["truncate"]
    return signed[: length if isinstance(length, int) else None] + bytes.fromhex(str(entry["append"]))
