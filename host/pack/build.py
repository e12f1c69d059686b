"""From pack.toml to a signed pack.

What costs time (compilers, the known-answer test) goes through a store of objects and runs only for inputs that
changed; the rest is done anew each time. Same sources, tools and key give the same bytes, wherever the folders are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from host import boards, parts, project
from host.boards import Board, Wamrc
from host.errors import UsageError
from host.pack import aot, files, image, manifest, pack, wasm
from host.pack.image import Image, ImageKernel
from host.pack.keys import KeyPair
from host.pack.manifest import AotFile, Manifest, ManifestKernel
from host.pack.objects import Objects
from host.pack.source import PackSource, SourceKernel, read_source
from host.pack.spec import KernelSpec

_JOBS = 2  # compilers at a time


@dataclass(frozen=True)
class _Built:
    """A compiled kernel; ``spec`` has its known answer, ``bodies`` are AOT files by target."""

    spec: KernelSpec
    path: str
    module: bytes
    private_size: int
    bodies: dict[str, bytes]


def build_pack(source: Path, out: Path, key: KeyPair, targets: Sequence[str] | None = None) -> Path:
    """Build the pack of ``source`` (pack.toml or its folder) for ``targets``, its own by default, signed by ``key``.

    Returns the pack's folder, ``out/<name>-<version>``. SOURCE_DATE_EPOCH gives ``created_at``. Raises UsageError for a
    wrong pack.toml, BuildError, and MalformedPack or PackTooLarge for a kernel that no board could run.
    """
    described = read_source(source)
    kinds = {target: boards_of(target) for target in targets or described.targets}
    recipes = {target: kind[0].wamrc for target, kind in kinds.items()}
    compiler = aot.compiler_inputs()
    objects = Objects(project.build_dir() / "objects")
    with ThreadPoolExecutor(_JOBS) as pool:
        jobs = [
            pool.submit(_build_kernel, kernel, described.folder, recipes, compiler, objects)
            for kernel in described.kernels
        ]
        built = [job.result() for job in jobs]
    bare = _manifest(described, built)
    images = {target: _image(described, built, target) for target in kinds}
    contents = pack.assemble(bare, images, {kernel.path: kernel.module for kernel in built}, key)
    for target, kind in kinds.items():
        size = len(contents[manifest.image_path(target)])
        for board in kind:
            image.check_fits(images[target], size, board.flash.slot_size, board.memory.kernel_page)
    folder = out / f"{described.name}-{described.version}"
    files.write_folder(contents, folder)
    return folder


def boards_of(target: str) -> list[Board]:
    """Every kind of board that runs ``target``. Raises UsageError, naming the targets there are, for an unknown one."""
    all_boards = [boards.load(name) for name in boards.names()]
    found = [board for board in all_boards if board.wamrc.target_id == target]
    if not found:
        known = ", ".join(sorted({board.wamrc.target_id for board in all_boards}))
        raise UsageError(f"no board has target {target!r}; known targets: {known}")
    return found


def _build_kernel(
    kernel: SourceKernel, folder: Path, recipes: Mapping[str, Wamrc], compiler: object, objects: Objects
) -> _Built:
    spec = kernel.spec
    module = objects.get(
        ["wasm", wasm.compiler_inputs(kernel.source, spec, folder)],
        lambda path: wasm.compile_wasm(kernel.source, spec, path, folder),
    )
    digest = sha256(module).hexdigest()
    bodies = {
        target: objects.get(["aot", compiler, recipe.flags, digest], partial(_write_aot, module, recipe))
        for target, recipe in recipes.items()
    }
    facts = json.loads(
        objects.get(["facts", _runtime_inputs(), repr(spec), digest], partial(_write_facts, module, spec))
    )
    return _Built(
        spec=replace(spec, test=replace(spec.test, sha256=facts["known_answer"])),
        path=kernel.wasm,
        module=module,
        private_size=facts["private_size"],
        bodies=bodies,
    )


def _write_aot(module: bytes, recipe: Wamrc, path: Path) -> None:
    source = path.with_suffix(".wasm")
    source.write_bytes(module)
    aot.compile_aot(source, recipe, path)


def _runtime_inputs() -> list[str]:
    """What the known answer depends on beside kernel and description."""
    code = [project.root() / "host" / name for name in ("known_answer.py", "runtime.py", "shapes.py")]
    return [version("wasmtime"), *(sha256(file.read_bytes()).hexdigest() for file in code)]


def _write_facts(module: bytes, spec: KernelSpec, path: Path) -> None:
    from host.runtime import known_answer_sha256  # it takes a while to import, and is not needed when nothing changed

    info = wasm.check_kernel(module, spec)
    facts = {
        "known_answer": known_answer_sha256(module, spec),
        "private_size": info.heap_base,
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
        created_at=_created_at(),
        author_name=source.author_name,
        author_email=source.author_email,
        signing_key="",
        kernels=tuple(_manifest_kernel(kernel) for kernel in built),
        images={},
    )


def _manifest_kernel(kernel: _Built) -> ManifestKernel:
    return ManifestKernel(
        spec=kernel.spec,
        path=kernel.path,
        sha256=sha256(kernel.module).hexdigest(),
        wasmtime_min_version=version("wasmtime").split(".")[0] + ".0.0",  # the major version it was tested with
        features=wasm.FEATURES,
        wamr_min_version=parts.get("wamr").version,
        aot={target: AotFile(sha256(body).hexdigest(), len(body)) for target, body in kernel.bodies.items()},
    )


def _image(source: PackSource, built: Sequence[_Built], target: str) -> Image:
    return Image(
        target=target,
        pack_name=source.name,
        pack_version=source.version,
        manifest_sha256=b"",
        security_counter=source.security_counter,
        min_runtime_version=source.min_runtime_version,
        max_runtime_version=source.max_runtime_version,
        features=image.features_of(wasm.FEATURES),
        kernels=tuple(ImageKernel(kernel.spec, kernel.private_size, kernel.bodies[target]) for kernel in built),
    )


def _created_at() -> str | None:
    """SOURCE_DATE_EPOCH as a time; None without it, as the clock's would make every build differ."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    try:
        return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}, must be seconds since 1970") from error
