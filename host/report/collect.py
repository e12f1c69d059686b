"""A report's facts, from where they are known: the check, the board, the pack, this computer."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from host import boards, project, wamrc_build
from host.bench import Speed
from host.check import KernelReport
from host.errors import BuildError, HostError
from host.pack import Pack
from host.pack.manifest import FILE, core_sha256
from host.report.data import BoardResult, Failure, Firmware, Here, KernelResult, PackIdentity, Settings


def now() -> str:
    """The report's time: SOURCE_DATE_EPOCH, else the clock's."""
    return project.source_date() or time.strftime(project.TIME, time.gmtime())


def made_here() -> Here:
    """The versions of what runs here."""
    return Here(
        host=version("host"),
        wasmtime=version("wasmtime"),
        wamrc=_wamrc(),
        numpy=version("numpy"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        os=platform.platform(),
    )


def _wamrc() -> str | None:
    try:
        program = wamrc_build.find()
        return wamrc_build.version(program) if program else None
    except BuildError:
        return None


def pack_identity(pack: Pack) -> PackIdentity:
    """What tells the pack from any other, and who vouches for it."""
    manifest = pack.manifest
    return PackIdentity(
        name=pack.name,
        version=pack.version,
        author=f"{manifest.author_name} <{manifest.author_email}>",
        created_at=manifest.created_at,
        manifest_sha256=core_sha256(pack.files[FILE]).hex(),
        security_counter=pack.security_counter,
        signing_key=pack.key.text,
        key_id=pack.key.key_id.hex(),
        signed_by=tuple(key.key_id.hex() for key in pack.signers),
    )


def board_result(
    port: str,
    status: Mapping[str, Any] | None,
    checked: Sequence[KernelReport],
    speeds: Mapping[str, Speed],
    settings: Settings,
    error: HostError | None = None,
) -> BoardResult:
    """A board and its kernels that were ``checked`` before an ``error`` ended that, if one did.

    ``status`` is ``kern.status()``, None where the board did not come so far; ``speeds`` are by kernel, for those
    measured.
    """
    failure = Failure.of(error) if error else None
    if status is None:
        return BoardResult(port, error=failure)
    board = status["board"]
    return BoardResult(
        port=port,
        board=board,
        title=boards.load(board).title if board in boards.names() else None,
        firmware=Firmware(**{name: status[name] for name in Firmware.__dataclass_fields__}),
        code=status["pack"]["code"],
        error=failure,
        kernels=tuple(
            KernelResult.of(kernel, speeds.get(kernel.id), settings.repeat(port, kernel.id)) for kernel in checked
        ),
    )
