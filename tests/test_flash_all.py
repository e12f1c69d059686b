"""Several boards flashed at once: emulated Picos and ESP32s side by side."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import RunHost
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo
from test_flash_esp import C3, firmware_file, written

from host import boards, flash
from host.emulator import EmulatedBoard, EspRom
from host.errors import BuildError, NoDevice
from host.flash import uf2

PICO = boards.load("rpi_pico")


@pytest.fixture(autouse=True)
def nothing_connected(monkeypatch: pytest.MonkeyPatch, state_dir: Path) -> None:
    monkeypatch.setattr(list_ports, "comports", list)
    monkeypatch.delenv("HOST_PORT", raising=False)


def test_one_that_fails_does_not_stop_the_others(cli: RunHost, firmware_uf2: Path, tmp_path: Path) -> None:
    c3_file = firmware_file(tmp_path, C3)
    (tmp_path / "small.bin").write_bytes(b"\xff" * (2 << 20))
    files = ("--firmware", f"rpi_pico={firmware_uf2}", "--firmware", f"esp32c3={c3_file}")
    with ExitStack() as running:
        for name in ("left", "right"):
            running.enter_context(EmulatedBoard("rpi_pico", instance=name)).wait_for_bootsel()
        good = running.enter_context(EspRom("esp32c3", instance="good"))
        running.enter_context(EspRom("esp32c3", tmp_path / "small.bin", "small"))
        finished = cli("flash", "--all", *files, "--json")
        assert written(good, flash.read_firmware(C3, c3_file))
    assert finished.returncode == 1, finished
    told = json.loads(finished.stdout)
    assert told["failed"] == 1
    assert {board["place"]: board["error"] for board in told["boards"]} == {
        "emu:esp32c3:good": None,
        "emu:esp32c3:small": "UsageError",
        "emu:rpi_pico:left": None,
        "emu:rpi_pico:right": None,
    }
    builds = {board["build"] for board in told["boards"] if board["board"] == "rpi_pico" and board["runs"]}
    assert builds == {json.loads(firmware_uf2.with_name("firmware.json").read_text())["build_id"]}
    assert "emu:esp32c3:good: verifying" in finished.stderr


def test_people_get_a_table_and_the_chosen_kind_only(cli: RunHost, tmp_path: Path) -> None:
    with EspRom("esp32c3"), EspRom("esp32c3", instance="second"), EspRom("esp32s3") as other:
        finished = cli("flash", "--all", "--board", "esp32c3", "--firmware", firmware_file(tmp_path, C3))
        assert set(other.flash.read_bytes()) == {0xFF}
    assert finished.returncode == 0, finished
    header, first, second, summary = finished.stdout.splitlines()
    assert header.split() == ["where", "board", "result"]
    assert (first.split()[:3], second.split()[:3]) == (
        ["emu:esp32c3", "esp32c3", "ok"],
        ["emu:esp32c3:second", "esp32c3", "ok"],
    )
    assert summary == "2 of 2 flashed."


@pytest.fixture
def picos_on_usb(
    monkeypatch: pytest.MonkeyPatch, state_dir: Path, tmp_path: Path
) -> Iterator[tuple[EmulatedBoard, EmulatedBoard]]:
    """Two blank emulated Picos that are found as real ones are: by USB ports and by mounted drives."""
    with EmulatedBoard("rpi_pico", instance="a") as a, EmulatedBoard("rpi_pico", instance="b") as b:
        for board in (a, b):
            board.wait_for_bootsel()

        def comports() -> list[ListPortInfo]:
            found = []
            for board in (a, b):
                info = ListPortInfo(str(board.port))
                info.vid, info.pid, info.serial_number, info.product = (
                    0x2E8A,
                    0x0005,
                    board.instance,
                    "Board in FS mode",
                )
                found.append(info)
            return [info for info in found if Path(info.device).exists()]

        monkeypatch.setattr(list_ports, "comports", comports)
        monkeypatch.setattr(uf2, "mounted", lambda: (x.bootsel_dir for x in (a, b) if x.bootsel_dir.is_dir()))
        monkeypatch.setenv("HOST_STATE_DIR", str(tmp_path / "elsewhere"))  # they are no emulated boards any more
        yield a, b


def test_boards_whose_drives_look_alike_are_not_mixed_up(
    picos_on_usb: tuple[EmulatedBoard, EmulatedBoard], firmware_uf2: Path
) -> None:
    """First both from their boot ROMs, then both running MicroPython."""
    for places in ([str(x.bootsel_dir) for x in picos_on_usb], [str(x.port) for x in picos_on_usb]):
        jobs = flash.find_jobs([PICO], {"rpi_pico": firmware_uf2})
        assert [job.place for job in jobs] == places
        for result in flash.flash_all(jobs, lambda job, text: None):
            assert result.error is None
            assert result.status is not None
    for board in picos_on_usb:
        assert [event["event"] for event in board.events].count("uf2_programmed") == 2


def test_boards_with_the_same_usb_ids_are_asked_for_their_kind(
    picos_on_usb: tuple[EmulatedBoard, EmulatedBoard], firmware_uf2: Path, tmp_path: Path
) -> None:
    for board in picos_on_usb:
        shutil.copyfile(firmware_uf2, board.bootsel_dir / "firmware.uf2")
        board.wait_for_port()
    families = (struct.pack("<I", boards.load(name).uf2.family_id) for name in ("rpi_pico", "rpi_pico2"))
    (tmp_path / "pico2.uf2").write_bytes(firmware_uf2.read_bytes().replace(*families))
    shutil.copy(firmware_uf2.with_name("firmware.json"), tmp_path)
    files = {"rpi_pico": firmware_uf2, "rpi_pico2": tmp_path / "pico2.uf2"}
    assert [job.board.name for job in flash.find_jobs([], files)] == ["rpi_pico", "rpi_pico"]
    with pytest.raises(NoDevice, match="rpi_pico2"):
        flash.find_jobs([boards.load("rpi_pico2")], files)


def test_no_board_and_no_firmware_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(uf2, "mounted", lambda: iter(()))
    with pytest.raises(NoDevice, match="no board found of: esp32c3"):
        flash.find_jobs([], {"esp32c3": firmware_file(tmp_path, C3)})
    monkeypatch.setenv("HOST_BUILD_DIR", str(tmp_path))
    with pytest.raises(BuildError, match="host build"):
        flash.find_jobs([], {})
