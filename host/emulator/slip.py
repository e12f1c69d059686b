"""SLIP (RFC 1055): packets on a serial line, each between two 0xC0, as the ESP32's boot ROM and esptool have it."""

from __future__ import annotations

from collections.abc import Iterator

_END = 0xC0
_ESCAPE = 0xDB
_ESCAPED = {0xDC: _END, 0xDD: _ESCAPE}


def encode(packet: bytes) -> bytes:
    """``packet`` framed for the line."""
    return b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


class Decoder:
    """Packets out of a line's bytes, however they are cut. A packet with a wrong escape is dropped."""

    def __init__(self) -> None:
        self._packet: bytearray | None = None  # None: between packets
        self._escaping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every packet that ``data`` completes."""
        for byte in data:
            if byte == _END:
                if self._packet:  # two 0xC0 in a row: an end and a beginning
                    yield bytes(self._packet)
                    self._packet = None
                else:
                    self._packet = bytearray()
                self._escaping = False
            elif self._packet is not None:
                self._take(byte)

    def _take(self, byte: int) -> None:
        assert self._packet is not None
        if self._escaping:
            self._escaping = False
            if byte in _ESCAPED:
                self._packet.append(_ESCAPED[byte])
            else:
                self._packet = None
        elif byte == _ESCAPE:
            self._escaping = True
        else:
            self._packet.append(byte)
