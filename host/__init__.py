"""Build, sign, flash and prove WebAssembly compute kernels for microcontrollers.

    pack = host.Pack.open("build/packs/core-1.0.0")
    with host.Runtime() as runtime, host.connect("emu:rpi_pico") as board:
        runtime.install(pack)
        board.install(pack.image("thumbv6m-soft"))

Errors are in ``host.errors``, and under this package's name too: ``host.PackError``.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from host import errors

# What is logged is for the program that uses this package to show, or not.
logging.getLogger("host").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from host.board import Board, connect
    from host.pack import Pack
    from host.runtime import Runtime

_HOMES = {"Board": "host.board", "connect": "host.board", "Pack": "host.pack", "Runtime": "host.runtime"}

__all__ = ["Board", "Pack", "Runtime", "connect", "errors"]


def __getattr__(name: str) -> Any:
    """Public names, imported at first use: Wasmtime and numpy take their time."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    error = getattr(errors, name, None)
    if isinstance(error, type) and issubclass(error, errors.HostError):
        return error
    raise AttributeError(f"module 'host' has no attribute {name!r}")
