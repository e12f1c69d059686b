"""host key, host pack: what a publisher of kernels does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from host.cli.app import host
from host.cli.options import command, port_option
from host.cli.output import Output, facts, table
from host.errors import UsageError

if TYPE_CHECKING:
    from host.pack import KeyPair, Pack, PublicKey
    from host.pack.keyset import KeySet

_PATH = click.Path(exists=True, path_type=Path)
_key_option = click.option(
    "--key", "key_name", help="Name or .key file of the key that signs; default: your default key."
)


@host.group()
def key() -> None:
    """Keys that sign packs, and whom to trust: firmware trusts the keys that you trust when it is built."""


@command(key, "new")
@click.argument("name", default="default")
def key_new(output: Output, name: str) -> None:
    """Make an Ed25519 key pair, readable by you only."""
    from host.pack import keys

    pair = keys.generate(name)
    data = {"name": name, "key_id": pair.public.key_id.hex(), "folder": str(keys.folder())}
    trusted = pair.public.key_id in keys.trust().by_id
    there_is_a_set = f"Nobody trusts it until it is in your key set: host key set new --add {name}"
    hint = "Firmware that is built from now on trusts it: host build BOARD" if trusted else there_is_a_set
    output.result(data, facts(data), hint)


@command(key, "list")
def key_list(output: Output) -> None:
    """List the keys that you trust, as firmware will."""
    from host.pack import keys

    rows = [(public.name, public.key_id.hex()) for public in keys.public_keys()]
    output.result(
        {"keys": [{"name": name, "key_id": key_id} for name, key_id in rows]}, table("name", "key id", rows=rows)
    )


@command(key, "show")
@click.argument("name", default="default")
def key_show(output: Output, name: str) -> None:
    """Show one public key, yours or one that you trust."""
    from host.pack import keys

    public = next((public for public in [*keys.public_files(), *keys.trust()] if public.name == name), None)
    if public is None:
        raise UsageError(f"no key {name!r} in {keys.folder()}; make one with: host key new {name}")
    data = {"name": public.name, "key_id": public.key_id.hex(), "public_key": public.text}
    output.result(data, facts(data))


@key.group("set")
def key_set() -> None:
    """Key sets: whom you trust, how many must sign, who is revoked; each set is signed by the one before."""


_signers_option = click.option(
    "--key", "key_names", multiple=True, help="Name or .key file of a key that signs; default: all of yours that may."
)
_key_set_argument = click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@command(key_set, "new")
@click.option("--add", multiple=True, metavar="KEY", help="Trust this key too: a .pub file, or a name in your folder.")
@click.option("--remove", multiple=True, metavar="KEY", help="Trust this key (name or key id) no longer.")
@click.option(
    "--revoke", multiple=True, metavar="KEY", help="Revoke this key (name or key id) for good, with --reason."
)
@click.option("--reason", help="Why, as people read it whose pack is refused.")
@click.option("--threshold", type=click.IntRange(1), help="How many keys must sign a pack and the next key set.")
@_signers_option
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file only, for others to sign."
)
def key_set_new(
    output: Output,
    add: Sequence[str],
    remove: Sequence[str],
    revoke: Sequence[str],
    reason: str | None,
    threshold: int | None,
    key_names: Sequence[str],
    out: Path | None,
) -> None:
    """Make the next key set from the keys that you trust now, sign it and trust it; with --out, only sign it."""
    from host.pack import keys, keyset, keyset_image

    if bool(revoke) != bool(reason):
        raise UsageError("--revoke and --reason go together")
    current = keyset.current()
    following = keyset.successor(
        current,
        add=[keys.load_public(name) for name in add],
        remove=[keyset.key_id_of(name, current.trust) for name in remove],
        revoke={keyset.key_id_of(name, current.trust): str(reason) for name in revoke},
        threshold=threshold,
    )
    raw, image = keyset.write(following), _image_for_boards(output, following)
    pairs = _signers(key_names, [*current.trust, *following.trust])
    signature_file, image = keyset.sign(raw, b"", pairs), keyset_image.sign(image, pairs) if image else b""
    if out is None:
        keyset.install(raw, signature_file, image)
    else:
        keyset.save(raw, signature_file, image, out)
    _show_key_set(output, following, signature_file)


@command(key_set, "sign")
@_key_set_argument
@_signers_option
def key_set_sign(output: Output, path: Path, key_names: Sequence[str]) -> None:
    """Add your signatures to the key set in FILE, which becomes no key set of yours by that."""
    from host.pack import keyset, keyset_image

    raw, signature_file = keyset.read(path)
    following, image = keyset.parse(raw), keyset.read_image(path)
    if image:
        keyset_image.decode_as(image, following)  # nobody signs what they were not shown
    pairs = _signers(key_names, [*keyset.current().trust, *following.trust])
    signature_file, image = keyset.sign(raw, signature_file, pairs), keyset_image.sign(image, pairs) if image else b""
    keyset.save(raw, signature_file, image, path)
    _show_key_set(output, following, signature_file)


@command(key_set, "trust")
@_key_set_argument
def key_set_trust(output: Output, path: Path) -> None:
    """Trust the key set in FILE from now on, if enough of the keys signed it that you trust until now."""
    from host.pack import keyset

    raw, signature_file = keyset.read(path)
    _show_key_set(output, keyset.install(raw, signature_file, keyset.read_image(path)), signature_file)


@command(key_set, "show")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
def key_set_show(output: Output, path: Path | None) -> None:
    """Show what you trust now, or the key set in FILE, whoever signed it."""
    from host.pack import keyset

    if path is None:
        _show_key_set(output, keyset.current(), b"")
    else:
        raw, signature_file = keyset.read(path)
        _show_key_set(output, keyset.parse(raw), signature_file)


@command(key_set, "push")
@port_option
def key_set_push(output: Output, port: str | None) -> None:
    """Have a board trust your key set from now on: sends all that are newer than the board's, one after the other."""
    from host.board import connect
    from host.pack import keyset

    latest = keyset.current().version
    if latest == 0:
        raise UsageError("you have no key set to push; make one with: host key set new")
    with connect(port) as link:
        before = link.status()["keys"]["version"]
        for image in keyset.images_after(before):
            link.install_keys(image)
        status = link.status()
    pack = status["pack"]
    data = {"before": before, "keys": status["keys"], "pack": pack}
    done = f"The board trusts key set {status['keys']['version']}, before: {before}."
    hint = "" if pack else "It has no pack that one of these keys signed: host push"
    output.result(data, done, hint)


def _image_for_boards(output: Output, following: KeySet) -> bytes:
    """The key set's image, unsigned; empty, and that is said, when a board has no room for it."""
    from host.pack import keyset_image

    try:
        return keyset_image.encode(following)
    except UsageError as error:
        output.note(f"Boards cannot have this key set: {error}")
        return b""


def _signers(names: Sequence[str], may_sign: Sequence[PublicKey]) -> list[KeyPair]:
    """The pairs of those names, else all of the user's that may sign a key set. Raises UsageError."""
    from host.pack import keys

    known = {public.key_id for public in may_sign}
    if names:
        pairs = [keys.load_private(name) for name in names]
        for pair in pairs:
            if pair.public.key_id not in known:
                raise UsageError(f"key {pair.name!r} is neither trusted now nor in that key set, so it may not sign it")
        return pairs
    pairs = [pair for pair in keys.own_pairs() if pair.public.key_id in known]
    if not pairs:
        raise UsageError(f"none of your private keys in {keys.folder()} may sign that key set; name one with --key")
    return pairs


def _show_key_set(output: Output, shown: KeySet, signature_file: bytes) -> None:
    from host.pack import signature

    trust = shown.trust
    signed_by = signature.parse(signature_file, signature.KEYSET) if signature_file else {}
    data = {
        "version": shown.version,
        "threshold": trust.threshold,
        "keys": [{"name": public.name, "key_id": public.key_id.hex()} for public in trust],
        "revoked": [{"key_id": key_id.hex(), "reason": reason} for key_id, reason in trust.revoked.items()],
        "signed_by": [key_id.hex() for key_id in signed_by],
    }
    rows = [("trusted", public.key_id.hex(), public.name) for public in trust]
    rows += [("revoked", key_id.hex(), reason) for key_id, reason in trust.revoked.items()]
    rows += [("signed by", key_id.hex(), "") for key_id in signed_by]
    heading = f"Key set {shown.version}: {trust.threshold} of {len(trust.keys)} keys must sign."
    output.result(data, heading, table("", "key id", "name or reason", rows=rows))


@host.group()
def pack() -> None:
    """Kernel packs: start a new one, build, sign, verify, inspect."""


def default_pack() -> Path:
    """The pack of the current folder, else the project's own, as `host pack build` leaves it.

    Raises UsageError when it is not built.
    """
    from host.pack.source import own_source, read_source

    path = read_source(current_source() or own_source()).built
    if not path.exists():
        raise UsageError(f"no pack given, and {path} is not built; make it with: host pack build")
    return path


def current_source() -> Path | None:
    """The current folder, when it is the source of a pack."""
    from host.pack.source import FILE

    folder = Path.cwd()
    return folder if (folder / FILE).is_file() else None


@command(pack, "new")
@click.argument("name")
@click.option("--rust", is_flag=True, help="With a kernel in Rust instead of C.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder to make; default: NAME in the current one.")
def pack_new(output: Output, name: str, rust: bool, folder: Path | None) -> None:
    """Start a pack of your own: a folder with a small kernel, NAME, that works, and its reference and test."""
    from host.pack.new import new_pack

    place = folder or Path(name)
    files = [file.name for file in new_pack(name, place, "rs" if rust else "c")]
    output.result({"folder": str(place), "files": files}, f"Made {place}: {', '.join(files)}")


@command(pack, "build")
@click.argument("source", type=_PATH, required=False)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to put the pack in; default: build, beside pack.toml.",
)
@click.option("--archive", is_flag=True, help="Write a one-file archive (.kpack) beside the pack's folder as well.")
@click.option("--target", "targets", multiple=True, help="Build for this target only; may be repeated.")
@_key_option
def pack_build(
    output: Output, source: Path | None, out: Path | None, archive: bool, targets: Sequence[str], key_name: str | None
) -> None:
    """Compile and sign a pack. SOURCE is a folder with pack.toml; default: this one, else the project's kernels_aot."""
    from host.pack import Pack, build_pack, read_source, write_archive
    from host.pack.source import own_source

    pair = _signing_key(output, key_name)
    found = read_source(source or current_source() or own_source())
    built = build_pack(found.folder, out or found.build_folder, pair, list(targets) or None)
    opened = Pack.open(built, [pair.public])
    data = {"pack": str(built), "archive": None, **_summary(opened)}
    if archive:
        data["archive"] = str(write_archive(built, built.parent))
    output.result(data, f"{opened.name} {opened.version} in {built}, signed by {pair.name} ({data['key_id']})")


@command(pack, "sign")
@click.argument("path", metavar="PACK", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--add", is_flag=True, help="Add your signature; its author and the other signatures stay.")
@_key_option
def pack_sign(output: Output, path: Path, add: bool, key_name: str | None) -> None:
    """Sign a pack's folder with your key instead of whoever signed it, or with --add, beside them."""
    from host.pack import sign_pack

    pair = _signing_key(output, key_name)
    opened = sign_pack(path, pair, add)
    data = {"pack": str(path), **_summary(opened)}
    how = "also" if add else "now"
    output.result(data, f"{opened.name} {opened.version}, {how} signed by {pair.name} ({pair.public.key_id.hex()})")


@command(pack, "verify")
@click.argument("path", metavar="PACK", type=_PATH, required=False)
def pack_verify(output: Output, path: Path | None) -> None:
    """Check a pack's signatures, hashes and contents against the keys that you trust."""
    from host.pack import verify_pack

    chosen = path or default_pack()
    opened = verify_pack(chosen)
    data = {"pack": str(chosen), **_summary(opened)}
    names = " and ".join(public.name for public in opened.signers)
    output.result(data, f"{opened.name} {opened.version}: signed by {names}, every hash is right.")


@command(pack, "inspect")
@click.argument("path", metavar="PACK", type=_PATH, required=False)
def pack_inspect(output: Output, path: Path | None) -> None:
    """Show what is in a pack or a board image (.kimg), whoever signed it, and whether it verifies."""
    from host.pack import inspect

    data = inspect(path or default_pack())
    trust = data["trust"]
    kernels = [tuple(_size(value) for value in kernel.values()) for kernel in data["kernels"]]
    shown = {name: value for name, value in data.items() if not isinstance(value, list | dict) and value is not None}
    shown |= {"signed_by": " ".join(data["signed_by"])} if "signed_by" in data else {}
    shown |= {f"image for {target}": f"{entry['size']} bytes" for target, entry in data.get("images", {}).items()}
    verdict = "It verifies." if trust["verified"] else f"It does not verify: {trust['error']}: {trust['message']}"
    output.result(data, facts(shown), "", table(*data["kernels"][0], rows=kernels), "", verdict)


def _size(value: Any) -> str:
    """A value of a kernel's, in one cell: a list by its items, sizes by their targets."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {size}" for name, size in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)


def _signing_key(output: Output, name: str | None) -> KeyPair:
    """The key to sign with; the default one is made when there is none, and that is said."""
    from host.pack import keys

    if name:
        return keys.load_private(name)
    return default_key(output)


def default_key(output: Output) -> KeyPair:
    """The user's default key, made and announced when there is none."""
    from host.pack import keys

    there = any(public.name == keys.DEFAULT for public in keys.public_files())
    pair = keys.default_or_create()
    if not there:
        output.note(f"Made a key pair to sign packs with, key id {pair.public.key_id.hex()}, in {keys.folder()}")
    return pair


def _summary(opened: Pack) -> dict[str, Any]:
    return {
        "name": opened.name,
        "version": opened.version,
        "kernels": list(opened.kernels),
        "key_id": opened.key.key_id.hex(),
        "signed_by": [public.key_id.hex() for public in opened.signers],
    }
