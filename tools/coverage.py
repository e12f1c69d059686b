"""Branch coverage of what stands between bytes from outside and the board: gate.c, image.c, keyset.c, store.c.

Each is compiled for the PC and gets the shared vectors of tests/vectors, or the power cuts of tests/c/store_check.c. A
branch is one outcome of one condition. Run it with .venv/bin/python; exit code 1 when a file has 95 % or less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host import boards, firmware_files, parts, project
from host.errors import BuildError, HostError

sys.path.insert(0, str(project.root() / "tests"))
import vectors

LLVM = "22"
LEAST = 95.0
KERN = project.root() / "firmware" / "kern"
HARNESS = project.root() / "tests" / "c"
CRYPTO = ("ed25519.c", "sha256.c")


@dataclass(frozen=True)
class Program:
    """A program of tests/c with sources of the firmware, what it reads, and the files that it is to cover."""

    name: str
    sources: Sequence[str]
    covers: Sequence[str]
    data: bytes = b""


def programs() -> list[Program]:
    """Every program; together they cover each file once."""
    images = b"".join(map(vectors.gate_request, vectors.load()))
    key_sets = b"".join(vectors.key_set_request(case.data, case.superseded) for case in vectors.key_sets())
    return [
        Program("gate_check", ("gate.c", "image.c", "keyset.c", "layout.c", *CRYPTO), ("gate.c", "image.c"), images),
        Program("keyset_check", ("keyset.c", *CRYPTO), ("keyset.c",), key_sets),
        Program("store_check", ("store.c",), ("store.c",)),
    ]


def measure(folder: Path) -> dict[str, tuple[int, int]]:
    """Branches taken and branches in all, of each file. Raises BuildError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kern_errors.h").write_text(firmware_files.errors_header())
    (folder / "kern_dtypes.h").write_text(firmware_files.dtypes_header())
    (folder / "kern_board.h").write_text(firmware_files.board_header(boards.load("rpi_pico"), "0.1.0"))
    source = parts.path("monocypher") / "src" / "monocypher.c"
    (folder / "monocypher.c").write_text(firmware_files.monocypher(source))
    return {name: count for program in programs() for name, count in _measure(program, folder).items()}


def _measure(program: Program, folder: Path) -> dict[str, tuple[int, int]]:
    monocypher = parts.path("monocypher") / "src"
    includes = [f"-I{path}" for path in (KERN, folder, KERN / "crypto", monocypher, monocypher / "optional")]
    instrument = ["-std=c11", "-O1", "-fprofile-instr-generate", "-fcoverage-mapping"]
    sources = [HARNESS / f"{program.name}.c", *(KERN / name for name in program.sources)]
    if "ed25519.c" in program.sources:
        sources.append(monocypher / "optional" / "monocypher-ed25519.c")
    executable, raw, merged = (folder / f"{program.name}{suffix}" for suffix in ("", ".raw", ".profile"))
    _run([f"clang-{LLVM}", *instrument, *includes, *sources, "-o", executable])
    _run([executable], program.data, LLVM_PROFILE_FILE=str(raw))
    _run([f"llvm-profdata-{LLVM}", "merge", raw, "-o", merged])
    files = [KERN / name for name in program.covers]
    told = _run([f"llvm-cov-{LLVM}", "export", "-summary-only", executable, f"-instr-profile={merged}", *files])
    found = {Path(file["filename"]).name: file["summary"]["branches"] for file in json.loads(told)["data"][0]["files"]}
    return {name: (found[name]["covered"], found[name]["count"]) for name in program.covers}


def _run(command: Sequence[str | Path], data: bytes = b"", **environment: str) -> bytes:
    try:
        result = subprocess.run(
            [str(word) for word in command], input=data, env=environment or None, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not there; tools/setup.sh installs it") from error
    if result.returncode != 0:
        text = (result.stdout + result.stderr).decode(errors="replace")
        raise BuildError(f"{Path(command[0]).name} ended with {result.returncode}:\n{text[-3000:]}")
    return result.stdout


def main() -> int:
    argparse.ArgumentParser(description="Branch coverage of the board's gate, decoders and store.").parse_args()
    try:
        measured = measure(project.build_dir() / "coverage")
    except HostError as error:
        print(f"coverage: {error}", file=sys.stderr)
        return error.exit_code
    for name, (covered, count) in measured.items():
        print(f"{name:10} {covered:4} of {count:4} branches, {100 * covered / count:5.1f} %")
    return 0 if all(100 * covered > LEAST * count for covered, count in measured.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
