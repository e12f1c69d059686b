"""Firmware for the ESP32 family, as far as it goes without ESP-IDF: what cmake is given, and what compiles without it.

A stand-in takes ESP-IDF's place (tests/esp_idf). No firmware is built: whether ESP-IDF accepts the sources, and whether
they work, nothing here tells.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT, RunHost

from host import boards, firmware, firmware_variants
from host.errors import BuildError
from host.pack import keyset

C3 = boards.load("esp32c3")
ESP_IDF = ROOT / "tests" / "esp_idf"


@pytest.fixture
def esp_idf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, its compiler in PATH as export.sh would have it."""
    folder = tmp_path / "esp-idf"
    shutil.copytree(ESP_IDF, folder)
    compiler = tmp_path / "bin" / "riscv32-esp-elf-gcc"
    compiler.parent.mkdir()
    compiler.symlink_to(shutil.which("riscv64-unknown-elf-gcc") or "")
    monkeypatch.setenv("IDF_PATH", str(folder))
    monkeypatch.setenv("PATH", str(compiler.parent), prepend=":")
    return folder


def refused() -> str:
    with pytest.raises(BuildError) as error:
        firmware.build_firmware(C3, keyset.current(), firmware_variants.RELEASE)
    return str(error.value)


def test_without_esp_idf_a_build_says_what_to_install(cli: RunHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDF_PATH", raising=False)
    finished = cli("build", "esp32c3")
    assert finished.returncode != 0
    for part in ("firmware for esp32c3 needs ESP-IDF 5.2 to 5.4", "export.sh", "IDF_PATH is not set"):
        assert part in finished.stderr.replace("\n", " ")


def test_what_is_wrong_with_an_esp_idf_is_named(esp_idf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = esp_idf / "tools" / "cmake" / "version.cmake"
    good = version.read_text()
    for wrong in (good.replace("MINOR 4", "MINOR 1"), good.replace("MINOR 4", "MINOR 5")):
        version.write_text(wrong)
        assert "needs ESP-IDF 5.2 to 5.4" in refused()
    version.write_text("")
    assert "no ESP-IDF: tools/cmake/version.cmake has no version" in refused()
    version.unlink()
    assert refused().endswith("which is no ESP-IDF: it has no tools/cmake/version.cmake")
    version.write_text(good)
    monkeypatch.setenv("PATH", "")
    assert refused().endswith("riscv32-esp-elf-gcc is not in PATH")


def test_the_port_is_configured_with_our_board_and_what_needs_no_esp_idf_compiles(
    esp_idf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_BUILD_DIR", str(tmp_path / "build"))
    built = firmware.build_firmware(C3, keyset.current(), firmware_variants.RELEASE)
    folder = built.file.parent
    settings = (folder / "cmake" / "sdkconfig").read_text()
    assert 'CONFIG_IDF_TARGET="esp32c3"' in settings
    assert "CONFIG_APP_REPRODUCIBLE_BUILD=y" in settings
    assert "CONFIG_PARTITION_TABLE_CUSTOM=y" in settings, "the port's own are there"
    assert "CONFIG_BT_ENABLED" not in settings
    for library in ("kern_wamr", "kern_engine", "kern_crypto", "kern_softfloat", "kern_chip"):
        assert list((folder / "cmake").rglob(f"lib{library}.a")), library
    image = built.file.read_bytes()
    assert image.startswith(b"boot loader\xff")
    assert image[0x8000:].startswith((folder / "generated" / "partitions.csv").read_bytes())
    assert image[0x10000:] == b"application"


@pytest.mark.parametrize("board", [board for board in boards.ported() if board.port == "esp32"], ids=lambda b: b.name)
def test_partitions_follow_each_other_and_fill_the_flash(board: boards.Board) -> None:
    flash = board.flash
    begins = [flash.slot_a, flash.slot_b, flash.state, flash.keys, flash.filesystem]
    sizes = [flash.slot_size, flash.slot_size, flash.state_size, 2 * flash.sector]
    assert all(begins[i] + size <= begins[i + 1] for i, size in enumerate(sizes))
    assert (flash.firmware_size, flash.filesystem + flash.filesystem_size) == (flash.slot_a, flash.size)
    assert all(offset % 0x10000 == 0 for offset in (flash.slot_a, flash.filesystem))
