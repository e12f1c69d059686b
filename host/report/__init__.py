"""What `host check --report` writes: a page for people, and the same as JSON for programs.

``data`` says what a report holds, ``collect`` asks a board and this computer for it, ``page`` makes the page from the
JSON and from nothing else, with the pictures of ``plots``. docs/check-report.md explains all of it.
"""

from __future__ import annotations

from host.report.collect import board_result, made_here, now, pack_identity
from host.report.data import BoardResult, CheckReport, Settings
from host.report.files import require_place, write

__all__ = [
    "BoardResult",
    "CheckReport",
    "Settings",
    "board_result",
    "made_here",
    "now",
    "pack_identity",
    "require_place",
    "write",
]
