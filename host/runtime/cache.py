"""Compiled modules, in memory and on disk, so that a kernel is compiled once for each Wasmtime and configuration.

A file is machine code that this process will run, and Wasmtime cannot tell good from bad there. So none is used unless
it carries the right HMAC-SHA256 under a key that only this user can read. The HMAC covers the file's name too, which
is made of the key and of what the code is for: the wasm, the version of Wasmtime and the configuration. So no file can
stand in for another. One that is not right is compiled anew and replaced. Files are written under another name and
renamed, so that processes may share them.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import stat
import tempfile
import weakref
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from wasmtime import Engine, Module, WasmtimeError

from host import project

_log = logging.getLogger("host.runtime")
_KEY_SIZE = _TAG_SIZE = 32
_MOST_FILES = 512


class ModuleCache:
    """The modules of one engine, whose configuration ``configuration`` tells from any other.

    ``compiled`` and ``loaded`` count how many modules came from the compiler and from files.
    """

    def __init__(self, engine: Engine, configuration: str) -> None:
        self.compiled = self.loaded = 0
        self._engine = engine
        self._configuration = configuration
        self._modules: weakref.WeakValueDictionary[bytes, Module] = weakref.WeakValueDictionary()

    def get(self, wasm: bytes) -> Module:
        """``wasm``, compiled. Raises WasmtimeError when it is no module that the engine takes."""
        digest = hashlib.sha256(wasm).digest()
        module = self._modules.get(digest)
        if module is None:
            module = self._modules[digest] = self._from_file(digest) or self._compile(digest, wasm)
        return module

    def _from_file(self, digest: bytes) -> Module | None:
        with suppress(OSError, WasmtimeError):
            key = _key()
            file = self._file(key, digest)
            content = file.read_bytes()
            tag, code = content[:_TAG_SIZE], content[_TAG_SIZE:]
            if hmac.compare_digest(tag, _tag(key, file.name, code)):
                module = Module.deserialize(self._engine, code)
                os.utime(file)
                self.loaded += 1
                return module
            _log.warning("%s is not what this user's runtime wrote; it is compiled anew", file)
        return None

    def _compile(self, digest: bytes, wasm: bytes) -> Module:
        module = Module(self._engine, wasm)
        self.compiled += 1
        with suppress(OSError):  # without a file it is only slower
            key = _key()
            file, code = self._file(key, digest), bytes(module.serialize())
            _write(file, _tag(key, file.name, code) + code)
            _drop_oldest(file.parent)
        return module

    def _file(self, key: bytes, digest: bytes) -> Path:
        identity = "\0".join((digest.hex(), version("wasmtime"), self._configuration))
        name = hmac.new(key, identity.encode(), hashlib.sha256).hexdigest()
        return project.cache_dir() / "modules" / f"{name}.cwasm"


def _tag(key: bytes, name: str, code: bytes) -> bytes:
    return hmac.digest(key, name.encode() + b"\0" + code, "sha256")


def _key() -> bytes:
    """The user's key, made when there is none, or when it is not the user's alone. Raises OSError."""
    file = project.config_dir() / "module-cache.key"
    for _ in range(2):
        with suppress(FileNotFoundError):
            status = file.stat()
            key = file.read_bytes()
            if len(key) == _KEY_SIZE and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                return key
            file.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".key-") as new:  # mode 0600
            new.write(secrets.token_bytes(_KEY_SIZE))
            new.flush()
            with suppress(FileExistsError):  # of two processes, the first one's is the key
                os.link(new.name, file)
    return file.read_bytes()


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as new:
            new.write(content)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _drop_oldest(folder: Path) -> None:
    """Keep the files that were used last."""
    files = sorted(folder.glob("*.cwasm"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_MOST_FILES]:
        file.unlink(missing_ok=True)
