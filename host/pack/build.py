"""From pack.toml to a signed pack.

What costs time (compilers, the known-answer test) goes through a store of objects and runs only for inputs that
changed; the rest is done anew each time. Same sources, tools and key give the same bytes, wherever the folders are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from host import boards, parts, project
from host.boards import Board, Wamrc
from host.errors import UsageError
from host.pack import aot, files, image, manifest, pack, wasm
from host.pack.flavours import FLAVOURS, PORTABLE
from host.pack.image import Image, ImageKernel
from host.pack.keys import KeyPair
from host.pack.manifest import AotFile, Benchmarks, Manifest, ManifestKernel, Module
from host.pack.objects import Objects
from host.pack.source import PackSource, SourceKernel, read_source
from host.pack.spec import AOT_FORMAT_VERSION, BYTECODE_AOT_VERSION, BYTECODE_TARGET, KernelSpec

_JOBS = 2  # compilers at a time


@dataclass(frozen=True)
class _Built:
    """A compiled kernel; ``spec`` has its known answer; modules are by flavour, ``bodies`` are AOT files by target."""

    spec: KernelSpec
    paths: Mapping[str, str]
    modules: Mapping[str, bytes]
    benchmarks: Benchmarks | None
    private_size: int
    bodies: dict[str, bytes]


def build_pack(source: Path, out: Path, key: KeyPair, targets: Sequence[str] | None = None) -> Path:
    """Build the pack of ``source`` (pack.toml or its folder) for ``targets``, its own by default, signed by ``key``.

    Returns the pack's folder, ``out/<name>-<version>``. SOURCE_DATE_EPOCH gives ``created_at``. Raises UsageError for a
    wrong pack.toml, BuildError, and MalformedPack or PackTooLarge for a kernel that no board could run.
    """
    described = read_source(source)
    kinds = {target: boards_of(target) for target in targets or described.targets}
    recipes = {target: kind[0].wamrc for target, kind in kinds.items() if target != BYTECODE_TARGET}
    compiler = aot.compiler_inputs()
    objects = Objects(project.build_dir() / "objects")
    with ThreadPoolExecutor(_JOBS) as pool:
        jobs = [
            pool.submit(_build_kernel, kernel, described, recipes, compiler, objects) for kernel in described.kernels
        ]
        built = [job.result() for job in jobs]
    bare = _manifest(described, built)
    images = {target: _image(described, built, target) for target in kinds}
    modules = {kernel.paths[name]: module for kernel in built for name, module in kernel.modules.items()}
    contents = pack.assemble(bare, images, modules, key)
    for target, kind in kinds.items():
        size = len(contents[manifest.image_path(target)])
        for board in kind:
            image.check_fits(images[target], size, board.flash.slot_size, board.memory.kernel_page)
    folder = out / f"{described.name}-{described.version}"
    files.write_folder(contents, folder)
    return folder


def boards_of(target: str) -> list[Board]:
    """Every kind of board that runs ``target``: any, given an interpreter, for bytecode.

    Raises UsageError, naming the targets there are, for an unknown one.
    """
    ported = boards.ported()
    found = [board for board in ported if target in (board.wamrc.target_id, BYTECODE_TARGET)]
    if not found:
        known = ", ".join(sorted({BYTECODE_TARGET, *(board.wamrc.target_id for board in ported)}))
        raise UsageError(f"no board has target {target!r}; known targets: {known}")
    return found


def _build_kernel(
    kernel: SourceKernel, pack_source: PackSource, recipes: Mapping[str, Wamrc], compiler: object, objects: Objects
) -> _Built:
    modules = {flavour: _module(kernel, pack_source, flavour, objects) for flavour in kernel.modules}
    portable = modules[PORTABLE]
    digest = sha256(portable).hexdigest()
    bodies = {
        target: objects.get(["aot", compiler, recipe.flags, digest], partial(_write_aot, portable, recipe))
        for target, recipe in recipes.items()
    }
    digests = {flavour: sha256(module).hexdigest() for flavour, module in modules.items()}
    facts = json.loads(
        objects.get(
            ["facts", _runtime_inputs(), repr(kernel.spec), pack_source.version, digests],
            partial(_write_facts, modules, kernel.spec, pack_source.version),
        )
    )
    return _Built(
        spec=replace(kernel.spec, test=replace(kernel.spec.test, sha256=facts["known_answer"])),
        paths=kernel.modules,
        modules=modules,
        benchmarks=Benchmarks(**facts["benchmarks"]) if facts["benchmarks"] else None,
        private_size=facts["private_size"],
        bodies=bodies,
    )


def _module(kernel: SourceKernel, pack_source: PackSource, flavour: str, objects: Objects) -> bytes:
    inputs = kernel.source, kernel.spec, pack_source.version, flavour, pack_source.folder
    return objects.get(
        ["wasm", wasm.compiler_inputs(*inputs)],
        lambda path: path.write_bytes(wasm.compile_wasm(*inputs)),
    )


def _write_aot(module: bytes, recipe: Wamrc, path: Path) -> None:
    source = path.with_suffix(".wasm")
    source.write_bytes(module)
    aot.compile_aot(source, recipe, path)


def _runtime_inputs() -> list[str]:
    """What the facts depend on beside kernel and description."""
    host = project.root() / "host"
    code = [host / name for name in ("known_answer.py", "measure.py", "shapes.py")]
    code += sorted((host / "runtime").glob("*.py"))
    return [version("wasmtime"), *(sha256(file.read_bytes()).hexdigest() for file in code)]


def _write_facts(modules: Mapping[str, bytes], spec: KernelSpec, pack_version: str, path: Path) -> None:
    from host import measure  # it takes a while to import, and is not needed when nothing changed

    measure.check_identity(modules, spec, pack_version)
    facts = {
        "known_answer": measure.known_answer(modules, spec),
        "private_size": wasm.check_kernel(modules[PORTABLE], spec).heap_base,
        "benchmarks": None if spec.bench is None else asdict(measure.benchmarks(modules, spec)),
    }
    path.write_text(json.dumps(facts))


def _manifest(source: PackSource, built: Sequence[_Built]) -> Manifest:
    return Manifest(
        name=source.name,
        version=source.version,
        description=source.description,
        min_runtime_version=source.min_runtime_version,
        max_runtime_version=source.max_runtime_version,
        security_counter=source.security_counter,
        created_at=project.source_date(),
        author_name=source.author_name,
        author_email=source.author_email,
        signing_key="",
        kernels=tuple(_manifest_kernel(kernel) for kernel in built),
        images={},
    )


def _manifest_kernel(kernel: _Built) -> ManifestKernel:
    return ManifestKernel(
        spec=kernel.spec,
        modules={
            name: Module(kernel.paths[name], sha256(module).hexdigest(), FLAVOURS[name])
            for name, module in kernel.modules.items()
        },
        wasmtime_min_version=version("wasmtime").split(".")[0] + ".0.0",  # the major version it was tested with
        wamr_min_version=parts.get("wamr").version,
        aot={target: AotFile(sha256(body).hexdigest(), len(body)) for target, body in kernel.bodies.items()},
        benchmarks=kernel.benchmarks,
    )


def _image(source: PackSource, built: Sequence[_Built], target: str) -> Image:
    bytecode = target == BYTECODE_TARGET
    return Image(
        target=target,
        pack_name=source.name,
        pack_version=source.version,
        manifest_sha256=b"",
        security_counter=source.security_counter,
        min_runtime_version=source.min_runtime_version,
        max_runtime_version=source.max_runtime_version,
        features=image.features_of(FLAVOURS[PORTABLE]),
        kernels=tuple(
            ImageKernel(
                kernel.spec, kernel.private_size, kernel.modules[PORTABLE] if bytecode else kernel.bodies[target]
            )
            for kernel in built
        ),
        aot_version=BYTECODE_AOT_VERSION if bytecode else AOT_FORMAT_VERSION,
    )
