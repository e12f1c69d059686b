"""The short form of tools/soak.py: random use of the emulated board, held against a model of the rules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_random_use_gives_right_results_and_leaves_no_memory_behind(firmware_uf2: Path, core_pack: Path) -> None:
    command = [sys.executable, ROOT / "tools" / "soak.py", "--minutes", "5", "--seed", "3", "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    told = json.loads(finished.stdout)
    assert told["board_seconds"] >= 300
    counts = told["counts"]
    assert counts.get("right results", 0) + counts.get("faults", 0) > 0 and told["steps"] > 20
