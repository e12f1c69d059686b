"""The firmware's C parts that need no board, built for the PC with sanitizers: gate, key sets, Ed25519, SHA-256, store
and arena."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import c_parts
import pytest
import vectors
from c_parts import CRYPTO, run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from vectors import FOLDER, GATE, KEYS, OK, Vector, generate_key_sets

from host.pack import keyset_image
from host.pack.image import Gate

Build = Callable[..., Path]
Check = Callable[[Iterable[Vector]], list[str]]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile a program of tests/c with sources of the firmware; returns the executable."""
    return partial(c_parts.build, tmp_path_factory.mktemp("c"))


@pytest.fixture(scope="session")
def check(build: Build) -> Check:
    """The C gate's answer to each vector."""
    program = build("gate_check", ["image.c", "gate.c", "keyset.c", "layout.c", *CRYPTO])
    return lambda cases: _answers(program, map(vectors.gate_request, cases))


def _answers(program: Path, requests: Iterable[bytes]) -> list[str]:
    """The first word of each line that the program prints."""
    return [line.split(" ")[0] for line in run([program], b"".join(requests)).stdout.decode().splitlines()]


def _vector(data: bytes, gate: Gate = GATE) -> Vector:
    return Vector("", data, "", gate)


def test_shared_vectors_get_the_answer_they_name(check: Check) -> None:
    cases = vectors.load()
    wrong = [(case.name, case.expect, got) for case, got in zip(cases, check(cases), strict=True) if got != case.expect]
    assert not wrong


def test_every_flipped_bit_is_refused(check: Check) -> None:
    image = (FOLDER / "small.kimg").read_bytes()
    assert check([_vector(image)]) == [OK]
    assert OK not in check(_vector(vectors.flipped(image, bit)) for bit in range(8 * len(image)))


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


def test_signatures_get_the_verdict_that_they_name(build: Build) -> None:
    """tests/vectors/ed25519.json: RFC 8032's own, and everything that verifiers differ about."""
    cases = vectors.signatures()
    program = build("ed25519_check", CRYPTO)
    answers = _verdicts(program, ((case.key, case.signature, case.message) for case in cases))
    wrong = [case.name for case, good in zip(cases, answers, strict=True) if good != (case.why == "")]
    assert not wrong


def test_good_signatures_are_taken_and_a_changed_bit_is_refused(build: Build) -> None:
    """Random keys and messages, signed by the cryptography package."""
    rng = random.Random(1)
    cases = []
    for _ in range(500):
        key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        message = rng.randbytes(rng.randrange(300))
        signature = key.sign(message)
        changed = vectors.flipped(signature, rng.randrange(8 * 64))
        cases += [(key.public_key().public_bytes_raw(), either, message) for either in (signature, changed)]
    assert _verdicts(build("ed25519_check", CRYPTO), cases) == [True, False] * 500


def _verdicts(program: Path, cases: Iterable[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """Whether ed25519_check takes each key, signature and message."""
    lines = "".join(f"{key.hex()} {signature.hex()} {message.hex() or '-'}\n" for key, signature, message in cases)
    return [answer == OK for answer in run([program], lines.encode()).stdout.decode().splitlines()]


@pytest.fixture(scope="session")
def check_sets(build: Build) -> Callable[..., list[str]]:
    """The C decoder's answer to each key set."""
    program = build("keyset_check", ["keyset.c", *CRYPTO])

    def answers(cases: Iterable[bytes], with_superseded: bool = False) -> list[str]:
        return _answers(program, (vectors.key_set_request(data, with_superseded) for data in cases))

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
    assert run([program], data).stdout == b"".join(hashlib.sha256(message).digest() for message in messages)


def test_store_has_the_old_or_the_new_image_wherever_power_is_cut(build: Build) -> None:
    run([build("store_check", ["store.c"])])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_arena_does_what_a_simple_model_does(build: Build, seed: int) -> None:
    program = build("arena_check", ["arena.c"])
    operations = 25 * int(os.environ.get("ARENA_OPERATIONS", "2000"))
    assert run([program, str(seed), str(operations)]).stdout == b"OK\n"
