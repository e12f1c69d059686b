"""host key, host pack: what a publisher of kernels does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from host import project
from host.cli.app import host
from host.cli.options import command
from host.cli.output import Output, facts, table
from host.errors import UsageError

if TYPE_CHECKING:
    from host.pack import KeyPair, Pack

_PATH = click.Path(exists=True, path_type=Path)
_key_option = click.option(
    "--key", "key_name", help="Name or .key file of the key that signs; default: your default key."
)


@host.group()
def key() -> None:
    """Keys that sign packs; firmware trusts the public keys there are when it is built."""


@command(key, "new")
@click.argument("name", default="default")
def key_new(output: Output, name: str) -> None:
    """Make an Ed25519 key pair, readable by you only."""
    from host.pack import keys

    pair = keys.generate(name)
    data = {"name": name, "key_id": pair.public.key_id.hex(), "folder": str(keys.folder())}
    output.result(data, facts(data), "Firmware that is built from now on trusts it: host build BOARD")


@command(key, "list")
def key_list(output: Output) -> None:
    """List the keys that firmware will trust."""
    from host.pack import keys

    rows = [(public.name, public.key_id.hex()) for public in keys.public_keys()]
    output.result(
        {"keys": [{"name": name, "key_id": key_id} for name, key_id in rows]}, table("name", "key id", rows=rows)
    )


@command(key, "show")
@click.argument("name", default="default")
def key_show(output: Output, name: str) -> None:
    """Show one public key."""
    from host.pack import keys

    public = next((public for public in keys.public_keys() if public.name == name), None)
    if public is None:
        raise UsageError(f"no key {name!r} in {keys.folder()}; make one with: host key new {name}")
    data = {"name": public.name, "key_id": public.key_id.hex(), "public_key": public.text}
    output.result(data, facts(data))


@host.group()
def pack() -> None:
    """Kernel packs: start a new one, build, sign, verify, inspect."""


def default_pack() -> Path:
    """The pack of the current folder, else the project's own, as `host pack build` leaves it.

    Raises UsageError when it is not built.
    """
    from host.pack import read_source

    source = read_source(current_source() or _own_source())
    path = _packs_folder(source.folder) / f"{source.name}-{source.version}"
    if not path.exists():
        raise UsageError(f"no pack given, and {path} is not built; make it with: host pack build")
    return path


def current_source() -> Path | None:
    """The current folder, when it is the source of a pack."""
    from host.pack.source import FILE

    folder = Path.cwd()
    return folder if (folder / FILE).is_file() else None


def _own_source() -> Path:
    return project.root() / "kernels_aot"


def _packs_folder(source: Path) -> Path:
    """Where `host pack build` puts the pack of that folder: in it, but the project's own where everything is built."""
    return project.build_dir() / "packs" if source == _own_source() else source / "build"


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

    pair = _signing_key(output, key_name)
    folder = read_source(source or current_source() or _own_source()).folder
    built = build_pack(folder, out or _packs_folder(folder), pair, list(targets) or None)
    opened = Pack.open(built, [pair.public])
    data = {"pack": str(built), "archive": None, **_summary(opened)}
    if archive:
        data["archive"] = str(write_archive(built, built.parent))
    output.result(data, f"{opened.name} {opened.version} in {built}, signed by {pair.name} ({data['key_id']})")


@command(pack, "sign")
@click.argument("path", metavar="PACK", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_key_option
def pack_sign(output: Output, path: Path, key_name: str | None) -> None:
    """Sign a pack's folder with your key instead of whoever signed it."""
    from host.pack import sign_pack

    pair = _signing_key(output, key_name)
    opened = sign_pack(path, pair)
    data = {"pack": str(path), **_summary(opened)}
    output.result(data, f"{opened.name} {opened.version}, now signed by {pair.name} ({data['key_id']})")


@command(pack, "verify")
@click.argument("path", metavar="PACK", type=_PATH, required=False)
def pack_verify(output: Output, path: Path | None) -> None:
    """Check a pack's signatures, hashes and contents against the keys that you trust."""
    from host.pack import verify_pack

    chosen = path or default_pack()
    opened = verify_pack(chosen)
    data = {"pack": str(chosen), **_summary(opened)}
    output.result(data, f"{opened.name} {opened.version}: signed by {opened.key.name}, every hash is right.")


@command(pack, "inspect")
@click.argument("path", metavar="PACK", type=_PATH, required=False)
def pack_inspect(output: Output, path: Path | None) -> None:
    """Show what is in a pack or a board image (.kimg), whoever signed it, and whether it verifies."""
    from host.pack import inspect

    data = inspect(path or default_pack())
    trust = data["trust"]
    kernels = [tuple(_size(value) for value in kernel.values()) for kernel in data["kernels"]]
    shown = {name: value for name, value in data.items() if not isinstance(value, list | dict) and value is not None}
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

    there = any(public.name == keys.DEFAULT for public in keys.public_keys())
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
    }
