"""Kernels in Rust, compiled to plain wasm32 by the rustc in tools/parts.toml and linked by LLVM's wasm-ld.

A kernel is one crate, `no_std`, with two others at hand: `kernel_abi` (kernels_aot/include/kernel_abi.rs) and
`kernel_params`, which is made from its description.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from host import parts, steps
from host.errors import BuildError
from host.pack.clang import include_folder
from host.pack.flavours import PORTABLE
from host.pack.linking import link_options
from host.pack.spec import KernelSpec, ParamType

_FLAGS = (
    "--target", "wasm32-unknown-unknown", "--edition", "2021", "-Dwarnings",
    "-Copt-level=3", "-Cpanic=abort", "-Ccodegen-units=1", "-Ctarget-cpu=mvp",
)  # fmt: skip
_FEATURES: Mapping[str, str] = {
    PORTABLE: "-Ctarget-feature=+bulk-memory",
    "simd128": "-Ctarget-feature=+bulk-memory,+simd128",
}
_LTO = "-Clto=fat"  # takes the texts of panics out, as the panic handler does not look at them
_LINK = ("--stack-first", "--fatal-warnings")  # LLVM's wasm-ld would put the data first
_TYPES: Mapping[ParamType, str] = {"f32": "f32", "i32": "i32", "u32": "u32", "bool": "u32"}


def params_crate(spec: KernelSpec, version: str) -> str:
    """The crate ``kernel_params``: ``NAME``, ``VERSION`` (the pack's) and ``PARAM_COUNT`` for kernel_info and
    kernel_init, and ``Params``: each symbol's value, then each parameter, one 32-bit word each.
    """
    fields = [f"    pub r#{symbol}: u32," for symbol in spec.symbols]
    fields += [f"    pub r#{param.name}: {_TYPES[param.type]}," for param in spec.params]
    lines = [
        f"//! Identity and params block of {spec.id}, made from pack.toml.",
        "#![no_std]",
        f'pub const NAME: &str = "{spec.id}";',
        f'pub const VERSION: &str = "{version}";',
        f"pub const PARAM_COUNT: u32 = {len(spec.params)};",
        "#[repr(C)]",
        "pub struct Params {",
        *fields,
        "}",
    ]
    return "\n".join([*lines, ""])


def inputs(source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> dict[str, object]:
    """All that the module depends on, as JSON: compiler, linker, flags, both crates, source, every .rs in reach."""
    return {
        "rustc": steps.run([*_rustc(), "-vV"], _quiet, env=_environment()),
        "wasm-ld": steps.run(["wasm-ld", "--version"], _quiet),
        "flags": [*_FLAGS, _FEATURES[flavour], _LTO, *_LINK, *link_options(spec)],
        "abi": _sha256(_abi()),
        "params": params_crate(spec, version),
        "source": source.relative_to(folder).as_posix(),
        "files": {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(folder.rglob("*.rs"))},
    }


def compile_module(source: Path, spec: KernelSpec, version: str, flavour: str, folder: Path) -> bytes:
    """The module of ``source``, a file of the pack in ``folder``.

    Raises PartMissing when the compiler cannot be had, and BuildError with its messages, or naming what of the machine
    the source reads: a file from outside the pack, or a variable of the environment.
    """
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        generated = scratch / "kernel_params.rs"
        generated.write_text(params_crate(spec, version))
        flags = [*_FLAGS, _FEATURES[flavour]]
        for crate in (_abi(), generated):
            remap = f"--remap-path-prefix={crate.parent}=include"
            _compile(
                [*flags, remap, "--crate-type=rlib", "--crate-name", crate.stem, "--out-dir", scratch, crate], folder
            )
        kernel, dependencies, module = (scratch / name for name in ("kernel.o", "kernel.d", "kernel.wasm"))
        place = source.relative_to(folder)
        # Paths relative to the pack's folder, and prefixes mapped, keep this machine's folders out of file!().
        remap = f"--remap-path-prefix={folder}=."
        externs = [f"--extern={crate}={scratch}/lib{crate}.rlib" for crate in ("kernel_abi", "kernel_params")]
        emit = [f"--emit=obj={kernel}", f"--emit=dep-info={dependencies}"]
        _compile([*flags, _LTO, remap, "--crate-type=cdylib", "--crate-name=kernel", *externs, *emit, place], folder)
        _check_dependencies(dependencies, source, folder)
        _link(kernel, spec, module)
        return module.read_bytes()


def _abi() -> Path:
    return include_folder() / "kernel_abi.rs"


def _root() -> Path:
    return parts.path("rust")


def _rustc() -> list[str | Path]:
    return [_root() / "bin" / "rustc", "--sysroot", _root()]


def _compile(arguments: Sequence[str | Path], folder: Path) -> None:
    steps.run([*_rustc(), *arguments], _quiet, cwd=folder, env=_environment())


def _link(kernel: Path, spec: KernelSpec, module: Path) -> None:
    """Link the whole kernel, which is one object, with what LLVM may call by itself."""
    libraries = _root() / "lib" / "rustlib" / "wasm32-unknown-unknown" / "lib"
    builtins = sorted(libraries.glob("libcompiler_builtins-*.rlib"))
    steps.run(["wasm-ld", *_LINK, *link_options(spec), "-o", module, kernel, *builtins], _quiet)


def _environment() -> dict[str, str]:
    """No variable that adds flags; and where Debian's package, which is not installed, has its libraries."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}
    return kept | {
        "LD_LIBRARY_PATH": ":".join(map(str, (_root() / "lib").glob("*-linux-gnu"))),
        "RUSTC_BOOTSTRAP": "kernel_abi",  # which alone may use the compiler's intrinsics
    }


def _check_dependencies(file: Path, source: Path, folder: Path) -> None:
    """Refuse a kernel that reads more than Rust files of its pack: those are all that a rebuild looks at, and all that
    another machine has.
    """
    rule, *others = file.read_text().splitlines()
    for name in shlex.split(rule)[1:]:
        path = (folder / name).resolve()
        if path != source and not (path.suffix == ".rs" and path.is_relative_to(folder)):
            raise BuildError(f"{source} reads {name}, which is no Rust file of the pack")
    for line in others:
        if line.startswith("# env-dep:"):
            variable = line.removeprefix("# env-dep:").partition("=")[0]
            raise BuildError(f"{source} reads the environment's {variable} when it is compiled")


def _quiet(_line: str) -> None:
    """Show nothing."""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
