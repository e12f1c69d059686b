"""The fuzzer of the board's decoder, run for real: tools/fuzz.py and the target that it builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import vectors
from conftest import ROOT

SUMMARY = re.compile(
    r"(?P<executions>\d+) executions in \d+ s; coverage (?P<edges>\d+) edges, (?P<seed_edges>\d+) by the seeds; "
    r"corpus (?P<inputs>\d+) inputs, (?P<seed_inputs>\d+) of the seeds; nothing found\n"
)
# Checks to take out. The second one needs a mutation, the others have a vector.
PLANTED = {
    "a body that goes beyond the image": ("image.c", " || size > image->size - start"),
    "more tensors than the firmware has room for": ("image.c", " && record[3] <= IMAGE_MAX_TENSORS"),
    "a table with no room for the signature": (
        "image.c",
        "|| length - IMAGE_HEADER_SIZE - table_size < IMAGE_SIGNATURE_SIZE",
    ),
    "more revoked keys than a key set may have": ("keyset.c", "\n        || set->revoked_count > KEYSET_MAX_REVOKED"),
}


def fuzz(build: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """tools/fuzz.py with nothing but the vectors to begin with."""
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "fuzz.py", *options],
        env={**os.environ, "HOST_BUILD_DIR": str(build)},
        capture_output=True,
        text=True,
        check=False,
    )


def summary(result: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The numbers of a run that found nothing."""
    assert result.returncode == 0, result.stdout + result.stderr
    found = SUMMARY.fullmatch(result.stdout)
    assert found, result.stdout
    return {name: int(text) for name, text in found.groupdict().items()}


def test_a_minute_of_fuzzing_goes_beyond_the_vectors_and_finds_nothing(tmp_path: Path) -> None:
    count = summary(fuzz(tmp_path, "--seconds", "60"))
    assert count["executions"] > 100 * len(vectors.load())
    assert count["edges"] > count["seed_edges"] > 0
    assert count["inputs"] > count["seed_inputs"] > 0


def test_a_run_begins_with_what_those_before_it_found(tmp_path: Path) -> None:
    first, second = (summary(fuzz(tmp_path, "--seconds", "3", "--jobs", "2")) for _ in range(2))
    begin = re.search(r"INITED cov: (\d+)", (tmp_path / "fuzz" / "log.1").read_text(errors="replace"))
    assert begin and int(begin[1]) >= first["edges"] > second["seed_edges"]


@pytest.mark.parametrize(("file", "check"), PLANTED.values(), ids=PLANTED)
def test_a_check_taken_out_of_a_decoder_is_found_missing(tmp_path: Path, file: str, check: str) -> None:
    kern = Path(shutil.copytree(ROOT / "firmware" / "kern", tmp_path / "kern"))
    source = (kern / file).read_text()
    assert source.count(check) == 1
    (kern / file).write_text(source.replace(check, ""))
    result = fuzz(tmp_path / "build", "--seconds", "120", "--kern", kern)
    assert result.returncode == 1, result.stdout + result.stderr
    found = re.fullmatch(r"(.+) breaks the decoder\. To see it again:\n    (.+) \1\n", result.stdout)
    assert found, result.stdout
    again = subprocess.run([found[2], found[1]], capture_output=True, text=True, errors="replace", check=False)
    assert again.returncode != 0 and re.search("AddressSanitizer|Assertion", again.stderr), again.stderr
