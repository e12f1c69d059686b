"""Ed25519 keys: a private key signs packs, a public key in the user's ``keys`` folder is trusted.

``<name>.key`` is PKCS 8 in PEM, mode 0600. ``<name>.pub`` is one line, ``ed25519:`` and the base64 of the 32 bytes;
someone else's key is trusted by putting its .pub file there, and no longer by removing it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from host import project
from host.errors import BadSignature, NoTrustedKey, UsageError

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
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise BadSignature(f"the signature by key {self.key_id.hex()} does not match what it signs") from error


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
    path = Path(key)
    if isinstance(key, str) and _NAME.fullmatch(key) and not path.is_file():
        path = folder() / f"{key}.key"
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


def load_public(path: Path) -> PublicKey:
    """The key in a .pub file. Raises UsageError when it holds something else."""
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


def public_keys() -> list[PublicKey]:
    """Every key that the user trusts, sorted by name."""
    return [load_public(path) for path in sorted(folder().glob("*.pub"))]


def find_key(key_id: bytes, trusted: Iterable[PublicKey]) -> PublicKey:
    """The key of that id. Raises NoTrustedKey, saying which there are."""
    keys = list(trusted)
    for key in keys:
        if key.key_id == key_id:
            return key
    known = ", ".join(f"{key.key_id.hex()} ({key.name})" for key in keys) or "none"
    raise NoTrustedKey(f"signed by key {key_id.hex()}, which is not trusted; trusted keys: {known}")


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


def _pair(name: str, private: Ed25519PrivateKey) -> KeyPair:
    return KeyPair(PublicKey(name, private.public_key().public_bytes_raw()), private)
