"""The firmware's C parts that need no board, built for the PC with sanitizers: gate, store, arena, float
operators."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vectors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from vectors import FOLDER, GATE, KEYS, OK, Vector, generate_key_sets

from host import boards, firmware_files, parts
from host.pack import keyset_image
from host.pack.image import Gate

ROOT = Path(__file__).resolve().parent.parent
KERN = ROOT / "firmware" / "kern"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", *SANITIZE]
Build = Callable[..., Path]
Check = Callable[[Iterable[Vector]], list[str]]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile a program of tests/c with sources of the firmware; returns the executable."""
    folder = tmp_path_factory.mktemp("c")
    board = boards.load("rpi_pico")
    (folder / "kern_errors.h").write_text(firmware_files.errors_header())
    (folder / "kern_dtypes.h").write_text(firmware_files.dtypes_header())
    (folder / "kern_board.h").write_text(firmware_files.board_header(board, "0.1.0"))
    source = parts.path("monocypher") / "src" / "monocypher.c"
    (folder / "monocypher.c").write_text(firmware_files.monocypher(source))

    def compile(
        program: str, sources: Sequence[str], third_party: Sequence[Path] = (), flags: Sequence[str] = ()
    ) -> Path:
        objects = []
        for source in third_party:
            objects.append(folder / f"{source.stem}.o")
            _run(["gcc", "-O1", "-w", *SANITIZE, *flags, "-c", source, "-o", objects[-1]])
        ours = [ROOT / "tests" / "c" / f"{program}.c", *(KERN / source for source in sources)]
        out = folder / program
        _run(["gcc", *STRICT, f"-I{KERN}", f"-I{folder}", *flags, *ours, *objects, "-o", out])
        return out

    return compile


@pytest.fixture(scope="session")
def build_with_crypto(build: Build) -> Callable[[str, Sequence[str]], Path]:
    """`build`, with Ed25519, in the field arithmetic of the firmware, and SHA-256."""
    monocypher = parts.path("monocypher") / "src"
    flags = [f"-I{path}" for path in (KERN / "crypto", monocypher, monocypher / "optional")]
    third_party = [monocypher / "optional" / "monocypher-ed25519.c"]
    return lambda program, sources: build(program, [*sources, "ed25519.c", "sha256.c"], third_party, flags)


@pytest.fixture(scope="session")
def check(build_with_crypto: Callable[[str, Sequence[str]], Path]) -> Check:
    """The C gate's answer to each vector."""
    program = build_with_crypto("gate_check", ["image.c", "gate.c", "keyset.c", "layout.c"])

    def answers(cases: Iterable[Vector]) -> list[str]:
        data = b"".join(map(vectors.gate_request, cases))
        result = subprocess.run([program], input=data, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr.decode()[-3000:]
        return [line.split(" ")[0] for line in result.stdout.decode().splitlines()]

    return answers


def _run(command: Sequence[str | Path]) -> None:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


def _vector(data: bytes, gate: Gate = GATE) -> Vector:
    return Vector("", data, "", gate)


def test_shared_vectors_get_the_answer_they_name(check: Check) -> None:
    cases = vectors.load()
    wrong = [(case.name, case.expect, got) for case, got in zip(cases, check(cases), strict=True) if got != case.expect]
    assert not wrong


def test_every_flipped_bit_is_refused(check: Check) -> None:
    image = (FOLDER / "small.kimg").read_bytes()
    flipped = []
    for bit in range(8 * len(image)):
        data = bytearray(image)
        data[bit // 8] ^= 1 << bit % 8
        flipped.append(_vector(bytes(data)))
    assert check([_vector(image)]) == [OK]
    assert OK not in check(flipped)


def test_every_truncation_is_refused(check: Check) -> None:
    image = (FOLDER / "full.kimg").read_bytes()
    assert set(check(_vector(image[:length]) for length in range(len(image)))) == {"MalformedPack"}


def test_signed_nonsense_gets_the_answer_that_python_gives(check: Check) -> None:
    """Fields changed at random and signed again reach every check behind the signature."""
    source = random.Random(1)
    cases = []
    for _ in range(3000):
        data = bytearray((FOLDER / source.choice(["small.kimg", "full.kimg"])).read_bytes())
        table_end = 192 + int.from_bytes(data[12:16], "little")
        for _ in range(source.choice([1, 1, 2, 4])):
            at = source.randrange(16, table_end) if source.random() < 0.95 else source.randrange(len(data))
            if not 40 <= at < 48:  # the key's id
                data[at] = source.choice([0, 1, 2, 3, 4, 8, 16, 32, 65, 97, 127, 128, 255, data[at] ^ 1])
        cases.append(_vector(vectors.sign(bytes(data), KEYS["test"])))
    wrong = [
        (case.data.hex(), expected, got)
        for case, got in zip(cases, check(cases), strict=True)
        if got != (expected := vectors.answer(case.data))
    ]
    assert not wrong, wrong[0]


def test_gate_holds_the_boards_own_limits(check: Check) -> None:
    image = (FOLDER / "small.kimg").read_bytes()
    refused = {
        "WrongTarget": replace(GATE, target="riscv32-soft"),
        "RuntimeTooOld": replace(GATE, runtime_version="0.0.9"),
        "DowngradeRefused": replace(GATE, security_counter=GATE.security_counter + 1),
        "PackTooLarge": replace(GATE, slot_size=len(image) - 16),
    }
    assert check(_vector(image, gate) for gate in refused.values()) == list(refused)


def test_signatures_get_the_verdict_that_they_name(build_with_crypto: Callable[[str, Sequence[str]], Path]) -> None:
    """tests/vectors/ed25519.json: RFC 8032's own, and everything that verifiers differ about."""
    cases = vectors.signatures()
    program = build_with_crypto("ed25519_check", [])
    answers = _verdicts(program, ((case.key, case.signature, case.message) for case in cases))
    wrong = [case.name for case, good in zip(cases, answers, strict=True) if good != (case.why == "")]
    assert not wrong


def test_good_signatures_are_taken_and_a_changed_bit_is_refused(
    build_with_crypto: Callable[[str, Sequence[str]], Path],
) -> None:
    """Random keys and messages, signed by the cryptography package."""
    rng = random.Random(1)
    cases = []
    for _ in range(500):
        key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        message = rng.randbytes(rng.randrange(300))
        signature = key.sign(message)
        changed = bytearray(signature)
        changed[rng.randrange(64)] ^= 1 << rng.randrange(8)
        cases += [(key.public_key().public_bytes_raw(), either, message) for either in (signature, bytes(changed))]
    assert _verdicts(build_with_crypto("ed25519_check", []), cases) == [True, False] * 500


def _verdicts(program: Path, cases: Iterable[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """Whether ed25519_check takes each key, signature and message."""
    lines = "".join(f"{key.hex()} {signature.hex()} {message.hex() or '-'}\n" for key, signature, message in cases)
    result = subprocess.run([program], input=lines, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return [answer == OK for answer in result.stdout.splitlines()]


@pytest.fixture(scope="session")
def check_sets(build_with_crypto: Callable[[str, Sequence[str]], Path]) -> Callable[..., list[str]]:
    """The C decoder's answer to each key set."""
    program = build_with_crypto("keyset_check", ["keyset.c"])

    def answers(cases: Iterable[bytes], with_superseded: bool = False) -> list[str]:
        data = b"".join(vectors.key_set_request(data, with_superseded) for data in cases)
        result = subprocess.run([program], input=data, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr.decode()[-3000:]
        return [line.split(" ")[0] for line in result.stdout.decode().splitlines()]

    return answers


@pytest.mark.parametrize("superseded", [False, True])
def test_key_sets_get_the_answer_they_name(check_sets: Callable[..., list[str]], superseded: bool) -> None:
    cases = [case for case in vectors.key_sets() if case.superseded == superseded]
    answers = check_sets((case.data for case in cases), superseded)
    wrong = [(case.name, case.expect, got) for case, got in zip(cases, answers, strict=True) if got != case.expect]
    assert cases and not wrong


def test_every_flipped_bit_of_a_key_set_is_refused(check_sets: Callable[..., list[str]]) -> None:
    good = next(case.data for case in vectors.key_sets() if case.expect == OK)
    flipped = [vectors.flipped(good, bit) for bit in range(8 * len(good))]
    assert check_sets([good]) == [OK]
    assert OK not in check_sets(flipped)


def test_signed_key_sets_of_nonsense_get_the_answer_that_python_gives(check_sets: Callable[..., list[str]]) -> None:
    """Bytes changed at random and signed again reach every check behind the signatures."""
    source = random.Random(1)
    bases = [
        generate_key_sets.NEXT,
        generate_key_sets.key_set(["test"], threshold=1),
        keyset_image.encode(vectors.KEY_SET),
    ]
    cases = []
    for _ in range(1000):
        data = bytearray(source.choice(bases))
        for _ in range(source.choice([0, 1, 1, 2])):
            at = source.randrange(len(data)) if source.random() < 0.3 else source.randrange(8, 16)
            data[at] = source.choice([0, 1, 2, 3, 4, 8, 9, 64, 255, data[at] ^ 1])
        signers = source.sample(["test", "second", "third", "fourth", "lost"], source.choice([1, 2, 2, 2, 3]))
        cases.append(generate_key_sets.signed(bytes(data), *signers))
    answers = check_sets(cases)
    wrong = [
        (data.hex(), expected, got)
        for data, got in zip(cases, answers, strict=True)
        if got != (expected := vectors.key_set_answer(data))
    ]
    assert not wrong, wrong[0]
    assert len(set(answers)) == 5


def test_sha256_is_what_everyone_else_computes(build: Build) -> None:
    program = build("sha256_check", ["sha256.c"])
    source = random.Random(2)
    messages = [source.randbytes(size) for size in [*range(200), 1000, 4096, 65535, 65536]]
    data = b"".join(len(message).to_bytes(4, "little") + message for message in messages)
    result = subprocess.run([program], input=data, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    assert result.stdout == b"".join(hashlib.sha256(message).digest() for message in messages)


def test_store_has_the_old_or_the_new_image_wherever_power_is_cut(build: Build) -> None:
    program = build("store_check", ["store.c"])
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_arena_does_what_a_simple_model_does(build: Build, seed: int) -> None:
    program = build("arena_check", ["arena.c"])
    operations = 25 * int(os.environ.get("ARENA_OPERATIONS", "2000"))
    result = subprocess.run([program, str(seed), str(operations)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "OK\n"), result.stdout + result.stderr[-3000:]


AWKWARD = [0, 1, 0x7FFFFF, 0x800000, 0x3F000000, 0x3EFFFFFF, 0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3FC00000, 0x40200000]
AWKWARD += [0x4AFFFFFF, 0x4B000000, 0x4B000001, 0x4F000000, 0x5EFFFFFF, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000]


@pytest.fixture(scope="session")
def operators(build: Build) -> Callable[..., NDArray[np.uint64]]:
    """Apply a float operator of the firmware to arrays of bits."""
    program = build("floats_check", ["floats.c"], flags=[f"-I{KERN.parent / 'softfloat'}"])
    names = ["abs", "ceil", "floor", "trunc", "nearest", "min", "max", "from_i64", "from_u64", "to_i64", "to_u64"]

    def apply(name: str, a: NDArray[np.uint32], b: NDArray[np.uint32] | None = None) -> NDArray[np.uint64]:
        second = np.zeros_like(a) if b is None else b
        words = np.stack([np.full_like(a, names.index(name)), a, second], 1).tobytes()
        result = subprocess.run([program], input=words, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr.decode()[-3000:]
        return np.frombuffer(result.stdout, np.uint64)

    return apply


def bits(count: int = 200_000) -> NDArray[np.uint32]:
    """Floats of every kind, as bits: random ones and the awkward ones of both signs."""
    random_bits = np.random.default_rng(1).integers(0, 2**32, count, np.uint32)
    awkward = np.array(AWKWARD, np.uint32)
    return np.concatenate([awkward, awkward | np.uint32(0x80000000), random_bits])


def same(got: NDArray[np.uint64], expected: NDArray[np.float32]) -> bool:
    """Equal bits, or both NaN."""
    low = got.astype(np.uint32)
    nan = np.isnan(low.view(np.float32)) & np.isnan(expected)
    return bool(np.all((low == expected.view(np.uint32)) | nan))


@pytest.mark.parametrize("name", ["abs", "ceil", "floor", "trunc", "nearest"])
def test_float_operator_of_one_argument_is_exact(operators: Callable[..., NDArray[np.uint64]], name: str) -> None:
    reference = {
        "abs": np.abs,
        "ceil": np.ceil,
        "floor": np.floor,
        "trunc": np.trunc,
        "nearest": np.rint,
    }
    a = bits()
    with np.errstate(invalid="ignore"):
        expected = reference[name](a.view(np.float32))
    assert same(operators(name, a), expected)


@pytest.mark.parametrize("name", ["min", "max"])
def test_min_and_max_know_nan_and_signed_zero(operators: Callable[..., NDArray[np.uint64]], name: str) -> None:
    awkward = np.array(AWKWARD + [value | 0x80000000 for value in AWKWARD], np.uint32)
    pairs = np.array(np.meshgrid(awkward, awkward), np.uint32).reshape(2, -1)
    a, b = (np.concatenate([pairs[i], np.roll(bits(), i)]) for i in range(2))
    x, y = a.view(np.float32), b.view(np.float32)
    choose = np.minimum if name == "min" else np.maximum
    with np.errstate(invalid="ignore"):
        expected = choose(x, y)
    zeros = (x == 0) & (y == 0)
    signs = (a | b) if name == "min" else (a & b)
    expected = np.where(zeros, (signs & np.uint32(0x80000000)).view(np.float32), expected)
    assert same(operators(name, a, b), expected)


def test_conversions_from_and_to_64_bits_round_as_ieee_754_does(operators: Callable[..., NDArray[np.uint64]]) -> None:
    source = np.random.default_rng(2)
    wide = source.integers(0, 2**64, 100_000, np.uint64) >> source.integers(0, 64, 100_000, np.uint64)
    halves = wide.view(np.uint32).reshape(-1, 2)
    low, high = halves[:, 0].copy(), halves[:, 1].copy()
    assert same(operators("from_u64", low, high), wide.astype(np.float32))
    assert same(operators("from_i64", low, high), wide.view(np.int64).astype(np.float32))
    a = bits()
    with np.errstate(invalid="ignore"):
        x = a.view(np.float32).astype(np.float64)
    signed = a[(x > -(2.0**63)) & (x < 2.0**63)]
    assert np.array_equal(operators("to_i64", signed).view(np.int64), signed.view(np.float32).astype(np.int64))
    unsigned = a[(x >= 0) & (x < 2.0**64)]
    assert np.array_equal(operators("to_u64", unsigned), unsigned.view(np.float32).astype(np.uint64))
