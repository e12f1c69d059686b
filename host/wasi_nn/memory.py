"""A guest's linear memory during one call of the guest, every access checked before it is made."""

from __future__ import annotations

from wasmtime import Caller, Memory

from host.wasi_nn.abi import U32, Errno, NNError


class GuestMemory:
    """The memory that a calling guest exports. Raises NNError missing_memory when it exports none."""

    def __init__(self, caller: Caller) -> None:
        memory = caller.get("memory")
        if not isinstance(memory, Memory):
            raise NNError(Errno.MISSING_MEMORY, "the guest exports no memory")
        self._caller = caller
        self._memory = memory

    def check(self, offset: int, size: int, what: str) -> None:
        """Raise NNError invalid_argument unless ``size`` bytes at ``offset`` are all in memory."""
        have = self._memory.data_len(self._caller)
        if offset + size > have:
            raise NNError(Errno.INVALID_ARGUMENT, f"{what}: {size} bytes at {offset}, memory has {have}")

    def read(self, offset: int, size: int, what: str) -> bytearray:
        """A copy of ``size`` bytes. Raises as `check`."""
        self.check(offset, size, what)
        return self._memory.read(self._caller, offset, offset + size)

    def write(self, offset: int, data: bytes, what: str) -> None:
        """Raises as `check`, with nothing written."""
        self.check(offset, len(data), what)
        if data:
            self._memory.write(self._caller, data, offset)

    def write_u32(self, offset: int, value: int, what: str) -> None:
        """Raises as `check`."""
        self.write(offset, U32.pack(value), what)
