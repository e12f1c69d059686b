"""The emulated board goes on after power cuts: a sample of tools/power_cuts.py, which says what is cut and checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_board_goes_on_from_two_power_cuts_in_a_row(firmware_uf2: Path, core_pack: Path) -> None:
    """Both are built by now, and the tool finds them."""
    tool = [sys.executable, str(ROOT / "tools" / "power_cuts.py"), "--pairs", "--sample", "5"]
    result = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    operations = re.search(r"install (\d+), trial (\d+), confirm (\d+), rollback (\d+), release (\d+);", result.stdout)
    assert operations
    assert all(int(count) > 0 for count in operations.groups())
