"""Branch coverage of what stands between bytes from outside and the board: gate.c, image.c, keyset.c, store.c.

Each is compiled for the PC and gets the shared vectors of tests/vectors, or the power cuts of tests/c/store_check.c. A
branch is one outcome of one condition. Run it with .venv/bin/python; exit code 1 when a file has 95 % or less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host import project
from host.errors import HostError

sys.path.insert(0, str(project.root() / "tests"))
import vectors
from c_parts import CRYPTO, HARNESS, KERN, LLVM, includes, run, third_party, write_headers

LEAST = 95.0


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
    write_headers(folder)
    return {name: count for program in programs() for name, count in _measure(program, folder).items()}


def _measure(program: Program, folder: Path) -> dict[str, tuple[int, int]]:
    instrument = ["-std=c11", "-O1", "-fprofile-instr-generate", "-fcoverage-mapping"]
    ours = [HARNESS / f"{program.name}.c", *(KERN / name for name in program.sources)]
    sources = [*ours, *third_party(program.sources)]
    executable, raw, merged = (folder / f"{program.name}{suffix}" for suffix in ("", ".raw", ".profile"))
    run([f"clang-{LLVM}", *instrument, *includes(folder), *sources, "-o", executable])
    run([executable], program.data, LLVM_PROFILE_FILE=str(raw))
    run([f"llvm-profdata-{LLVM}", "merge", raw, "-o", merged])
    files = [KERN / name for name in program.covers]
    export = [f"llvm-cov-{LLVM}", "export", "-summary-only", executable, f"-instr-profile={merged}", *files]
    told = json.loads(run(export).stdout)
    found = {Path(file["filename"]).name: file["summary"]["branches"] for file in told["data"][0]["files"]}
    return {name: (found[name]["covered"], found[name]["count"]) for name in program.covers}


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
