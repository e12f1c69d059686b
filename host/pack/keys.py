"""Ed25519 keys: a private key signs packs, and the user's ``keys`` folder says which public keys are trusted.

``<name>.key`` is PKCS 8 in PEM, mode 0600. ``<name>.pub`` is one line, ``ed25519:`` and the base64 of the 32 bytes;
someone else's key is trusted by putting its .pub file there, and no longer by removing it. Once a key set is installed
there (keyset.py), it alone says whom to trust.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from host import project
from host.errors import BadSignature, KeyRevoked, NoTrustedKey, PackError, UsageError
from host.pack import ed25519

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PREFIX = "ed25519:"


@dataclass(frozen=True)
class PublicKey:
    """A key that is trusted, or that a pack names; ``raw`` is its 32 bytes."""

    name: str
    raw: bytes

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of sha256 of the key, which signatures name it by."""
        return hashlib.sha256(self.raw).digest()[:8]

    @property
    def text(self) -> str:
        """``ed25519:`` and the base64 of the key, as in .pub files and manifests."""
        return _PREFIX + encode_base64(self.raw)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises BadSignature unless this key made ``signature`` (64 bytes) over ``message``."""
        if not ed25519.verifies(self.raw, signature, message):
            raise BadSignature(f"the signature by key {self.key_id.hex()} does not match what it signs")


@dataclass(frozen=True)
class KeyPair:
    """A private key with its public half."""

    public: PublicKey
    private: Ed25519PrivateKey

    @property
    def name(self) -> str:
        """The name of the key's files, without suffix."""
        return self.public.name

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message``; the same every time."""
        return self.private.sign(message)


@dataclass(frozen=True)
class Trust:
    """Whose signatures count: ``threshold`` of ``keys`` must sign; ``revoked`` has the reason for each revoked key id.

    Iterating gives the keys, for those who need to know no more.
    """

    keys: tuple[PublicKey, ...]
    threshold: int = 1
    revoked: Mapping[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise ValueError(f"threshold is {self.threshold}: then nobody would have to sign")

    @classmethod
    def of(cls, trusted: Iterable[PublicKey]) -> Self:
        """``trusted`` itself if it is one, else trust in any one of these keys."""
        return trusted if isinstance(trusted, cls) else cls(tuple(trusted))

    def __iter__(self) -> Iterator[PublicKey]:
        return iter(self.keys)

    @cached_property
    def by_id(self) -> Mapping[bytes, PublicKey]:
        """The keys by id."""
        return {key.key_id: key for key in self.keys}

    def refusal(self, key_ids: Iterable[bytes]) -> PackError:
        """Why signatures by these keys are not enough: KeyRevoked if one of them is revoked, else NoTrustedKey."""
        signers = sorted(key_ids)
        for key_id in signers:
            if key_id in self.revoked:
                return KeyRevoked(f"signed by key {key_id.hex()}, which is revoked: {self.revoked[key_id]}")
        known = ", ".join(_label(key) for key in self.keys) or "none"
        named = ", ".join(
            _label(self.by_id[key_id]) if key_id in self.by_id else f"{key_id.hex()} (not trusted)"
            for key_id in signers
        )
        return NoTrustedKey(f"signed by key {named}; {self.threshold} must sign of the trusted keys: {known}")


def folder() -> Path:
    """Where the user's keys are."""
    path = project.config_dir() / "keys"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def generate(name: str = DEFAULT) -> KeyPair:
    """Make a key pair and keep it in the user's folder. Raises UsageError when there is one of that name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a key: letters, digits, '_', '.' and '-', please")
    secret, public = folder() / f"{name}.key", folder() / f"{name}.pub"
    if public.exists():
        raise UsageError(f"there is a key {name!r} already, in {public}; it is not overwritten")
    pair = _pair(name, Ed25519PrivateKey.generate())
    pem = pair.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(f"there is a key {name!r} already, in {secret}; it is not overwritten") from error
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # whatever the umask says
        file.write(pem)
    public.write_text(pair.public.text + "\n")
    return pair


def load_private(key: str | Path) -> KeyPair:
    """The key pair in a .key file, or of that name in the user's folder.

    Raises UsageError when there is none or the file holds something else.
    """
    path = _located(key, ".key")
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        hint = "make one with `host key new`"
        raise UsageError(f"no private key {str(key)!r}: {path}: {error.strerror}; {hint}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} is not an unencrypted private key in PEM") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"{path} is not an Ed25519 key")
    return _pair(path.stem, private)


def load_public(key: str | Path) -> PublicKey:
    """The key in a .pub file, or of that name in the user's folder. Raises UsageError when it holds something else."""
    path = _located(key, ".pub")
    try:
        return parse_public(path.read_text(), path.stem)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a public key: {error}") from error


def parse_public(text: str, name: str) -> PublicKey:
    """The key of which ``text`` is the ``PublicKey.text``. Raises ValueError for anything else."""
    line = text.removesuffix("\n")
    if not line.startswith(_PREFIX):
        raise ValueError(f"it does not start with {_PREFIX}")
    return PublicKey(name, decode_base64(line.removeprefix(_PREFIX), 32))


def own_pairs() -> list[KeyPair]:
    """Every key pair in the user's folder, sorted by name."""
    return [load_private(path) for path in sorted(folder().glob("*.key"))]


def public_files() -> list[PublicKey]:
    """Every key in a .pub file of the user's folder, sorted by name."""
    return [load_public(path) for path in sorted(folder().glob("*.pub"))]


def trust() -> Trust:
    """Whom the user trusts: the keys of the installed key set, or where there is none, any one of the .pub files."""
    from host.pack import keyset  # it is built on this module

    return keyset.current().trust


def public_keys() -> list[PublicKey]:
    """Every key that the user trusts, none of them revoked: what firmware is built with."""
    return list(trust())


def find_key(key_id: bytes, trusted: Iterable[PublicKey]) -> PublicKey:
    """The key of that id. Raises NoTrustedKey, saying which there are, or KeyRevoked."""
    known = Trust.of(trusted)
    if key_id not in known.by_id:
        raise known.refusal([key_id])
    return known.by_id[key_id]


def default_or_create() -> KeyPair:
    """The key named ``default``, made now if there is none."""
    if (folder() / f"{DEFAULT}.key").exists():
        return load_private(DEFAULT)
    return generate(DEFAULT)


def encode_base64(data: bytes) -> str:
    """Base64 with padding, in one line."""
    return base64.b64encode(data).decode()


def decode_base64(text: str, size: int) -> bytes:
    """``size`` bytes from base64 in its one canonical form. Raises ValueError otherwise."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if len(data) != size or encode_base64(data) != text:
        raise ValueError(f"not the canonical base64 of {size} bytes")
    return data


def _located(key: str | Path, suffix: str) -> Path:
    """The file ``key``, or the one of that name in the user's folder."""
    path = Path(key)
    if isinstance(key, str) and _NAME.fullmatch(key) and not path.is_file():
        return folder() / f"{key}{suffix}"
    return path


def _label(key: PublicKey) -> str:
    return f"{key.key_id.hex()} ({key.name})"


def _pair(name: str, private: Ed25519PrivateKey) -> KeyPair:
    return KeyPair(PublicKey(name, private.public_key().public_bytes_raw()), private)
