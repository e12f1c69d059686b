"""Kernels in C, compiled to plain wasm32 by the clang in PyPI's ziglang."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import ziglang  # type: ignore[import-untyped]

from host import project, steps
from host.errors import BuildError
from host.pack.flavours import PORTABLE
from host.pack.linking import link_options
from host.pack.params_header import file_name, params_header
from host.pack.spec import KernelSpec

_FLAGS = (
    "-target", "wasm32-freestanding",
    "-std=c11", "-Wall", "-Wextra", "-Werror", "-Werror=date-time",
    "-O3", "-ffp-contract=off", "-fno-builtin", "-fno-sanitize=all", "-nostdlib",
)  # fmt: skip
_CPU: Mapping[str, str] = {
    PORTABLE: "-mcpu=mvp+bulk_memory",  # so that copies are memory.copy and not calls of a memcpy that is not there
    "simd128": "-mcpu=mvp+bulk_memory+simd128",
}


def include_folder() -> Path:
    """Where kernel_abi.h is."""
    return project.root() / "kernels_aot" / "include"


def inputs(source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> dict[str, object]:
    """All that the module depends on, as JSON: compiler, flags, params header, source, and every header in reach."""
    files = {
        f"{name}/{path.relative_to(root).as_posix()}": _sha256(path)
        for name, root in (("pack", folder), ("include", include_folder()))
        for path in sorted(root.rglob("*.h"))
    }
    return {
        "ziglang": importlib.metadata.version("ziglang"),
        "flags": [*_FLAGS, _CPU[flavour], *link_options(spec)],
        "params": params_header(spec, version),
        "source": [source.relative_to(folder).as_posix(), _sha256(source)],
        "headers": files,
    }


def compile_module(source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> bytes:
    """The module of ``source``, a file of the pack in ``folder``.

    Headers are looked for in the source's folder, the pack's and kernels_aot/include, and before each of them in its
    subfolder named after the flavour. Raises BuildError with the compiler's messages, or naming
    a file from outside that the source includes.
    """
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        generated = scratch / "include"
        generated.mkdir()
        (generated / file_name(spec)).write_text(params_header(spec, version))
        module, dependencies = scratch / "kernel.wasm", scratch / "kernel.d"
        place = source.relative_to(folder)
        # Paths relative to the pack's folder, and prefixes mapped, keep this machine's folders out of __FILE__.
        command: list[str | Path] = [
            sys.executable, "-m", "ziglang", "cc", *_FLAGS, _CPU[flavour],
            ",".join(["-Wl", *link_options(spec)]),
            f"-ffile-prefix-map={include_folder()}=include", f"-ffile-prefix-map={generated}=include",
            *(f"-I{path}" for path in (generated, place.parent / flavour, place.parent, flavour, ".")),
            *(f"-I{path}" for path in (include_folder() / flavour, include_folder())),
            "-MD", f"-MF{dependencies}", "-o", module, place,
        ]  # fmt: skip
        steps.run(command, lambda _line: None, cwd=folder, env=_environment())
        _check_dependencies(dependencies, source, folder, generated)
        return module.read_bytes()


def _environment() -> dict[str, str]:
    """Zig's caches in the build folder, and no variable that adds include folders or flags."""
    cache = str(project.build_dir() / "zig-cache")
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}
    return kept | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}


def _check_dependencies(file: Path, source: Path, folder: Path, generated: Path) -> None:
    """Refuse a kernel that includes more than headers of its pack, of the ABI and of the compiler: those are all that a
    rebuild looks at, and all that another machine has.
    """
    zig = Path(ziglang.__file__).parent
    roots = [path.resolve() for path in (folder, include_folder(), generated, zig)]
    for name in shlex.split(file.read_text().replace("\\\n", " "))[1:]:
        path = (folder / name).resolve()
        if path != source and not (path.suffix == ".h" and any(path.is_relative_to(root) for root in roots)):
            raise BuildError(f"{source} includes {name}, which is no header of the pack")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
