"""Facts about boards, read from ``boards/<name>/board.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from host import project
from host.errors import UsageError


@dataclass(frozen=True)
class Wamrc:
    """How wamrc builds AOT code for the board."""

    target_id: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """Addresses and sizes in RAM, bytes."""

    ram: int
    arena_address: int
    arena_size: int
    pool_address: int
    pool_size: int
    stack_address: int
    stack_size: int
    kernel_page: int


@dataclass(frozen=True)
class Flash:
    """Layout of the flash, bytes; offsets count from the start of flash."""

    address: int
    size: int
    sector: int
    page: int
    firmware_size: int
    slot_a: int
    slot_b: int
    slot_size: int
    state: int
    state_size: int
    keys: int
    filesystem: int
    filesystem_size: int


@dataclass(frozen=True)
class Limits:
    """What a call may use at the most."""

    deadline_ms: int
    clock_hz: int


@dataclass(frozen=True)
class Uf2:
    """The boot ROM's drive."""

    family_id: int
    drive_label: str
    board_id: str


@dataclass(frozen=True)
class Usb:
    """USB ids: the REPL's and the boot ROM's."""

    vid: int
    pid: int
    bootsel_pid: int


@dataclass(frozen=True)
class Board:
    """One kind of board."""

    name: str
    title: str
    chip: str
    port: str
    micropython_board: str
    wamrc: Wamrc
    memory: Memory
    flash: Flash
    limits: Limits
    uf2: Uf2
    usb: Usb
    emulator: str | None
    folder: Path


def names() -> list[str]:
    """Every board there is, sorted."""
    return sorted(path.parent.name for path in (project.root() / "boards").glob("*/board.toml"))


@cache
def load(name: str) -> Board:
    """The facts of board ``name``. Raises UsageError, naming the boards there are, for an unknown one."""
    if name not in names():
        raise UsageError(f"no board {name!r}; known boards: {', '.join(names())}")
    folder = project.root() / "boards" / name
    data = tomllib.loads((folder / "board.toml").read_text())
    wamrc = data["wamrc"]
    return Board(
        name=data["name"],
        title=data["title"],
        chip=data["chip"],
        port=data["port"],
        micropython_board=data["micropython_board"],
        wamrc=Wamrc(target_id=wamrc["target_id"], flags=tuple(wamrc["flags"])),
        memory=Memory(**data["memory"]),
        flash=Flash(**data["flash"]),
        limits=Limits(**data["limits"]),
        uf2=Uf2(**data["uf2"]),
        usb=Usb(**data["usb"]),
        emulator=data.get("emulator", {}).get("kind"),
        folder=folder,
    )
