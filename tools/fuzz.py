"""Fuzz the board's decoders and gate (image.c, gate.c, keyset.c, layout.c) under AddressSanitizer and UBSan.

libFuzzer mutates board images and key sets, starting from those of tests/vectors and what earlier runs found. Run it
with .venv/bin/python. Exit code 0: nothing found; 1: an input that breaks the decoder, whose path is printed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from host import project
from host.errors import BuildError, HostError
from host.pack import keyset_image
from host.pack.image import version_number

sys.path.insert(0, str(project.root() / "tests"))
import vectors
from c_parts import HARNESS, KERN, LLVM, SANITIZE, includes, run, write_headers

SOURCES = ("image.c", "gate.c", "keyset.c", "layout.c")
COVERAGE = ("-fprofile-instr-generate", "-fcoverage-mapping")


@dataclass(frozen=True)
class Reach:
    """What a set of inputs covers: edges of the target's control flow, and how many inputs that takes."""

    edges: int
    inputs: int


@dataclass(frozen=True)
class Run:
    """What a run did. ``crash`` is the input that ended it, None when it went on to its end."""

    executions: int
    seconds: float
    crash: Path | None
    log: Path


def build(folder: Path, kern: Path, flags: Sequence[str] = ()) -> Path:
    """Compile the target into ``folder`` from the decoder in ``kern``; returns the program. Raises BuildError."""
    write_headers(folder)
    common = [f"clang-{LLVM}", "-g", "-O1", *SANITIZE, "-fno-omit-frame-pointer", *flags]
    common += ["-std=c11", "-Wall", "-Wextra", "-Werror", *includes(folder, kern)]
    # Not instrumented for the fuzzer: paths through SHA-256 are not what it is to look for.
    run([*common, "-c", kern / "sha256.c"], folder=folder)
    ours = [HARNESS / "image_fuzz.c", *(kern / name for name in SOURCES)]
    program = folder / "image_fuzz"
    run([*common, *_policy(), "-fsanitize=fuzzer", *ours, folder / "sha256.o", "-o", program], folder=folder)
    return program


def write_seeds(folder: Path, cases: Iterable[vectors.Vector | vectors.KeySetVector]) -> None:
    """A file for each vector, and nothing else in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, case in enumerate(cases):
        name = re.sub(r"[^a-z0-9]+", "-", case.name.lower())
        (folder / f"{number:03}-{name}").write_bytes(case.data)


def fuzz(program: Path, corpus: Path, others: Sequence[Path], seconds: int, jobs: int = 1) -> Run:
    """Run ``jobs`` processes that share ``corpus``, which they add to; the first that finds something ends all.

    ``others`` are folders with inputs to begin with. Logs and inputs that broke the target go beside the program.
    """
    folder = program.parent
    crashes = folder / "crashes"
    for path in (corpus, crashes):
        path.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={crashes}/", "-print_final_stats=1"]
    options += ["-use_value_profile=1", "-timeout=10"]
    logs = [folder / f"log.{job}" for job in range(jobs)]
    started = time.monotonic()
    processes = [_start([program, *options, corpus, *others, crashes], log) for log in logs]
    try:
        failed = _first_failure(processes)
    finally:
        _stop(processes)
    texts = [log.read_text(errors="replace") for log in logs]
    executions = sum(int(count) for text in texts for count in re.findall(r"number_of_executed_units: (\d+)", text))
    crash, log = None, logs[0]
    if failed is not None:
        crash, log = _crash(texts[failed], logs[failed]), logs[failed]
    return Run(executions, time.monotonic() - started, crash, log)


def reach(program: Path, *folders: Path) -> Reach:
    """What the inputs in ``folders`` cover together."""
    told = run([program, "-runs=0", *folders], **_symbolizer()).stderr.decode(errors="replace")
    found = re.search(r"INITED cov: (\d+) ft: \d+ corp: (\d+)/", told)
    assert found, told
    return Reach(int(found[1]), int(found[2]))


def report_coverage(folder: Path, kern: Path, inputs: Sequence[Path]) -> str:
    """Table of the lines and branches of the decoder that ``inputs`` (folders) reach."""
    program = build(folder, kern, COVERAGE)
    raw, merged = folder / "raw.profile", folder / "merged.profile"
    run([program, "-runs=0", *inputs], LLVM_PROFILE_FILE=str(raw), **_symbolizer())
    run([f"llvm-profdata-{LLVM}", "merge", raw, "-o", merged])
    sources = [kern / name for name in SOURCES]
    columns = ["-show-region-summary=false"]
    report = [f"llvm-cov-{LLVM}", "report", program, f"-instr-profile={merged}", *columns, *sources]
    return run(report).stdout.decode()


def _policy() -> list[str]:
    """The tests' gate, as the target wants it: macros."""
    gate = vectors.GATE
    values: dict[str, object] = {
        "KEY_SET": ",".join(str(byte) for byte in keyset_image.encode(vectors.KEY_SET)),
        "TARGET": f'"{gate.target}"',
        "ABI": gate.abi_version,
        "AOT_VERSION": gate.aot_version,
        "RUNTIME_VERSION": version_number(gate.runtime_version),
        "FEATURES": gate.features,
        "COUNTER_FLOOR": gate.security_counter,
        "IMAGE_SIZE": gate.slot_size,
        "PRIVATE_SIZE": gate.kernel_page,
    }
    return [f"-DGATE_{name}={value}" for name, value in values.items()]


def _symbolizer() -> dict[str, str]:
    """What the sanitizers' reports take the names of functions from, for the environment."""
    symbolizer = shutil.which(f"llvm-symbolizer-{LLVM}")
    return {"ASAN_SYMBOLIZER_PATH": symbolizer} if symbolizer else {}


def _start(command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        environment = {**os.environ, **_symbolizer()}
        return subprocess.Popen([str(word) for word in command], stdout=output, stderr=output, env=environment)


def _first_failure(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all have ended well or one has not; returns its number. Ctrl-C ends the run early, and well."""
    try:
        while True:
            codes = [process.poll() for process in processes]
            for number, code in enumerate(codes):
                if code:
                    return number
            if None not in codes:
                return None
            time.sleep(0.2)
    except KeyboardInterrupt:
        return None


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def _crash(text: str, log: Path) -> Path:
    """The input that libFuzzer's log says it kept."""
    found = re.search(r"Test unit written to (.+)", text)
    if found is None:
        raise BuildError(f"the fuzzer ended badly without an input to show for it; see {log}:\n{text[-3000:]}")
    return Path(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the board's decoder of images.")
    parser.add_argument("--seconds", type=int, default=60, help="how long; default 60")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default 1")
    parser.add_argument("--corpus", type=Path, help="folder of inputs to begin with and add to; default: in build")
    parser.add_argument("--coverage", action="store_true", help="afterwards, show the lines and branches reached")
    parser.add_argument("--kern", type=Path, help="another folder with the decoder; default: firmware/kern")
    arguments = parser.parse_args()
    folder = project.build_dir() / "fuzz"
    corpus, seeds = (arguments.corpus or folder / "corpus").resolve(), folder / "seeds"
    kern = (arguments.kern or KERN).resolve()
    try:
        program = build(folder, kern)
        write_seeds(seeds, [*vectors.load(), *vectors.key_sets()])
        done = fuzz(program, corpus, [seeds], arguments.seconds, arguments.jobs)
        if done.crash is not None:
            print(done.log.read_text(errors="replace")[-6000:], file=sys.stderr)
            print(f"{done.crash} breaks the decoder. To see it again:\n    {program} {done.crash}")
            return 1
        before, after = reach(program, seeds), reach(program, seeds, corpus)
        print(
            f"{done.executions} executions in {done.seconds:.0f} s; coverage {after.edges} edges, {before.edges} by "
            f"the seeds; corpus {after.inputs} inputs, {before.inputs} of the seeds; nothing found"
        )
        if arguments.coverage:
            print(report_coverage(folder / "coverage", kern, [seeds, corpus]), end="")
    except HostError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
