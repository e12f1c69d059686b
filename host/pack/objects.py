"""What was compiled, kept by what it was compiled from, so that an unchanged input is not compiled again.

An object's key is the sha256 of a description of all its inputs. Its file begins with its own sha256: one that was
damaged, or only half written, is made anew.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Objects:
    """Objects in ``folder``, which may be deleted at any time."""

    folder: Path

    def get(self, inputs: Any, make: Callable[[Path], object]) -> bytes:
        """The object that ``make`` writes to the path it is given, ``inputs`` (as JSON) being all it depends on."""
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        path = self.folder / key[:2] / key
        data = _load(path)
        if data is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                made = Path(scratch) / "object"
                make(made)
                data = made.read_bytes()
                made.write_bytes(hashlib.sha256(data).digest() + data)
                made.replace(path)
        return data


def _load(path: Path) -> bytes | None:
    """The object, or None when there is none or it is damaged."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    sha256, data = stored[:32], stored[32:]
    return data if hashlib.sha256(data).digest() == sha256 else None
