"""A pack as a whole: opened only when every byte of it is what its signer listed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import mutations
import pytest
import vectors
from hypothesis import given, settings
from test_keyset import run
from test_pack_manifest import described, example
from vectors import generate

from host import errors
from host.pack import (
    Pack,
    inspect,
    keys,
    keyset,
    manifest,
    pack,
    sign_pack,
    signature,
    verify_image,
    verify_pack,
    write_archive,
)
from host.pack import files as pack_files
from host.pack.image import Image, decode_image, encode_image

KEY, STRANGER = vectors.KEYS["test"], vectors.KEYS["stranger"]
TARGET = "thumbv6m-soft"
Change = Callable[[Path], object]


def contents() -> dict[str, bytes]:
    """A small pack, put together and signed as the build does it."""
    wasm = {path: path.encode() for path in example().files if path.endswith(".wasm")}
    image: Image = replace(generate.full(), kernels=tuple(described()), security_counter=1, max_runtime_version=None)
    bodies = {kernel.spec.id: kernel.body for kernel in image.kernels}
    kernels = tuple(
        replace(
            kernel,
            modules={
                name: replace(module, sha256=hashlib.sha256(wasm[module.path]).hexdigest())
                for name, module in kernel.modules.items()
            },
            aot={
                TARGET: manifest.AotFile(
                    hashlib.sha256(bodies[kernel.spec.id]).hexdigest(), len(bodies[kernel.spec.id])
                )
            },
        )
        for kernel in example().kernels
    )
    return pack.assemble(replace(example(), kernels=kernels), {TARGET: image}, wasm, KEY)


CONTENTS = contents()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "full-1.2.3"
    for name, data in CONTENTS.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def resign(folder: Path, edit: Callable[[dict[str, object]], object]) -> None:
    """Change the manifest and sign it again, as its own author could."""
    data = json.loads((folder / "kernels.json").read_bytes())
    edit(data)
    raw = json.dumps(data).encode()
    (folder / "kernels.json").write_bytes(raw)
    (folder / "kernels.json.sig").write_bytes(signature.sign(raw, KEY))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_good_pack_opens(folder: Path) -> None:
    opened = Pack.open(folder, vectors.TRUSTED)
    assert (opened.name, opened.version, opened.key) == ("full", "1.2.3", KEY.public)
    assert list(opened.kernels) == ["rope_f32", "lora_apply", "all_dtypes"]
    assert opened.kernels["rope_f32"] == described()[0].spec
    assert opened.wasm("rope_f32") == b"dir/rope_f32.wasm"
    assert opened.wasm("rope_f32", "simd128") == b"dir/rope_f32.simd128.wasm"
    decoded = verify_image(opened.image(TARGET), vectors.TRUSTED)
    assert decoded.manifest_sha256 == manifest.core_sha256(CONTENTS["kernels.json"])
    assert verify_pack(folder, vectors.TRUSTED) == opened


def test_trusted_keys_are_the_users_unless_others_are_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_CONFIG_DIR", str(tmp_path / "config"))
    with pytest.raises(errors.NoTrustedKey, match="trusted keys: none"):
        Pack.open(folder)
    (keys.folder() / "friend.pub").write_text(KEY.public.text + "\n")
    assert Pack.open(folder).key.name == "friend"


def test_what_a_pack_does_not_have_is_said_by_name(folder: Path) -> None:
    opened = Pack.open(folder, vectors.TRUSTED)
    with pytest.raises(errors.WrongTarget, match="no board image for riscv32; it has: thumbv6m-soft"):
        opened.image("riscv32")
    with pytest.raises(errors.NoSuchKernel, match="its kernels: rope_f32"):
        opened.wasm("ghost")


def put_images(folder: Path, **changes: object) -> None:
    """Another image for the same manifest, signed by the same key and listed with its right hash."""
    path = folder / f"aot/{TARGET}.kimg"
    changed = encode_image(replace(decode_image(path.read_bytes()), **changes), KEY)  # type: ignore[arg-type]
    path.write_bytes(changed)
    entry = {
        "path": f"aot/{TARGET}.kimg",
        "hash": f"sha256:{hashlib.sha256(changed).hexdigest()}",
        "size": len(changed),
    }
    resign(folder, lambda data: data.update(images={TARGET: entry}))


def link(path: Path, elsewhere: Path) -> None:
    """Move what is at ``path`` out of the pack and leave a link to it."""
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def image_by_stranger(folder: Path) -> None:
    path = folder / f"aot/{TARGET}.kimg"
    changed = encode_image(decode_image(path.read_bytes()), STRANGER)
    path.write_bytes(changed)
    entry = {
        "path": f"aot/{TARGET}.kimg",
        "hash": f"sha256:{hashlib.sha256(changed).hexdigest()}",
        "size": len(changed),
    }
    resign(folder, lambda data: data.update(images={TARGET: entry}))


def other_key_in_manifest(data: dict[str, object]) -> None:
    data["author"] = {"name": "x", "email": "x", "signing_key": STRANGER.public.text}


BAD: dict[str, tuple[Change, type[errors.PackError], str]] = {
    "manifest changed": (lambda f: flip(f / "kernels.json"), errors.BadSignature, "does not match"),
    "manifest replaced by nonsense": (
        lambda f: (f / "kernels.json").write_bytes(b"{"), errors.BadSignature, "does not match",
    ),
    "signature missing": (lambda f: (f / "kernels.json.sig").unlink(), errors.MalformedPack, "no kernels.json.sig"),
    "manifest missing": (lambda f: (f / "kernels.json").unlink(), errors.MalformedPack, "no kernels.json"),
    "signed by a stranger": (
        lambda f: (f / "kernels.json.sig").write_bytes(signature.sign(CONTENTS["kernels.json"], STRANGER)),
        errors.NoTrustedKey, "not trusted",
    ),
    "wasm changed": (lambda f: flip(f / "dir/rope_f32.wasm"), errors.HashMismatch, "dir/rope_f32.wasm"),
    "flavour changed": (
        lambda f: flip(f / "dir/rope_f32.simd128.wasm"), errors.HashMismatch, r"dir/rope_f32\.simd128\.wasm",
    ),
    "flavour missing": (
        lambda f: (f / "dir/rope_f32.simd128.wasm").unlink(), errors.MalformedPack, r"no dir/rope_f32\.simd128\.wasm",
    ),
    "wasm longer": (
        lambda f: (f / "dir/rope_f32.wasm").write_bytes(b"rope_f32 "), errors.HashMismatch, "dir/rope_f32.wasm",
    ),
    "wasm missing": (lambda f: (f / "dir/rope_f32.wasm").unlink(), errors.MalformedPack, "no dir/rope_f32.wasm"),
    "image changed": (lambda f: flip(f / f"aot/{TARGET}.kimg"), errors.HashMismatch, "thumbv6m-soft.kimg"),
    "unlisted file": (lambda f: (f / "dir/extra").write_bytes(b""), errors.MalformedPack, "dir/extra is not listed"),
    "hidden file": (lambda f: (f / ".hidden").write_bytes(b""), errors.MalformedPack, r"\.hidden is not listed"),
    "symbolic link": (
        lambda f: link(f / "dir/rope_f32.wasm", f.parent / "x"),
        errors.MalformedPack, "dir/rope_f32.wasm is a link",
    ),
    "linked folder": (
        lambda f: link(f / "dir", f.parent / "x"),
        errors.MalformedPack, "dir is a link",
    ),
    "named pipe": (lambda f: os.mkfifo(f / "dir/pipe"), errors.MalformedPack, "dir/pipe is a link or no regular"),
    "manifest names another key": (
        lambda f: resign(f, other_key_in_manifest), errors.MalformedPack, "none of the keys that signed it",
    ),
    "manifest changed by its author, image not": (
        lambda f: resign(f, lambda data: data.update(description="new")), errors.HashMismatch, "another kernels.json",
    ),
    "image size wrong": (
        lambda f: resign(f, lambda data: data["images"][TARGET].update(size=1)), errors.MalformedPack, "same: size",  # type: ignore[index]
    ),
    "image by a stranger": (image_by_stranger, errors.NoTrustedKey, "not trusted"),
    "image for another target": (lambda f: put_images(f, target="x"), errors.MalformedPack, "same: target"),
    "image of another name": (lambda f: put_images(f, pack_name="x"), errors.MalformedPack, "same: pack name"),
    "image of another version": (lambda f: put_images(f, pack_version="1"), errors.MalformedPack, "same: pack version"),
    "image with another counter": (lambda f: put_images(f, security_counter=9), errors.MalformedPack, "same: security"),
    "image with less features": (lambda f: put_images(f, features=0), errors.MalformedPack, "same: features"),
    "image with one kernel only": (
        lambda f: put_images(f, kernels=generate.full().kernels[:1]), errors.MalformedPack, "same: kernels",
    ),
    "image with other code": (
        lambda f: put_images(f, kernels=tuple(replace(k, body=b"x") for k in generate.full().kernels)),
        errors.MalformedPack, "same: AOT files",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_pack_is_refused_by_name(folder: Path, name: str) -> None:
    change, error, message = BAD[name]
    change(folder)
    with pytest.raises(error, match=message):
        Pack.open(folder, vectors.TRUSTED)


def test_signature_is_verified_before_the_manifest_is_parsed(folder: Path) -> None:
    """An untrusted manifest full of nonsense is an untrusted one, not a malformed one."""
    (folder / "kernels.json").write_bytes(b"[" * 100_000)
    (folder / "kernels.json.sig").write_bytes(signature.sign(b"[" * 100_000, STRANGER))
    with pytest.raises(errors.NoTrustedKey):
        Pack.open(folder, vectors.TRUSTED)


def test_oversize_file_is_refused(folder: Path) -> None:
    with (folder / "dir/rope_f32.wasm").open("r+b") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(errors.MalformedPack, match=r"rope_f32\.wasm has more than"):
        Pack.open(folder, vectors.TRUSTED)


@given(mutations.damaged(CONTENTS["kernels.json"]))
@settings(deadline=None, max_examples=100)
def test_signed_bytes_at_random_for_a_manifest_are_refused(raw: bytes) -> None:
    """Whatever a trusted key signs as kernels.json: a PackError, unless it means what it meant."""
    damaged = {**CONTENTS, "kernels.json": raw, "kernels.json.sig": signature.sign(raw, KEY)}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "signed.kpack"
        path.write_bytes(archived(damaged))
        with suppress(errors.PackError):
            opened = Pack.open(path, vectors.TRUSTED)
            assert opened.manifest == manifest.parse(CONTENTS["kernels.json"])


def test_path_that_is_no_pack_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="no pack: No such file"):
        Pack.open(tmp_path / "nothing", vectors.TRUSTED)
    with pytest.raises(errors.MalformedPack, match=r"no kernels\.json"):
        Pack.open(tmp_path, vectors.TRUSTED)


# ---- several signatures ---------------------------------------------------------------------------


def made_key(index: int) -> keys.KeyPair:
    """A key that everyone knows."""
    return vectors._key(f"key{index}", f"TEST ONLY: key number {index:>8} !".encode())


SECOND, THIRD = made_key(2), made_key(3)
BOTH = keys.Trust((KEY.public, SECOND.public), threshold=2)


def signed_by(*pairs: keys.KeyPair) -> bytes:
    """A kernels.json.sig of these."""
    raw = CONTENTS["kernels.json"]
    signed = signature.sign(raw, pairs[0])
    for pair in pairs[1:]:
        signed = signature.add(raw, signed, pair)
    return signed


def test_threshold_of_two_is_met_by_two_trusted_keys_only(folder: Path) -> None:
    by_id = sorted([KEY.public, SECOND.public], key=lambda public: public.key_id)
    for more in ([], [THIRD], [STRANGER, THIRD]):
        (folder / "kernels.json.sig").write_bytes(signed_by(KEY, SECOND, *more))
        opened = Pack.open(folder, BOTH)
        assert (opened.key, list(opened.signers)) == (KEY.public, by_id)
    for few in ([KEY], [KEY, THIRD], [KEY, STRANGER, THIRD]):
        (folder / "kernels.json.sig").write_bytes(signed_by(*few))
        with pytest.raises(errors.NoTrustedKey, match=rf"{few[-1].public.key_id.hex()} \(.*2 must sign"):
            Pack.open(folder, BOTH)


def test_one_key_under_two_names_is_one_signer(folder: Path) -> None:
    twice = keys.Trust((KEY.public, replace(KEY.public, name="again")), threshold=2)
    with pytest.raises(errors.NoTrustedKey):
        Pack.open(folder, twice)


def test_author_whom_nobody_knows_is_vouched_for_by_a_trusted_key(folder: Path) -> None:
    (folder / "kernels.json.sig").write_bytes(signed_by(KEY, SECOND))
    opened = Pack.open(folder, [SECOND.public])
    assert (opened.key.raw, opened.signers) == (KEY.public.raw, (SECOND.public,))


def test_author_must_have_signed_and_rightly(folder: Path) -> None:
    (folder / "kernels.json.sig").write_bytes(signed_by(SECOND))
    with pytest.raises(errors.MalformedPack, match="none of the keys that signed it"):
        Pack.open(folder, [SECOND.public])
    (folder / "kernels.json.sig").write_bytes(
        signature.add(CONTENTS["kernels.json"], signature.sign(b"another", KEY), SECOND)
    )
    with pytest.raises(errors.BadSignature):
        Pack.open(folder, [SECOND.public])


def test_a_trusted_keys_bad_signature_is_bad_even_beside_enough_good_ones(folder: Path) -> None:
    raw = CONTENTS["kernels.json"]
    bad = signature.add(raw, signature.sign(raw + b" ", SECOND), KEY)
    (folder / "kernels.json.sig").write_bytes(bad)
    with pytest.raises(errors.BadSignature):
        Pack.open(folder, [KEY.public, SECOND.public])
    assert Pack.open(folder, [KEY.public]).signers == (KEY.public,)


def test_pack_by_a_revoked_key_is_refused_with_the_reason(folder: Path) -> None:
    revoked = {KEY.public.key_id: "laptop stolen"}
    message = f"key {KEY.public.key_id.hex()}, which is revoked: laptop stolen"
    for trust in (keys.Trust((SECOND.public,), 1, revoked), keys.Trust((), 1, revoked)):
        with pytest.raises(errors.KeyRevoked, match=message):
            Pack.open(folder, trust)
        assert inspect(folder, trust)["trust"]["error"] == "KeyRevoked"
        assert inspect(folder / f"aot/{TARGET}.kimg", trust)["trust"]["error"] == "KeyRevoked"
    (folder / "kernels.json.sig").write_bytes(signed_by(KEY, SECOND))
    assert Pack.open(folder, keys.Trust((SECOND.public,), 1, revoked)).signers == (SECOND.public,)
    with pytest.raises(errors.KeyRevoked, match=message):
        Pack.open(folder, keys.Trust((SECOND.public, THIRD.public), 2, revoked))


def test_pack_follows_the_users_key_set(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_CONFIG_DIR", str(tmp_path / "config"))
    (keys.folder() / "mine.pub").write_text(KEY.public.text + "\n")
    raw = keyset.write(keyset.successor(keyset.current(), add=[SECOND.public]))
    keyset.install(raw, keyset.sign(raw, b"", [KEY]))
    assert [public.name for public in Pack.open(folder).signers] == ["mine"]
    raw = keyset.write(keyset.successor(keyset.current(), revoke={KEY.public.key_id: "lost"}))
    keyset.install(raw, keyset.sign(raw, b"", [SECOND]))
    with pytest.raises(errors.KeyRevoked, match="revoked: lost"):
        Pack.open(folder)


def lines(*pairs: keys.KeyPair) -> list[bytes]:
    return signed_by(*pairs).splitlines(keepends=True)


MANY = [made_key(index) for index in range(17)]


@pytest.mark.parametrize(
    "bad",
    [
        b"".join(reversed(lines(KEY, SECOND))),
        signed_by(KEY) * 2,
        signed_by(KEY) + signature.sign(b"another", KEY),
        signed_by(KEY, SECOND)[:-1],
        signed_by(KEY, SECOND) + b"\n",
        signed_by(KEY, SECOND).replace(b"\n", b"\r\n"),
        signed_by(KEY, SECOND).replace(lines(STRANGER)[0][:8], b"rsa0000 "),
        b"".join(sorted(line for pair in MANY for line in lines(pair))),
        lines(KEY)[0] + b"f" * len(lines(KEY)[0]),
    ],
    ids=["not sorted", "twice", "twice, one bad", "cut", "longer", "CR", "kind", "17", "nonsense"],
)
def test_signature_file_of_several_lines_in_any_other_form_is_malformed(folder: Path, bad: bytes) -> None:
    (folder / "kernels.json.sig").write_bytes(bad)
    with pytest.raises(errors.MalformedPack, match=r"kernels\.json\.sig"):
        Pack.open(folder, vectors.TRUSTED)


def test_signature_file_holds_sixteen() -> None:
    full = signed_by(*MANY[:16])
    assert len(signature.parse(full)) == 16
    assert signature.add(CONTENTS["kernels.json"], full, MANY[0]) == full
    with pytest.raises(errors.UsageError, match="holds no more"):
        signature.add(CONTENTS["kernels.json"], full, MANY[16])


TWO = signed_by(KEY, SECOND)


def test_every_flipped_bit_in_signatures_that_are_all_needed_is_refused() -> None:
    for bit in range(len(TWO) * 8):
        bad = bytearray(TWO)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.PackError):
            signature.verify(CONTENTS["kernels.json"], bytes(bad), BOTH)


@given(mutations.damaged(TWO))
@settings(deadline=None, max_examples=300)
def test_two_signatures_of_bytes_at_random_are_the_good_ones_or_refused(raw: bytes) -> None:
    if raw == TWO:
        signature.verify(CONTENTS["kernels.json"], raw, BOTH)
        return
    with pytest.raises(errors.PackError):
        signature.verify(CONTENTS["kernels.json"], raw, BOTH)


# ---- archives -------------------------------------------------------------------------------------


def test_archive_opens_like_its_folder(folder: Path, tmp_path: Path) -> None:
    archive = write_archive(folder, tmp_path)
    assert archive == tmp_path / "full-1.2.3.kpack"
    assert Pack.open(archive, vectors.TRUSTED) == Pack.open(folder, vectors.TRUSTED)


def test_archive_of_a_copy_has_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "full-1.2.3"
    shutil.copytree(folder, other, copy_function=shutil.copyfile)
    for path in other.rglob("*"):
        os.utime(path, (0, 0))
    one, two = write_archive(folder, tmp_path), write_archive(other, tmp_path / "two.kpack")
    assert one.read_bytes() == two.read_bytes()


def archived(files: Mapping[str, bytes] = CONTENTS) -> bytes:
    """An archive as ``write_archive`` makes it."""
    return pack_files._archive(files)


def zipped(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "make",
    [
        lambda good: b"",
        lambda good: b"no zip at all",
        lambda good: good[:-1],
        lambda good: good + b"\0",
        lambda good: b"\0" + good,
        lambda good: zipped(*CONTENTS.items()),
        lambda good: zipped(*CONTENTS.items(), compression=zipfile.ZIP_DEFLATED),
        lambda good: zipped(*CONTENTS.items(), ("kernels.json", b"{}")),
        lambda good: zipped(*CONTENTS.items(), ("../escaped", b"")),
        lambda good: good.replace(struct.pack("<H", stat.S_IFREG | 0o644), struct.pack("<H", stat.S_IFLNK | 0o777)),
    ],
    ids=[
        "empty",
        "text",
        "truncated",
        "longer",
        "shifted",
        "with times",
        "compressed",
        "name twice",
        "path up",
        "links",
    ],
)
def test_archive_in_any_other_form_is_malformed(folder: Path, tmp_path: Path, make: Callable[[bytes], bytes]) -> None:
    good = write_archive(folder, tmp_path).read_bytes()
    bad = tmp_path / "bad.kpack"
    bad.write_bytes(make(good))
    with pytest.raises(errors.MalformedPack, match=r"bad\.kpack"):
        Pack.open(bad, vectors.TRUSTED)


ARCHIVE = archived()


@given(mutations.damaged(ARCHIVE).filter(lambda data: data != ARCHIVE))
@settings(deadline=None, max_examples=300)
def test_archive_of_bytes_at_random_is_malformed_or_does_not_verify(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "random.kpack"
        path.write_bytes(data)
        with pytest.raises(errors.PackError):
            Pack.open(path, vectors.TRUSTED)
        with pytest.raises(errors.PackError):
            inspect(path, vectors.TRUSTED)


@given(mutations.PATH_ESCAPES)
@settings(deadline=None, max_examples=50)
def test_archive_with_a_path_that_leads_out_of_it_is_malformed(escape: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "escape.kpack"
        path.write_bytes(archived({**CONTENTS, escape: b""}))
        with pytest.raises(errors.MalformedPack):
            Pack.open(path, vectors.TRUSTED)
        assert list(Path(scratch).iterdir()) == [path]


def test_archive_that_would_read_as_more_than_itself_is_malformed(tmp_path: Path) -> None:
    """Members may overlap in a zip file: a thousand of them can all be the same 16 MiB."""
    data = bytearray(ARCHIVE)
    at = data.index(b"PK\1\2")
    while at >= 0:
        data[at + 20 : at + 28] = struct.pack("<II", len(ARCHIVE) - 1000, len(ARCHIVE) - 1000)
        at = data.find(b"PK\1\2", at + 1)
    bad = tmp_path / "overlap.kpack"
    bad.write_bytes(data)
    with pytest.raises(errors.MalformedPack, match="more in them than itself"):
        Pack.open(bad, vectors.TRUSTED)


def test_archive_with_a_member_at_an_offset_beyond_all_memory_is_malformed(tmp_path: Path) -> None:
    """What zipfile itself does not see coming."""
    data = bytearray(archived({"a": b""}))
    at, extra = data.index(b"PK\1\2"), struct.pack("<HHQ", 1, 8, 2**63)
    data[at + 30 : at + 32] = struct.pack("<H", len(extra))
    data[at + 42 : at + 46] = b"\xff" * 4
    data[at + 47 : at + 47] = extra
    end = data.index(b"PK\5\6")
    data[end + 12 : end + 16] = struct.pack("<I", end - at)
    bad = tmp_path / "beyond.kpack"
    bad.write_bytes(data)
    with pytest.raises(errors.MalformedPack, match="no pack archive"):
        Pack.open(bad, vectors.TRUSTED)


def test_every_flipped_bit_of_an_archive_is_refused_or_sampled_so(folder: Path, tmp_path: Path) -> None:
    good = write_archive(folder, tmp_path).read_bytes()
    bad = tmp_path / "bad.kpack"
    for bit in range(0, len(good) * 8, 251):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        bad.write_bytes(data)
        with pytest.raises(errors.PackError):
            Pack.open(bad, vectors.TRUSTED)


# ---- signing and inspecting -----------------------------------------------------------------------


def test_signing_again_makes_the_pack_the_new_keys(folder: Path) -> None:
    opened = sign_pack(folder, STRANGER)
    assert opened.key == STRANGER.public
    assert opened.manifest.signing_key == STRANGER.public.text
    verify_image(opened.image(TARGET), [STRANGER.public])
    with pytest.raises(errors.NoTrustedKey):
        Pack.open(folder, vectors.TRUSTED)
    sign_pack(folder, KEY)
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == CONTENTS


def test_adding_a_signature_keeps_the_others_and_all_else(folder: Path) -> None:
    opened = sign_pack(folder, SECOND, add=True)
    assert (opened.key.raw, opened.signers) == (KEY.public.raw, (SECOND.public,))
    now = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert now == {**CONTENTS, "kernels.json.sig": signed_by(KEY, SECOND)}
    assert Pack.open(folder, BOTH).key == KEY.public
    sign_pack(folder, STRANGER)
    assert Pack.open(folder, [STRANGER.public]).signers == (STRANGER.public,)
    with pytest.raises(errors.NoTrustedKey):
        Pack.open(folder, BOTH)


def test_packs_are_countersigned_and_refused_at_the_shell(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert run(mine, "pack", "verify", folder, code=5)["error"] == "NoTrustedKey"
    my_id = run(mine, "key", "new")["key_id"]
    added = run(mine, "pack", "sign", folder, "--add")
    assert (added["key_id"], added["signed_by"]) == (KEY.public.key_id.hex(), [my_id])
    assert run(mine, "pack", "verify", folder)["signed_by"] == [my_id]
    assert set(run(mine, "pack", "inspect", folder)["signed_by"]) == {my_id, KEY.public.key_id.hex()}
    run(mine, "key", "new", "next")
    run(mine, "key", "set", "new", "--add", "next", "--revoke", "default", "--reason", "key file leaked")
    refused = run(mine, "pack", "verify", folder, code=5)
    assert refused["error"] == "KeyRevoked"
    assert refused["message"] == f"signed by key {my_id}, which is revoked: key file leaked"
    run(mine, "pack", "sign", folder, "--key", "next")
    assert run(mine, "pack", "verify", folder)["key_id"] == run(mine, "key", "show", "next")["key_id"]


def test_no_signature_is_added_to_a_pack_that_its_author_did_not_sign(folder: Path) -> None:
    raw = (folder / "kernels.json").read_bytes()
    for bad in (signature.sign(raw + b" ", KEY), signature.sign(raw, STRANGER)):
        (folder / "kernels.json.sig").write_bytes(bad)
        with pytest.raises((errors.BadSignature, errors.MalformedPack)):
            sign_pack(folder, SECOND, add=True)
        assert (folder / "kernels.json.sig").read_bytes() == bad


def test_changed_pack_is_not_signed_again(folder: Path) -> None:
    flip(folder / "dir/rope_f32.wasm")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for add in (False, True):
        with pytest.raises(errors.HashMismatch):
            sign_pack(folder, KEY, add)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_inspecting_tells_what_is_there_and_whether_it_verifies(folder: Path, tmp_path: Path) -> None:
    found = inspect(folder, vectors.TRUSTED)
    assert (found["name"], found["key_id"]) == ("full", KEY.public.key_id.hex())
    assert [kernel["id"] for kernel in found["kernels"]] == ["rope_f32", "lora_apply", "all_dtypes"]
    assert found["signed_by"] == [KEY.public.key_id.hex()]
    assert found["trust"]["verified"]
    assert inspect(write_archive(folder, tmp_path), vectors.TRUSTED) == found
    assert inspect(folder, [])["trust"]["error"] == "NoTrustedKey"
    flip(folder / "dir/rope_f32.wasm")
    assert inspect(folder, vectors.TRUSTED)["trust"]["error"] == "HashMismatch"
    json.dumps(found)


def test_inspecting_what_is_far_too_large_for_a_board_image_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large.kimg").open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(errors.MalformedPack, match=r"large\.kimg has more than 16777216 bytes"):
        inspect(tmp_path / "large.kimg", vectors.TRUSTED)


def test_inspecting_a_board_image_tells_the_same_of_it(folder: Path) -> None:
    path = folder / f"aot/{TARGET}.kimg"
    found = inspect(path, vectors.TRUSTED)
    assert (found["kind"], found["target"], found["size"]) == ("image", TARGET, path.stat().st_size)
    assert found["manifest_sha256"] == inspect(folder, vectors.TRUSTED)["manifest_sha256"]
    assert found["trust"]["verified"]
    assert inspect(path, [STRANGER.public])["trust"]["error"] == "NoTrustedKey"
    json.dumps(found)
