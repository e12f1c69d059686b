"""The board image: what a board installs, byte for byte as docs/board-image.md says.

``encode_image`` writes and signs one. ``verify_image`` reads one as a board does, the checks in the document's order,
so that host and board give the same error for the same bytes; ``decode_image`` is its part that needs no key. The C
twin is firmware/kern/image.c with gate.c, and tests/vectors holds both to the same answers.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from host.boards import Board
from host.errors import (
    AotVersionMismatch,
    DowngradeRefused,
    HashMismatch,
    KernelAbiMismatch,
    MalformedPack,
    MissingFeature,
    PackTooLarge,
    RuntimeTooNew,
    RuntimeTooOld,
    WrongTarget,
)
from host.pack.keys import KeyPair, PublicKey, find_key
from host.pack.spec import (
    AOT_FORMAT_VERSION,
    BYTECODE_AOT_VERSION,
    BYTECODE_TARGET,
    DTYPES,
    KERNEL_ABI_VERSION,
    PARAM_TYPES,
    Dim,
    KernelSpec,
    KnownAnswer,
    Limits,
    Param,
    Region,
    Shape,
    Tensor,
    param_bits,
)

MAGIC = b"KIMG"
FORMAT_VERSION = 1
FEATURE_BULK_MEMORY = 1
FEATURES = {"bulk-memory": FEATURE_BULK_MEMORY}
"""Bits of the header by the names that kernels.json uses."""
ALIGNMENT = 16

HEADER = struct.Struct("<4sHHIIHHIIIII8s24s32s24s32s32s")
RECORD = struct.Struct("<HBBBBHIHHIIII32s32s24s16s24s24s")
SYMBOL = struct.Struct("<16sI")
TENSOR = struct.Struct("<16sBBBB16s")
DIM = struct.Struct("<BBH")
PARAM = struct.Struct("<16sB3s4s")
SIGNATURE_SIZE = 64

_MAX_KERNELS = 64
_MAX_LIST = 8
_MAX_RANK = 4
_CONSTANT = 255  # the symbol index of a dim without a symbol
_OPTIONAL, _LEADING, _ALTERNATIVE, _INOUT = 1, 2, 4, 8
_NAME = re.compile("[a-z][a-z0-9_]*")
_ENTRY_POINT = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_DTYPE_BY_CODE = {dtype.code: dtype for dtype in DTYPES.values()}
_PARAM_TYPE_BY_CODE = {code: name for name, code in PARAM_TYPES.items()}


@dataclass(frozen=True)
class ImageKernel:
    """A kernel with its AOT file or module (``body``); ``private_size`` is its module's ``__heap_base`` in bytes."""

    spec: KernelSpec
    private_size: int
    body: bytes


@dataclass(frozen=True)
class Image:
    """What an image says, the signature apart.

    A decoded kernel has no ``category``, and its f32 defaults are what 32 bits hold of them: see ``as_on_board``.
    """

    target: str
    pack_name: str
    pack_version: str
    manifest_sha256: bytes
    security_counter: int
    min_runtime_version: str
    max_runtime_version: str | None
    features: int
    kernels: tuple[ImageKernel, ...]
    abi_version: int = KERNEL_ABI_VERSION
    aot_version: int = AOT_FORMAT_VERSION


@dataclass(frozen=True)
class Gate:
    """What a board accepts. Sizes in bytes; ``security_counter`` is the lowest it still takes.

    With an ``interpreter`` it takes images of bytecode too.
    """

    target: str
    runtime_version: str
    slot_size: int
    kernel_page: int
    security_counter: int = 0
    features: int = FEATURE_BULK_MEMORY
    abi_version: int = KERNEL_ABI_VERSION
    aot_version: int = AOT_FORMAT_VERSION
    interpreter: bool = False


def gate_for(board: Board, runtime_version: str, security_counter: int = 0) -> Gate:
    """What a board of that kind accepts, its firmware being ``runtime_version``."""
    return Gate(
        target=board.wamrc.target_id,
        runtime_version=runtime_version,
        slot_size=board.flash.slot_size,
        kernel_page=board.memory.kernel_page,
        security_counter=security_counter,
    )


def encode_image(image: Image, key: KeyPair) -> bytes:
    """The image's bytes, signed by ``key``. Every kernel needs its known answer (``spec.test.sha256``).

    Raises ValueError for a value that its field cannot hold.
    """
    table_size = sum(_record_size(kernel.spec) for kernel in image.kernels)
    bodies_at = _aligned(HEADER.size + table_size + SIGNATURE_SIZE)
    offsets, end = [], bodies_at
    for kernel in image.kernels:
        offsets.append(end)
        end = _aligned(end + len(kernel.body))
    try:
        signed = _encode_header(image, key.public.key_id, table_size, end)
        signed += b"".join(
            _encode_record(kernel, offset) for kernel, offset in zip(image.kernels, offsets, strict=True)
        )
    except struct.error as error:
        raise ValueError(f"a value of {image.pack_name} does not fit the board image: {error}") from error
    front = (signed + key.sign(signed)).ljust(bodies_at, b"\0")
    return front + b"".join(kernel.body.ljust(_aligned(len(kernel.body)), b"\0") for kernel in image.kernels)


def decode_image(data: bytes) -> Image:
    """What ``data`` says, whoever signed it: every check that needs no key and no board.

    Raises MalformedPack, or HashMismatch for a body that was changed.
    """
    table_size = _check_frame(data)
    image, hashes = _decode(data, table_size)
    _check_bodies(image, hashes)
    return image


def body_offsets(data: bytes) -> list[int]:
    """Where in a well-formed image each kernel's body begins."""
    sizes = [_aligned(len(kernel.body)) for kernel in decode_image(data).kernels]
    return [len(data) - sum(sizes[index:]) for index in range(len(sizes))]


def verify_image(data: bytes, trusted: Iterable[PublicKey], gate: Gate | None = None) -> Image:
    """What ``data`` says, all of it checked as a board checks it; without ``gate`` it is for any board.

    Raises the error that docs/board-image.md names for the first check that fails.
    """
    table_size = _check_frame(data)
    _check_signature(data, table_size, trusted)
    image, hashes = _decode(data, table_size)
    if gate is not None:
        _check_gate(image, len(data), gate)
    _check_bodies(image, hashes)
    return image


def signer_of(data: bytes) -> bytes:
    """The 8-byte id of the key that an image names. Raises MalformedPack."""
    _check_frame(data)
    return bytes(data[40:48])


def check_fits(image: Image, size: int, slot_size: int, kernel_page: int) -> None:
    """Raises PackTooLarge when an image of ``size`` bytes or a kernel's private memory has no room on a board."""
    if size > slot_size:
        raise PackTooLarge(f"the image has {size} bytes, a slot {slot_size}")
    for kernel in image.kernels:
        if kernel.private_size > kernel_page:
            raise PackTooLarge(
                f"kernel {kernel.spec.id} needs {kernel.private_size} bytes for its own stack and data, "
                f"the board has {kernel_page}"
            )


def check_runtime_range(minimum: str, maximum: str | None) -> None:
    """Raises ValueError unless the two are versions that a header can hold, in order."""
    low = version_number(minimum)
    if maximum is not None and not max(low, 1) <= version_number(maximum):
        raise ValueError(f"max_runtime_version: {maximum} is below min_runtime_version {minimum} or 0.0.0")


def version_number(text: str) -> int:
    """``major.minor.patch`` in 16, 8 and 8 bits. Raises ValueError when it does not fit."""
    major, minor, patch = (int(part) for part in text.split("."))
    if major > 0xFFFF or minor > 0xFF or patch > 0xFF:
        raise ValueError(f"runtime version {text}: at most 65535.255.255")
    return major << 16 | minor << 8 | patch


def version_text(number: int) -> str:
    """The inverse of ``version_number``."""
    return f"{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}"


def features_of(names: Iterable[str]) -> int:
    """The header's bits for features named as in kernels.json."""
    bits = 0
    for name in names:
        bits |= FEATURES[name]
    return bits


def as_on_board(spec: KernelSpec) -> KernelSpec:
    """``spec`` as it comes back out of an image."""
    params = tuple(_decode_param(_encode_param(param), param.name) for param in spec.params)
    return replace(spec, category="", params=params, backward=None, bench=None, error_bound=None)


# ---- writing --------------------------------------------------------------------------------------


def _encode_header(image: Image, key_id: bytes, table_size: int, image_size: int) -> bytes:
    return HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        HEADER.size,
        image_size,
        table_size,
        len(image.kernels),
        image.abi_version,
        image.aot_version,
        image.security_counter,
        version_number(image.min_runtime_version),
        0 if image.max_runtime_version is None else version_number(image.max_runtime_version),
        image.features,
        key_id,
        _encode_text(image.target, 24),
        _encode_text(image.pack_name, 32),
        _encode_text(image.pack_version, 24),
        image.manifest_sha256,
        b"",
    )


def _encode_record(kernel: ImageKernel, offset: int) -> bytes:
    spec = kernel.spec
    if spec.test.sha256 is None:
        raise ValueError(f"{spec.id} has no known answer")
    tensors = [record for tensor in spec.tensors for record in _encode_tensor(tensor, spec.symbols)]
    fixed = RECORD.pack(
        _record_size(spec),
        len(spec.symbols),
        len(tensors),
        len(spec.params),
        0,
        spec.limits.max_memory_pages,
        spec.limits.max_epoch_ticks,
        spec.limits.max_table_elements,
        0,
        kernel.private_size,
        offset,
        len(kernel.body),
        spec.test.seed,
        hashlib.sha256(kernel.body).digest(),
        bytes.fromhex(spec.test.sha256),
        _encode_text(spec.id, 24),
        _encode_text(spec.op, 16),
        _encode_text(spec.entry_point, 24),
        _encode_text(spec.fallback or "", 24),
    )
    symbols = [SYMBOL.pack(_encode_text(name, 16), spec.test.symbols[name]) for name in spec.symbols]
    params = [_encode_param(param) for param in spec.params]
    return b"".join([fixed, *symbols, *tensors, *params])


def _encode_tensor(tensor: Tensor, symbols: Sequence[str]) -> list[bytes]:
    """A record for each shape; those after the first are alternatives."""
    flags = _OPTIONAL * tensor.optional | _LEADING * tensor.leading | _INOUT * tensor.inout
    name = _encode_text(tensor.name, 16)
    return [
        TENSOR.pack(
            name,
            tensor.region,
            tensor.dtype.code,
            len(shape),
            flags | (_ALTERNATIVE if index else 0),
            b"".join(_encode_dim(dim, symbols) for dim in shape),
        )
        for index, shape in enumerate(tensor.shapes)
    ]


def _encode_dim(dim: Dim, symbols: Sequence[str]) -> bytes:
    index = _CONSTANT if dim.symbol is None else symbols.index(dim.symbol)
    return DIM.pack(index, dim.div, dim.mul)


def _encode_param(param: Param) -> bytes:
    return PARAM.pack(_encode_text(param.name, 16), PARAM_TYPES[param.type], b"", param_bits(param, param.default))


def _encode_text(text: str, size: int) -> bytes:
    data = text.encode("ascii")
    if len(data) >= size:
        raise ValueError(f"{text!r} has {len(data)} characters, its field holds {size - 1}")
    return data


def _record_size(spec: KernelSpec) -> int:
    tensors = sum(len(tensor.shapes) for tensor in spec.tensors)
    return RECORD.size + SYMBOL.size * len(spec.symbols) + TENSOR.size * tensors + PARAM.size * len(spec.params)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


# ---- reading, in the order of the checks ----------------------------------------------------------


def _check_frame(data: bytes) -> int:
    """Check 1: magic, versions and sizes. Returns the table's size."""
    _require(len(data) >= HEADER.size, "the image ends before its header does")
    magic, version, header_size, image_size, table_size = struct.unpack_from("<4sHHII", data)
    _require(magic == MAGIC, f"magic is {magic!r}, must be {MAGIC!r}")
    _require(version == FORMAT_VERSION, f"format version is {version}, must be {FORMAT_VERSION}")
    _require(header_size == HEADER.size, f"header size is {header_size}, must be {HEADER.size}")
    _require(image_size == len(data), f"image size is {image_size}, but there are {len(data)} bytes")
    _require(image_size % ALIGNMENT == 0, f"image size is {image_size}, no multiple of {ALIGNMENT}")
    _require(table_size % 4 == 0, f"table size is {table_size}, no multiple of 4")
    _require(table_size <= image_size - HEADER.size - SIGNATURE_SIZE, f"table size is {table_size}, more than there is")
    return int(table_size)


def _check_signature(data: bytes, table_size: int, trusted: Iterable[PublicKey]) -> None:
    """Checks 2 and 3: the key, then its signature."""
    key_id = bytes(data[40:48])
    key = find_key(key_id, trusted)
    end = HEADER.size + table_size
    key.verify(bytes(data[end : end + SIGNATURE_SIZE]), bytes(data[:end]))


def _decode(data: bytes, table_size: int) -> tuple[Image, list[bytes]]:
    """Check 4: every field of header and table, and that all padding is zero. Returns each body's sha256 too."""
    fields = HEADER.unpack_from(data)
    count, abi, aot, counter, minimum, maximum, features = fields[5:12]
    target, name, version, manifest, reserved = fields[13:]
    _require(1 <= count <= _MAX_KERNELS, f"kernel count is {count}, must be 1 to {_MAX_KERNELS}")
    _require(features & ~FEATURE_BULK_MEMORY == 0, f"required features are {features:#x}, of which some are unknown")
    _require(not any(reserved), "header: the reserved bytes are not zero")
    table_end = HEADER.size + table_size
    kernels, hashes = [], []
    record_at, body_at = HEADER.size, _aligned(table_end + SIGNATURE_SIZE)
    _require_zero(data, table_end + SIGNATURE_SIZE, body_at)
    for index in range(count):
        where = f"kernel {index}"
        kernel, sha256, size = _decode_record(data, record_at, table_end, body_at, where)
        kernels.append(kernel)
        hashes.append(sha256)
        record_at += size
        body_end = body_at + len(kernel.body)
        body_at = _aligned(body_end)
        _require_zero(data, body_end, body_at)
    _require(record_at == table_end, f"table size is {table_size}, its records have {record_at - HEADER.size} bytes")
    _require(body_at == len(data), f"image size is {len(data)}, but its last body ends at {body_at}")
    ids = [kernel.spec.id for kernel in kernels]
    _require(len(set(ids)) == len(ids), "two kernels have the same id")
    image = Image(
        target=_decode_text(target, "target id"),
        pack_name=_decode_text(name, "pack name"),
        pack_version=_decode_text(version, "pack version"),
        manifest_sha256=manifest,
        security_counter=counter,
        min_runtime_version=version_text(minimum),
        max_runtime_version=version_text(maximum) if maximum else None,
        features=features,
        kernels=tuple(kernels),
        abi_version=abi,
        aot_version=aot,
    )
    return image, hashes


def _decode_record(data: bytes, at: int, table_end: int, body_at: int, where: str) -> tuple[ImageKernel, bytes, int]:
    """The kernel whose record starts at ``at``, its body's sha256, and the record's size."""
    _require(at + RECORD.size <= table_end, f"{where}: the table ends before its record does")
    (
        size, symbol_count, tensor_count, param_count, reserved, pages, ticks, elements, reserved2,
        private_size, body_offset, body_size, seed, body_sha256, test_sha256, id_, op, entry_point, fallback,
    ) = RECORD.unpack_from(data, at)  # fmt: skip
    _require(symbol_count <= _MAX_LIST, f"{where}: {symbol_count} symbols, at most {_MAX_LIST}")
    _require(1 <= tensor_count <= _MAX_LIST, f"{where}: {tensor_count} tensors, must be 1 to {_MAX_LIST}")
    _require(param_count <= _MAX_LIST, f"{where}: {param_count} params, at most {_MAX_LIST}")
    symbols_at = at + RECORD.size
    tensors_at = symbols_at + SYMBOL.size * symbol_count
    params_at = tensors_at + TENSOR.size * tensor_count
    end = params_at + PARAM.size * param_count
    _require(size == end - at, f"{where}: record size is {size}, its lists make it {end - at}")
    _require(end <= table_end, f"{where}: the table ends before its record does")
    _require(reserved == 0 and reserved2 == 0, f"{where}: a reserved field is not zero")
    _require(pages >= 1, f"{where}: max memory pages is 0")
    _require(ticks >= 1, f"{where}: max epoch ticks is 0")
    _require(seed != 0, f"{where}: test seed is 0")
    _require(body_offset == body_at, f"{where}: body offset is {body_offset}, must be {body_at}")
    _require(body_size >= 1, f"{where}: body size is 0")
    _require(_aligned(body_at + body_size) <= len(data), f"{where}: its body of {body_size} bytes is not all there")
    symbols = [_decode_symbol(data, symbols_at + SYMBOL.size * i, where) for i in range(symbol_count)]
    names = [name for name, _value in symbols]
    tensors = _decode_tensors(data, tensors_at, tensor_count, names, where)
    spec = KernelSpec(
        id=_decode_text(id_, f"{where}: id", _NAME),
        op=_decode_text(op, f"{where}: op", _NAME),
        category="",
        entry_point=_decode_text(entry_point, f"{where}: entry point", _ENTRY_POINT),
        symbols=tuple(names),
        inputs=tuple(t for t in tensors if t.region in (Region.INPUT_A, Region.INPUT_B)),
        outputs=tuple(t for t in tensors if t.region is Region.OUTPUT),
        scratch=tuple(t for t in tensors if t.region is Region.SCRATCH),
        params=tuple(
            _decode_param(data[params_at + PARAM.size * i :][: PARAM.size], where) for i in range(param_count)
        ),
        limits=Limits(pages, ticks, elements),
        fallback=_decode_text(fallback, f"{where}: fallback") or None,
        test=KnownAnswer(seed, dict(symbols), test_sha256.hex()),
    )
    _require_solvable(spec, where)
    return ImageKernel(spec, private_size, bytes(data[body_at : body_at + body_size])), body_sha256, size


def _decode_symbol(data: bytes, at: int, where: str) -> tuple[str, int]:
    name, value = SYMBOL.unpack_from(data, at)
    text = _decode_text(name, f"{where}: symbol", _NAME)
    _require(value >= 1, f"{where}: symbol {text} is 0 in the known-answer test")
    return text, value


def _decode_tensors(data: bytes, at: int, count: int, symbols: Sequence[str], where: str) -> list[Tensor]:
    """The tensors of a record, each with its alternatives."""
    tensors: list[Tensor] = []
    for index in range(count):
        name, region, code, rank, flags, dims = TENSOR.unpack_from(data, at + TENSOR.size * index)
        text = _decode_text(name, f"{where}: tensor", _NAME)
        here = f"{where}: tensor {text}"
        _require(region <= Region.SCRATCH, f"{here}: region is {region}")
        _require(code in _DTYPE_BY_CODE, f"{here}: dtype is {code}")
        _require(1 <= rank <= _MAX_RANK, f"{here}: rank is {rank}, must be 1 to {_MAX_RANK}")
        _require(flags <= 15, f"{here}: flags are {flags:#x}, of which some are unknown")
        _require(not flags & _INOUT or region == Region.OUTPUT, f"{here}: is in-out and no output")
        _require(not any(dims[DIM.size * rank :]), f"{here}: dims beyond its rank are not zero")
        tensor = Tensor(
            name=text,
            region=Region(region),
            dtype=_DTYPE_BY_CODE[code],
            shapes=(tuple(_decode_dim(dims, i, symbols, here) for i in range(rank)),),
            leading=bool(flags & _LEADING),
            optional=bool(flags & _OPTIONAL),
            inout=bool(flags & _INOUT),
        )
        if flags & _ALTERNATIVE:
            _require(bool(tensors), f"{here}: is an alternative to no tensor")
            before = tensors.pop()
            _require(
                replace(before, shapes=tensor.shapes) == tensor,
                f"{here}: is an alternative to {before.name}, from which more than its shape differs",
            )
            tensor = replace(before, shapes=before.shapes + tensor.shapes)
        tensors.append(tensor)
    return tensors


def _decode_dim(dims: bytes, index: int, symbols: Sequence[str], where: str) -> Dim:
    symbol, divisor, multiplier = DIM.unpack_from(dims, DIM.size * index)
    _require(symbol < len(symbols) or symbol == _CONSTANT, f"{where}: there is no symbol {symbol}")
    _require(divisor >= 1 and multiplier >= 1, f"{where}: a dim's divisor or multiplier is 0")
    if symbol == _CONSTANT:
        _require(divisor == 1, f"{where}: a constant dim has divisor {divisor}")
        return Dim(None, multiplier)
    return Dim(symbols[symbol], multiplier, divisor)


def _decode_param(record: bytes, where: str) -> Param:
    name, code, reserved, bits = PARAM.unpack(record)
    text = _decode_text(name, f"{where}: param", _NAME)
    _require(code in _PARAM_TYPE_BY_CODE, f"{where}: param {text}: type is {code}")
    _require(not any(reserved), f"{where}: param {text}: a reserved field is not zero")
    kind = _PARAM_TYPE_BY_CODE[code]
    default = struct.unpack({"f32": "<f", "i32": "<i"}.get(kind, "<I"), bits)[0]
    if kind == "bool":
        _require(default <= 1, f"{where}: param {text}: a bool's default is {default}")
        default = bool(default)
    return Param(text, kind, default)


def _require_solvable(spec: KernelSpec, where: str) -> None:
    """Every symbol's value can be read off an input that is always there."""
    shapes: list[Shape] = [tensor.shapes[0] for tensor in spec.inputs if not tensor.optional]
    for symbol in spec.symbols:
        _require(
            any(Dim(symbol) in shape for shape in shapes),
            f"{where}: symbol {symbol} is not by itself a dim of an input that is always given",
        )


def _decode_text(field: bytes, what: str, pattern: re.Pattern[str] | None = None) -> str:
    text, _nul, rest = field.partition(b"\0")
    _require(len(text) < len(field), f"{what} has no NUL at its end")
    _require(not any(rest), f"{what} goes on behind its NUL")
    _require(text.isascii(), f"{what} is not ASCII")
    decoded = text.decode("ascii")
    _require(pattern is None or pattern.fullmatch(decoded) is not None, f"{what} is {decoded!r}")
    return decoded


def _check_gate(image: Image, size: int, gate: Gate) -> None:
    """Check 5: what the image needs against what the board has."""
    bytecode = gate.interpreter and image.target == BYTECODE_TARGET
    if image.target != gate.target and not bytecode:
        raise WrongTarget(f"the image is for {image.target}, the board is {gate.target}")
    if image.abi_version != gate.abi_version:
        raise KernelAbiMismatch(f"the image has kernel ABI {image.abi_version}, the board {gate.abi_version}")
    aot_version = BYTECODE_AOT_VERSION if bytecode else gate.aot_version
    if image.aot_version != aot_version:
        raise AotVersionMismatch(f"the image has AOT format {image.aot_version}, the board {aot_version}")
    runtime = version_number(gate.runtime_version)
    if runtime < version_number(image.min_runtime_version):
        raise RuntimeTooOld(f"the pack needs kern {image.min_runtime_version}, the board has {gate.runtime_version}")
    if image.max_runtime_version is not None and runtime > version_number(image.max_runtime_version):
        raise RuntimeTooNew(
            f"the pack works up to kern {image.max_runtime_version}, the board has {gate.runtime_version}"
        )
    if image.features & ~gate.features:
        raise MissingFeature(f"the pack needs features {image.features:#x}, the board has {gate.features:#x}")
    if image.security_counter < gate.security_counter:
        raise DowngradeRefused(
            f"the pack's security counter is {image.security_counter}, the board takes {gate.security_counter} and up"
        )
    check_fits(image, size, gate.slot_size, gate.kernel_page)


def _check_bodies(image: Image, hashes: Sequence[bytes]) -> None:
    """Check 6: each body's sha256."""
    for kernel, sha256 in zip(image.kernels, hashes, strict=True):
        if hashlib.sha256(kernel.body).digest() != sha256:
            raise HashMismatch(f"the code of kernel {kernel.spec.id} does not have the sha256 that was signed")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise MalformedPack(message)


def _require_zero(data: bytes, begin: int, end: int) -> None:
    _require(not any(data[begin:end]), f"the padding from {begin} to {end} is not zero or not there")
