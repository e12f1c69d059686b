"""Build a board's firmware: MicroPython with the module kern, out of tree, the same bytes from the same inputs."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from host import boards, firmware_files, parts, project, steps
from host.boards import Board
from host.errors import BuildError, UsageError
from host.firmware_ports import PORTS, write_changed
from host.firmware_sizes import read_map
from host.firmware_variants import RELEASE, Variant
from host.pack import keyset_image
from host.pack.keyset import KeySet
from host.pack.source import read_source

_PARTS = ("micropython", "wamr", "monocypher")
"""What every firmware is made of, beside what its port needs."""
_EPOCH = "1735689600"
"""SOURCE_DATE_EPOCH of every build: no clock goes into a firmware. 2025-01-01."""


@dataclass(frozen=True)
class FirmwareBuild:
    """A built firmware and what it is. ``file`` is what is flashed: a UF2 file, or the ELF file itself.
    ``build_id`` is what the board's ``kern.status()['build']`` says.
    """

    file: Path
    elf: Path
    build_id: str
    version: str


def build_firmware(board: Board, key_set: KeySet, variant: Variant = RELEASE) -> FirmwareBuild:
    """Build the firmware of ``board`` that trusts ``key_set``, unless it is there already.

    Raises UsageError when a board has no room for the key set, BuildError with the tools' output, where kern is not
    ported to the board or what its port needs is not here, and PartMissing for a part that cannot be had.
    """
    _check_ported(board)
    PORTS[board.port].check(board)
    folder = build_folder(board, variant)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two processes, one builds and the other waits
        return _build(board, key_set, variant, folder)


def _check_ported(board: Board) -> None:
    if board.kern is None:
        raise BuildError(f"kern is not ported to board {board.name} yet, so there is no firmware to build")


def _build(board: Board, key_set: KeySet, variant: Variant, folder: Path) -> FirmwareBuild:
    port = PORTS[board.port]
    built = FirmwareBuild(
        file=folder / port.file,
        elf=folder / "cmake" / port.elf,
        build_id=_build_id(board, key_set, variant),
        version=_version(),
    )
    facts = folder / "firmware.json"
    if _is_current(built, facts) and not any(parts.override(parts.get(name)) for name in _parts(board)):
        return built
    facts.unlink(missing_ok=True)
    with steps.step(f"{variant.name} firmware for {board.name}") as show:
        _write_inputs(board, key_set, variant, built.build_id, folder)
        _compile(board, variant, folder, show)
        port.finish(board, built.elf, built.file, show)
    facts.write_text(json.dumps(_facts(board, built, key_set, variant), indent=2) + "\n")
    return built


def size_report(board: Board, variant: Variant = RELEASE) -> dict[str, dict[str, int]]:
    """Flash and RAM in bytes by part of the firmware that `build_firmware` made, from the linker's map.

    Empty for a port whose map does not tell.
    """
    if not PORTS[board.port].measured:
        return {}
    path = build_folder(board, variant) / "cmake" / f"{PORTS[board.port].elf}.map"
    if not path.is_file():
        raise BuildError(f"no firmware for {board.name}; make it with: host build {board.name}")
    return {part: asdict(size) for part, size in read_map(path.read_text(), board).items()}


def built_elf(board: Board, variant: Variant, build_id: str) -> Path:
    """The ELF file of the firmware of that build, its map beside it. Raises UsageError when it is not here."""
    folder = build_folder(board, variant)
    facts, elf = folder / "firmware.json", folder / "cmake" / PORTS[board.port].elf
    if not facts.is_file() or json.loads(facts.read_text())["build_id"] != build_id:
        option = "" if variant == RELEASE else f" --{variant.name}"
        raise UsageError(
            f"the board runs build {build_id}, which is not the one in {folder}; "
            f"put that there with: host build {board.name}{option} && host flash --board {board.name}"
        )
    return elf


def build_folder(board: Board, variant: Variant = RELEASE) -> Path:
    """Where the firmware of ``board`` is built and its files are."""
    name = board.name if variant == RELEASE else f"{board.name}-{variant.name}"
    return project.build_dir() / "firmware" / name


def _version() -> str:
    """Version of module kern: the project's."""
    return str(tomllib.loads((project.root() / "pyproject.toml").read_text())["project"]["version"])


def _is_current(built: FirmwareBuild, facts: Path) -> bool:
    if not facts.is_file() or not built.file.is_file():
        return False
    known = json.loads(facts.read_text())
    return bool(known["build_id"] == built.build_id and known["sha256"] == _sha256(built.file))


def _facts(board: Board, built: FirmwareBuild, key_set: KeySet, variant: Variant) -> Mapping[str, object]:
    return {
        "board": board.name,
        "variant": variant.name,
        "build_id": built.build_id,
        "version": built.version,
        "sha256": _sha256(built.file),
        "keys": [key.key_id.hex() for key in key_set.trust],
    }


# ---- what goes in ----


def _inputs(board: Board) -> Iterator[Path]:
    """Every file of this repository that a firmware is made from."""
    root = project.root()
    others = _other_ports(board)
    for folder in (root / "firmware", root / "kernels_aot", board.folder):
        for path in sorted(folder.rglob("*")):
            words = {word.removesuffix(".cmake") for word in path.relative_to(folder).parts}
            if path.is_file() and others.isdisjoint(words):
                yield path
    package = root / "host"
    names = (
        "errors.py",
        "firmware.py",
        "firmware_files.py",
        "firmware_ports/port.py",
        "firmware_variants.py",
        "pack/spec.py",
        "pack/image.py",
        "pack/keyset_image.py",
        "pack/params_header.py",
    )
    yield from (package / name for name in names)
    yield Path(inspect.getfile(type(PORTS[board.port])))
    yield root / "tools" / "parts.toml"


def _other_ports(board: Board) -> set[str]:
    """What files and folders of other ports, and of the chips and targets that only those have, are called."""
    own, others = {board.port}, set(PORTS)
    for each in map(boards.load, boards.names()):
        names = {each.port, each.chip.lower(), *((each.wamrc.target_id,) if each.kern else ())}
        (own if each.port == board.port else others).update(names)
    return others - own


def _build_id(board: Board, key_set: KeySet, variant: Variant) -> str:
    """Hash of all inputs: this repository's files, the parts, the compiler, the key set, the variant."""
    digest = hashlib.sha256()
    for path in _inputs(board):
        digest.update(f"{path.relative_to(project.root())} {_sha256(path)}\n".encode())
    digest.update(f"{board.wamrc}\n".encode())
    for name in _parts(board):
        digest.update(f"{name} {parts.override(parts.get(name))}\n".encode())
    digest.update(f"{_version()} {_compiler(board)} {variant}\n".encode())
    digest.update(keyset_image.encode(key_set))
    return digest.hexdigest()[:16]


def _parts(board: Board) -> tuple[str, ...]:
    return (*_PARTS, *PORTS[board.port].parts)


def _compiler(board: Board) -> str:
    port = PORTS[board.port]
    compiler = steps.run([port.compiler(board), "--version"], lambda _line: None).splitlines()[0]
    return f"{compiler} {port.sdk()}".rstrip()


def _write_inputs(board: Board, key_set: KeySet, variant: Variant, build_id: str, folder: Path) -> None:
    source = read_source(project.root() / "kernels_aot")
    generated = {
        "kern_board.h": firmware_files.board_header(board, _version()),
        "kern_errors.h": firmware_files.errors_header(),
        "kern_dtypes.h": firmware_files.dtypes_header(),
        "kern_keys.h": firmware_files.keys_header(key_set),
        "kern_build.h": firmware_files.build_header(build_id, variant),
        **firmware_files.wamr_files(parts.path("wamr")),
        "monocypher.c": firmware_files.monocypher(parts.path("monocypher") / "src" / "monocypher.c"),
        **firmware_files.native_files(source, variant),
        **PORTS[board.port].generated(board),
    }
    for name, text in generated.items():
        write_changed(folder / "generated" / name, text.encode())
    PORTS[board.port].prepare(board, folder)


# ---- building ----


def _compile(board: Board, variant: Variant, folder: Path, show: Callable[[str], None]) -> None:
    port = PORTS[board.port]
    definitions = {
        "USER_C_MODULES": project.root() / "firmware" / "kern" / "micropython.cmake",
        "KERN_GENERATED": folder / "generated",
        "KERN_TARGET": board.wamrc.target_id,
        "KERN_CHIP": board.chip.lower(),
        "KERN_INTERPRETER": int(variant.interpreter),
        "WAMR_ROOT": parts.path("wamr"),
        "MONOCYPHER_ROOT": parts.path("monocypher"),
        **port.definitions(board, folder),
    }
    build = folder / "cmake"
    if not (build / "build.ninja").is_file():
        shutil.rmtree(build, ignore_errors=True)  # what a configuration that failed left behind
    configure: list[str | Path] = ["cmake", "-G", "Ninja", "-S", port.project(folder), "-B", build]
    configure += [f"-D{name}={value}" for name, value in definitions.items()]
    environment = {**_environment(folder), **port.environment()}
    steps.run(configure, show, env=environment)
    steps.run(["ninja", "-j2", "-C", build], show, env=environment)


def _environment(folder: Path) -> dict[str, str]:
    """The user's, less what could get into a firmware: clock, git, folders."""
    micropython = parts.path("micropython")
    prefixes = ((project.root(), "kern"), (folder, "build"), (parts.path("wamr"), "wamr"), (micropython, "micropython"))
    flags = " ".join(f"-ffile-prefix-map={path}={name}" for path, name in prefixes)
    version = parts.get("micropython").version
    return {
        **os.environ,
        "SOURCE_DATE_EPOCH": _EPOCH,
        "MICROPY_GIT_TAG": f"v{version}",
        "MICROPY_GIT_HASH": "kern",
        "CFLAGS_EXTRA": flags,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
