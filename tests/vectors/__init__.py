"""Board images, good and bad, that the decoders in Python and C must judge alike.

``vectors.json`` says how each is made from one of the ``.kimg`` files here and what a board with ``GATE`` that trusts
``TRUSTED`` answers: ``OK`` or the name of the error. ``load`` makes the bytes. All of it is written by generate.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from host.errors import PackError
from host.pack.image import Gate, verify_image
from host.pack.keys import KeyPair, PublicKey

FOLDER = Path(__file__).parent
OK = "OK"


def _key(name: str, seed: bytes) -> KeyPair:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return KeyPair(PublicKey(name, private.public_key().public_bytes_raw()), private)


# Everyone knows these private keys. Nothing but tests may ever trust them.
KEYS = {
    "test": _key("test", b"TEST ONLY: signs tests/vectors !"),
    "stranger": _key("stranger", b"TEST ONLY: a key nobody trusts !"),
}
TRUSTED = [KEYS["test"].public]
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
    trusted_keys: list[PublicKey]
    gate: Gate


def load() -> list[Vector]:
    """Every vector, with its bytes as a board would get them."""
    return [
        Vector(entry["name"], _bytes(entry), entry["expect"], TRUSTED, GATE)
        for entry in json.loads((FOLDER / "vectors.json").read_text())
    ]


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


def answer(data: bytes) -> str:
    """What the decoder in Python says to an image: ``OK`` or the error's name."""
    try:
        verify_image(data, TRUSTED, GATE)
    except PackError as error:
        return type(error).__name__
    return OK


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
