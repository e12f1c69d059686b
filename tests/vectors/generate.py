"""Writes the images and vectors.json beside it: ``python tests/vectors/generate.py``. The same bytes every time.

Offsets are docs/board-image.md's. A change of the format changes these files; a change without one is a mistake.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from host.pack.image import HEADER, PARAM, RECORD, SYMBOL, TENSOR, Image, ImageKernel, encode_image
from host.pack.spec import (
    BYTECODE_AOT_VERSION,
    BYTECODE_TARGET,
    DTYPES,
    Dim,
    KernelSpec,
    KnownAnswer,
    Limits,
    Param,
    Region,
    Tensor,
)
from vectors import FOLDER, GATE, KEYS, OK

Step = dict[str, Any]
N, M = Dim("n"), Dim("m")


def small() -> Image:
    """One kernel with as little as a kernel can have."""
    return _image("small", _kernel("copy", ("n",), (_tensor("x", Region.INPUT_A, (N,)),), body=20))


def full() -> Image:
    """Three kernels that between them use every field, flag, dtype and parameter type."""
    rope = _kernel(
        "rope_f32",
        ("n", "m"),
        (
            _tensor("x", Region.INPUT_A, (Dim("n"), Dim("m"))),
            _tensor("freqs", Region.INPUT_B, (N, Dim("m", 1, 2)), (N, Dim("m", 1, 2), Dim(None, 2)), optional=True),
        ),
        scratch=(_tensor("angles", Region.SCRATCH, (Dim("m", 3, 2), Dim(None, 6)), dtype="u32"),),
        params=(
            Param("theta", "f32", 10000.0),
            Param("pos", "u32", 2**32 - 1),
            Param("shift", "i32", -(2**31)),
            Param("interleaved", "bool", True),
        ),
        fallback="rope_f32",
        body=48,
    )
    add = _kernel(
        "lora_apply",
        ("n",),
        (_tensor("x", Region.INPUT_A, (N,), leading=True),),
        outputs=(_tensor("y", Region.OUTPUT, (N,), leading=True, inout=True),),
        body=33,
    )
    dtypes = _kernel(
        "all_dtypes",
        ("n",),
        tuple(_tensor(f"t_{name}", Region.INPUT_A, (N,), dtype=name) for name in list(DTYPES)[1:8]),
        outputs=(_tensor("y", Region.OUTPUT, (N,), dtype="q8"),),
        params=tuple(Param(f"p{index}", "u32", index) for index in range(8)),
        symbols={"n": 64},
        body=16,
    )
    return _image("full", rope, add, dtypes)


def _image(name: str, *kernels: ImageKernel) -> Image:
    return Image(
        target=GATE.target,
        pack_name=name,
        pack_version="1.2.3",
        manifest_sha256=sha256(name.encode()).digest(),
        security_counter=GATE.security_counter,
        min_runtime_version="0.1.0",
        max_runtime_version="0.2.0" if name == "full" else None,
        features=1,
        kernels=kernels,
    )


def _kernel(
    id: str,
    names: tuple[str, ...],
    inputs: tuple[Tensor, ...],
    *,
    body: int,
    outputs: tuple[Tensor, ...] = (),
    scratch: tuple[Tensor, ...] = (),
    params: tuple[Param, ...] = (),
    fallback: str | None = None,
    symbols: dict[str, int] | None = None,
) -> ImageKernel:
    """A kernel whose AOT file is ``body`` bytes of nonsense: the gate never looks into it."""
    spec = KernelSpec(
        id=id,
        op=id.split("_")[0],
        category="",
        entry_point=f"{id}_forward",
        symbols=names,
        inputs=inputs,
        outputs=outputs or (_tensor("y", Region.OUTPUT, (N,)),),
        scratch=scratch,
        params=params,
        limits=Limits(16, 100, 1),
        fallback=fallback,
        test=KnownAnswer(7, symbols or dict.fromkeys(names, 8), sha256(id.encode()).hexdigest()),
    )
    code = b"".join(sha256(f"{id} {part}".encode()).digest() for part in range(-(-body // 32)))
    return ImageKernel(spec, 1040, code[:body])


def _tensor(
    name: str,
    region: Region,
    *shapes: tuple[Dim, ...],
    dtype: str = "f32",
    leading: bool = False,
    optional: bool = False,
    inout: bool = False,
) -> Tensor:
    return Tensor(name, region, DTYPES[dtype], shapes, leading, optional, inout)


def vectors() -> list[Step]:
    """Every vector as vectors.json has it."""
    found = [_vector(f"good {base}", base, OK) for base in ("small", "full")]
    found += _without_signing()
    found += _header()
    for name, offset, data in _record():
        found.append(_vector(f"record: {name}", "small", "MalformedPack", (offset, data), sign="test"))
    for name, offset, data in _lists():
        found.append(_vector(f"lists: {name}", "full", "MalformedPack", (offset, data), sign="test"))
    found += _layout()
    found += _bytecode()
    return found


def _vector(
    name: str,
    base: str,
    expect: str,
    *patches: tuple[int, bytes],
    sign: str | None = None,
    truncate: int | None = None,
    append: bytes = b"",
    interpreter: bool = False,
) -> Step:
    return {
        "name": name,
        "base": f"{base}.kimg",
        "patches": [[offset, data.hex()] for offset, data in patches],
        "sign": sign,
        "truncate": truncate,
        "append": append.hex(),
        "interpreter": interpreter,
        "expect": expect,
    }


def _u16(value: int) -> bytes:
    return struct.pack("<H", value)


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _text(text: str, size: int) -> bytes:
    return text.encode().ljust(size, b"\0")


def _size(base: str) -> int:
    return len(encode_image({"small": small, "full": full}[base](), KEYS["test"]))


def _table_end(base: str) -> int:
    data = encode_image({"small": small, "full": full}[base](), KEYS["test"])
    return HEADER.size + int.from_bytes(data[12:16], "little")


def _without_signing() -> Iterator[Step]:
    """What any stranger could send."""
    bad = "MalformedPack"
    for length in (0, 1, 3, 4, 16, 191, 192, 200, 255, 256, 400, _size("small") - 16, _size("small") - 1):
        yield _vector(f"truncated to {length}", "small", bad, truncate=length)
    yield _vector("a byte too many", "small", bad, append=b"\0")
    yield _vector("16 bytes too many", "small", bad, append=bytes(16))
    yield _vector("truncated, and the image size says so", "small", "BadSignature", (8, _u32(544)), truncate=544)
    yield _vector("magic", "small", bad, (0, b"KIMH"))
    yield _vector("format version 0", "small", bad, (4, _u16(0)))
    yield _vector("format version 2", "small", bad, (4, _u16(2)))
    yield _vector("header size", "small", bad, (6, _u16(196)))
    yield _vector("image size 0", "small", bad, (8, _u32(0)))
    yield _vector("image size 2^32 - 16", "small", bad, (8, _u32(2**32 - 16)))
    yield _vector("table size no multiple of 4", "small", bad, (12, _u32(274)))
    yield _vector("table size 2^32 - 4", "small", bad, (12, _u32(2**32 - 4)))
    yield _vector("table size 2^32 - 192", "small", bad, (12, _u32(2**32 - 192)))
    room = _size("small") - HEADER.size - 64
    yield _vector("table as large as can be", "small", "BadSignature", (12, _u32(room)))
    yield _vector("table 4 larger than can be", "small", bad, (12, _u32(room + 4)))
    yield _vector("table size 0", "small", "BadSignature", (12, _u32(0)))
    stranger = KEYS["stranger"].public.key_id
    yield _vector("signed by a key that is not trusted", "small", "NoTrustedKey", (40, stranger), sign="stranger")
    yield _vector("key id that is nobody's", "small", "NoTrustedKey", (40, bytes(8)))
    lost = KEYS["lost"].public.key_id
    yield _vector("signed by a revoked key", "small", "KeyRevoked", (40, lost), sign="lost")
    yield _vector("a revoked key's id", "small", "KeyRevoked", (40, lost))
    yield _vector("signed by another key than it names", "small", "BadSignature", sign="stranger")
    yield _vector("signature of zeros", "small", "BadSignature", (_table_end("small"), bytes(64)))
    yield _vector("signature of ones", "small", "BadSignature", (_table_end("small"), b"\xff" * 64))
    yield _vector("header changed after signing", "small", "BadSignature", (24, _u32(9)))
    yield _vector("table changed after signing", "small", "BadSignature", (HEADER.size + 28, _u32(9)))
    yield _vector("kernel count changed after signing", "small", "BadSignature", (16, _u16(0)))
    yield _vector("body changed", "small", "HashMismatch", (_size("small") - 32, b"\0"))
    yield _vector("padding after the signature", "full", bad, (_table_end("full") + 64, b"\1"))
    yield _vector("padding after the last body", "small", bad, (_size("small") - 1, b"\1"))
    yield _vector("body and padding: padding comes first", "small", bad, (_size("small") - 32, b"\0" * 31 + b"\1"))


def _header() -> Iterator[Step]:
    """Validly signed, but the header says what this board does not take."""

    def signed(name: str, expect: str, offset: int, data: bytes, base: str = "small") -> Step:
        return _vector(f"header: {name}", base, expect, (offset, data), sign="test")

    bad = "MalformedPack"
    yield signed("kernel count 0", bad, 16, _u16(0))
    yield signed("kernel count 2, one record", bad, 16, _u16(2))
    yield signed("kernel count 65", bad, 16, _u16(65))
    yield signed("two records, kernel count 1", bad, 16, _u16(1), "full")
    yield signed("unknown feature", bad, 36, _u32(3))
    yield signed("target without NUL", bad, 48, b"t" * 24)
    yield signed("target goes on behind its NUL", bad, 48, _text("thumbv6m-soft\0x", 24))
    yield signed("target not ASCII", bad, 48, _text("thumbv6m-s\u00f6ft", 24))
    yield signed("pack name without NUL", bad, 72, b"n" * 32)
    yield signed("pack version without NUL", bad, 104, b"1" * 24)
    yield signed("reserved", bad, 191, b"\1")
    yield signed("other target", "WrongTarget", 48, _text("thumbv8m-hard", 24))
    yield signed("target that begins like ours", "WrongTarget", 48, _text("thumbv6m-soft2", 24))
    yield signed("kernel ABI 2", "KernelAbiMismatch", 18, _u16(2))
    yield signed("AOT version 5", "AotVersionMismatch", 20, _u32(5))
    yield signed("AOT version 7", "AotVersionMismatch", 20, _u32(7))
    yield signed("min runtime 0.1.1", "RuntimeTooOld", 28, _u32(0x101))
    yield signed("min runtime 1.0.0", "RuntimeTooOld", 28, _u32(0x10000))
    yield signed("max runtime 0.0.255", "RuntimeTooNew", 32, _u32(0xFF))
    yield signed("max runtime is ours", OK, 32, _u32(0x100))
    yield signed("no features needed", OK, 36, _u32(0))
    yield signed("security counter below", "DowngradeRefused", 24, _u32(GATE.security_counter - 1))
    yield signed("security counter above", OK, 24, _u32(2**32 - 1))
    order = _u16(2) + _u32(5)
    yield signed("ABI and AOT version: ABI comes first", "KernelAbiMismatch", 18, order)
    both = (48, _text("riscv32", 24)), (_size("small") - 32, b"\0")
    yield _vector("header: target and body: target comes first", "small", "WrongTarget", *both, sign="test")
    large = (8, _u32(_size("small") + 4096))
    yield _vector("image larger than a slot, ill-formed", "small", bad, large, sign="test", append=bytes(4096))


def _record() -> Iterator[tuple[str, int, bytes]]:
    """A field of the record of ``small``: what, where, and a value that it must not have."""
    at = HEADER.size
    yield "record size 4 more", at, _u16(RECORD.size + SYMBOL.size + 2 * TENSOR.size + 4)
    yield "record size 0", at, _u16(0)
    yield "no symbols, sizes as before", at + 2, b"\0"
    yield "9 symbols", at + 2, b"\x09"
    yield "255 tensors", at + 3, b"\xff"
    yield "no tensors", at + 3, b"\0"
    yield "9 params", at + 4, b"\x09"
    yield "one param that is not there", at + 4, b"\1"
    yield "reserved byte", at + 5, b"\1"
    yield "no memory pages", at + 6, _u16(0)
    yield "no ticks", at + 8, _u32(0)
    yield "reserved half-word", at + 14, _u16(1)
    yield "body offset 0", at + 20, _u32(0)
    yield "body offset 16 more", at + 20, _u32(_size("small") - 16)
    yield "body offset beyond the image", at + 20, _u32(_size("small"))
    yield "body offset 2^32 - 16", at + 20, _u32(2**32 - 16)
    yield "body size 0", at + 24, _u32(0)
    yield "body size less by more than its padding", at + 24, _u32(16)
    yield "body size beyond the image", at + 24, _u32(33)
    yield "body size 2^32 - 1", at + 24, _u32(2**32 - 1)
    yield "test seed 0", at + 28, _u32(0)
    yield "id empty", at + 96, bytes(24)
    yield "id with a capital", at + 96, _text("Copy", 24)
    yield "id begins with a digit", at + 96, _text("1copy", 24)
    yield "id begins with an underscore", at + 96, _text("_copy", 24)
    yield "id with a hyphen", at + 96, _text("co-py", 24)
    yield "id with a newline", at + 96, _text("copy\n", 24)
    yield "id without NUL", at + 96, b"c" * 24
    yield "op empty", at + 120, bytes(16)
    yield "op with a dot", at + 120, _text("co.py", 16)
    yield "entry point empty", at + 136, bytes(24)
    yield "entry point begins with a digit", at + 136, _text("1copy", 24)
    yield "entry point with a bracket", at + 136, _text("copy[", 24)
    yield "entry point with an at sign", at + 136, _text("@copy", 24)
    yield "fallback without NUL", at + 160, b"c" * 24
    yield "fallback goes on behind its NUL", at + 160, _text("a\0b", 24)
    symbol = at + RECORD.size
    yield "symbol's name empty", symbol, bytes(16)
    yield "symbol's name with a capital", symbol, _text("N", 16)
    yield "symbol's value 0", symbol + 16, _u32(0)
    tensor = symbol + SYMBOL.size
    yield "tensor's name empty", tensor, bytes(16)
    yield "tensor's name without NUL", tensor, b"x" * 16
    yield "region 4", tensor + 16, b"\x04"
    yield "dtype 0", tensor + 17, b"\0"
    yield "dtype 9", tensor + 17, b"\x09"
    yield "dtype 18", tensor + 17, b"\x12"
    yield "rank 0", tensor + 18, b"\0"
    yield "rank 5", tensor + 18, b"\x05"
    yield "unknown flag", tensor + 19, b"\x10"
    yield "in-out input", tensor + 19, b"\x08"
    yield "first tensor is an alternative", tensor + 19, b"\x04"
    yield "the only input is optional", tensor + 19, b"\x01"
    yield "dim of a symbol that is not there", tensor + 20, b"\x01"
    yield "dim of symbol 254", tensor + 20, b"\xfe"
    yield "constant instead of the symbol", tensor + 20, b"\xff"
    yield "divisor 0", tensor + 21, b"\0"
    yield "symbol only halved", tensor + 21, b"\x02"
    yield "symbol only doubled", tensor + 22, _u16(2)
    yield "multiplier 0", tensor + 22, _u16(0)
    yield "constant with a divisor", tensor + TENSOR.size + 20, b"\xff\x02"
    yield "dim beyond the rank", tensor + 24, b"\0\0\1\0"
    yield "the only input is scratch", tensor + 16, bytes([Region.SCRATCH])
    yield "alternative of another region", tensor + TENSOR.size, _text("x", 16) + b"\x02\x01\x01\x04"
    yield "alternative of another name", tensor + TENSOR.size, _text("z", 16) + b"\x00\x01\x01\x04"
    yield "alternative of another dtype", tensor + TENSOR.size, _text("x", 16) + b"\x00\x02\x01\x04"
    yield "alternative with other flags", tensor + TENSOR.size, _text("x", 16) + b"\x00\x01\x01\x05"


def _lists() -> Iterator[tuple[str, int, bytes]]:
    """Fields that only ``full`` has."""
    second = HEADER.size + RECORD.size + 2 * SYMBOL.size + 5 * TENSOR.size + 4 * PARAM.size
    param = second - 4 * PARAM.size
    yield "same id twice", second + 96, _text("rope_f32", 24)
    yield "param's name empty", param, bytes(16)
    yield "param's name with a blank", param, _text("the ta", 16)
    yield "param type 0", param + 16, b"\0"
    yield "param type 5", param + 16, b"\x05"
    yield "param's reserved bytes", param + 19, b"\1"
    yield "bool 2", param + 3 * PARAM.size + 20, _u32(2)
    yield "record size into the next record", HEADER.size, _u16(second - HEADER.size + RECORD.size)
    yield "bodies in another order", HEADER.size + 20, _u32(_size("full") - 16)


def _layout() -> Iterator[Step]:
    """Validly signed images that only their sizes make bad."""
    private = (HEADER.size + 16, _u32(GATE.kernel_page + 1))
    yield _vector("private memory too large", "small", "PackTooLarge", private, sign="test")
    fits = (HEADER.size + 16, _u32(GATE.kernel_page))
    yield _vector("private memory as large as can be", "small", OK, fits, sign="test")
    yield _vector("larger than a slot", "large", "PackTooLarge")
    yield _vector("larger than a slot, and of another target", "large", "WrongTarget", (48, bytes(24)), sign="test")


def _bytecode() -> Iterator[Step]:
    """Images for boards with an interpreter, which go on taking AOT code."""
    target, version = (48, _text(BYTECODE_TARGET, 24)), (20, _u32(BYTECODE_AOT_VERSION))
    yield _vector("bytecode where there is an interpreter", "small", OK, target, version, sign="test", interpreter=True)
    yield _vector("bytecode where there is none", "small", "WrongTarget", target, version, sign="test")
    yield _vector("bytecode with an AOT version", "small", "AotVersionMismatch", target, sign="test", interpreter=True)
    yield _vector("AOT code where there is an interpreter", "full", OK, interpreter=True)
    other = (48, _text("riscv32-soft", 24))
    yield _vector(
        "another target where there is an interpreter", "small", "WrongTarget", other, sign="test", interpreter=True
    )


def large() -> Image:
    """A good image that the gate's slot has no room for."""
    return _image("large", _kernel("copy", ("n",), (_tensor("x", Region.INPUT_A, (N,)),), body=GATE.slot_size))


def files() -> dict[str, bytes]:
    """Every file that is generated, by name."""
    images = {f"{image.pack_name}.kimg": encode_image(image, KEYS["test"]) for image in (small(), full(), large())}
    lines = ",\n".join(json.dumps(vector) for vector in vectors())
    return images | {"vectors.json": f"[\n{lines}\n]\n".encode()}


if __name__ == "__main__":
    for name, data in files().items():
        (FOLDER / name).write_bytes(data)
