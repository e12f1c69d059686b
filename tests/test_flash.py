"""Flashing, on the emulated board: as an emulated one, and as a real one is found, by its port and its drive."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from host import boards, flash
from host.board import connect
from host.emulator import EmulatedBoard
from host.errors import BuildError, CheckFailed, DeviceTimeout, NoDevice, UsageError
from host.flash import Firmware, started, uf2

PICO = boards.load("rpi_pico")


@pytest.fixture
def blank(state_dir: Path) -> EmulatedBoard:
    """An emulated Pico as it comes from the factory, not yet powered."""
    return EmulatedBoard("rpi_pico")


@pytest.fixture
def firmware(firmware_uf2: Path) -> Firmware:
    """What `host build rpi_pico` made."""
    return flash.read_firmware(PICO, firmware_uf2)


def put(firmware: Firmware, target: uf2.Target, patience: float = 0) -> dict[str, object]:
    return uf2.flash(PICO, firmware, target, report=lambda text: None, patience=patience)


def test_a_blank_emulated_board_runs_what_was_flashed(blank: EmulatedBoard, firmware: Firmware) -> None:
    progress: list[tuple[int, int]] = []
    with blank, uf2.target(PICO, "emu:rpi_pico") as target:
        status = uf2.flash(PICO, firmware, target, lambda text: None, lambda *amounts: progress.append(amounts))
    assert (status["build"], status["version"]) == (firmware.build, firmware.version)
    assert progress[-1] == (firmware.path.stat().st_size,) * 2


def test_a_running_board_is_rebooted_first_and_keeps_its_pack(
    blank: EmulatedBoard, firmware: Firmware, core_pack: Path
) -> None:
    from host.pack import Pack

    with blank:
        with uf2.target(PICO, "emu:rpi_pico") as target:
            put(firmware, target)
        with connect("emu:rpi_pico") as board:
            installed = board.install(Pack.open(core_pack).image("thumbv6m-soft"))
        with uf2.target(PICO, "emu:rpi_pico") as target:
            status = put(firmware, target)
    assert status["pack"] == installed


def test_a_port_and_a_drive_are_flashed_as_a_real_board_is(blank: EmulatedBoard, firmware: Firmware) -> None:
    with blank:
        with uf2.target(PICO, str(blank.port), blank.wait_for_bootsel()) as target:
            put(firmware, target)
        with uf2.target(PICO, str(blank.port), blank.bootsel_dir) as target:
            assert target.drive() is None
            assert put(firmware, target)["build"] == firmware.build


def test_a_board_whose_repl_does_not_answer_is_touched_at_1200_baud(
    blank: EmulatedBoard, firmware: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is switched off and a program runs: nothing but the touch gets through."""
    with blank:
        with uf2.target(PICO, "emu:rpi_pico") as target:
            put(firmware, target)
        with serial.Serial(str(blank.wait_for_port()), timeout=5) as port:
            port.write(
                b"\r\x03\x02import micropython, time; micropython.kbd_intr(-1)\rwhile True: time.sleep_ms(5)\r\r\r"
            )
            port.read_until(b"sleep_ms(5)")
        with uf2.target(PICO, "emu:rpi_pico") as target:
            assert put(firmware, target)["build"] == firmware.build


def test_other_firmware_than_announced_is_found_out(blank: EmulatedBoard, firmware: Firmware, tmp_path: Path) -> None:
    shutil.copy(firmware.path, tmp_path / "firmware.uf2")
    (tmp_path / "firmware.json").write_text(json.dumps({"build_id": "another", "version": firmware.version}))
    with blank, uf2.target(PICO, "emu:rpi_pico") as target, pytest.raises(CheckFailed, match="another"):
        put(flash.read_firmware(PICO, tmp_path / "firmware.uf2"), target)


def test_a_file_that_the_boot_rom_ignores_is_reported(
    blank: EmulatedBoard, firmware: Firmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started, "START_SECONDS", 2.0)
    (tmp_path / "firmware.uf2").write_bytes(firmware.path.read_bytes()[:-512])
    with blank, uf2.target(PICO, "emu:rpi_pico") as target, pytest.raises(DeviceTimeout, match="did not take"):
        put(Firmware(tmp_path / "firmware.uf2", "x", "0"), target)


def test_firmware_that_was_not_built_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_BUILD_DIR", str(tmp_path))
    with pytest.raises(BuildError, match="host build rpi_pico"):
        flash.read_firmware(PICO)


def test_firmware_without_its_description_cannot_be_checked(tmp_path: Path) -> None:
    (tmp_path / "other.uf2").touch()
    with pytest.raises(BuildError, match=r"firmware\.json"):
        flash.read_firmware(PICO, tmp_path / "other.uf2")


def test_firmware_of_another_family_is_refused_before_the_board_is_touched(firmware: Firmware, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0xe48bff56; rpi_pico2"):
        flash.read_firmware(boards.load("rpi_pico2"), firmware.path)
    shutil.copy(firmware.path.with_name("firmware.json"), tmp_path)
    (tmp_path / "firmware.uf2").write_bytes(b"not a UF2 file" * 100)
    with pytest.raises(UsageError, match="not a UF2 file"):
        flash.read_firmware(PICO, tmp_path / "firmware.uf2")


def test_another_chip_is_found_out_before_the_reboot(emulated_board: EmulatedBoard, firmware: Firmware) -> None:
    pico2 = boards.load("rpi_pico2")
    with (
        uf2.target(pico2, str(emulated_board.wait_for_port())) as target,
        pytest.raises(UsageError, match="Raspberry Pi Pico with RP2040; rpi_pico2 has the chip RP2350"),
    ):
        uf2.flash(pico2, firmware, target, lambda text: None, patience=0)
    assert emulated_board.port.exists()


def test_a_drive_of_another_chip_is_named(firmware: Firmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "INFO_UF2.TXT").write_text("UF2 Bootloader v1.0\r\nModel: Raspberry Pi RP2350\r\nBoard-ID: RP2350\r\n")
    monkeypatch.setattr(uf2, "mounted", lambda: iter([tmp_path]))
    with uf2.target(PICO, str(tmp_path / "none")) as target, pytest.raises(NoDevice, match="is RP2350's"):
        put(firmware, target)
    with uf2.target(boards.load("rpi_pico2"), str(tmp_path / "none")) as target:
        assert target.drive() == tmp_path


def test_a_board_in_bootsel_is_found_beside_another_boards_port(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ListPortInfo("/dev/ttyUSB0")
    other.vid, other.pid = 0x1A86, 0x7523
    monkeypatch.setattr(list_ports, "comports", lambda: [other])
    monkeypatch.delenv("HOST_PORT", raising=False)
    (tmp_path / "INFO_UF2.TXT").write_text("Board-ID: RPI-RP2\r\n")
    monkeypatch.setattr(uf2, "mounted", lambda: iter([tmp_path]))
    with uf2.target(PICO, None) as target, target.alone():
        assert target.drive() == tmp_path
        assert target.port() is None


@pytest.mark.parametrize("host_port", [None, "/dev/ttyACM0"])
def test_a_board_in_bootsel_named_by_its_drive_is_not_taken_for_one_that_runs(
    host_port: str | None, tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "INFO_UF2.TXT").write_text("Board-ID: RPI-RP2\r\n")
    running = ListPortInfo("/dev/ttyACM0")
    running.vid, running.pid, running.serial_number = 0x2E8A, 0x0005, "E66118C4E3"
    flashed = ListPortInfo("/dev/ttyACM1")
    flashed.vid, flashed.pid, flashed.serial_number = 0x2E8A, 0x0005, "E66118C4E4"
    connected = [running]
    monkeypatch.setattr(list_ports, "comports", lambda: connected)
    monkeypatch.delenv("HOST_PORT", raising=False)
    if host_port:
        monkeypatch.setenv("HOST_PORT", host_port)
    with uf2.target(PICO, None, tmp_path) as target, target.alone():
        assert target.drive() == tmp_path
        assert target.port() is None
        connected.append(flashed)
        assert target.port() == "/dev/ttyACM1"


def test_a_board_that_runs_is_found_though_its_drive_is_named(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where drives are not mounted by themselves, the place is known before the board shows one."""
    running = ListPortInfo("/dev/ttyACM0")
    running.vid, running.pid, running.serial_number = 0x2E8A, 0x0005, "E66118C4E3"
    monkeypatch.setattr(list_ports, "comports", lambda: [running])
    monkeypatch.delenv("HOST_PORT", raising=False)
    with uf2.target(PICO, None, tmp_path) as target, target.alone():
        assert (target.drive(), target.port()) == (None, "/dev/ttyACM0")


def test_an_emulated_board_is_not_taken_for_one_on_usb_that_comes_back(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "INFO_UF2.TXT").write_text("Board-ID: RPI-RP2\r\n")
    monkeypatch.setattr(list_ports, "comports", list)
    with uf2.target(PICO, None, tmp_path) as target, target.alone(), EmulatedBoard("rpi_pico"):
        assert target.port() is None


def test_no_board_at_all_says_to_hold_bootsel(firmware: Firmware, tmp_path: Path) -> None:
    with uf2.target(PICO, str(tmp_path / "none"), tmp_path) as target, pytest.raises(NoDevice, match="hold BOOTSEL"):
        put(firmware, target)


def test_a_drive_is_known_by_its_board_id(tmp_path: Path) -> None:
    assert uf2.board_id(tmp_path) is None
    (tmp_path / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n")
    assert uf2.board_id(tmp_path) == "RPI-RP2"


def test_every_mounted_place_is_a_folder() -> None:
    assert all(place.is_absolute() for place in uf2.mounted())


def test_drives_are_looked_for_where_each_system_mounts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "RPI-RP2").mkdir()
    monkeypatch.setattr(uf2, "_VOLUMES", tmp_path)
    monkeypatch.setattr(uf2, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "mounts").write_text(
        "/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /media/me/RPI-RP2 vfat rw 0 0\n/dev/sdc1 /media/my\\040drive vfat rw 0 0\n"
    )
    monkeypatch.setattr(sys, "platform", "linux")
    assert [str(place) for place in uf2.mounted()] == ["/media/me/RPI-RP2", "/media/my drive"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tmp_path / "RPI-RP2" in uf2.mounted()
    monkeypatch.setattr(sys, "platform", "win32")
    assert [str(place) for place in uf2.mounted()][3:5] == ["D:", "E:"]
