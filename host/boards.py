"""Facts about boards, from ``boards/<name>/board.toml``; how their AOT code is built, from ``boards/targets.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from host import project
from host.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Wamrc:
    """How wamrc builds AOT code. Boards with the same ``target_id`` run the same bytes."""

    target_id: str
    flags: tuple[str, ...]


MAIN_STACK = 0x2000
"""Bytes of MicroPython's own stack, which lies between the kernels' memory and the end of RAM."""


@dataclass(frozen=True)
class Memory:
    """Addresses and sizes in RAM, bytes. Where addresses are 0, the port places the memory when kern is imported."""

    ram: int
    arena_address: int
    arena_size: int
    pool_address: int
    pool_size: int
    stack_address: int
    stack_size: int
    kernel_page: int

    @property
    def main_stack(self) -> int:
        """Address of MicroPython's own stack: behind the pool, the last of what kernels have."""
        return self.pool_address + self.pool_size

    @property
    def ram_address(self) -> int:
        """Where RAM begins."""
        return self.main_stack + MAIN_STACK - self.ram


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


@dataclass(frozen=True)
class Kern:
    """What firmware with the module kern is built from: the sections that a board has once kern is ported to it."""

    wamrc: Wamrc
    memory: Memory
    flash: Flash
    limits: Limits


@dataclass(frozen=True)
class Uf2:
    """A boot ROM that shows a drive, to which firmware is copied."""

    family_id: int
    drive_label: str
    board_id: str


RESETS_BEFORE = ("default-reset", "usb-reset", "no-reset")
RESETS_AFTER = ("hard-reset", "watchdog-reset", "no-reset")
"""How esptool can reset a chip: into its boot ROM, and afterwards."""


@dataclass(frozen=True)
class Esptool:
    """A boot ROM that esptool talks to, over the serial port.

    ``chip`` is esptool's --chip, ``chip_id`` the number that chip and firmware file have, ``offset`` where in flash the
    file goes (bytes), ``flash_size`` the least that is needed (bytes), ``baud`` the speed to write at.
    """

    chip: str
    chip_id: int
    offset: int
    flash_size: int
    baud: int


@dataclass(frozen=True)
class Program:
    """A program of this computer, which runs the firmware, an ELF file.

    ``command`` are its words, in which {firmware} and {flash} stand for the paths of the two files; standard input and
    output are the board's serial port.
    """

    command: tuple[str, ...]


@dataclass(frozen=True)
class Usb:
    """USB ids, ``vendor:product`` in hexadecimal: the REPL's and the boot ROM's. Other boards may have the same."""

    repl: tuple[str, ...]
    boot: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """``needs`` is what a build takes that is not on this machine; ``run_on`` where this firmware has been run."""

    needs: str
    run_on: tuple[str, ...]


@dataclass(frozen=True)
class Emulator:
    """``rp2040js`` executes the firmware, as does ``program``, the one in [program]; ``esp-rom`` is a boot ROM that can
    be flashed, and executes nothing.
    """

    kind: str


@dataclass(frozen=True)
class Board:
    """One kind of board. ``kern`` is None where the module has not been ported to it yet, ``usb`` where the board is a
    program.
    """

    name: str
    title: str
    chip: str
    port: str
    micropython_board: str
    boot: Uf2 | Esptool | Program
    usb: Usb | None
    status: Status
    kern: Kern | None
    emulator: str | None
    folder: Path

    @property
    def wamrc(self) -> Wamrc:
        """How wamrc builds AOT code for the board. Raises UsageError, as the three below, where kern is not ported."""
        return self._ported().wamrc

    @property
    def memory(self) -> Memory:
        """Addresses and sizes in RAM."""
        return self._ported().memory

    @property
    def flash(self) -> Flash:
        """Layout of the flash."""
        return self._ported().flash

    @property
    def limits(self) -> Limits:
        """What a call may use."""
        return self._ported().limits

    @property
    def uf2(self) -> Uf2:
        """The boot ROM's drive. Raises UsageError for a board that has none."""
        if not isinstance(self.boot, Uf2):
            raise UsageError(f"board {self.name} has no drive to copy UF2 files to")
        return self.boot

    @property
    def summary(self) -> str:
        """What has been built and run where, in words."""
        if self.kern is None:
            built = "not built: kern is not ported to it"
        elif self.status.needs:
            built = f"not built here: needs {self.status.needs}"
        else:
            built = "built here"
        ran = self.status.run_on
        if not ran:
            return f"{built}; never run"
        real = {"hardware", "this computer"} & set(ran)
        return f"{built}; run on {', '.join(ran)}{'' if real else ', never on hardware'}"

    def _ported(self) -> Kern:
        if self.kern is None:
            missing = f"target, {_listed(_KERN)}"
            raise UsageError(f"kern is not ported to board {self.name} yet: its board.toml has no {missing}")
        return self.kern


def names() -> list[str]:
    """Every board there is, sorted."""
    return sorted(path.parent.name for path in (project.root() / "boards").glob("*/board.toml"))


def ported() -> list[Board]:
    """The boards that have the module kern, by name."""
    return [board for board in map(load, names()) if board.kern]


@cache
def load(name: str) -> Board:
    """The facts of board ``name``. Raises UsageError, naming the boards there are, for an unknown one."""
    if name not in names():
        raise UsageError(f"no board {name!r}; known boards: {', '.join(names())}")
    path = project.root() / "boards" / name / "board.toml"
    return parse(tomllib.loads(path.read_text()), path)


@dataclass(frozen=True)
class _Flags:
    flags: tuple[str, ...]


@cache
def targets() -> Mapping[str, Wamrc]:
    """How wamrc builds AOT code, by target id."""
    path = project.root() / "boards" / "targets.toml"
    return {
        name: Wamrc(name, _section(_Flags, data, f"{path}: [{name}]").flags)
        for name, data in tomllib.loads(path.read_text()).items()
    }


_TEXTS = ("name", "title", "chip", "port", "micropython_board")
_KERN = {"memory": Memory, "flash": Flash, "limits": Limits}
_BOOT = {"uf2": Uf2, "esptool": Esptool, "program": Program}
_SECTIONS = {**_KERN, **_BOOT, "usb": Usb, "status": Status, "emulator": Emulator}


def parse(data: Mapping[str, Any], path: Path) -> Board:
    """The facts in a board.toml's ``data``. Raises UsageError, naming ``path``, for what is wrong or missing."""
    known = (*_TEXTS, "target", *_SECTIONS)
    unknown = set(data) - set(known)
    if unknown:
        raise UsageError(f"{path}: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    texts = {name: data[name] for name in _TEXTS if isinstance(data.get(name), str)}
    for name in _TEXTS:
        if name not in texts:
            raise UsageError(f"{path}: {name} must be there, and text")
    sections: dict[str, type[Any]] = {name: kind for name, kind in _SECTIONS.items() if name in data}
    made = {name: _section(kind, data[name], f"{path}: [{name}]") for name, kind in sections.items()}
    boot = [made[name] for name in _BOOT if name in made]
    if len(boot) != 1:
        raise UsageError(f"{path}: must have one of {_listed(_BOOT)}")
    for name in ("status",) if "program" in made else ("usb", "status"):
        if name not in made:
            raise UsageError(f"{path}: [{name}] is missing")
    kern: dict[str, Any] = {name: made[name] for name in _KERN if name in made}
    if "target" in data:
        kern["wamrc"] = _target(data["target"], path)
    if kern and len(kern) < len(fields(Kern)):
        raise UsageError(f"{path}: must have target and all of {_listed(_KERN)}, or none of them")
    return Board(
        **texts,
        boot=boot[0],
        usb=made.get("usb"),
        status=made["status"],
        kern=Kern(**kern) if kern else None,
        emulator=made["emulator"].kind if "emulator" in made else None,
        folder=path.parent,
    )


def _target(name: object, path: Path) -> Wamrc:
    wamrc = targets().get(name) if isinstance(name, str) else None
    if wamrc is None:
        raise UsageError(f"{path}: target {name!r} is none of {', '.join(targets())}")
    return wamrc


def _listed(sections: Mapping[str, type]) -> str:
    return ", ".join(f"[{name}]" for name in sections)


def _section(kind: type[T], data: Mapping[str, Any], where: str) -> T:
    """``data`` as a ``kind``, whose fields are texts, integers or lists of texts: all of them, and no other."""
    types = get_type_hints(kind)
    if set(data) != set(types):
        wrong = [f"no {name}" for name in types if name not in data]
        wrong += [f"unknown {name}" for name in data if name not in types]
        raise UsageError(f"{where} has {', '.join(wrong)}")
    values = {}
    for name, wanted in types.items():
        value = tuple(data[name]) if isinstance(data[name], list) else data[name]
        of_texts = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        if not (of_texts if get_args(wanted) else type(value) is wanted):
            raise UsageError(f"{where}: {name} must be {'a list of texts' if get_args(wanted) else wanted.__name__}")
        values[name] = value
    return kind(**values)
