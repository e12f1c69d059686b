"""Key sets: which keys are trusted, how many of them must sign, and which are revoked, under a version that only rises.

``keyset.json`` is JSON in one canonical form, its structure in keyset.schema.json; ``keyset.json.sig`` is a signature
file (signature.py). The next set follows the one that is trusted now by these rules, as `accept` checks them:

1. As many keys of the set trusted now sign it as that set's threshold says; only then is it parsed.
2. As many of its own keys sign it as its own threshold says.
3. Nobody else signs it.
4. Its version is higher.
5. What was revoked stays revoked.

Installed sets are ``keyset.<version>.json`` in the user's ``keys`` folder. The highest version counts, the others are
kept for whoever wants to know what was trusted when. Where there is none, the folder's .pub files are version 0.
Beside a set that boards have room for lies its image for them, ``keyset.<version>.kset`` (keyset_image.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.errors import DowngradeRefused, MalformedPack, UsageError
from host.pack import keys, notation, schema, signature
from host.pack.keys import KeyPair, PublicKey, Trust
from host.pack.signature import KEYSET

FILE = "keyset.json"
MAX_SIZE = 1 << 20
"""Bytes of a keyset.json; a longer one is refused unread."""
_KEY_ID = re.compile("[0-9a-f]{16}")
_INSTALLED = re.compile(r"keyset\.([1-9][0-9]{0,9})\.json")


@dataclass(frozen=True)
class KeySet:
    """What a keyset.json says; version 0 is no file but what was trusted before there was one."""

    version: int
    trust: Trust


def write(key_set: KeySet) -> bytes:
    """keyset.json, the same bytes every time."""
    trust = key_set.trust
    data = {
        "$schema": schema.load(schema.KEYSET)["$id"],
        "version": key_set.version,
        "threshold": trust.threshold,
        "keys": [
            {"id": key_id.hex(), "public_key": key.text, "name": key.name}
            for key_id, key in sorted(trust.by_id.items())
        ],
        "revoked": [{"id": key_id.hex(), "reason": reason} for key_id, reason in sorted(trust.revoked.items())],
    }
    return (json.dumps(data, indent=2) + "\n").encode("ascii")


def parse(raw: bytes) -> KeySet:
    """The key set in ``raw``, whoever signed it. Raises MalformedPack naming the field that is wrong."""
    try:
        if len(raw) > MAX_SIZE:
            raise ValueError(f"it has more than {MAX_SIZE} bytes")
        data = json.loads(raw.decode("ascii"))
        problem = schema.problem(data, schema.KEYSET)
        if problem is not None:
            raise ValueError(problem)
        found = KeySet(data["version"], _trust(data))
        if write(found) != raw:
            raise ValueError("it is not in the one form in which key sets are written")
        return found
    except (ValueError, RecursionError) as error:
        raise MalformedPack(f"{FILE}: {error}") from error


def _trust(data: Mapping[str, Any]) -> Trust:
    found = tuple(_key(entry) for entry in data["keys"])
    revoked = {bytes.fromhex(entry["id"]): entry["reason"] for entry in data["revoked"]}
    notation.unique((key.name for key in found), "keys: names")
    for key in found:
        if key.key_id in revoked:
            raise ValueError(f"keys: {key.name} is revoked")
    if data["threshold"] > len(found):
        raise ValueError(f"threshold: is {data['threshold']}, there are {len(found)} keys")
    return Trust(found, data["threshold"], revoked)


def _key(data: Mapping[str, str]) -> PublicKey:
    try:
        key = keys.parse_public(data["public_key"], data["name"])
    except ValueError as error:
        raise ValueError(f"keys: {data['name']}: public_key: {error}") from error
    if key.key_id.hex() != data["id"]:
        raise ValueError(f"keys: {data['name']}: id: is {data['id']}, the key's is {key.key_id.hex()}")
    return key


def accept(raw: bytes, signature_file: bytes, current: KeySet) -> KeySet:
    """The key set in ``raw``, which may follow ``current``.

    Raises MalformedPack, BadSignature, NoTrustedKey, KeyRevoked or DowngradeRefused by the first rule that it breaks.
    """
    signature.verify(raw, signature_file, current.trust, KEYSET)
    following = parse(raw)
    signature.verify(raw, signature_file, following.trust, KEYSET)
    known = current.trust.by_id.keys() | following.trust.by_id.keys()
    strangers = signature.parse(signature_file, KEYSET).keys() - known
    if strangers:
        raise current.trust.refusal(strangers)
    require_successor(following, current)
    return following


def require_successor(following: KeySet, current: KeySet) -> None:
    """Rules 4 and 5. Raises DowngradeRefused."""
    if following.version <= current.version:
        raise DowngradeRefused(f"{FILE} has version {following.version}, and {current.version} is trusted already")
    for key_id in sorted(current.trust.revoked.keys() - following.trust.revoked.keys()):
        raise DowngradeRefused(f"{FILE} no longer revokes key {key_id.hex()}: {current.trust.revoked[key_id]}")


def successor(
    current: KeySet,
    *,
    add: Iterable[PublicKey] = (),
    remove: Collection[bytes] = (),
    revoke: Mapping[bytes, str] | None = None,
    threshold: int | None = None,
) -> KeySet:
    """The key set after ``current`` with those changes; ``revoke`` has the reason for each key id.

    Raises UsageError when they make no sense.
    """
    trust = current.trust
    for key_id in remove:
        if key_id not in trust.by_id:
            raise UsageError(f"key {key_id.hex()} is not trusted, so it cannot be removed")
    gone = {*remove, *(revoke or {})}
    kept = [key for key_id, key in trust.by_id.items() if key_id not in gone]
    try:
        changed = Trust(
            (*kept, *add),
            trust.threshold if threshold is None else threshold,
            {**trust.revoked, **(revoke or {})},
        )
        return parse(write(KeySet(current.version + 1, changed)))
    except (MalformedPack, ValueError) as error:
        raise UsageError(f"that is no key set: {error}") from error


def sign(raw: bytes, signature_file: bytes, pairs: Iterable[KeyPair]) -> bytes:
    """The signature file with signatures by ``pairs`` too; an empty one to begin with."""
    for pair in pairs:
        if signature_file:
            signature_file = signature.add(raw, signature_file, pair, KEYSET)
        else:
            signature_file = signature.sign(raw, pair, KEYSET)
    return signature_file


def key_id_of(text: str, trust: Trust) -> bytes:
    """The id that ``text`` is, or that of the trusted key of this name. Raises UsageError when there is none."""
    for key in trust:
        if key.name == text:
            return key.key_id
    if not _KEY_ID.fullmatch(text):
        names = ", ".join(key.name for key in trust) or "none"
        raise UsageError(f"{text!r} is neither a trusted key ({names}) nor a key id of 16 hex digits")
    return bytes.fromhex(text)


# ---- files ----------------------------------------------------------------------------------------


def current() -> KeySet:
    """What the user trusts now: the installed key set, else the .pub files as version 0.

    Raises MalformedPack, BadSignature or NoTrustedKey for an installed one that was damaged. An older one does not
    take its place, since that could bring back a revoked key.
    """
    version, path = max(_installed(), default=(0, None))
    if path is None:
        return KeySet(0, Trust(tuple(keys.public_files())))
    raw, signature_file = read(path)
    found = parse(raw)
    signature.verify(raw, signature_file, found.trust, KEYSET)
    if found.version != version:
        raise MalformedPack(f"{path} holds version {found.version}")
    return found


def install(raw: bytes, signature_file: bytes, image: bytes = b"") -> KeySet:
    """Trust the key set in ``raw`` from now on instead of what is trusted now; ``image`` is its own for boards, if any.

    Raises what `accept` does, and that for an image that says something else or is not signed as the set is.
    """
    from host.pack import keyset_image  # it is built on this module

    with _locked() as folder:
        before = current()
        accepted = accept(raw, signature_file, before)
        if image:
            keyset_image.require_signed(keyset_image.decode_as(image, accepted), before.trust)
        path = keys.folder() / f"keyset.{accepted.version}.json"
        # The set counts, whole, from the moment that it has its name.
        for target, data in ((_image_path(path), image), (_signature_path(path), signature_file), (path, raw)):
            if data:
                _replace(target, data)
                os.fsync(folder)
        return accepted


def images_after(version: int) -> list[bytes]:
    """The images for boards of all installed sets with a higher version, in the order in which a board takes them.

    Raises UsageError for one that was made without.
    """
    paths = [_image_path(path) for found, path in sorted(_installed()) if found > version]
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no {path}: that key set has more keys than a board holds")
    return [_read(path) for path in paths]


def read_image(path: Path) -> bytes:
    """The image for boards beside a key set's file; empty when there is none. Raises UsageError."""
    beside = _image_path(path)
    return _read_given(beside) if beside.exists() else b""


def read(path: Path) -> tuple[bytes, bytes]:
    """A key set's file, and the signature file beside it; empty when there is none. Raises UsageError."""
    beside = _signature_path(path)
    return _read_given(path), _read_given(beside) if beside.exists() else b""


def save(raw: bytes, signature_file: bytes, image: bytes, path: Path) -> None:
    """Write a key set to ``path``, beside it its signatures and any image for boards, for others to sign or trust."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    _signature_path(path).write_bytes(signature_file)
    if image:
        _image_path(path).write_bytes(image)


def _installed() -> Iterator[tuple[int, Path]]:
    for path in keys.folder().iterdir():
        match = _INSTALLED.fullmatch(path.name)
        if match:
            yield int(match[1]), path


def _signature_path(path: Path) -> Path:
    return path.with_name(path.name + ".sig")


def _image_path(path: Path) -> Path:
    return path.with_suffix(".kset")


def _read_given(path: Path) -> bytes:
    """A file that the user named, or that lies beside it."""
    try:
        return _read(path)
    except OSError as error:
        raise UsageError(f"{path} is no key set: {error.strerror}") from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SIZE + 1)


def _replace(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data``; a power cut leaves what was there or this, never a part of it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        new = Path(scratch) / path.name
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


@contextmanager
def _locked() -> Iterator[int]:
    """One process at a time decides what may follow what is installed. Yields a descriptor of the folder."""
    descriptor = os.open(keys.folder(), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
