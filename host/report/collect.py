"""A report's facts, from where they are known: the check, the board, the pack, this computer."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from host import boards, project, wamrc_build
from host.bench import Speed
from host.check import Report
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
    port: str, status: Mapping[str, Any], checked: Report, speeds: Mapping[str, Speed], settings: Settings
) -> BoardResult:
    """A board that was checked. ``status`` is ``kern.status()``; ``speeds`` are by kernel, for those measured."""
    kernels = (
        KernelResult.of(kernel, speeds.get(kernel.id), settings.repeat(port, kernel.id)) for kernel in checked.kernels
    )
    return BoardResult(
        port=port,
        board=checked.board,
        title=boards.load(checked.board).title if checked.board in boards.names() else None,
        firmware=Firmware(**{name: status[name] for name in Firmware.__dataclass_fields__}),
        code=checked.code,
        kernels=tuple(kernels),
    )


def board_failed(port: str, error: HostError) -> BoardResult:
    """A board that could not be checked to the end."""
    return BoardResult(port, error=Failure.of(error))
