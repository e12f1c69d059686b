"""Reading GGUF, versions 2 and 3: metadata and where tensors lie. The bytes may be anyone's.

The format is that of ggml's docs/gguf.md. PyPI's `gguf` reads it too, but trusts what it reads: a count that the file
does not hold up keeps it busy for ever. Here every size is checked against the bytes that there are, and every round of
a loop takes some of them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

MAGIC = b"GGUF"
MAX_DIMS = 4
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

Scalar = int | float | bool | str


@dataclass(frozen=True)
class TensorEntry:
    """A tensor's shape (rows before columns, as numpy has it), ggml type, and offset in the file."""

    shape: tuple[int, ...]
    ggml_type: int
    offset: int


@dataclass(frozen=True)
class GgufFile:
    """``metadata`` has numbers and strings by key; arrays are read over."""

    data: bytes
    metadata: Mapping[str, Scalar]
    tensors: Mapping[str, TensorEntry]


def read(data: bytes) -> GgufFile:
    """Raises ValueError for bytes that are not GGUF, are cut short, or go beyond the limits above."""
    reader = _Reader(data)
    if reader.take(4) != MAGIC:
        raise ValueError("not a GGUF file")
    if (version := reader.u32()) not in (2, 3):
        raise ValueError(f"GGUF version {version}, must be 2 or 3")
    tensor_count, entry_count = reader.u64(), reader.u64()
    metadata: dict[str, Scalar] = {}
    for _ in range(entry_count):
        key, value = reader.string(), reader.value()
        if key in metadata:
            raise ValueError(f"key {key!r} twice")
        if value is not None:
            metadata[key] = value
    entries: dict[str, TensorEntry] = {}
    for _ in range(tensor_count):
        name, entry = reader.string(), reader.tensor()
        if name in entries:
            raise ValueError(f"tensor {name!r} twice")
        entries[name] = entry
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"general.alignment is {alignment}")
    start = -(-reader.offset // alignment) * alignment
    tensors = {name: TensorEntry(e.shape, e.ggml_type, start + e.offset) for name, e in entries.items()}
    return GgufFile(data, metadata, tensors)


class _Reader:
    """Little-endian values, one behind the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self.offset:
            raise ValueError(f"cut short: {size} bytes at {self.offset}, there are {len(self._data)}")
        self.offset += size
        return self._data[self.offset - size : self.offset]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def string(self) -> str:
        return self.take(self.u64()).decode()

    def value(self) -> Scalar | None:
        """A metadata value; None for an array."""
        kind = self.u32()
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            self._pass_array()
            return None
        number: Scalar = struct.unpack("<" + _code(kind), self.take(struct.calcsize(_code(kind))))[0]
        return number

    def tensor(self) -> TensorEntry:
        """A tensor's entry, with its offset as stored."""
        rank = self.u32()
        if rank > MAX_DIMS:
            raise ValueError(f"{rank} dimensions, at most {MAX_DIMS}")
        dims: tuple[int, ...] = struct.unpack(f"<{rank}Q", self.take(8 * rank))
        ggml_type = self.u32()
        return TensorEntry(dims[::-1], ggml_type, self.u64())

    def _pass_array(self) -> None:
        kind = self.u32()
        if kind == _STRING:
            for _ in range(self.u64()):
                self.take(self.u64())
        else:
            self.take(self.u64() * struct.calcsize(_code(kind)))


def _code(kind: int) -> str:
    """How `struct` names a number. An array in an array ends here too: nothing that is read here has one."""
    if kind not in _SCALARS:
        raise ValueError(f"metadata of type {kind}")
    return _SCALARS[kind]
