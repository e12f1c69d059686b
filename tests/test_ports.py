"""Which board ``--port`` means."""

from __future__ import annotations

from pathlib import Path

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from host import ports
from host.emulator import EmulatedBoard, EspRom
from host.errors import NoDevice, UsageError


@pytest.fixture(autouse=True)
def nothing_connected(monkeypatch: pytest.MonkeyPatch, state_dir: Path) -> None:
    """No USB device, no emulated board, no HOST_PORT."""
    monkeypatch.setattr(list_ports, "comports", list)
    monkeypatch.delenv("HOST_PORT", raising=False)


def connect(monkeypatch: pytest.MonkeyPatch, *devices: tuple[str, int, int, str]) -> None:
    """Have the operating system list these USB devices: path, vendor, product, serial number."""
    found = []
    for path, vid, pid, serial in devices:
        info = ListPortInfo(path)
        info.vid, info.pid, info.serial_number, info.product = vid, pid, serial, "Board in FS mode"
        found.append(info)
    monkeypatch.setattr(list_ports, "comports", lambda: found)


PICO = ("/dev/ttyACM0", 0x2E8A, 0x0005, "E66118C4E3")
PICO_2 = ("/dev/ttyACM1", 0x2E8A, 0x0005, "E66118C4E4")
OTHER = ("/dev/ttyUSB0", 0x1A86, 0x7523, "5")
UNKNOWN = ("/dev/ttyUSB1", 0x1234, 0x5678, "6")


@pytest.mark.parametrize("path", ["/dev/ttyACM7", "COM3", "socket://localhost:2217", "rfc2217://host:4000"])
def test_a_path_or_url_means_itself(path: str) -> None:
    assert ports.resolve(path) == path


def test_a_path_is_looked_for_and_a_url_taken_to_be_there(tmp_path: Path) -> None:
    assert ports.there(str(tmp_path))
    assert not ports.there(str(tmp_path / "none"))
    assert ports.there("rfc2217://host:4000")


def test_an_emulated_board_is_named_by_its_kind() -> None:
    assert ports.resolve("emu:rpi_pico") == "emu:rpi_pico"


def test_of_several_emulated_boards_of_a_kind_each_has_a_name() -> None:
    assert ports.resolve("emu:rpi_pico:left") == "emu:rpi_pico:left"
    assert ports.resolve("emu:rpi_pico:default") == "emu:rpi_pico"
    with pytest.raises(UsageError, match="no name for an emulated board"):
        ports.resolve("emu:rpi_pico:../elsewhere")
    with EspRom("esp32c3") as first, EspRom("esp32c3", instance="left") as second:
        assert [device.path for device in ports.devices()] == ["emu:esp32c3", "emu:esp32c3:left"]
        assert first.port != second.port


def test_an_unknown_emulated_board_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"nonesuch.*rpi_pico"):
        ports.resolve("emu:nonesuch")


@pytest.mark.parametrize("wanted", ["id:E66118C4E4", "2e8a:0005:E66118C4E4", "2E8A:0005:E66118C4E4"])
def test_a_serial_number_chooses_among_boards(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    connect(monkeypatch, PICO, PICO_2, OTHER)
    assert ports.resolve(wanted) == "/dev/ttyACM1"


def test_vendor_and_product_choose_when_only_one_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, PICO, OTHER)
    assert ports.resolve("1a86:7523") == "/dev/ttyUSB0"


@pytest.mark.parametrize("wanted", ["2e8a:0005", None])
def test_ambiguity_is_an_error_that_lists_the_candidates(monkeypatch: pytest.MonkeyPatch, wanted: str | None) -> None:
    connect(monkeypatch, PICO, PICO_2)
    with pytest.raises(UsageError) as error:
        ports.resolve(wanted)
    assert "/dev/ttyACM0" in str(error.value)
    assert "id:E66118C4E4" in str(error.value)


@pytest.mark.parametrize("wanted", ["id:nonesuch", "dead:beef", None])
def test_a_device_that_is_not_there_is_no_device(wanted: str | None) -> None:
    with pytest.raises(NoDevice):
        ports.resolve(wanted)


@pytest.mark.parametrize("wanted", ["12345:1", "usb:1", "2e8a:xyz"])
def test_a_form_that_is_none_is_an_error_that_says_which_there_are(wanted: str) -> None:
    with pytest.raises(UsageError, match="id:SERIAL"):
        ports.resolve(wanted)


def test_the_only_device_is_meant_when_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, PICO)
    assert ports.resolve(None) == "/dev/ttyACM0"


def test_the_only_device_that_may_be_the_board_is_meant_when_its_kind_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, PICO, OTHER)
    assert ports.resolve(None, "rpi_pico") == "/dev/ttyACM0"
    assert ports.resolve(None, "esp32c3") == "/dev/ttyUSB0"


def test_host_port_comes_before_the_only_device_and_after_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, PICO)
    monkeypatch.setenv("HOST_PORT", "emu:rpi_pico")
    assert ports.resolve(None) == "emu:rpi_pico"
    assert ports.resolve("/dev/ttyS9") == "/dev/ttyS9"


def test_ports_without_a_usb_device_are_no_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, PICO)
    found = list_ports.comports()
    monkeypatch.setattr(list_ports, "comports", lambda: [*found, ListPortInfo("/dev/ttyS0")])
    assert [device.path for device in ports.devices()] == ["/dev/ttyACM0"]


def test_devices_tell_which_boards_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, PICO, OTHER, UNKNOWN)
    assert [device.boards for device in ports.devices()] == [
        ("rpi_pico", "rpi_pico2"),
        ("esp32", "esp32c3", "esp32s3"),
        (),
    ]


def test_a_running_emulated_board_is_a_device_and_is_used(tmp_path: Path) -> None:
    with EmulatedBoard("rpi_pico", flash=tmp_path / "flash.bin") as running:
        assert [device.path for device in ports.devices()] == ["emu:rpi_pico"]
        assert ports.resolve(None) == "emu:rpi_pico"
        with ports.emulated("emu:rpi_pico") as used:
            assert str(used.port) == str(running.port)
    assert ports.devices() == []
