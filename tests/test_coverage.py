"""How much of the code that reads bytes from outside its own tests reach: tools/coverage.py, run for real."""

from __future__ import annotations

import re
import subprocess
import sys

from conftest import ROOT


def test_vectors_reach_more_than_95_percent_of_the_branches_of_gate_decoders_and_store() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "coverage.py"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    told = re.findall(r"(\S+) +(\d+) of +(\d+) branches, +([\d.]+) %\n", result.stdout)
    assert [name for name, *_ in told] == ["gate.c", "image.c", "keyset.c", "store.c"]
    assert all(int(covered) > 0.95 * int(count) > 30 for _, covered, count, _ in told)
