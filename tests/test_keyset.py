"""Key sets: each is trusted only when the one before it says so, and what was revoked stays revoked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mutations
import pytest
import vectors
from hypothesis import given, settings

from host import errors, firmware_files
from host.pack import keys, keyset, keyset_image, signature
from host.pack.keys import KeyPair, PublicKey, Trust
from host.pack.keyset import KeySet
from host.pack.signature import KEYSET

Edit = Callable[[dict[str, Any]], object]
# Everyone knows these private keys.
A, B, C, D, E, LOST = (
    vectors._key(name, f"TEST ONLY: {name:>19} !".encode()) for name in ["a", "b", "c", "d", "e", "lost"]
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The keys folder of someone who trusts keys A and B by their .pub files."""
    monkeypatch.setenv("HOST_CONFIG_DIR", str(tmp_path))
    for pair in (A, B):
        (keys.folder() / f"{pair.name}.pub").write_text(pair.public.text + "\n")
    return keys.folder()


def make(version: int, *pairs: KeyPair, threshold: int = 1, revoked: Mapping[KeyPair, str] | None = None) -> KeySet:
    reasons = {pair.public.key_id: reason for pair, reason in (revoked or {}).items()}
    ordered = sorted((pair.public for pair in pairs), key=lambda public: public.key_id)
    return KeySet(version, Trust(tuple(ordered), threshold, reasons))


def signed(key_set: KeySet, *pairs: KeyPair) -> tuple[bytes, bytes]:
    raw = keyset.write(key_set)
    return raw, keyset.sign(raw, b"", pairs)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- what is trusted ------------------------------------------------------------------------------


def test_without_a_key_set_the_pub_files_are_trusted() -> None:
    assert keyset.current() == KeySet(0, Trust((A.public, B.public)))
    assert keys.public_keys() == [A.public, B.public]


def test_with_a_key_set_exactly_its_keys_are_trusted_by_packs_and_firmware(folder: Path) -> None:
    installed = keyset.install(*signed(make(1, A, C, threshold=2, revoked={B: "laptop stolen"}), A, C))
    assert keys.trust() == keyset.current().trust == installed.trust
    assert set(keys.public_keys()) == {A.public, C.public}
    header = firmware_files.keys_header(keyset.current())
    assert "// Version 1: " in header
    assert all(
        (f"0x{pair.public.raw[0]:02x}, 0x{pair.public.raw[1]:02x}" in header) == (pair != B) for pair in (A, B, C)
    )
    keys.generate("later")
    assert "later" not in {key.name for key in keys.public_keys()}


def test_sets_follow_one_another_and_the_old_ones_are_kept(folder: Path) -> None:
    chain = [
        (make(1, A, B), [A]),
        (make(2, A, B, C, threshold=2), [B, C]),
        (make(5, C, D, threshold=2, revoked={A: "left", B: "stolen"}), [A, B, C, D]),
        (make(6, E, revoked={A: "left", B: "stolen", D: "wet"}), [C, D, E]),
    ]
    for key_set, signers in chain:
        assert keyset.install(*signed(key_set, *signers)) == key_set
        assert keyset.current() == key_set
    kept = contents(folder)
    for key_set, signers in chain:
        raw, signature_file = signed(key_set, *signers)
        assert kept[f"keyset.{key_set.version}.json"] == raw
        assert kept[f"keyset.{key_set.version}.json.sig"] == signature_file


def test_ten_is_higher_than_nine() -> None:
    keyset.install(*signed(make(9, A), A))
    keyset.install(*signed(make(10, B), A, B))
    assert keyset.current().version == 10


# ---- what may follow ------------------------------------------------------------------------------

CURRENT = make(3, A, B, C, threshold=2, revoked={LOST: "laptop stolen"})
NEXT = make(4, B, C, D, threshold=2, revoked={LOST: "laptop stolen"})


def by(*pairs: KeyPair, key_set: KeySet = NEXT) -> tuple[bytes, bytes]:
    return signed(key_set, *pairs)


def with_manifests_domain() -> tuple[bytes, bytes]:
    raw = keyset.write(NEXT)
    return raw, signature.add(raw, signature.sign(raw, B), C)


def twice_by_one_key() -> tuple[bytes, bytes]:
    raw = keyset.write(NEXT)
    return raw, signature.sign(raw, B, KEYSET) * 2


def over_other_bytes() -> tuple[bytes, bytes]:
    return keyset.write(NEXT), by(B, C, key_set=make(4, B, C))[1]


def test_next_set_is_accepted() -> None:
    assert keyset.accept(*by(B, C), CURRENT) == NEXT
    assert keyset.accept(*by(A, B, D), CURRENT) == NEXT


BAD: dict[str, tuple[Callable[[], tuple[bytes, bytes]], type[errors.PackError], str]] = {
    "nobody signed": (lambda: (keyset.write(NEXT), b""), errors.MalformedPack, "1 to 16 lines"),
    "too few of the old keys": (lambda: by(A), errors.NoTrustedKey, "2 must sign of the trusted keys"),
    "one old key and one new": (lambda: by(B, D), errors.NoTrustedKey, r"\(not trusted\).*; 2 must sign"),
    "new keys only": (
        lambda: by(D, E, key_set=make(4, D, E, revoked={LOST: "x"})), errors.NoTrustedKey, "2 must sign",
    ),
    "a revoked key for an old one": (lambda: by(A, LOST), errors.KeyRevoked, "revoked: laptop stolen"),
    "revoked keys only": (lambda: by(LOST), errors.KeyRevoked, LOST.public.key_id.hex()),
    "too few of the new keys": (
        lambda: by(A, B, D, key_set=make(4, D, E, threshold=2, revoked={LOST: "x"})),
        errors.NoTrustedKey, r"2 must sign of the trusted keys: \S+ \([de]\), \S+ \([de]\)$",
    ),
    "a stranger too": (lambda: by(B, C, E), errors.NoTrustedKey, rf"{E.public.key_id.hex()} \(not trusted\)"),
    "a revoked key too": (lambda: by(B, C, LOST), errors.KeyRevoked, "laptop stolen"),
    "the same version": (
        lambda: by(B, C, key_set=make(3, B, C, revoked={LOST: "x"})), errors.DowngradeRefused, "version 3, and 3",
    ),
    "the same set": (lambda: by(B, C, key_set=CURRENT), errors.DowngradeRefused, "version 3, and 3"),
    "a lower version": (
        lambda: by(B, C, key_set=make(2, B, C, revoked={LOST: "x"})), errors.DowngradeRefused, "version 2, and 3",
    ),
    "a revocation left out": (
        lambda: by(B, C, key_set=make(4, B, C)), errors.DowngradeRefused, "no longer revokes .*: laptop stolen",
    ),
    "a revoked key trusted again": (
        lambda: by(B, C, key_set=make(4, B, C, LOST)), errors.DowngradeRefused, "no longer revokes",
    ),
    "signatures for a manifest": (with_manifests_domain, errors.BadSignature, "does not match"),
    "signatures of another set": (over_other_bytes, errors.BadSignature, "does not match"),
    "one key's signature twice": (twice_by_one_key, errors.MalformedPack, "each key once"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_next_set_is_refused_by_name_and_nothing_changes(folder: Path, name: str) -> None:
    make_bad, error, message = BAD[name]
    keyset.install(*signed(CURRENT, A, B))
    before = contents(folder)
    with pytest.raises(error, match=message):
        keyset.install(*make_bad())
    assert contents(folder) == before


def test_the_first_set_must_be_signed_by_a_key_that_is_trusted_without_one() -> None:
    with pytest.raises(errors.NoTrustedKey, match=r"trusted keys: .*\(a\)"):
        keyset.install(*signed(make(1, C), C))
    assert keyset.current().version == 0


def test_an_old_set_never_comes_back() -> None:
    first, second = signed(make(1, A, B), A), signed(make(2, A), A)
    keyset.install(*first)
    keyset.install(*second)
    for old in (first, second):
        with pytest.raises(errors.DowngradeRefused):
            keyset.install(*old)


def test_a_key_sets_signature_does_not_pass_for_a_manifests() -> None:
    raw, signature_file = signed(make(1, A), A)
    with pytest.raises(errors.BadSignature):
        signature.verify(raw, signature_file, [A.public])


def test_unsigned_bytes_are_not_parsed() -> None:
    """An untrusted key set full of nonsense is an untrusted one, not a malformed one."""
    with pytest.raises(errors.NoTrustedKey):
        keyset.accept(b"[" * 100_000, signature.sign(b"[" * 100_000, E, KEYSET), CURRENT)
    with pytest.raises(errors.MalformedPack):
        keyset.accept(b"[" * 100_000, keyset.sign(b"[" * 100_000, b"", [A, B]), CURRENT)


def test_every_flipped_bit_of_a_key_set_and_its_signatures_is_refused() -> None:
    raw, signature_file = by(B, C, D)
    for which in (raw, signature_file):
        for bit in range(len(which) * 8):
            bad = bytearray(which)
            bad[bit // 8] ^= 1 << bit % 8
            pair = (bytes(bad), signature_file) if which is raw else (raw, bytes(bad))
            with pytest.raises(errors.PackError):
                keyset.accept(*pair, CURRENT)


@given(mutations.damaged(by(B, C)[1]))
@settings(deadline=None, max_examples=300)
def test_signature_file_of_bytes_at_random_is_refused_or_is_one(damaged: bytes) -> None:
    raw, good = by(B, C)
    if damaged == good:
        return
    with pytest.raises(errors.PackError):
        keyset.accept(raw, damaged, CURRENT)


# ---- keyset.json ----------------------------------------------------------------------------------

RAW = keyset.write(NEXT)


def edited(edit: Edit) -> bytes:
    data = json.loads(RAW)
    edit(data)
    return (json.dumps(data, indent=2) + "\n").encode()


def test_a_key_set_comes_back_from_its_bytes() -> None:
    assert keyset.parse(RAW) == NEXT
    assert keyset.parse(keyset.write(CURRENT)) == CURRENT


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "keyset.json: "),
        (b"\xff", "keyset.json: "),
        (b"[" * 100_000, "keyset.json: "),
        (b" " * ((1 << 20) + 1), "more than 1048576 bytes"),
        (RAW[:-1], "one form"),
        (RAW + b"\n", "one form"),
        (RAW.replace(b"  ", b"\t"), "one form"),
        (RAW.replace(b'"version": 4', b'"version": 5, "version": 4'), "one form"),
        (edited(lambda d: d.update(version=d.pop("version"))), "one form"),
        (edited(lambda d: d["keys"].reverse()), "one form"),
        (edited(lambda d: d["keys"].append(d["keys"][0])), "comes 2 times"),
        (edited(lambda d: d["keys"].append({**d["keys"][0], "name": "again"})), "one form"),
        (edited(lambda d: d["revoked"].append(d["revoked"][0])), "one form"),
        (edited(lambda d: d["keys"][0].update(id="0" * 16)), "id: is 0000000000000000"),
        (edited(lambda d: d["keys"][0].update(public_key="ed25519:" + "A" * 42 + "B=")), "public_key: .*canonical"),
        (edited(lambda d: d["keys"][0].update(name="../up")), r"keys\[0\].name"),
        (edited(lambda d: d["keys"][0].update(name="*/")), r"keys\[0\].name"),
        (edited(lambda d: d["revoked"].append({"id": d["keys"][0]["id"], "reason": "x"})), "is revoked"),
        (edited(lambda d: d["revoked"][0].update(reason="")), r"revoked\[0\].reason"),
        (edited(lambda d: d["revoked"][0].update(reason="a\x1b[2J")), r"revoked\[0\].reason"),
        (edited(lambda d: d.update(keys=[])), "keys"),
        (edited(lambda d: d.update(threshold=0)), "threshold"),
        (edited(lambda d: d.update(threshold=4)), "threshold: is 4, there are 3 keys"),
        (edited(lambda d: d.update(threshold=9)), "threshold"),
        (edited(lambda d: d.update(version=0)), "version"),
        (edited(lambda d: d.update(version=1.0)), "version"),
        (edited(lambda d: d.update(version=True)), "version"),
        (edited(lambda d: d.update(version=2**32)), "version"),
        (edited(lambda d: d.update(expires="never")), "expires"),
        (edited(lambda d: d.pop("revoked")), "revoked"),
        (RAW.replace(b'"version": 4', b'"version": Infinity'), "version"),
    ],
)  # fmt: skip
def test_key_set_in_any_other_form_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(errors.MalformedPack, match=message):
        keyset.parse(raw)


@given(mutations.damaged(RAW))
@settings(deadline=None, max_examples=300)
def test_key_set_of_bytes_at_random_is_malformed_or_has_these_bytes(raw: bytes) -> None:
    try:
        found = keyset.parse(raw)
    except errors.MalformedPack:
        return
    assert keyset.write(found) == raw


@given(mutations.mutations(json.loads(RAW)))
@settings(deadline=None, max_examples=300)
def test_key_set_with_one_thing_changed_is_malformed_or_another_one(mutation: mutations.Mutation) -> None:
    raw = (json.dumps(mutation.data, indent=2) + "\n").replace(f'{mutations.TWICE}"', '"').encode()
    try:
        found = keyset.parse(raw)
    except errors.MalformedPack:
        return
    assert keyset.write(found) == raw
    assert (found == NEXT) == (raw == RAW)


# ---- changes --------------------------------------------------------------------------------------


def test_successor_has_the_changes_and_all_else_as_before() -> None:
    lost, left = A.public.key_id, LOST.public.key_id
    changed = keyset.successor(CURRENT, add=[D.public], revoke={lost: "gone"}, remove=[B.public.key_id])
    assert changed == make(4, C, D, threshold=2, revoked={LOST: "laptop stolen", A: "gone"})
    assert changed.trust.revoked == {left: "laptop stolen", lost: "gone"}
    assert keyset.successor(CURRENT) == make(4, A, B, C, threshold=2, revoked={LOST: "laptop stolen"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"remove": [A.public.key_id, B.public.key_id]}, "threshold: is 2, there are 1"),
        ({"remove": [D.public.key_id]}, "is not trusted, so it cannot be removed"),
        ({"add": [LOST.public]}, "lost is revoked"),
        ({"add": [PublicKey("a", D.public.raw)]}, "'a' comes 2 times"),
        ({"add": [PublicKey("no name", D.public.raw)]}, "name"),
        ({"threshold": 4}, "there are 3 keys"),
        ({"threshold": 0}, "nobody would have to sign"),
        ({"revoke": {A.public.key_id: "\n"}}, "reason"),
    ],
)
def test_changes_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        keyset.successor(CURRENT, **changes)


def test_a_key_is_called_by_its_name_or_its_id() -> None:
    assert keyset.key_id_of("a", CURRENT.trust) == A.public.key_id
    assert keyset.key_id_of(E.public.key_id.hex(), CURRENT.trust) == E.public.key_id
    with pytest.raises(errors.UsageError, match="neither a trusted key"):
        keyset.key_id_of("nobody", CURRENT.trust)


# ---- files ----------------------------------------------------------------------------------------


def test_signing_again_changes_nothing_and_by_another_key_adds_a_line() -> None:
    raw, one = by(A)
    assert keyset.sign(raw, one, [A]) == one
    assert keyset.sign(raw, one, [B]) == by(A, B)[1] == by(B, A)[1]


@pytest.mark.parametrize("name", ["keyset.2.json", "keyset.2.json.sig"])
def test_no_older_set_takes_the_place_of_a_damaged_one(folder: Path, name: str) -> None:
    """Two sets are installed; with the second one's bytes damaged nothing is trusted."""
    keyset.install(*signed(make(1, A, B), A))
    keyset.install(*signed(make(2, A, revoked={B: "stolen"}), A))
    good = (folder / name).read_bytes()
    for bit in range(0, len(good) * 8, 7):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(bad)
        with pytest.raises(errors.PackError):
            keys.public_keys()
    (folder / name).write_bytes(good)
    assert keys.public_keys() == [A.public]


def test_a_set_under_another_versions_name_is_refused(folder: Path) -> None:
    keyset.install(*signed(make(1, A, B), A))
    keyset.install(*signed(make(2, A), A))
    for suffix in ("json", "json.sig"):
        (folder / f"keyset.1.{suffix}").rename(folder / f"keyset.3.{suffix}")
    with pytest.raises(errors.MalformedPack, match=r"keyset\.3\.json holds version 1"):
        keyset.current()


def test_an_installation_cut_off_before_its_end_left_what_was_there(folder: Path) -> None:
    keyset.install(*signed(make(1, A, B), A))
    raw, signature_file = signed(make(2, A), A)
    (folder / "keyset.2.json.sig").write_bytes(signature_file[:50])
    assert keyset.current().version == 1
    keyset.install(raw, signature_file)
    assert keyset.current() == make(2, A)


def test_of_two_sets_that_would_follow_one_does(folder: Path) -> None:
    """Installed at the same moment, each valid on its own: one is trusted, with its own signatures."""
    keyset.install(*signed(make(1, A, B), A))
    offers = [signed(make(2, A, B, threshold=1 + index % 2, revoked={LOST: str(index)}), A, B) for index in range(8)]

    def install(offer: tuple[bytes, bytes]) -> KeySet | None:
        try:
            return keyset.install(*offer)
        except errors.DowngradeRefused:
            return None

    with ThreadPoolExecutor(8) as pool:
        (winner,) = [found for found in pool.map(install, offers) if found]
    assert keyset.current() == winner


# ---- for boards -----------------------------------------------------------------------------------


def image_of(key_set: KeySet, *pairs: KeyPair) -> bytes:
    return keyset_image.sign(keyset_image.encode(key_set), pairs)


def test_an_image_says_what_the_key_set_does_and_comes_back_from_its_bytes() -> None:
    decoded = keyset_image.decode(image_of(NEXT, B, C))
    assert (decoded.key_set.version, decoded.key_set.trust.threshold) == (NEXT.version, NEXT.trust.threshold)
    assert decoded.key_set.trust.by_id.keys() == NEXT.trust.by_id.keys()
    assert decoded.key_set.trust.revoked.keys() == NEXT.trust.revoked.keys()
    assert decoded.signatures.keys() == {B.public.key_id, C.public.key_id}
    assert keyset_image.sign(image_of(NEXT, B), [C]) == image_of(NEXT, C, B)


def test_what_a_board_has_no_room_for_gets_no_image() -> None:
    nine = [vectors._key(str(index), bytes([index]) * 32) for index in range(9)]
    lost = {vectors._key(str(index), bytes([index]) * 32): "x" for index in range(65)}
    for key_set in (make(1, *nine), make(1, A, revoked=lost), KeySet(0, Trust(()))):
        with pytest.raises(errors.UsageError, match="a board holds 1 to 8 trusted and up to 64 revoked"):
            keyset_image.encode(key_set)


BAD_IMAGES: dict[str, tuple[Callable[[], bytes], type[errors.PackError]]] = {
    "of another set": (lambda: image_of(make(4, B, C, revoked={LOST: "x"}), B, C), errors.MalformedPack),
    "not signed": (lambda: image_of(NEXT), errors.NoTrustedKey),
    "signed by too few": (lambda: image_of(NEXT, B), errors.NoTrustedKey),
    "signed by a stranger too": (lambda: image_of(NEXT, B, C, E), errors.NoTrustedKey),
    "changed": (lambda: vectors.flipped(image_of(NEXT, B, C), 8 * 200), errors.BadSignature),
    "cut": (lambda: image_of(NEXT, B, C)[:-1], errors.MalformedPack),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_key_set_with_a_bad_image_is_not_installed(folder: Path, name: str) -> None:
    make_bad, error = BAD_IMAGES[name]
    keyset.install(*signed(CURRENT, A, B))
    before = contents(folder)
    with pytest.raises(error):
        keyset.install(*by(B, C), make_bad())
    assert contents(folder) == before
    keyset.install(*by(B, C), image_of(NEXT, B, C))
    assert keyset.images_after(3) == [image_of(NEXT, B, C)]
    assert keyset.images_after(4) == []
    with pytest.raises(errors.UsageError, match=r"no .*keyset\.3\.kset"):
        keyset.images_after(0)


# ---- commands -------------------------------------------------------------------------------------


def run(config: Path, *args: object, code: int = 0) -> dict[str, Any]:
    """What ``host ARGS --json`` answers the user with that configuration folder."""
    finished = subprocess.run(
        [sys.executable, "-m", "host", *map(str, args), "--json"],
        env={"HOST_CONFIG_DIR": str(config), "PYTHONPATH": str(Path(__file__).parent.parent), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == code, finished.stderr
    return dict(json.loads(finished.stdout))


def test_one_user_rotates_and_revokes_at_the_shell(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    old = run(mine, "key", "new")["key_id"]
    assert run(mine, "key", "set", "new")["version"] == 1
    new = run(mine, "key", "new", "second")["key_id"]
    assert run(mine, "key", "list") == {"keys": [{"name": "default", "key_id": old}]}
    assert run(mine, "key", "show", "second")["key_id"] == new
    made = run(mine, "key", "set", "new", "--add", "second", "--revoke", "default", "--reason", "key file leaked")
    assert (made["version"], made["keys"]) == (2, [{"name": "second", "key_id": new}])
    assert made["revoked"] == [{"key_id": old, "reason": "key file leaked"}]
    assert sorted(made["signed_by"]) == sorted([old, new])
    assert run(mine, "key", "list") == {"keys": [{"name": "second", "key_id": new}]}
    refused = run(mine, "key", "set", "new", "--add", "default", code=2)
    assert "default is revoked" in refused["message"]


def test_two_users_share_a_set_that_needs_both(tmp_path: Path) -> None:
    ann, bob, draft = tmp_path / "ann", tmp_path / "bob", tmp_path / "draft" / "keyset.json"
    for name, config in (("ann", ann), ("bob", bob)):
        run(config, "key", "new", name)
    for config, other in ((ann, bob), (bob, ann)):
        public = other / "keys" / f"{other.name}.pub"
        (config / "keys" / public.name).write_bytes(public.read_bytes())
    refused = run(ann, "key", "set", "new", "--threshold", 2, code=5)
    assert refused["error"] == "NoTrustedKey"
    run(ann, "key", "set", "new", "--threshold", 2, "--out", draft)
    assert run(ann, "key", "set", "trust", draft, code=5)["error"] == "NoTrustedKey"
    assert len(run(bob, "key", "set", "sign", draft)["signed_by"]) == 2
    for config in (ann, bob):
        assert run(config, "key", "set", "trust", draft)["version"] == 1
        assert run(config, "key", "set", "show")["threshold"] == 2
    assert run(bob, "key", "set", "trust", draft, code=5)["error"] == "DowngradeRefused"
    assert run(ann, "key", "set", "show", draft)["version"] == 1


def test_a_set_beside_another_sets_image_is_not_signed(tmp_path: Path) -> None:
    """What is shown is keyset.json; boards would take the image."""
    mine, draft, other = tmp_path / "mine", tmp_path / "draft.json", tmp_path / "other.json"
    run(mine, "key", "new")
    run(mine, "key", "new", "second")
    run(mine, "key", "set", "new", "--out", draft)
    run(mine, "key", "set", "new", "--remove", "second", "--out", other)
    draft.with_suffix(".kset").write_bytes(other.with_suffix(".kset").read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.glob("draft.*")}
    refused = run(mine, "key", "set", "sign", draft, "--key", "default", code=5)
    assert refused["error"] == "MalformedPack"
    assert "does not say the same" in refused["message"]
    assert {path.name: path.read_bytes() for path in tmp_path.glob("draft.*")} == before


def test_an_image_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    draft = tmp_path / "draft.json"
    draft.write_bytes(keyset.write(make(1, A)))
    draft.with_suffix(".kset").mkdir()
    assert "draft.kset is no key set" in run(tmp_path, "key", "set", "trust", draft, code=2)["message"]


def test_a_key_that_may_not_sign_a_set_does_not(tmp_path: Path) -> None:
    mine, draft = tmp_path / "mine", tmp_path / "keyset.json"
    run(mine, "key", "new")
    run(mine, "key", "set", "new", "--out", draft)
    other = tmp_path / "other"
    run(other, "key", "new")
    assert (
        "neither trusted now nor"
        in run(mine, "key", "set", "sign", draft, "--key", other / "keys/default.key", code=2)["message"]
    )
    (tmp_path / "none").mkdir()
    assert "none of your private keys" in run(tmp_path / "none", "key", "set", "sign", draft, code=2)["message"]
    run(mine, "key", "set", "new", "--revoke", "default", code=2)
