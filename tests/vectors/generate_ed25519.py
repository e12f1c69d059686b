"""Writes ed25519.json beside it: ``python tests/vectors/generate_ed25519.py``. The same bytes every time.

The curve is written from its definition, in affine coordinates and Python's integers, and shares no code with what it
is to test. Each case is built to fail in one way only where that can be: the equation holds and the encoding is another
one, or the encoding is right and the equation holds but for the cofactor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256, sha512
from pathlib import Path

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SIGN = 1 << 255
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)
RFC_8032 = [  # section 7.1: secret key, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", b"\x72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", b"\xaf\x82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42", sha512(b"abc").digest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """``why`` a signature is bad, or empty for a good one."""

    name: str
    key: bytes
    message: bytes
    signature: bytes
    why: str


# ---- the curve ------------------------------------------------------------------------------------


def add(a: Point, b: Point) -> Point:
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def minus(point: Point) -> Point:
    return -point[0] % P, point[1]


def root(square: int) -> int | None:
    """The even square root."""
    candidate = pow(square, (P + 3) // 8, P)
    for x in (candidate, candidate * pow(2, (P - 1) // 4, P) % P):
        if x * x % P == square % P:
            return x if x % 2 == 0 else P - x
    return None


def with_y(y: int) -> Point | None:
    """The point with this y whose x is even."""
    x = root((y * y - 1) * pow(D * y * y + 1, -1, P) % P)
    return None if x is None else (x, y % P)


def encode(point: Point) -> bytes:
    return (point[1] | (SIGN if point[0] % 2 else 0)).to_bytes(32, "little")


def encodings(point: Point) -> Iterator[bytes]:
    """Every 32 bytes that a lenient decoder takes for the point, the canonical ones first."""
    signs = (0, SIGN) if point[0] == 0 else (SIGN if point[0] % 2 else 0,)
    for y in range(point[1], 2**255, P):
        for sign in signs:
            yield (y | sign).to_bytes(32, "little")


def found(point: Point | None) -> Point:
    assert point is not None
    return point


def torsion() -> list[Point]:
    """The eight points of small order: multiples of one of order 8, which is some point times the group's order."""
    for y in range(2, 100):
        point = with_y(y)
        if point is not None and times(4, generator := times(L, point)) != NEUTRAL:
            return [times(index, generator) for index in range(8)]
    raise AssertionError("one point in two is of that kind")


BASE = found(with_y(4 * pow(5, -1, P)))
TORSION = torsion()


# ---- signing --------------------------------------------------------------------------------------


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return number(sha512(r + key + message).digest()) % L


def secret(seed: bytes) -> tuple[int, bytes]:
    """The scalar and the prefix of a secret key."""
    digest = sha512(seed).digest()
    return number(digest[:32]) & (1 << 254) - 8 | 1 << 254, digest[32:]


def sign(seed: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Public key and signature as RFC 8032 has them."""
    scalar, prefix = secret(seed)
    key = encode(times(scalar, BASE))
    nonce = number(sha512(prefix + message).digest()) % L
    r = encode(times(nonce, BASE))
    return key, r + ((nonce + challenge(r, key, message) * scalar) % L).to_bytes(32, "little")


SCALAR = number(sha256(b"TEST ONLY: the scalar of a key").digest()) % L
NONCE = number(sha256(b"TEST ONLY: a nonce").digest()) % L


def crooked(name: str, why: str, key: bytes, scalar: int, r: bytes, nonce: int, off: Point) -> Case:
    """A signature whose equation, S times the base point less R less the challenge times the key, comes to ``off``.

    The key is ``scalar`` times the base point and something of small order, R likewise; both are given as encoded. The
    message is chosen so that what is of small order comes to ``off``; with another one it would come to something else.
    """
    key_part, r_part = (small_part(data, known) for data, known in ((key, scalar), (r, nonce)))
    for index in range(200):
        message = f"{name} {index}".encode()
        h = challenge(r, key, message)
        if add(minus(r_part), minus(times(h % 8, key_part))) == off:
            return Case(name, key, message, r + ((nonce + h * scalar) % L).to_bytes(32, "little"), why)
    raise AssertionError(name)


def small_part(encoded: bytes, scalar: int) -> Point:
    """What an encoded point is beyond ``scalar`` times the base point."""
    x, y = found(with_y((number(encoded) & SIGN - 1) % P))
    point = (-x % P if x % 2 != number(encoded) >> 255 else x, y)
    return add(point, minus(times(scalar, BASE)))


# ---- cases ----------------------------------------------------------------------------------------


def cases() -> Iterator[Case]:
    yield from rfc_8032()
    yield from scalars()
    yield from small_order()
    yield from mixed_order()
    yield from forgeries()


def rfc_8032() -> Iterator[Case]:
    for index, (seed, message, signature) in enumerate(RFC_8032):
        key, made = sign(bytes.fromhex(seed), message)
        assert made.hex() == signature
        yield Case(f"RFC 8032, {index + 1}", key, message, made, "")
    for size in (1, 63, 64, 111, 112, 127, 128, 1023):
        message = b"".join(sha256(bytes([part])).digest() for part in range(32))[:size]
        yield Case(f"a message of {size} bytes", *sign_case(message), "")


def sign_case(message: bytes) -> tuple[bytes, bytes, bytes]:
    key, signature = sign(b"TEST ONLY: signs ed25519.json ! ", message)
    return key, message, signature


def scalars() -> Iterator[Case]:
    """S that is right modulo the group's order, and too large."""
    key, message, signature = sign_case(b"S")
    r, s = signature[:32], number(signature[32:])
    for factor in (1, 2, 7, 8, (2**256 - 1 - s) // L):
        yield Case(f"S + {factor} L", key, message, r + (s + factor * L).to_bytes(32, "little"), "S")
    for name, value in {
        "L": L,
        "L - 1": L - 1,
        "2^252": 2**252,
        "2^253": 2**253,
        "2^256 - 1": 2**256 - 1,
        "0": 0,
    }.items():
        yield Case(f"S = {name}", key, message, r + value.to_bytes(32, "little"), "S" if value >= L else "equation")
    for bit in (253, 254, 255):
        yield Case(f"S with bit {bit}", key, message, r + (s | 1 << bit).to_bytes(32, "little"), "S")


def small_order() -> Iterator[Case]:
    """The equation holds, with a key or an R of small order; the encodings are the canonical one and all others."""
    r = encode(times(NONCE, BASE))
    for order, point in enumerate(TORSION):
        for index, encoded in enumerate(encodings(point)):
            form = f"{order} in form {index}"
            yield crooked(f"key of small order {form}", "key", encoded, 0, r, NONCE, NEUTRAL)
            yield crooked(f"key and R of small order {form}", "key and R", encoded, 0, encoded, 0, NEUTRAL)
            # Of an R of small order the key's own part of small order is the opposite, times the challenge.
            key = encode(add(times(SCALAR, BASE), TORSION[1]))
            yield crooked(f"R of small order {form}", "R", key, SCALAR, encoded, 0, NEUTRAL)
    key = encode(times(SCALAR, BASE))
    for index, encoded in enumerate(encodings(NEUTRAL)):
        yield crooked(f"R neutral in form {index}, an honest key", "R", key, SCALAR, encoded, 0, NEUTRAL)


def mixed_order() -> Iterator[Case]:
    """Points with a part of small order: good where the equation holds as it is, bad where only times the cofactor."""
    honest, r = times(SCALAR, BASE), times(NONCE, BASE)
    for order in range(1, 8):
        for what, key_part, r_part in (
            ("key", TORSION[order], NEUTRAL),
            ("R", NEUTRAL, TORSION[order]),
            ("key and R", TORSION[order], TORSION[order]),
        ):
            key, shifted = encode(add(honest, key_part)), encode(add(r, r_part))
            if what != "R":
                yield crooked(f"{what} with a part of order {order}", "", key, SCALAR, shifted, NONCE, NEUTRAL)
            off = minus(TORSION[order])
            name = f"{what} with a part of order {order}, only times the cofactor"
            yield crooked(name, "equation", key, SCALAR, shifted, NONCE, off)


def forgeries() -> Iterator[Case]:
    """What is no signature of that message by that key at all."""
    key, message, signature = sign_case(b"forged")
    other, _, others = sign_case(b"other")
    for bit in (0, 7, 130, 254, 255, 256, 300, 500):
        yield Case(f"bit {bit} of the signature", key, message, flipped(signature, bit), "equation")
    for bit in (0, 100, 254, 255):
        yield Case(f"bit {bit} of the key", flipped(key, bit), message, signature, "equation")
    yield Case("bit of the message", key, flipped(message, 3), signature, "equation")
    yield Case("message cut", key, message[:-1], signature, "equation")
    yield Case("no message", key, b"", signature, "equation")
    yield Case("signature of another message", other, message, others, "equation")
    yield Case("key of someone else", sign(bytes(32), b"")[0], message, signature, "equation")
    yield Case("R and S of two signatures", key, message, signature[:32] + others[32:], "equation")
    yield Case("signature of zeros", key, message, bytes(64), "R")
    yield Case("signature of ones", key, message, b"\xff" * 64, "S")
    off_curve = next(y for y in range(2, 100) if with_y(y) is None).to_bytes(32, "little")
    yield Case("key off the curve", off_curve, message, signature, "key")
    yield Case("R off the curve", key, message, off_curve + signature[32:], "equation")
    for y in range(P, 2**255):
        encoded = y.to_bytes(32, "little")
        yield Case(f"key with y = p + {y - P}", encoded, message, signature, "key")
        yield Case(f"R with y = p + {y - P}", key, message, encoded + signature[32:], "R")


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def text() -> str:
    """ed25519.json."""
    entries = [
        {
            "name": case.name,
            "key": case.key.hex(),
            "message": case.message.hex(),
            "signature": case.signature.hex(),
            "why": case.why,
        }
        for case in cases()
    ]
    return "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"


if __name__ == "__main__":
    (Path(__file__).parent / "ed25519.json").write_text(text())
