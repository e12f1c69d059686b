"""Flashing ESP32s: the real esptool against the emulated boot ROM, on a pseudo terminal."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import signal
import struct
import subprocess
import sys
import tty
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from conftest import RunHost

from host import boards, flash, ports
from host.boards import Board, Esptool
from host.emulator import EspRom, Noise
from host.emulator.esp_loader import SECTOR, Command, Loader
from host.emulator.slip import Decoder, encode
from host.errors import CheckFailed, DeviceBusy, DeviceError, DeviceTimeout, NoDevice, UsageError
from host.flash import Firmware, Settings, esp

C3 = boards.load("esp32c3")
CHIPS = ("esp32", "esp32c3", "esp32s3")


def facts(board: Board) -> Esptool:
    assert isinstance(board.boot, Esptool)
    return board.boot


def firmware_file(folder: Path, board: Board, size: int = 60_000) -> Path:
    """A file that begins as a boot loader for the board does. Half of it can be compressed."""
    header = struct.pack("<B11xH", 0xE9, facts(board).chip_id)
    path = folder / f"{board.name}.bin"
    path.write_bytes(header + random.Random(board.name).randbytes(size // 2) + bytes(size // 2))
    return path


def written(rom: EspRom, firmware: Firmware) -> bool:
    """Whether the file is in the flash where it belongs, and all else is blank."""
    data, offset = firmware.path.read_bytes(), facts(boards.load(rom.board)).offset
    image = rom.flash.read_bytes()
    rest = image[:offset] + image[offset + len(data) :]
    return image[offset : offset + len(data)] == data and rest == b"\xff" * len(rest)


def put(board: Board, firmware: Firmware, said: list[str] | None = None, **settings: object) -> object:
    """Flash the running emulated chip of the board's name."""
    job = flash.Job(board, firmware, f"emu:{board.name}", settings=Settings(**settings))  # type: ignore[arg-type]
    return job.run((said if said is not None else []).append)


@pytest.fixture
def c3(state_dir: Path) -> Iterator[EspRom]:
    """An emulated ESP32-C3 as it comes from the factory."""
    with EspRom("esp32c3") as rom:
        yield rom


@pytest.fixture
def c3_firmware(tmp_path: Path) -> Firmware:
    return flash.read_firmware(C3, firmware_file(tmp_path, C3))


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_is_written_through_esptools_stub(name: str, state_dir: Path, tmp_path: Path) -> None:
    board = boards.load(name)
    firmware = flash.read_firmware(board, firmware_file(tmp_path, board))
    progress: list[tuple[int, int]] = []
    said: list[str] = []
    with EspRom(name) as rom:
        job = flash.Job(board, firmware, f"emu:{name}")
        assert job.run(said.append, lambda *amounts: progress.append(amounts)) is None
        assert written(rom, firmware)
        assert {command for command, _ in rom.loader.refusals} <= {
            Command.GET_SECURITY_INFO
        }  # the ESP32's ROM has no GET_SECURITY_INFO
    assert said[1:] == [f"writing {name}.bin", "verifying"]
    assert progress == sorted(progress)
    assert progress[-1] == (60_000 + 14, 60_000 + 14)


@pytest.mark.parametrize("name", ["esp32", "esp32c3"])
def test_the_roms_own_loader_writes_as_well(name: str, state_dir: Path, tmp_path: Path) -> None:
    board = boards.load(name)
    firmware = flash.read_firmware(board, firmware_file(tmp_path, board))
    with EspRom(name) as rom:
        put(board, firmware, stub=False)
        assert written(rom, firmware)


def test_a_port_without_reset_lines_does_not_keep_a_real_ports_way_from_working(
    c3: EspRom, c3_firmware: Firmware
) -> None:
    """As a real board is flashed, with DTR and RTS, which the pseudo terminal has not."""
    flash.Job(C3, c3_firmware, str(c3.port)).run(lambda text: None)
    assert written(c3, c3_firmware)


def test_flashing_again_erases_what_it_writes_and_nothing_else(c3: EspRom, c3_firmware: Firmware) -> None:
    end = -(-c3_firmware.path.stat().st_size // SECTOR) * SECTOR
    with c3.flash.open("r+b") as image:
        image.write(bytes(end + SECTOR))
    put(C3, c3_firmware)
    image = c3.flash.read_bytes()
    assert image.startswith(c3_firmware.path.read_bytes())
    assert image[end : end + SECTOR] == bytes(SECTOR)


def test_erase_leaves_nothing_of_what_was_there(c3: EspRom, c3_firmware: Firmware) -> None:
    with c3.flash.open("r+b") as image:
        image.write(bytes(facts(C3).flash_size))
    said: list[str] = []
    put(C3, c3_firmware, said, erase=True, baud=115200)
    assert "erasing" in said
    assert written(c3, c3_firmware)


def test_another_chip_is_refused_before_anything_is_written(state_dir: Path, c3_firmware: Firmware) -> None:
    with EspRom("esp32s3") as rom:
        job = flash.Job(C3, c3_firmware, str(rom.port), settings=Settings(before="no-reset"))
        with pytest.raises(UsageError, match="ESP32-S3; esp32c3 has an ESP32-C3; nothing was written"):
            job.run(lambda text: None)
        assert rom.flash.read_bytes().count(0xFF) == facts(boards.load("esp32s3")).flash_size


@pytest.fixture
def esptool_said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What esptool said in each of its runs: a pseudo terminal has none of the lines by which it resets."""
    said: list[str] = []
    run = esp._run

    def run_and_keep(*arguments: Any) -> str:
        said.append(run(*arguments))
        return said[-1]

    monkeypatch.setattr(esp, "_run", run_and_keep)
    return said


@pytest.mark.parametrize(
    ("settings", "last"),
    [(Settings(), "Hard resetting"), (Settings(after="no-reset"), "Staying in bootloader")],
)
def test_a_chip_that_is_refused_is_reset_as_one_that_was_written(
    settings: Settings, last: str, c3_firmware: Firmware, state_dir: Path, esptool_said: list[str]
) -> None:
    with EspRom("esp32s3") as rom:
        with pytest.raises(UsageError, match="nothing was written"):
            flash.Job(C3, c3_firmware, str(rom.port), settings=settings).run(lambda text: None)
        assert last in esptool_said[-1]


def test_a_chip_that_was_only_asked_for_its_kind_runs_again(c3: EspRom, esptool_said: list[str]) -> None:
    assert esp.chip_on(str(c3.port)) == "ESP32-C3"
    assert "Hard resetting" in esptool_said[-1]


def test_too_small_a_flash_is_refused(state_dir: Path, tmp_path: Path, c3_firmware: Firmware) -> None:
    (tmp_path / "small.bin").write_bytes(b"\xff" * (2 << 20))
    with EspRom("esp32c3", flash=tmp_path / "small.bin"), pytest.raises(UsageError, match="2097152 bytes"):
        put(C3, c3_firmware)


def test_firmware_for_another_chip_is_refused_without_a_board(tmp_path: Path) -> None:
    for_s3 = firmware_file(tmp_path, boards.load("esp32s3"))
    with pytest.raises(UsageError, match="chip id 9; esp32c3"):
        flash.read_firmware(C3, for_s3)
    for_s3.write_text("Not firmware, but as long as a header is.")
    with pytest.raises(UsageError, match="0xe9"):
        flash.read_firmware(C3, for_s3)


def test_no_answer_says_which_buttons_to_press(c3_firmware: Firmware) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        job = flash.Job(C3, c3_firmware, os.ttyname(slave), settings=Settings(before="no-reset"))
        with pytest.raises(DeviceTimeout, match="hold BOOT, press and release RESET"):
            job.run(lambda text: None)
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_in_use_and_one_that_is_not_there_are_told_apart(c3: EspRom, c3_firmware: Firmware) -> None:
    with serial.Serial(str(c3.port), exclusive=True), pytest.raises(DeviceBusy, match="another program"):
        put(C3, c3_firmware)
    with pytest.raises(NoDevice, match="No such file"):
        flash.Job(C3, c3_firmware, "/dev/nonesuch").run(lambda text: None)


def test_a_flash_file_belongs_to_one_emulated_chip(c3: EspRom) -> None:
    with pytest.raises(DeviceBusy, match=rf"flash image .* in use by process {os.getpid()}"):
        EspRom("esp32c3", c3.flash, "second").start()


def test_an_emulated_boot_rom_has_no_repl(c3: EspRom) -> None:
    with pytest.raises(NoDevice, match="runs nothing"), ports.opened("emu:esp32c3"):
        pass


def test_an_emulated_chip_is_flashed_from_the_shell(cli: RunHost, state_dir: Path, c3_firmware: Firmware) -> None:
    emulate = [sys.executable, "-m", "host", "emulate", "esp32c3", "--name", "bench", "--json"]
    with subprocess.Popen(emulate, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        finished = cli(
            *("flash", "--board", "esp32c3", "--port", "emu:esp32c3:bench"),
            *("--firmware", c3_firmware.path, "--erase", "--baud", "921600", "--json"),
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert finished.returncode == 0, finished
    assert json.loads(finished.stdout)["runs"] is False
    assert Path(told["port"]).with_name("flash.bin").read_bytes().startswith(c3_firmware.path.read_bytes())
    assert "erasing" in finished.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--board"),
        (["--board", "rpi_pico", "--baud", "115200"], "not flashed by esptool"),
        (["--all", "--port", "emu:esp32c3"], "--all is every board"),
        (["--all", "--firmware", "firmware.bin"], "BOARD=firmware.bin"),
        (["--board", "esp32c3", "--after", "soft-reset"], "soft-reset"),
        (["--board", "esp32c3", "--drive", "/media/me/RPI-RP2"], "no --drive"),
        (["--board", "esp32c3", "--firmware", "esp32s3=firmware.bin"], "is for esp32s3, and --board is esp32c3"),
        (["--all", "--board", "esp32c3", "--firmware", "rpi_pico=firmware.uf2"], "is for rpi_pico"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(cli: RunHost, words: list[str], message: str) -> None:
    finished = cli("flash", *words)
    assert finished.returncode == 2
    assert message in finished.stderr


# ---- a bad line ----------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [Noise(seed=3, corrupted=1e-5), Noise(seed=3, dropped=1e-5)])
def test_damaged_blocks_are_refused_and_sent_again(noise: Noise, state_dir: Path, tmp_path: Path) -> None:
    firmware = flash.read_firmware(C3, firmware_file(tmp_path, C3, 400_000))
    with EspRom("esp32c3", noise=(noise, None)) as rom:
        put(C3, firmware)
        assert rom.loader.refusals
        assert written(rom, firmware)


@pytest.mark.parametrize(
    ("to_chip", "from_chip"),
    [(Noise(seed=1, corrupted=1e-4), None), (Noise(seed=1, dropped=1e-4), None), (None, Noise(seed=1, corrupted=1e-3))],
)
def test_a_line_that_is_too_bad_is_an_error_that_says_so(
    to_chip: Noise | None, from_chip: Noise | None, state_dir: Path, tmp_path: Path
) -> None:
    firmware = flash.read_firmware(C3, firmware_file(tmp_path, C3, 400_000))
    with EspRom("esp32c3", noise=(to_chip, from_chip)) as rom:
        with pytest.raises(DeviceError, match="lower --baud"):
            put(C3, firmware)
        assert not written(rom, firmware)


def test_flash_that_does_not_keep_what_is_written_is_found_out(
    c3: EspRom, c3_firmware: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its erasing does nothing: bits that were cleared stay so."""
    with c3.flash.open("r+b") as image:
        image.write(bytes(SECTOR))
    monkeypatch.setattr(Loader, "_erase", lambda self, address, size: None)
    with pytest.raises(CheckFailed, match="not what was sent"):
        put(C3, c3_firmware)


# ---- the protocol, request by request ------------------------------------------------------------


class Chip:
    """The emulated loader of an ESP32-C3, asked without a line between."""

    def __init__(self, stub: bool = True) -> None:
        self.flash = bytearray(b"\xff" * (4 << 20))
        self.loader = Loader(facts(C3), self.flash)
        self.ask(Command.SYNC, b"\x07\x07\x12\x20" + 32 * b"\x55")
        if stub:
            self.ask(Command.MEM_BEGIN, struct.pack("<IIII", 4, 1, 4, 0x40380000))
            self.block(Command.MEM_DATA, 0, b"code")
            assert self.ask(Command.MEM_END, struct.pack("<II", 0, 0x40380000), replies=2)[-1] == b"OHAI"
        self.ask(Command.SPI_ATTACH, bytes(8))

    def ask(self, command: int, body: bytes, checksum: int = 0, replies: int | None = None) -> list[bytes]:
        request = struct.pack("<BBHI", 0, command, len(body), checksum) + body
        answers = list(self.loader.request(request))
        assert replies in (None, len(answers))
        return answers

    def block(self, command: int, sequence: int, data: bytes, damage: int = 0) -> int:
        """Send a block; the code of its status."""
        checksum = 0xEF
        for byte in data:
            checksum ^= byte
        (answer,) = self.ask(command, struct.pack("<IIII", len(data), sequence, 0, 0) + data, checksum ^ damage)
        return answer[8] if self.loader.stub else answer[9]


def test_a_block_with_a_wrong_checksum_is_not_written() -> None:
    chip = Chip()
    chip.ask(Command.FLASH_BEGIN, struct.pack("<IIIII", 4096, 1, 4096, 0, 0))
    assert chip.block(Command.FLASH_DATA, 0, b"\0" * 4096, damage=1) == 0xC1
    assert set(chip.flash) == {0xFF}
    assert chip.block(Command.FLASH_DATA, 0, b"\0" * 4096) == 0
    assert chip.flash[:4096] == bytes(4096)


def test_more_data_than_was_announced_is_refused() -> None:
    chip = Chip()
    chip.ask(Command.FLASH_BEGIN, struct.pack("<IIIII", 4096, 1, 4096, 0, 0))
    assert chip.block(Command.FLASH_DATA, 0, b"\0" * 4097) == 0xC9
    chip.ask(Command.FLASH_DEFL_BEGIN, struct.pack("<IIIII", 4096, 1, 4096, 0, 0))
    assert chip.block(Command.FLASH_DEFL_DATA, 0, zlib.compress(bytes(5000))) == 0xC9
    chip.ask(Command.FLASH_DEFL_BEGIN, struct.pack("<IIIII", 4096, 1, 4096, 0, 0))
    assert chip.block(Command.FLASH_DEFL_DATA, 0, zlib.compress(bytes(5))) == 0
    assert chip.block(Command.FLASH_DEFL_DATA, 1, b"more") == 0xC9


def test_data_that_is_not_deflated_is_refused() -> None:
    chip = Chip()
    chip.ask(Command.FLASH_DEFL_BEGIN, struct.pack("<IIIII", 4096, 1, 4096, 0, 0))
    assert chip.block(Command.FLASH_DEFL_DATA, 0, b"not deflated at all") == 0xC7


def test_data_before_a_begin_is_refused() -> None:
    assert Chip().block(Command.FLASH_DATA, 0, b"data") == 0xC6
    assert Chip(stub=False).block(Command.FLASH_DEFL_DATA, 0, b"data") == 0x06


def test_the_rom_tells_md5_as_text_and_the_stub_as_bytes() -> None:
    digest = hashlib.md5(b"\xff" * 100)
    request = struct.pack("<IIII", 0, 100, 0, 0)
    assert Chip().ask(Command.SPI_FLASH_MD5, request)[0][8:] == digest.digest() + b"\0\0"
    assert Chip(stub=False).ask(Command.SPI_FLASH_MD5, request)[0][8:] == digest.hexdigest().encode() + b"\0\0\0\0"


def test_nothing_is_answered_before_a_sync() -> None:
    assert (
        list(Loader(facts(C3), bytearray(16)).request(struct.pack("<BBHII", 0, Command.READ_REG, 4, 0, 0x40001000)))
        == []
    )


def test_slip_packets_survive_any_cut_and_any_byte() -> None:
    packets = [bytes(range(256)), b"\xdb\xdc\xc0\xdb\xdd", b"x"]
    line = b"noise" + b"".join(map(encode, packets))
    for size in (1, 2, 7, 1000):
        decoder = Decoder()
        assert [
            packet for start in range(0, len(line), size) for packet in decoder.feed(line[start : start + size])
        ] == packets


def test_the_same_seed_damages_the_same_bytes() -> None:
    data = bytes(10_000)
    one, same, other = (Noise(seed, dropped=0.01, corrupted=0.01) for seed in (1, 1, 2))
    damaged = one(data)
    assert damaged == same(data[:17]) + same(data[17:])
    assert damaged != other(data)
    assert len(damaged) < len(data)
    assert any(damaged)


def test_esptool_is_never_imported() -> None:
    """It is GPL; what is run as a program of its own may be."""
    for path in (Path(esp.__file__).parents[1]).rglob("*.py"):
        assert "import esptool" not in path.read_text()
