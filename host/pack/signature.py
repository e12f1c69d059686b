"""kernels.json.sig: who signed kernels.json, and the Ed25519 signature of its raw bytes.

One line of text, ``ed25519 <key id> <signature>``: the key id in 16 lower-case hex digits, the signature in canonical
base64. The signed message is ``KERN-MANIFEST-V1``, a NUL and the bytes of kernels.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from host.errors import MalformedPack
from host.pack.keys import KeyPair, PublicKey, decode_base64, encode_base64, find_key

DOMAIN = b"KERN-MANIFEST-V1\0"
_LINE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([A-Za-z0-9+/=]{88})\n")


def sign(manifest: bytes, key: KeyPair) -> bytes:
    """The contents of kernels.json.sig for a manifest of these bytes."""
    signature = encode_base64(key.sign(DOMAIN + manifest))
    return f"ed25519 {key.public.key_id.hex()} {signature}\n".encode()


def verify(manifest: bytes, signature_file: bytes, trusted: Iterable[PublicKey]) -> PublicKey:
    """The trusted key that signed ``manifest``. Raises MalformedPack, NoTrustedKey or BadSignature."""
    key_id, signature = parse(signature_file)
    key = find_key(key_id, trusted)
    key.verify(signature, DOMAIN + manifest)
    return key


def parse(signature_file: bytes) -> tuple[bytes, bytes]:
    """Key id and signature. Raises MalformedPack unless the file is exactly as above."""
    match = _LINE.fullmatch(signature_file)
    if match is None:
        raise MalformedPack("kernels.json.sig: must be one line: ed25519, 16 hex digits, base64 of 64 bytes")
    try:
        return bytes.fromhex(match[1].decode()), decode_base64(match[2].decode(), 64)
    except ValueError as error:
        raise MalformedPack(f"kernels.json.sig: {error}") from error
