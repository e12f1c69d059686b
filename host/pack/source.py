"""pack.toml, the one description of a pack, read strictly."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from host import project
from host.errors import UsageError
from host.pack import flavours, image, notation, schema
from host.pack.spec import KernelSpec

FILE = "pack.toml"


@dataclass(frozen=True)
class SourceKernel:
    """A kernel and the file it is compiled from."""

    spec: KernelSpec
    source: Path
    """Inside the pack's folder, absolute."""
    modules: Mapping[str, str]
    """Where the pack has the compiled modules, by flavour, portable first: ``rope/rope_f32.wasm`` and so on."""


@dataclass(frozen=True)
class PackSource:
    """What pack.toml says; ``folder`` is where it lies."""

    folder: Path
    name: str
    version: str
    description: str
    author_name: str
    author_email: str
    min_runtime_version: str
    max_runtime_version: str | None
    security_counter: int
    targets: tuple[str, ...]
    kernels: tuple[SourceKernel, ...]

    @property
    def build_folder(self) -> Path:
        """Where `host pack build` puts packs: in the source's folder, but the project's own where all is built."""
        return project.build_dir() / "packs" if self.folder == own_source() else self.folder / "build"

    @property
    def built(self) -> Path:
        """The pack that `host pack build` made, if it did."""
        return self.build_folder / f"{self.name}-{self.version}"


def own_source() -> Path:
    """The folder of the project's own pack."""
    return project.root() / "kernels_aot"


def read_source(path: Path) -> PackSource:
    """Read ``path``, a pack.toml or its folder. Raises UsageError naming the field that is wrong."""
    file = path / FILE if path.is_dir() else path
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        problem = schema.problem(data, schema.SOURCE)
        if problem is not None:
            raise ValueError(problem)
        return _source(data, file.resolve().parent)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: {error}") from error


def _source(data: Mapping[str, Any], folder: Path) -> PackSource:
    minimum, maximum = data["min_runtime_version"], data.get("max_runtime_version")
    image.check_runtime_range(minimum, maximum)
    kernels = tuple(_kernel(entry, folder) for entry in data["kernel"])
    notation.unique((kernel.spec.id for kernel in kernels), "kernel ids")
    return PackSource(
        folder=folder,
        name=data["name"],
        version=data["version"],
        description=data["description"],
        author_name=data["author"]["name"],
        author_email=data["author"]["email"],
        min_runtime_version=minimum,
        max_runtime_version=maximum,
        security_counter=data["security_counter"],
        targets=tuple(data["targets"]),
        kernels=kernels,
    )


def _kernel(data: Mapping[str, Any], folder: Path) -> SourceKernel:
    try:
        spec = notation.kernel(
            data,
            op=data["op"],
            params=[notation.param(entry["name"], entry) for entry in data.get("params", ())],
            fallback=data.get("fallback"),
            sha256=None,
            bench=notation.symbol_values(data["bench"], data["symbols"], "bench") if "bench" in data else None,
        )
        return SourceKernel(spec, _inside(folder, data["source"]), _modules(spec.id, data))
    except ValueError as error:
        raise ValueError(f"kernel {data['id']}: {error}") from error


def _modules(kernel_id: str, data: Mapping[str, Any]) -> dict[str, str]:
    place = PurePosixPath(data["source"])
    more = {name: str(place.with_name(f"{kernel_id}.{name}.wasm")) for name in data.get("flavours", ())}
    return {flavours.PORTABLE: str(place.with_name(f"{kernel_id}.wasm")), **more}


def _inside(folder: Path, name: str) -> Path:
    """The source file, which must be a file of the pack's folder and not a link out of it."""
    path = folder / name
    if any(place.is_symlink() for place in (path, *path.parents) if place != folder and place.is_relative_to(folder)):
        raise ValueError(f"source: {name} is or lies behind a symbolic link")
    if not path.is_file():
        raise ValueError(f"source: there is no file {name}")
    return path
