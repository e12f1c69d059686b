"""board.toml: the facts about boards, and that they are true."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, RunHost

from host import boards, firmware, firmware_variants, project
from host.boards import Board, Esptool, Program, Uf2
from host.errors import BuildError, UsageError
from host.firmware import build_firmware

PICO: dict[str, Any] = tomllib.loads((ROOT / "boards" / "rpi_pico" / "board.toml").read_text())


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as error:
        boards.parse(data, Path("board.toml"))
    return str(error.value)


@pytest.mark.parametrize("name", boards.names())
def test_every_boards_facts_are_complete(name: str) -> None:
    board = boards.load(name)
    assert board.name == name
    assert isinstance(board.boot, Uf2 | Esptool | Program)
    usb_ids = (*board.usb.repl, *board.usb.boot) if board.usb else ()
    assert all(len(usb_id) == 9 and usb_id[4] == ":" for usb_id in usb_ids)
    assert set(board.status.run_on) <= {"emulator", "QEMU", "this computer", "hardware"}
    assert isinstance(board.boot, Program) == (board.emulator == "program") == (board.usb is None)


def place(board: Board) -> str:
    """Where an emulated board's firmware runs."""
    if not isinstance(board.boot, Program):
        return "emulator"
    return "QEMU" if board.boot.command[0].startswith("qemu-system-") else "this computer"


def test_what_is_said_to_have_run_is_what_an_emulator_executes() -> None:
    known = [boards.load(name) for name in boards.names()]
    executed = {board.name: {place(board)} for board in known if board.emulator in ("rp2040js", "program")}
    said = {board.name: set(board.status.run_on) - {"hardware"} for board in known}
    assert {name: places for name, places in said.items() if places} == executed
    assert {board.name for board in boards.ported()} >= set(executed)


def test_a_board_that_a_program_runs_needs_no_usb_and_says_where_it_ran() -> None:
    data = {name: fact for name, fact in PICO.items() if name not in ("uf2", "usb")}
    data |= {"program": {"command": ["{firmware}"]}, "status": {"needs": "", "run_on": ["QEMU"]}}
    board = boards.parse(data, Path("board.toml"))
    assert (board.boot, board.usb) == (Program(("{firmware}",)), None)
    assert board.summary == "built here; run on QEMU, never on hardware"
    data["status"] = {"needs": "", "run_on": ["this computer"]}
    assert boards.parse(data, Path("board.toml")).summary == "built here; run on this computer"
    assert "one of [uf2], [esptool], [program]" in refused({**data, "uf2": PICO["uf2"]})


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("flash", "sectors", 1, "unknown sectors"),
        ("flash", "sector", None, "no sector"),
        ("flash", "sector", "4096", "sector must be int"),
        ("usb", "repl", "2e8a:0005", "repl must be a list of texts"),
        ("usb", "repl", [5], "repl must be a list of texts"),
    ],
)
def test_a_wrong_fact_is_named(section: str, key: str, value: object, message: str) -> None:
    changed = {name: fact for name, fact in PICO[section].items() if name != key}
    if value is not None:
        changed[key] = value
    assert f"board.toml: [{section}]" in refused({**PICO, section: changed})
    assert message in refused({**PICO, section: changed})


def test_sections_that_belong_together_are_all_there_or_none() -> None:
    assert "unknown color" in refused({**PICO, "color": "green"})
    assert "title must be" in refused({**PICO, "title": 3})
    assert "target 'z80' is none of" in refused({**PICO, "target": "z80"})
    assert "[usb] is missing" in refused({name: fact for name, fact in PICO.items() if name != "usb"})
    assert "target and all of [memory]" in refused({name: fact for name, fact in PICO.items() if name != "memory"})
    assert "one of [uf2], [esptool], [program]" in refused({name: fact for name, fact in PICO.items() if name != "uf2"})
    unported = {name: fact for name, fact in PICO.items() if name not in ("target", "memory", "flash", "limits")}
    with pytest.raises(UsageError, match=r"not ported to board rpi_pico yet: its board\.toml has no target"):
        _ = boards.parse(unported, Path("board.toml")).flash


def test_host_boards_says_what_was_run_where(cli: RunHost) -> None:
    told = json.loads(cli("boards", "--json").stdout)["boards"]
    assert {board["name"]: board["status"] for board in told} == {n: boards.load(n).summary for n in boards.names()}
    assert boards.load("rpi_pico").summary == "built here; run on emulator, never on hardware"
    assert boards.load("esp32c3").summary == "not built here: needs ESP-IDF; never run"


def test_building_for_a_board_without_kern_says_what_is_missing() -> None:
    with pytest.raises(BuildError, match="kern is not ported to board rpi_pico2 yet"):
        build_firmware(replace(boards.load("rpi_pico2"), kern=None), [], firmware_variants.RELEASE)


def test_a_firmware_is_not_made_from_files_of_other_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its build id stays when they change. A chip of the same port may share files with this one."""
    own = {"rp2/a.h", "kern/a.c", "kern/chips/rp2040.cmake", "kern/chips/rp2350.cmake"}
    others = {"esp32/main.c", "kern/chips/esp32.cmake", "kern/chips/esp32-c3.cmake", "kern/chips/esp32-c3/chip.h"}
    sources = tmp_path / "firmware"
    for name in own | others:
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).touch()
    (tmp_path / "boards").symlink_to(ROOT / "boards")
    pico = boards.load("rpi_pico")
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    found = {path.relative_to(sources) for path in firmware._inputs(pico) if path.is_relative_to(sources)}
    assert found == set(map(Path, own))
