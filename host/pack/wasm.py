"""Kernels in C compiled to plain wasm32, and what a compiled module must be: docs/kernel-abi.md."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import ziglang  # type: ignore[import-untyped]

from host import project, steps
from host.errors import BuildError, MalformedPack
from host.pack.params_header import file_name, params_header
from host.pack.spec import KernelSpec

_FLAGS = (
    "-target", "wasm32-freestanding",
    "-mcpu=mvp+bulk_memory",  # so that copies are memory.copy and not calls of a memcpy that is not there
    "-std=c11", "-Wall", "-Wextra", "-Werror", "-Werror=date-time",
    "-O3", "-ffp-contract=off", "-fno-builtin", "-fno-sanitize=all", "-nostdlib",
    "-Wl,--no-entry", "-Wl,--strip-all",
    "-Wl,-z,stack-size=1024",  # it lies first: running off its end leaves linear memory and traps
    "-Wl,--initial-memory=65536",
    "-Wl,--export=__heap_base", "-Wl,--export=__data_end",  # wamrc cuts the first page down to what lies below
)  # fmt: skip
FEATURES = ("bulk-memory",)
"""What a compiled kernel may use beyond WebAssembly 1.0, as kernels.json names it."""
_PAGE = 65536
_START_FUEL = 100_000  # instructions a start function may take


@dataclass(frozen=True)
class WasmInfo:
    """A module as ``inspect_wasm`` found it.

    ``imports`` are ``module.name``, ``exports`` names with their types; ``heap_base`` is the bytes of the module's own
    stack and data.
    """

    imports: tuple[str, ...]
    exports: dict[str, str]
    heap_base: int | None
    memory_pages: tuple[int, int | None] | None


def include_folder() -> Path:
    """Where kernel_abi.h is."""
    return project.root() / "kernels_aot" / "include"


def compiler_inputs(source: Path, spec: KernelSpec, folder: Path) -> dict[str, object]:
    """All that the module depends on, as JSON: compiler, flags, params header, source, and every header in reach."""
    files = {
        f"{name}/{path.relative_to(root).as_posix()}": _sha256(path)
        for name, root in (("pack", folder), ("include", include_folder()))
        for path in sorted(root.rglob("*.h"))
    }
    return {
        "ziglang": importlib.metadata.version("ziglang"),
        "flags": [*_FLAGS, *_kernel_flags(spec)],
        "params": params_header(spec),
        "source": [source.relative_to(folder).as_posix(), _sha256(source)],
        "headers": files,
    }


def compile_wasm(source: Path, spec: KernelSpec, out: Path, folder: Path | None = None) -> None:
    """Compile ``source``, a file of the pack in ``folder`` (its own by default), to a module in ``out``.

    Raises BuildError with the compiler's messages, or naming a file from outside the pack that the source includes, and
    MalformedPack when the module is no kernel as ``spec`` says.
    """
    folder = (folder or source.parent).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        generated = scratch / "include"
        generated.mkdir()
        (generated / file_name(spec)).write_text(params_header(spec))
        module, dependencies = scratch / "kernel.wasm", scratch / "kernel.d"
        # Paths relative to the pack's folder, and prefixes mapped, keep this machine's folders out of __FILE__.
        command: list[str | Path] = [
            sys.executable, "-m", "ziglang", "cc", *_FLAGS, *_kernel_flags(spec),
            f"-ffile-prefix-map={include_folder()}=include", f"-ffile-prefix-map={generated}=include",
            f"-I{generated}", f"-I{include_folder()}", "-MD", f"-MF{dependencies}",
            "-o", module, source.resolve().relative_to(folder),
        ]  # fmt: skip
        steps.run(command, lambda _line: None, cwd=folder, env=_environment())
        _check_dependencies(dependencies, source.resolve(), folder, generated)
        check_kernel(module.read_bytes(), spec)
        shutil.copyfile(module, out)


def inspect_wasm(module: bytes) -> WasmInfo:
    """What ``module`` imports, exports and needs. Raises MalformedPack when it is no valid module."""
    from wasmtime import (
        Config,
        Engine,
        FuncType,
        Global,
        GlobalType,
        Instance,
        MemoryType,
        Module,
        Store,
        Trap,
        WasmtimeError,
    )  # fmt: skip

    config = Config()
    config.consume_fuel = True
    engine = Engine(config)
    try:
        compiled = Module(engine, module)
    except WasmtimeError as error:
        raise MalformedPack(f"not a WebAssembly module: {error}") from error
    exports: dict[str, str] = {}
    pages = heap_base = None
    for export in compiled.exports:
        kind = export.type
        if isinstance(kind, FuncType):
            exports[export.name] = f"({_names(kind.params)}) -> ({_names(kind.results)})"
        elif isinstance(kind, MemoryType):
            exports[export.name] = "memory"
            pages = (kind.limits.min, kind.limits.max) if export.name == "memory" else pages
        elif isinstance(kind, GlobalType):
            exports[export.name] = f"{'mut ' if kind.mutable else ''}{kind.content}"
        else:
            exports[export.name] = "table"
    if not compiled.imports and exports.get("__heap_base") == "i32":
        store = Store(engine)
        store.set_fuel(_START_FUEL)
        try:
            exported = Instance(store, compiled, []).exports(store)["__heap_base"]
        except (WasmtimeError, Trap) as error:
            raise MalformedPack(f"the module cannot be instantiated: {error}") from error
        assert isinstance(exported, Global)
        heap_base = exported.value(store) & 0xFFFFFFFF
    return WasmInfo(
        imports=tuple(f"{item.module}.{item.name}" for item in compiled.imports),
        exports=exports,
        heap_base=heap_base,
        memory_pages=pages,
    )


def check_kernel(module: bytes, spec: KernelSpec) -> WasmInfo:
    """What ``module`` is, if it is a kernel as ``spec`` says. Raises MalformedPack naming what is wrong with it."""
    info = inspect_wasm(module)
    if info.imports:
        raise MalformedPack(f"{spec.id} imports {', '.join(info.imports)}; a kernel has no imports")
    for name, kind in {"memory": "memory", "__heap_base": "i32", spec.entry_point: "(i32) -> (i32)"}.items():
        if name not in info.exports:
            raise MalformedPack(f"{spec.id} does not export {name}")
        if info.exports[name] != kind:
            raise MalformedPack(f"{spec.id} exports {name} as {info.exports[name]}, must be {kind}")
    assert info.memory_pages is not None
    first, most = info.memory_pages
    if first != 1 or most is None or most > spec.limits.max_memory_pages:
        raise MalformedPack(
            f"{spec.id} has {first} pages of memory, at most {most or 'any number'}; "
            f"must be 1, at most {spec.limits.max_memory_pages}"
        )
    return info


def _kernel_flags(spec: KernelSpec) -> tuple[str, ...]:
    return f"-Wl,--max-memory={spec.limits.max_memory_pages * _PAGE}", f"-Wl,--export={spec.entry_point}"


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


def _names(types: Iterable[object]) -> str:
    return ", ".join(map(str, types))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
