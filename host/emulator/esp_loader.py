"""The serial loader in an ESP32's boot ROM, and the flasher stub that esptool puts in its place.

One request in, its replies out: what is on the line, and where the flash is kept, is not known here. The protocol is
https://docs.espressif.com/projects/esptool/en/latest/esp32/advanced-topics/serial-protocol.html. Code that a program
uploads and starts is not executed: it is taken for esptool's stub, whose protocol follows.

Flash is NOR flash: erasing sets a sector's bytes to 0xff, programming can only clear bits.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from host.boards import Esptool
from host.errors import UsageError

SECTOR = 4096
GREETING = b"OHAI"
"""What the stub sends when it starts: a packet that answers nothing."""

_REQUEST = struct.Struct("<BBHI")
_SYNC = b"\x07\x07\x12\x20" + 32 * b"\x55"
_SYNC_VALUE = 0x55552007
_SYNC_REPLIES = 8
_INVALID_REPLIES = 8  # the ROM says so often that it does not know a command
_CHECKSUM_SEED = 0xEF
_BLOCK_HEADER = 16

_MAGIC_REGISTER = 0x40001000
_SPI_COMMAND_BIT = 1 << 18
_READ_ID = 0x9F
_READ_SFDP = 0x5A
_SFDP = struct.unpack("<I", b"SFDP")[0]
_MAKER = 0x20  # a flash chip by XMC, as many modules have it; its third id byte is the size's logarithm
_KIND = 0x40


class Command(IntEnum):
    """Requests, by the documentation's names. The last two only the stub knows."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1


@dataclass(frozen=True)
class _Chip:
    """What is in a chip's registers, by address, and where its SPI controller's are."""

    registers: Mapping[int, int]
    spi: int
    user2: int
    data: int
    knows_id: bool


_ESP32 = _Chip(
    registers={
        _MAGIC_REGISTER: 0x00F01D83,
        0x3FF40014: 347,  # UART clock divider: 40 MHz at 115200 baud
        0x3FF5A004: 0x0B0C0D0E,  # MAC
        0x3FF5A008: 0x0000240A,
        0x3FF5A010: 128,  # these two tell that the crystal has 40 MHz
        0x3FF5F06C: 800 << 7,
    },
    spi=0x3FF42000,
    user2=0x24,
    data=0x80,
    knows_id=False,
)
_ESP32C3 = _Chip({0x60008844: 0x0B0C0D0E, 0x60008848: 0x0000240A}, spi=0x60002000, user2=0x20, data=0x58, knows_id=True)
_ESP32S3 = _Chip({0x60007044: 0x0B0C0D0E, 0x60007048: 0x0000240A}, spi=0x60002000, user2=0x20, data=0x58, knows_id=True)
_CHIPS = {"esp32": _ESP32, "esp32c3": _ESP32C3, "esp32s3": _ESP32S3}


@dataclass(frozen=True)
class _Codes:
    """What the ROM, or the stub, answers to a request that fails."""

    invalid: int
    length: int
    checksum: int
    mode: int
    inflate: int
    too_much: int
    flash: int


_ROM = _Codes(invalid=0x05, length=0x05, checksum=0x07, mode=0x06, inflate=0x0B, too_much=0x06, flash=0x08)
_STUB = _Codes(invalid=0xC3, length=0xC0, checksum=0xC1, mode=0xC6, inflate=0xC7, too_much=0xC9, flash=0xC4)


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


@dataclass
class _Upload:
    """Blocks on their way into flash, or into RAM: where the next one goes, and how many bytes may still come."""

    address: int
    left: int
    inflate: zlib._Decompress | None = None


Reply = tuple[int, bytes]
"""A reply's value, and the data before its status."""


class Loader:
    """One chip in download mode, with ``flash``, as many bytes as its flash chip has."""

    def __init__(self, board: Esptool, flash: bytearray | memoryview) -> None:
        if board.chip not in _CHIPS:
            raise UsageError(f"the ROM of {board.chip} is not emulated; those are: {', '.join(_CHIPS)}")
        self._board = board
        self._chip = _CHIPS[board.chip]
        self._flash = flash
        self.refusals: list[tuple[int, int]] = []
        """Command and code of every request that was refused."""
        self.reset()

    def reset(self) -> None:
        """Start the boot ROM's loader, as after a reset with the BOOT button held."""
        self.stub = False
        self.synced = False
        self.baud: int | None = None
        """Speed that the line must have; None as long as the ROM finds out by itself."""
        self._registers = dict(self._chip.registers)
        self._ram: _Upload | None = None
        self._uploaded: list[range] = []
        self._writing: _Upload | None = None
        self._attached = False

    def request(self, packet: bytes) -> Iterator[bytes]:
        """The replies to one request. What is no request, or comes before the first SYNC, is ignored."""
        if len(packet) < _REQUEST.size:
            return
        direction, command, size, checksum = _REQUEST.unpack_from(packet)
        body = packet[_REQUEST.size :]
        if direction != 0 or not (self.synced or command == Command.SYNC):
            return
        handler = self._handler(command)
        if handler is None:
            yield from self._unknown(command)
            return
        try:
            if size != len(body):
                raise _Refused(self._codes.length)
            if command in _BLOCKS:
                body = self._block(body, checksum)
            reply = handler(self, body)
        except (_Refused, struct.error) as error:
            code = error.code if isinstance(error, _Refused) else self._codes.length
            self.refusals.append((command, code))
            yield self._packet(command, (0, b""), code)
            return
        yield from [self._packet(command, reply, 0)] * (_SYNC_REPLIES if command == Command.SYNC else 1)
        yield from self._after(command, body)

    def _unknown(self, command: int) -> Iterator[bytes]:
        """The stub names the command in its one reply; the ROM does not, and says it several times."""
        code = self._codes.invalid
        self.refusals.append((command, code))
        named, times = (command, 1) if self.stub else (0, _INVALID_REPLIES)
        yield from [self._packet(named, (0, b""), code)] * times

    @property
    def _codes(self) -> _Codes:
        return _STUB if self.stub else _ROM

    def _handler(self, command: int) -> Callable[[Loader, bytes], Reply] | None:
        if command == Command.GET_SECURITY_INFO and not self._chip.knows_id:
            return None
        return _COMMON.get(command) or (_STUB_ONLY.get(command) if self.stub else None)

    def _packet(self, command: int, reply: Reply, code: int) -> bytes:
        value, data = reply
        status = bytes([code, 0]) if self.stub else bytes([1 if code else 0, code, 0, 0])
        return struct.pack("<BBHI", 1, command, len(data) + len(status), value) + data + status

    def _after(self, command: int, body: bytes) -> Iterator[bytes]:
        """What happens once the reply is out."""
        if command == Command.CHANGE_BAUDRATE:
            (self.baud,) = struct.unpack_from("<I", body)
        elif command == Command.MEM_END and not self.stub:
            (entry,) = struct.unpack_from("<I", body, 4)
            self.stub = any(entry in segment for segment in self._uploaded)
            if self.stub:
                yield GREETING
        elif command in (Command.FLASH_END, Command.FLASH_DEFL_END) and struct.unpack_from("<I", body) == (0,):
            self.reset()

    # ---- the line, registers, RAM ----

    def _sync(self, body: bytes) -> Reply:
        if body != _SYNC:
            raise _Refused(self._codes.invalid)
        self.synced = True
        return (0 if self.stub else _SYNC_VALUE), b""

    def _change_baud(self, body: bytes) -> Reply:
        struct.unpack("<II", body)
        return 0, b""

    def _read_register(self, body: bytes) -> Reply:
        (address,) = struct.unpack("<I", body)
        return self._registers.get(address, 0), b""

    def _write_register(self, body: bytes) -> Reply:
        for address, value, mask, _delay in struct.iter_unpack("<IIII", body):
            self._registers[address] = (self._registers.get(address, 0) & ~mask) | (value & mask)
            if address == self._chip.spi and value & _SPI_COMMAND_BIT:
                self._run_spi_command()
        return 0, b""

    def _run_spi_command(self) -> None:
        """What the flash chip answers to the byte that esptool has the SPI controller send."""
        command = self._registers.get(self._chip.spi + self._chip.user2, 0) & 0xFF
        size = len(self._flash).bit_length() - 1
        answer = {_READ_ID: _MAKER | _KIND << 8 | size << 16, _READ_SFDP: _SFDP}.get(command, 0)
        if not self._attached and not self.stub:
            answer = 0
        self._registers[self._chip.spi + self._chip.data] = answer
        self._registers[self._chip.spi] = 0

    def _security_info(self, body: bytes) -> Reply:
        return 0, struct.pack("<IB7xII", 0, 0, self._board.chip_id, 0)

    def _begin_ram(self, body: bytes) -> Reply:
        size, blocks, block_size, address = struct.unpack("<IIII", body)
        if size > blocks * block_size:
            raise _Refused(self._codes.length)
        self._ram = _Upload(address, size)
        return 0, b""

    def _write_ram(self, block: bytes) -> Reply:
        ram = self._need(self._ram)
        if len(block) > ram.left:
            raise _Refused(self._codes.too_much)
        self._uploaded.append(range(ram.address, ram.address + len(block)))
        ram.address += len(block)
        ram.left -= len(block)
        return 0, b""

    def _end_ram(self, body: bytes) -> Reply:
        struct.unpack("<II", body)
        if self._need(self._ram).left:
            raise _Refused(self._codes.mode)
        return 0, b""

    def _block(self, body: bytes, checksum: int) -> bytes:
        """The data of a block, if size and checksum are right."""
        (size,) = struct.unpack_from("<I", body)
        block = body[_BLOCK_HEADER:]
        if size != len(block):
            raise _Refused(self._codes.length)
        if functools.reduce(operator.xor, block, _CHECKSUM_SEED) != checksum:
            raise _Refused(self._codes.checksum)
        return block

    def _need(self, upload: _Upload | None) -> _Upload:
        if upload is None:
            raise _Refused(self._codes.mode)
        return upload

    # ---- flash ----

    def _attach(self, body: bytes) -> Reply:
        self._attached = True
        return 0, b""

    def _set_parameters(self, body: bytes) -> Reply:
        _id, size, *_ = struct.unpack("<6I", body)
        if size > len(self._flash):
            raise _Refused(self._codes.invalid)
        return 0, b""

    def _begin(self, body: bytes) -> Reply:
        self._writing = self._started(body)
        return 0, b""

    def _begin_deflated(self, body: bytes) -> Reply:
        self._writing = self._started(body)
        self._writing.inflate = zlib.decompressobj()
        return 0, b""

    def _started(self, body: bytes) -> _Upload:
        size, _blocks, _block_size, address = struct.unpack_from("<IIII", body)
        if not self.stub and not self._attached:
            raise _Refused(self._codes.flash)
        self._erase(address, size)
        return _Upload(address, -(-size // SECTOR) * SECTOR)

    def _write(self, block: bytes) -> Reply:
        self._program(self._need(self._writing), block)
        return 0, b""

    def _write_deflated(self, block: bytes) -> Reply:
        writing = self._need(self._writing)
        if writing.inflate is None:
            raise _Refused(self._codes.mode)
        if writing.inflate.eof:
            raise _Refused(self._codes.too_much)
        try:
            data = writing.inflate.decompress(block)
        except zlib.error:
            raise _Refused(self._codes.inflate) from None
        self._program(writing, data)
        return 0, b""

    def _end(self, body: bytes) -> Reply:
        struct.unpack("<I", body)
        self._need(self._writing)
        self._writing = None
        return 0, b""

    def _md5(self, body: bytes) -> Reply:
        address, size, _, _ = struct.unpack("<IIII", body)
        self._check(address, size)
        digest = hashlib.md5(self._flash[address : address + size])
        return 0, digest.digest() if self.stub else digest.hexdigest().encode()

    def _erase_all(self, body: bytes) -> Reply:
        self._erase(0, len(self._flash))
        return 0, b""

    def _erase_region(self, body: bytes) -> Reply:
        self._erase(*struct.unpack("<II", body))
        return 0, b""

    def _erase(self, address: int, size: int) -> None:
        start = address - address % SECTOR
        end = -(-(address + size) // SECTOR) * SECTOR
        self._check(start, end - start)
        self._flash[start:end] = b"\xff" * (end - start)

    def _program(self, writing: _Upload, data: bytes) -> None:
        if len(data) > writing.left:
            raise _Refused(self._codes.too_much)
        self._check(writing.address, len(data))
        there = slice(writing.address, writing.address + len(data))
        cleared = int.from_bytes(self._flash[there], "little") & int.from_bytes(data, "little")
        self._flash[there] = cleared.to_bytes(len(data), "little")
        writing.address += len(data)
        writing.left -= len(data)

    def _check(self, address: int, size: int) -> None:
        if address + size > len(self._flash):
            raise _Refused(self._codes.flash)


_BLOCKS = (Command.FLASH_DATA, Command.MEM_DATA, Command.FLASH_DEFL_DATA)
_COMMON: Mapping[int, Callable[[Loader, bytes], Reply]] = {
    Command.FLASH_BEGIN: Loader._begin,
    Command.FLASH_DATA: Loader._write,
    Command.FLASH_END: Loader._end,
    Command.MEM_BEGIN: Loader._begin_ram,
    Command.MEM_END: Loader._end_ram,
    Command.MEM_DATA: Loader._write_ram,
    Command.SYNC: Loader._sync,
    Command.WRITE_REG: Loader._write_register,
    Command.READ_REG: Loader._read_register,
    Command.SPI_SET_PARAMS: Loader._set_parameters,
    Command.SPI_ATTACH: Loader._attach,
    Command.CHANGE_BAUDRATE: Loader._change_baud,
    Command.FLASH_DEFL_BEGIN: Loader._begin_deflated,
    Command.FLASH_DEFL_DATA: Loader._write_deflated,
    Command.FLASH_DEFL_END: Loader._end,
    Command.SPI_FLASH_MD5: Loader._md5,
    Command.GET_SECURITY_INFO: Loader._security_info,
}
_STUB_ONLY: Mapping[int, Callable[[Loader, bytes], Reply]] = {
    Command.ERASE_FLASH: Loader._erase_all,
    Command.ERASE_REGION: Loader._erase_region,
}
