"""Keys: where they are, who can read them, and what is taken for one."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path

import mutations
import pytest
import vectors
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vectors import generate_ed25519

from host import errors, firmware_files
from host.pack import keys


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOST_CONFIG_DIR", str(tmp_path))
    return tmp_path


def test_private_key_is_readable_by_its_owner_only_whatever_the_umask() -> None:
    before = os.umask(0)
    try:
        keys.generate("mine")
    finally:
        os.umask(before)
    assert stat.S_IMODE((keys.folder() / "mine.key").stat().st_mode) == 0o600


def test_generated_key_comes_back_from_its_files(config: Path) -> None:
    pair = keys.generate("mine")
    assert keys.load_private("mine").public == pair.public
    assert keys.load_private(config / "keys" / "mine.key").sign(b"x") == pair.sign(b"x")
    assert keys.public_keys() == [pair.public]
    pair.public.verify(pair.sign(b"message"), b"message")
    assert pair.public.key_id == hashlib.sha256(pair.public.raw).digest()[:8]


def test_a_key_is_never_overwritten() -> None:
    keys.generate("mine")
    files = {path: path.read_bytes() for path in keys.folder().iterdir()}
    with pytest.raises(errors.UsageError, match="not overwritten"):
        keys.generate("mine")
    (keys.folder() / "mine.pub").unlink()
    with pytest.raises(errors.UsageError, match="not overwritten"):
        keys.generate("mine")
    assert (keys.folder() / "mine.key").read_bytes() == files[keys.folder() / "mine.key"]


def test_default_key_is_made_once() -> None:
    assert keys.default_or_create().public == keys.default_or_create().public


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b", "-x"])
def test_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(errors.UsageError, match="no name for a key"):
        keys.generate(name)
    assert not list(keys.folder().iterdir())


def test_signature_of_other_bytes_or_by_another_key_is_bad() -> None:
    one, other = keys.generate("one"), keys.generate("other")
    signature = one.sign(b"message")
    for key, message in ((one, b"massage"), (other, b"message")):
        with pytest.raises(errors.BadSignature):
            key.public.verify(signature, message)
    with pytest.raises(errors.BadSignature):
        one.public.verify(signature[:-1], b"message")


@pytest.mark.parametrize("case", vectors.signatures(), ids=lambda case: case.name)
def test_a_signature_gets_the_verdict_that_the_board_gives(case: vectors.Signature) -> None:
    """tests/vectors/ed25519.json: RFC 8032's own, and everything that verifiers differ about."""
    key = keys.PublicKey("some", case.key)
    with pytest.raises(errors.BadSignature) if case.why else nullcontext():
        key.verify(case.signature, case.message)


def test_signature_vectors_are_what_their_generator_makes() -> None:
    assert (vectors.FOLDER / "ed25519.json").read_text() == generate_ed25519.text()


def test_public_key_of_someone_else_is_trusted_once_it_is_in_the_folder(config: Path) -> None:
    mine = keys.generate("mine")
    text = "ed25519:" + base64.b64encode(bytes(range(32))).decode()
    (keys.folder() / "friend.pub").write_text(text + "\n")
    assert [key.name for key in keys.public_keys()] == ["friend", "mine"]
    assert keys.public_keys() == [keys.PublicKey("friend", bytes(range(32))), mine.public]


def test_some_keys_are_trusted_each_by_itself() -> None:
    one, other = keys.generate("one").public, keys.generate("other").public
    assert keys.trust() == keys.Trust.of([one, other]) == keys.Trust((one, other), 1, {})
    trust = keys.Trust((one,), 1, {other.key_id: "lost"})
    assert keys.Trust.of(trust) is trust
    with pytest.raises(ValueError, match="nobody would have to sign"):
        keys.Trust((one,), 0)


def test_key_is_found_by_its_id_unless_it_is_revoked() -> None:
    one, other, third = (keys.generate(name).public for name in ("one", "other", "third"))
    trust = keys.Trust((one,), 1, {other.key_id: "lost on a train"})
    assert keys.find_key(one.key_id, trust) == one
    with pytest.raises(errors.KeyRevoked, match=f"{other.key_id.hex()}, which is revoked: lost on a train"):
        keys.find_key(other.key_id, trust)
    with pytest.raises(
        errors.NoTrustedKey, match=rf"{third.key_id.hex()} \(not trusted\); .*{one.key_id.hex()} \(one\)"
    ):
        keys.find_key(third.key_id, trust)


def test_a_boards_errors_have_revoked_keys_too_and_no_code_twice() -> None:
    codes = [cls.code for cls in errors.board_errors()]
    assert errors.by_code(errors.KeyRevoked.code) is errors.KeyRevoked
    assert len(set(codes)) == len(codes)
    assert "X(KERN_KEY_REVOKED, KeyRevoked, PackError, -49," in firmware_files.errors_header()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        "rsa:AAAA",
        "ed25519:" + base64.b64encode(bytes(31)).decode(),
        "ed25519:" + base64.b64encode(bytes(33)).decode(),
        "ed25519:" + "A" * 42 + "B=",  # bits that count for nothing are set
        "ed25519:" + "A" * 43,
        "ed25519:" + "A" * 43 + "=\n\n",
        "ed25519:" + "A" * 42 + "\xe4=",
    ],
)
def test_public_key_in_any_other_form_is_refused(config: Path, text: str) -> None:
    path = config / "bad.pub"
    path.write_text(text)
    with pytest.raises(errors.UsageError, match=r"bad\.pub is not a public key"):
        keys.load_public(path)


def test_private_key_of_another_kind_is_refused(config: Path) -> None:
    with pytest.raises(errors.UsageError, match="host key new"):
        keys.load_private("missing")
    (config / "text.key").write_text("hello")
    with pytest.raises(errors.UsageError, match="not an unencrypted private key"):
        keys.load_private(config / "text.key")
    pem = ed448.Ed448PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (config / "other.key").write_bytes(pem)
    with pytest.raises(errors.UsageError, match="not an Ed25519 key"):
        keys.load_private(config / "other.key")


PUBLIC = keys.PublicKey("some", bytes(range(32)))
LAST_BITS = [
    PUBLIC.text[:-2] + last + "=" for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
]


def decoded(data: bytes) -> str:
    return data.decode("latin-1")


@given(st.sampled_from(LAST_BITS) | mutations.damaged(PUBLIC.text.encode()).map(decoded))
@settings(deadline=None, max_examples=300)
def test_a_public_key_has_one_text(text: str) -> None:
    """Whatever else decodes to 32 bytes, with other bits at its end or blanks within, is refused."""
    try:
        key = keys.parse_public(text, "some")
    except ValueError:
        return
    assert key.text == text.removesuffix("\n")


@given(mutations.damaged(PUBLIC.text.encode() + b"\n"))
@settings(deadline=None, max_examples=100)
def test_public_key_file_of_bytes_at_random_is_refused(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pub"
        path.write_bytes(raw)
        try:
            key = keys.load_public(path)
        except errors.UsageError:
            return
        assert key.text == raw.decode().strip()


PEM = vectors.KEYS["test"].private.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
DER = vectors.KEYS["test"].private.private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


def pem(der: bytes) -> bytes:
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"


@given(mutations.damaged(PEM) | mutations.damaged(DER).map(pem))
@example(pem(DER.replace(b"\x2b\x65\x70", b"\x2b\x65\x01")))  # an algorithm that nobody knows
@settings(deadline=None, max_examples=300)
def test_private_key_file_of_bytes_at_random_is_a_key_or_refused(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.key"
        path.write_bytes(raw)
        with suppress(errors.UsageError):
            keys.load_private(path)
