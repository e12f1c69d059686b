"""How the files of a part are downloaded, checked, unpacked and prepared.

Each download is left to the ordinary client of where it comes from (cargo, apt, npm), so that the user's
mirrors, proxies and credentials hold. Each file's sha256 is checked here, whatever the client checked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from host import debian, steps
from host.errors import BuildError, PartMissing

if TYPE_CHECKING:
    from host.parts import Part

Show = Callable[[str], None]

# Resolver 3 with a rust-version keeps dependencies away that this cargo could not read; none of them is used.
_MANIFEST = """\
[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
rust-version = "1.85"
resolver = "3"
[lib]
path = "lib.rs"
[dependencies]
{part.package} = "={part.package_version}"
"""

_APT_HELPER = Path("/usr/lib/apt/apt-helper")


def download(part: Part, folder: Path) -> list[Path]:
    """Every file of the part in ``folder``, each with the pinned sha256; those that are there are kept.

    Raises PartMissing when a file cannot be had or is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in part.files]
    if all(file.is_file() and sha256(file) == part.files[file.name] for file in files):
        return files
    what = f"{part.name} {part.version}"
    with (
        steps.step(f"{what}: downloading {part.package} {part.package_version}") as show,
        scratch(folder, "new") as new,
    ):
        try:
            _CLIENTS[part.how](part, new, show)
            for file in files:
                check(new / file.name, part.files[file.name])
                (new / file.name).rename(file)
        except BuildError as error:
            raise PartMissing(f"{what} cannot be fetched: {error}\n{_advice(part)}") from error
    return files


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder in ``parent``, removed at the end together with those that killed processes left.

    The caller holds the lock for ``name``.
    """
    for stale in parent.glob(f".{name}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(file: Path, expected: str) -> None:
    """Raise BuildError unless ``file`` is there and its sha256 is ``expected`` (hexadecimal)."""
    if not file.is_file():
        raise BuildError(f"{file.name} was not delivered")
    actual = sha256(file)
    if actual != expected:
        raise BuildError(f"{file.name} has sha256 {actual}, but {expected} is pinned: refused")


def sha256(file: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(part: Part, files: list[Path], folder: Path) -> None:
    """Unpack checked ``files`` so that ``folder / part.root`` is the part."""
    with steps.step(f"{part.name} {part.version}: unpacking") as show:
        if part.how == "debian-source":
            dsc = next(file for file in files if file.suffix == ".dsc")
            # --no-check: who signed it is settled by the pinned sha256
            steps.run(["dpkg-source", "--no-check", "-x", dsc, folder], show)
            return
        folder.mkdir()
        for file in files:
            if part.how == "debian-binary":
                steps.run(["dpkg-deb", "-x", file, folder], show)
            else:
                # a crate and an npm package have one folder at the top
                steps.run(["tar", "-xzf", file, "-C", folder, "--strip-components=1"], show)


def prepare(part: Part, folder: Path, needed: Mapping[str, Path]) -> None:
    """What an unpacked part wants before it can be used: for MicroPython, its submodules and mpy-cross."""
    if part.name != "micropython":
        return
    for name, target in needed.items():
        link = folder / "lib" / name
        link.rmdir()  # Debian's source has an empty folder for each submodule
        link.symlink_to(target)
    # The build only asks whether this file exists; the library itself is not used.
    (folder / "lib" / "micropython-lib" / "README.md").touch()
    with steps.step(f"{part.name} {part.version}: building mpy-cross") as show:
        steps.run(["make", "-C", folder / "mpy-cross", "-j2"], show)


def _crate(part: Part, folder: Path, show: Show) -> None:
    """Have cargo put the crate into its own cache, and copy the archive from there."""
    (folder / "Cargo.toml").write_text(_MANIFEST.format(part=part))
    (folder / "lib.rs").touch()
    version = steps.run(["cargo", "-vV"], show, cwd=folder)
    host = next(line.removeprefix("host: ") for line in version.splitlines() if line.startswith("host: "))
    steps.run(["cargo", "fetch", "--target", host], show, cwd=folder)
    about = ["cargo", "metadata", "--quiet", "--offline", "--format-version=1", "--filter-platform", host]
    metadata = json.loads(steps.run(about, lambda _line: None, cwd=folder))
    source = Path(next(p["manifest_path"] for p in metadata["packages"] if p["name"] == part.package)).parent
    # .../registry/src/<registry>/<crate> is unpacked from .../registry/cache/<registry>/<crate>.crate
    archive = source.parent.parent.parent / "cache" / source.parent.name / f"{source.name}.crate"
    if not archive.is_file():
        raise BuildError(f"cargo has no {archive.name} in its cache (a directory source keeps no archives)")
    shutil.copyfile(archive, folder / archive.name)


def _debian(part: Part, folder: Path, show: Show) -> None:
    """Have apt's downloader get each file from the first mirror that has it."""
    mirrors = debian.mirrors()
    if not _APT_HELPER.is_file() or not mirrors:
        raise BuildError("apt on this machine has no mirror of the Debian archive")
    for name in part.files:
        failures = []
        for mirror in mirrors:
            uri = f"{mirror}/pool/{part.pool}/{name}"
            # root: apt may not hand the download to a user who cannot write into this folder
            sandbox = ["-o", "APT::Sandbox::User=root"]
            try:
                steps.run([_APT_HELPER, *sandbox, "download-file", uri, folder / name], show)
                break
            except BuildError as error:
                failures.append(str(error))
        else:
            raise BuildError("\n".join(failures))


def _npm(part: Part, folder: Path, show: Show) -> None:
    """Have npm pack the published package."""
    package = f"{part.package}@{part.package_version}"
    steps.run(["npm", "pack", package, "--ignore-scripts", "--pack-destination", folder], show, cwd=folder)


_CLIENTS: dict[str, Callable[[Part, Path, Show], None]] = {
    "crate": _crate,
    "debian-source": _debian,
    "debian-binary": _debian,
    "npm": _npm,
}


def _advice(part: Part) -> str:
    """What the user can do when a download fails."""
    elsewhere = f"or unpack {part.name} {part.version} yourself and set {part.variable} to that folder"
    if part.how == "crate":
        return f"Check the network and that cargo is 1.85 or later (host doctor), {elsewhere}."
    if part.how == "npm":
        return f"Check the network and npm (host doctor), {elsewhere}."
    return (
        "Check the network. A Debian mirror drops a version when a point release replaces it: "
        f"if {part.package} {part.package_version} is gone (404), get it from Debian's snapshot archive, "
        f"{elsewhere}."
    )
