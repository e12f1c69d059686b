"""Signature files: who signed a file, and the Ed25519 signatures of its raw bytes.

A line of text a signature, ``ed25519 <key id> <signature>``: the key id in 16 lower-case hex digits, the signature in
canonical base64. The lines are sorted by key id, each key has one, and there are at most 16. The signed message is the
file's domain, such as ``KERN-MANIFEST-V1``, a NUL and the bytes of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from host.errors import MalformedPack, UsageError
from host.pack.keys import KeyPair, PublicKey, Trust, decode_base64, encode_base64

MAX_SIGNATURES = 16
_LINE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([A-Za-z0-9+/=]{88})\n")
_LINE_SIZE = 114


@dataclass(frozen=True)
class Domain:
    """A kind of signed file. A signature counts under its own ``prefix`` only, so none passes for another kind's."""

    file: str
    prefix: bytes


MANIFEST = Domain("kernels.json.sig", b"KERN-MANIFEST-V1\0")
KEYSET = Domain("keyset.json.sig", b"KERN-KEYSET-V1\0")


def sign(message: bytes, key: KeyPair, domain: Domain = MANIFEST) -> bytes:
    """The contents of the signature file of ``message``, by that one key."""
    return _write({key.public.key_id: key.sign(domain.prefix + message)})


def add(message: bytes, signature_file: bytes, key: KeyPair, domain: Domain = MANIFEST) -> bytes:
    """The signature file with the signature by ``key`` beside those that it has.

    Raises MalformedPack for what is no signature file, UsageError when there is no room in it.
    """
    signatures = {**parse(signature_file, domain), key.public.key_id: key.sign(domain.prefix + message)}
    if len(signatures) > MAX_SIGNATURES:
        raise UsageError(f"{domain.file} has {MAX_SIGNATURES} signatures, and holds no more")
    return _write(signatures)


def verify(
    message: bytes, signature_file: bytes, trusted: Iterable[PublicKey], domain: Domain = MANIFEST
) -> tuple[PublicKey, ...]:
    """The trusted keys that signed ``message``, as many as ``trusted`` asks for when it is a Trust, else one or more.

    Signatures by other keys say nothing. Raises MalformedPack, BadSignature when any of a trusted key's does not match,
    KeyRevoked or NoTrustedKey when too few trusted keys signed.
    """
    trust = Trust.of(trusted)
    signatures = parse(signature_file, domain)
    signers = tuple(key for key_id, key in sorted(trust.by_id.items()) if key_id in signatures)
    for key in signers:
        key.verify(signatures[key.key_id], domain.prefix + message)
    if len(signers) < trust.threshold:
        raise trust.refusal(signatures)
    return signers


def parse(signature_file: bytes, domain: Domain = MANIFEST) -> dict[bytes, bytes]:
    """Each signature (64 bytes) by its key's id. Raises MalformedPack unless the file is exactly as above."""
    count, rest = divmod(len(signature_file), _LINE_SIZE)
    if rest or not 1 <= count <= MAX_SIGNATURES:
        raise MalformedPack(f"{domain.file}: must have 1 to {MAX_SIGNATURES} lines of {_LINE_SIZE} characters")
    lines = [signature_file[at : at + _LINE_SIZE] for at in range(0, len(signature_file), _LINE_SIZE)]
    entries = [_parse_line(line, domain) for line in lines]
    ids = [key_id for key_id, _signature in entries]
    if ids != sorted(set(ids)):
        raise MalformedPack(f"{domain.file}: must be sorted by key id, each key once")
    return dict(entries)


def _parse_line(line: bytes, domain: Domain) -> tuple[bytes, bytes]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise MalformedPack(f"{domain.file}: each line must be: ed25519, 16 hex digits, base64 of 64 bytes")
    try:
        return bytes.fromhex(match[1].decode()), decode_base64(match[2].decode(), 64)
    except ValueError as error:
        raise MalformedPack(f"{domain.file}: {error}") from error


def _write(signatures: Mapping[bytes, bytes]) -> bytes:
    lines = (f"ed25519 {key_id.hex()} {encode_base64(signature)}\n" for key_id, signature in sorted(signatures.items()))
    return "".join(lines).encode()
