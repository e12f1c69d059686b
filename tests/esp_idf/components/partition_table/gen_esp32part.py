"""Stands for ESP-IDF's: what MicroPython's makeimg.py asks of it. A table's binary form is its text."""

from __future__ import annotations

from typing import NamedTuple

APP_TYPE = "app"


class Partition(NamedTuple):
    name: str
    type: str
    offset: int
    size: int


class PartitionTable:
    @staticmethod
    def from_binary(data: bytes) -> list[Partition]:
        rows = [line.split(",") for line in data.decode().splitlines() if not line.startswith("#")]
        return [Partition(row[0], row[1].strip(), int(row[3], 16), int(row[4], 16)) for row in rows]
