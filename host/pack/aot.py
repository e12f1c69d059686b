"""AOT files for a target, by wamrc (host.parts.wamrc: ours, or the one that ``WAMRC`` names)."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from pathlib import Path

from host import parts, steps
from host.boards import Wamrc
from host.errors import BuildError
from host.pack.spec import AOT_FORMAT_VERSION

_MAGIC = b"\0aot"


def compiler_inputs() -> list[str]:
    """All that an AOT file depends on beside the module and the flags, as JSON."""
    tool = parts.wamrc()
    return [hashlib.sha256(tool.read_bytes()).hexdigest(), steps.run([tool, "--version"], lambda _line: None)]


def compile_aot(wasm: Path, wamrc: Wamrc, out: Path) -> None:
    """Compile the module in ``wasm`` for the target. Raises BuildError with what wamrc printed."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "kernel.aot"
        steps.run([parts.wamrc(), *wamrc.flags, "-o", made, wasm], lambda _line: None)
        if not made.is_file():
            raise BuildError(f"{parts.wamrc()} wrote no file")
        data = made.read_bytes()
    version = aot_version(data)
    if version != AOT_FORMAT_VERSION:
        raise BuildError(f"{parts.wamrc()} writes AOT format {version}; this project's WAMR reads {AOT_FORMAT_VERSION}")
    out.write_bytes(data)


def aot_version(data: bytes) -> int:
    """The format version that an AOT file names. Raises BuildError when it is none."""
    if len(data) < 8 or data[:4] != _MAGIC:
        raise BuildError("wamrc did not write an AOT file")
    return int(struct.unpack_from("<I", data, 4)[0])
