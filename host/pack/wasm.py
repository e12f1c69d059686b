"""What a compiled kernel must be, whatever it was written in: docs/kernel-abi.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from host.errors import MalformedPack, UsageError
from host.pack import clang, rust
from host.pack.linking import functions
from host.pack.spec import BACKWARD_ENTRY, KernelSpec

if TYPE_CHECKING:
    from wasmtime import Module


class Compiler(Protocol):
    """What makes modules of sources in one language."""

    def inputs(self, source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> dict[str, object]: ...
    def compile_module(self, source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> bytes: ...


_COMPILERS: Mapping[str, Compiler] = {".c": clang, ".rs": rust}
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


def compiler_inputs(source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> dict[str, object]:
    """All that a module depends on, as JSON."""
    return _compiler(source).inputs(source, spec, version, flavour, folder)


def compile_wasm(source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> bytes:
    """Compile ``source``, a file of the pack in ``folder`` whose version is ``version``.

    Raises BuildError with the compiler's messages, or naming a file from outside the pack that the source includes, and
    MalformedPack when the module is no kernel as ``spec`` says.
    """
    module = _compiler(source).compile_module(source.resolve(), spec, version, flavour, folder.resolve())
    check_kernel(module, spec)
    return module


def inspect_wasm(module: bytes) -> WasmInfo:
    """What ``module`` imports, exports and needs. Raises MalformedPack when it is no valid module."""
    from wasmtime import Config, Engine, Global, Instance, MemoryType, Module, Store, Trap, WasmtimeError

    config = Config()
    config.consume_fuel = True
    engine = Engine(config)
    try:
        compiled = Module(engine, module)
    except WasmtimeError as error:
        raise MalformedPack(f"not a WebAssembly module: {error}") from error
    exports = export_types(compiled)
    pages = heap_base = None
    for export in compiled.exports:
        if isinstance(export.type, MemoryType) and export.name == "memory":
            pages = (export.type.limits.min, export.type.limits.max)
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


def export_types(module: Module) -> dict[str, str]:
    """What a compiled module exports, by name: ``(i32) -> (i32)``, ``memory``, ``table``, a global's ``mut i32``."""
    from wasmtime import FuncType, GlobalType, MemoryType

    types = {}
    for export in module.exports:
        kind = export.type
        if isinstance(kind, FuncType):
            types[export.name] = f"({_names(kind.params)}) -> ({_names(kind.results)})"
        elif isinstance(kind, GlobalType):
            types[export.name] = f"{'mut ' if kind.mutable else ''}{kind.content}"
        else:
            types[export.name] = "memory" if isinstance(kind, MemoryType) else "table"
    return types


def export_problem(exports: Mapping[str, str], spec: KernelSpec) -> str | None:
    """What is missing among `export_types` of a kernel, or of another type; None when it has all."""
    for name, kind in {"memory": "memory", "__heap_base": "i32", **functions(spec)}.items():
        if name not in exports:
            return f"{spec.id} does not export {name}"
        if exports[name] != kind:
            return f"{spec.id} exports {name} as {exports[name]}, must be {kind}"
    return None


def check_kernel(module: bytes, spec: KernelSpec) -> WasmInfo:
    """What ``module`` is, if it is a kernel as ``spec`` says. Raises MalformedPack naming what is wrong with it."""
    info = inspect_wasm(module)
    if info.imports:
        raise MalformedPack(f"{spec.id} imports {', '.join(info.imports)}; a kernel has no imports")
    problem = export_problem(info.exports, spec)
    if problem is not None:
        raise MalformedPack(problem)
    if spec.backward is None and BACKWARD_ENTRY in info.exports:
        raise MalformedPack(f"{spec.id} exports {BACKWARD_ENTRY}, but is described without backward")
    assert info.memory_pages is not None
    first, most = info.memory_pages
    if first != 1 or most is None or most > spec.limits.max_memory_pages:
        raise MalformedPack(
            f"{spec.id} has {first} pages of memory, at most {most or 'any number'}; "
            f"must be 1, at most {spec.limits.max_memory_pages}"
        )
    return info


def _names(types: Iterable[object]) -> str:
    return ", ".join(map(str, types))


def _compiler(source: Path) -> Compiler:
    """What compiles a source, by its name."""
    try:
        return _COMPILERS[source.suffix]
    except KeyError:
        raise UsageError(f"{source.name}: a kernel's source ends in {' or '.join(_COMPILERS)}") from None
