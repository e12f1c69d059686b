"""A pack's files, in a folder or in one archive (``.kpack``).

Whoever reads gets bytes, so that what was checked is what is used. A folder may hold regular files only; an archive is
a zip file in the one form that ``write_archive`` gives it, and any other is refused.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from host.errors import MalformedPack, UsageError
from host.pack import manifest

ARCHIVE_SUFFIX = ".kpack"
MAX_FILE_SIZE = 16 << 20
MAX_FILES = 1024
_NO_ARCHIVE = (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, RuntimeError, EOFError, OSError)
"""What zipfile raises for bytes that are none."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member: the first that zip can say


def read(path: Path) -> dict[str, bytes]:
    """Every file of the pack by its path, with forward slashes. Raises MalformedPack or UsageError."""
    try:
        if path.is_dir():
            return _read_folder(path)
    except OSError as error:
        raise UsageError(f"{path} is no pack: {error.strerror}") from error
    return _read_archive(read_file(path, MAX_FILE_SIZE * 4), path.name)


def read_file(path: Path, limit: int = MAX_FILE_SIZE) -> bytes:
    """A file of at most ``limit`` bytes. Raises MalformedPack for a longer one, UsageError when it cannot be read."""
    try:
        return _read_file(path, limit)
    except OSError as error:
        raise UsageError(f"{path} is no pack: {error.strerror}") from error


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Make ``folder`` hold exactly ``files``; it is left alone when it does, and replaced as a whole when not.

    Raises UsageError when there is something else in its place.
    """
    if folder.exists():
        if not (folder / manifest.FILE).is_file():
            raise UsageError(f"{folder} is in the way: it is no pack, so it is not overwritten")
        if _holds(folder, files):
            return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        for name, data in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(data)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


def write_archive(folder: Path, out: Path) -> Path:
    """Put the pack in ``folder`` into one file, ``<name>.kpack`` where ``out`` is a folder. Returns its path."""
    if out.is_dir():
        out = out / (folder.resolve().name + ARCHIVE_SUFFIX)
    out.write_bytes(_archive(read(folder)))
    return out


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return _read_folder(folder) == files
    except MalformedPack:
        return False


def _read_folder(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in [*folders, *names]:
            path = Path(place) / name
            mode = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise MalformedPack(f"{relative} is a link or no regular file")
            if len(files) == MAX_FILES:
                raise MalformedPack(f"more than {MAX_FILES} files")
            files[relative] = _read_file(path, MAX_FILE_SIZE)
    return files


def _read_file(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise MalformedPack(f"{path.name} has more than {limit} bytes")
    return data


def _raise(error: OSError) -> None:
    raise error


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A zip file, nothing compressed, members sorted by name, no times and no modes of this machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # Unix, wherever this runs
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, files[name])
    return buffer.getvalue()


def _read_archive(data: bytes, name: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_FILES or sum(member.file_size for member in members) > len(data):
                raise MalformedPack(f"{name}: it has more than {MAX_FILES} files, or more in them than itself")
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > MAX_FILE_SIZE:
                    raise MalformedPack(f"{name}: {member.filename} is compressed or too large")
                files[member.filename] = archive.read(member)
        if _archive(files) != data:
            raise MalformedPack(f"{name} is not in the form in which pack archives are written")
    except _NO_ARCHIVE as error:
        raise MalformedPack(f"{name} is no pack archive: {error}") from error
    return files
