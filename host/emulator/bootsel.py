"""BOOTSEL: the boot ROM's drive as a folder. A complete UF2 file that appears in it is programmed into the flash."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from host.boards import Board
from host.emulator import uf2

_INFO = "UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: {board_id}\n"
_ABOUT = "https://raspberrypi.com/device/RP2?version=E0C9125B0D9B"
_INDEX = f"""<html><head><meta http-equiv="refresh" content="0;URL='{_ABOUT}'"/></head>\
<body>Redirecting to <a href="{_ABOUT}">raspberrypi.com</a></body></html>
"""
_STILL = 0.5  # seconds without a change after which a file counts as copied


class Drive:
    """The drive of a board in BOOTSEL, from ``Drive()`` to ``remove()``."""

    def __init__(self, folder: Path, board: Board, flash: Path) -> None:
        self._folder = folder
        self._board = board
        self._flash = flash
        self._seen: dict[Path, tuple[int, int, float]] = {}  # size, mtime, and since when they are so
        self._refused: set[tuple[Path, int, int]] = set()
        shutil.rmtree(folder, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=".drive-", dir=folder.parent))
        (new / "INFO_UF2.TXT").write_text(_INFO.format(board_id=board.uf2.board_id))
        (new / "INDEX.HTM").write_text(_INDEX)
        new.chmod(0o755)
        new.rename(folder)  # it appears with its files in it

    def remove(self) -> None:
        """The drive vanishes."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def poll(self) -> tuple[Path, str | None] | None:
        """Look at the files once: (path, None) for a complete UF2, which was programmed; (path, why) for a file that
        the boot ROM would ignore, once; else None."""
        for path in sorted(self._folder.iterdir()):
            if path.name not in ("INFO_UF2.TXT", "INDEX.HTM") and path.is_file():
                outcome = self._consider(path)
                if outcome:
                    return outcome
        return None

    def _consider(self, path: Path) -> tuple[Path, str | None] | None:
        status = path.stat()
        state = (status.st_size, status.st_mtime_ns)
        if self._seen.get(path, (None, None))[:2] != state:
            self._seen[path] = (*state, time.monotonic())
        elif (path, *state) in self._refused:
            return None
        why = f"{status.st_size} bytes are not a whole UF2 file"
        try:
            pages = uf2.image(
                path.read_bytes(), self._board.uf2.family_id, self._board.flash.address, self._board.flash.size
            )
            if pages is not None:
                self._program(pages)
                return path, None
        except uf2.BadUf2 as error:
            why = str(error)
        if time.monotonic() - self._seen[path][2] < _STILL:
            return None  # it may still be growing
        self._refused.add((path, *state))
        return path, why

    def _program(self, pages: dict[int, bytes]) -> None:
        sector = self._board.flash.sector
        file = os.open(self._flash, os.O_WRONLY)
        try:
            for start in sorted({offset - offset % sector for offset in pages}):
                os.pwrite(file, b"\xff" * sector, start)
            for offset, data in pages.items():
                os.pwrite(file, data, offset)
        finally:
            os.close(file)
