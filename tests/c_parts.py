"""The firmware's C parts that need no board, compiled for this PC: what tests, tools/coverage.py and fuzz.py share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from host import boards, firmware_files, parts, project
from host.errors import BuildError

LLVM = "22"
KERN = project.root() / "firmware" / "kern"
HARNESS = project.root() / "tests" / "c"
CRYPTO = ("ed25519.c", "sha256.c")
"""Ed25519, in the field arithmetic of the firmware, and SHA-256."""
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def write_headers(folder: Path) -> None:
    """What a build of the firmware generates: its headers, and Monocypher's source."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kern_errors.h").write_text(firmware_files.errors_header())
    (folder / "kern_dtypes.h").write_text(firmware_files.dtypes_header())
    (folder / "kern_board.h").write_text(firmware_files.board_header(boards.load("rpi_pico"), "0.1.0"))
    (folder / "monocypher.c").write_text(firmware_files.monocypher(_monocypher() / "monocypher.c"))


def includes(folder: Path, kern: Path = KERN) -> list[str]:
    """Options for sources in ``kern``, with what ``write_headers`` wrote to ``folder``."""
    return [f"-I{path}" for path in (kern, folder, kern / "crypto", _monocypher(), _monocypher() / "optional")]


def third_party(sources: Sequence[str]) -> list[Path]:
    """Sources of Monocypher that those of the firmware need beside them."""
    return [_monocypher() / "optional" / "monocypher-ed25519.c"] if "ed25519.c" in sources else []


def build(folder: Path, program: str, sources: Sequence[str], flags: Sequence[str] = ()) -> Path:
    """Compile a program of tests/c with sources of the firmware, under sanitizers. Raises BuildError."""
    write_headers(folder)
    common = ["gcc", "-O1", *SANITIZE, *includes(folder), *flags]
    objects = []
    for source in third_party(sources):
        objects.append(folder / f"{source.stem}.o")
        run([*common, "-w", "-c", source, "-o", objects[-1]])
    ours = [HARNESS / f"{program}.c", *(KERN / source for source in sources)]
    run([*common, "-std=c11", "-Wall", "-Wextra", "-Werror", "-g", *ours, *objects, "-o", folder / program])
    return folder / program


def run(
    command: Sequence[str | Path], data: bytes = b"", folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a program, in ``folder``, with ``data`` to read. Raises BuildError when it is not there or ends badly."""
    words = [str(word) for word in command]
    try:
        result = subprocess.run(
            words, input=data, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise BuildError(f"{words[0]} is not there; tools/setup.sh installs it") from error
    if result.returncode != 0:
        text = (result.stdout + result.stderr).decode(errors="replace")
        raise BuildError(f"{Path(words[0]).name} ended with {result.returncode}:\n{text[-3000:]}")
    return result


def _monocypher() -> Path:
    return parts.path("monocypher") / "src"
