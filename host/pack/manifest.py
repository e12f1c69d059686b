"""kernels.json: what a pack holds, for people and hosts. Its structure is in kernels.schema.json.

``parse`` expects that the signature over the raw bytes was verified before (signature.py), and still believes nothing:
it checks size, duplicate keys, structure, then what a schema cannot say.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from host.errors import MalformedPack
from host.pack import flavours, image, keys, notation, schema
from host.pack.notation import Json
from host.pack.spec import BYTECODE_TARGET, KernelSpec

FILE = "kernels.json"
SIGNATURE_FILE = FILE + ".sig"
MAX_SIZE = 1 << 20
"""Bytes of a kernels.json; a longer one is refused unread."""


@dataclass(frozen=True)
class AotFile:
    """An AOT file inside a board image."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Module:
    """A wasm file of a pack; ``sha256`` in hex, ``features`` what it needs beyond WebAssembly 1.0."""

    path: str
    sha256: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Benchmarks:
    """What the build measured at ``spec.bench``: instructions of wasm an element of the first output, by flavour."""

    elements: int
    instructions_per_element: Mapping[str, float]


@dataclass(frozen=True)
class ManifestKernel:
    """A kernel of a pack. ``modules`` are by flavour, portable first; ``aot`` is by target, bytecode apart."""

    spec: KernelSpec
    modules: Mapping[str, Module]
    wasmtime_min_version: str
    wamr_min_version: str
    aot: Mapping[str, AotFile]
    benchmarks: Benchmarks | None = None

    @property
    def portable(self) -> Module:
        """The module that AOT files are compiled from."""
        return self.modules[flavours.PORTABLE]


@dataclass(frozen=True)
class ImageFile:
    """A board image of a pack; ``sha256`` in hex, ``size`` in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What kernels.json says."""

    name: str
    version: str
    description: str
    min_runtime_version: str
    max_runtime_version: str | None
    security_counter: int
    created_at: str | None
    author_name: str
    author_email: str
    signing_key: str
    kernels: tuple[ManifestKernel, ...]
    images: Mapping[str, ImageFile]

    @property
    def files(self) -> dict[str, str]:
        """sha256 (hex) of every file that the pack must have beside the manifest and its signature, by path."""
        listed = {module.path: module.sha256 for kernel in self.kernels for module in kernel.modules.values()}
        return listed | {entry.path: entry.sha256 for entry in self.images.values()}


def write(manifest: Manifest) -> bytes:
    """kernels.json: two spaces of indentation, members in the schema's order, the same bytes every time."""
    return (json.dumps(_data(manifest), indent=2) + "\n").encode("ascii")


def core_sha256(raw: bytes) -> bytes:
    """sha256 of a kernels.json without its member ``images``, in canonical form: what a board image is bound to.

    Canonical is JSON with sorted keys, no white space, ASCII only, numbers as Python's ``repr`` has them.
    """
    core = {name: value for name, value in json.loads(raw).items() if name != "images"}
    canonical = json.dumps(core, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).digest()


def parse(raw: bytes) -> Manifest:
    """The manifest in ``raw``. Raises MalformedPack naming the field that is wrong."""
    try:
        data = _load(raw)
        problem = schema.problem(data, schema.KERNELS)
        if problem is not None:
            raise ValueError(problem)
        return _manifest(data)
    except (ValueError, RecursionError) as error:
        raise MalformedPack(f"{FILE}: {error}") from error


def image_path(target: str) -> str:
    """Where a pack has the board image for ``target``."""
    return f"aot/{target}.kimg"


# ---- reading --------------------------------------------------------------------------------------


def _load(raw: bytes) -> Any:
    if len(raw) > MAX_SIZE:
        raise ValueError(f"it has {len(raw)} bytes, at most {MAX_SIZE} are read")
    return json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_float=_float, parse_constant=_no_constant)


def _object(pairs: list[tuple[str, Any]]) -> Json:
    notation.unique((name for name, _value in pairs), "an object's keys")
    return dict(pairs)


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_constant(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _manifest(data: Mapping[str, Any]) -> Manifest:
    minimum, maximum = data["min_runtime_version"], data["max_runtime_version"]
    image.check_runtime_range(minimum, maximum)
    author = data["author"]
    try:
        keys.parse_public(author["signing_key"], "")
    except ValueError as error:
        raise ValueError(f"author.signing_key: {error}") from error
    kernels = tuple(_kernel(entry, data["fallbacks"]) for entry in data["kernels"])
    images = {target: _image(target, entry) for target, entry in data["images"].items()}
    _check_together(kernels, images, data["fallbacks"])
    return Manifest(
        name=data["name"],
        version=data["version"],
        description=data["description"],
        min_runtime_version=minimum,
        max_runtime_version=maximum,
        security_counter=data["security_counter"],
        created_at=data["created_at"],
        author_name=author["name"],
        author_email=author["email"],
        signing_key=author["signing_key"],
        kernels=kernels,
        images=images,
    )


def _kernel(data: Mapping[str, Any], fallbacks: Mapping[str, str]) -> ManifestKernel:
    try:
        spec = notation.kernel(
            data,
            op=data["name"],
            params=[notation.param(name, entry) for name, entry in data["params"].items()],
            fallback=fallbacks.get(data["id"]),
            sha256=_hex(data["test"]["hash"]),
            bench=_bench(data),
        )
        for index, (name, entry) in enumerate(data["params"].items(), len(spec.symbols)):
            if entry["offset"] != 4 * index:
                raise ValueError(f"params.{name}.offset: is {entry['offset']}, must be {4 * index}")
        wasmtime, wamr = data["platforms"]["wasmtime"], data["platforms"]["wamr"]
        if wamr["aot_available"] != bool(wamr["aot"]):
            raise ValueError("platforms.wamr.aot_available: must be true when aot has an entry, else false")
    except ValueError as error:
        raise ValueError(f"kernel {data['id']}: {error}") from error
    return ManifestKernel(
        spec=spec,
        modules=_modules(data),
        wasmtime_min_version=wasmtime["min_version"],
        wamr_min_version=wamr["min_version"],
        aot={target: AotFile(_hex(entry["hash"]), entry["size"]) for target, entry in wamr["aot"].items()},
        benchmarks=_benchmarks(data["benchmarks"]) if "benchmarks" in data else None,
    )


def _bench(data: Mapping[str, Any]) -> dict[str, int] | None:
    if "benchmarks" not in data:
        return None
    return notation.symbol_values(data["benchmarks"]["symbols"], data["symbols"], "benchmarks.symbols")


def _modules(data: Mapping[str, Any]) -> dict[str, Module]:
    wasmtime = data["platforms"]["wasmtime"]
    offered = {flavours.PORTABLE: {**data, "features": wasmtime["features"]}, **wasmtime.get("flavours", {})}
    return {
        name: Module(entry["path"], _hex(entry["hash"]), tuple(entry["features"])) for name, entry in offered.items()
    }


def _benchmarks(data: Mapping[str, Any]) -> Benchmarks:
    return Benchmarks(data["elements"], dict(data["instructions_per_element"]))


def _image(target: str, data: Mapping[str, Any]) -> ImageFile:
    if data["path"] != image_path(target):
        raise ValueError(f"images.{target}.path: is {data['path']}, must be {image_path(target)}")
    return ImageFile(data["path"], _hex(data["hash"]), data["size"])


def _check_together(
    kernels: Sequence[ManifestKernel], images: Mapping[str, ImageFile], fallbacks: Mapping[str, str]
) -> None:
    ids = [kernel.spec.id for kernel in kernels]
    notation.unique(ids, "kernel ids")
    modules = [module.path for kernel in kernels for module in kernel.modules.values()]
    notation.unique([FILE, SIGNATURE_FILE, *modules, *(entry.path for entry in images.values())], "paths")
    for name in fallbacks:
        if name not in ids:
            raise ValueError(f"fallbacks: there is no kernel {name!r}")
    for kernel in kernels:
        if kernel.aot.keys() != images.keys() - {BYTECODE_TARGET}:
            raise ValueError(
                f"kernel {kernel.spec.id}: platforms.wamr.aot: must have the same targets as images, "
                f"{BYTECODE_TARGET} apart"
            )
        measured = kernel.benchmarks
        if measured is not None and measured.instructions_per_element.keys() != kernel.modules.keys():
            raise ValueError(f"kernel {kernel.spec.id}: benchmarks: must have an entry for each flavour")


def _hex(text: str) -> str:
    return text.removeprefix("sha256:")


# ---- writing --------------------------------------------------------------------------------------


def _data(manifest: Manifest) -> Json:
    fallbacks = {kernel.spec.id: kernel.spec.fallback for kernel in manifest.kernels if kernel.spec.fallback}
    return {
        "$schema": schema.load(schema.KERNELS)["$id"],
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "min_runtime_version": manifest.min_runtime_version,
        "max_runtime_version": manifest.max_runtime_version,
        "security_counter": manifest.security_counter,
        "created_at": manifest.created_at,
        "author": {
            "name": manifest.author_name,
            "email": manifest.author_email,
            "signing_key": manifest.signing_key,
        },
        "kernels": [_kernel_data(kernel) for kernel in manifest.kernels],
        "fallbacks": fallbacks,
        "images": {
            target: {"path": entry.path, "hash": f"sha256:{entry.sha256}", "size": entry.size}
            for target, entry in manifest.images.items()
        },
    }


def _kernel_data(kernel: ManifestKernel) -> Json:
    spec = kernel.spec
    data: Json = {
        "id": spec.id,
        "name": spec.op,
        "category": spec.category,
        "path": kernel.portable.path,
        "hash": f"sha256:{kernel.portable.sha256}",
        "entry_point": spec.entry_point,
        "symbols": list(spec.symbols),
        "inputs": [notation.tensor_data(tensor) for tensor in spec.inputs],
        "outputs": [notation.tensor_data(tensor) for tensor in spec.outputs],
        "scratch": [notation.tensor_data(tensor) for tensor in spec.scratch],
        "params": {
            param.name: {"type": param.type, "default": param.default, "offset": 4 * index}
            for index, param in enumerate(spec.params, len(spec.symbols))
        },
        "resource_limits": notation.limits_data(spec.limits),
        "platforms": {
            "wasmtime": _wasmtime_data(kernel),
            "wamr": {
                "min_version": kernel.wamr_min_version,
                "aot_available": bool(kernel.aot),
                "aot": {
                    target: {"hash": f"sha256:{aot.sha256}", "size": aot.size} for target, aot in kernel.aot.items()
                },
            },
        },
        "test": {
            "seed": spec.test.seed,
            "symbols": {name: spec.test.symbols[name] for name in spec.symbols},
            "hash": f"sha256:{spec.test.sha256}",
        },
    }
    if spec.backward is not None:
        data["backward"] = notation.backward_data(spec.backward)
    if spec.error_bound is not None:
        data["error_bound"] = spec.error_bound
    if kernel.benchmarks is not None and spec.bench is not None:
        data["benchmarks"] = {
            "symbols": {name: spec.bench[name] for name in spec.symbols},
            "elements": kernel.benchmarks.elements,
            "instructions_per_element": dict(kernel.benchmarks.instructions_per_element),
        }
    return data


def _wasmtime_data(kernel: ManifestKernel) -> Json:
    data: Json = {"min_version": kernel.wasmtime_min_version, "features": list(kernel.portable.features)}
    more = {
        name: {"features": list(module.features), "path": module.path, "hash": f"sha256:{module.sha256}"}
        for name, module in kernel.modules.items()
        if name != flavours.PORTABLE
    }
    return data | ({"flavours": more} if more else {})
