"""The board image in Python: what it is made of comes back, and whatever else is refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vectors import generate, specs

from host import boards, errors
from host.pack import image
from host.pack.image import Image, ImageKernel, decode_image, encode_image, gate_for, verify_image

KEY = vectors.KEYS["test"]
SMALL = (vectors.FOLDER / "small.kimg").read_bytes()
FULL = (vectors.FOLDER / "full.kimg").read_bytes()


@st.composite
def images(draw: st.DrawFn) -> Image:
    ids = draw(st.lists(specs.IDS, min_size=1, max_size=3, unique=True))
    text = st.from_regex(r"[a-z][a-z0-9.-]{0,22}", fullmatch=True)
    version = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0xFF)).map(
        lambda parts: ".".join(map(str, parts))
    )
    return Image(
        target=draw(text),
        pack_name=draw(text),
        pack_version=draw(text),
        manifest_sha256=draw(specs.SHA256),
        security_counter=draw(specs.U32),
        min_runtime_version=draw(version),
        max_runtime_version=draw(st.none() | version.filter(lambda text: text != "0.0.0")),
        features=draw(st.integers(0, 1)),
        kernels=tuple(
            ImageKernel(draw(specs.kernels(id)), draw(specs.U32), draw(st.binary(min_size=1, max_size=70)))
            for id in ids
        ),
        abi_version=draw(st.integers(0, 0xFFFF)),
        aot_version=draw(specs.U32),
    )


def as_on_board(source: Image) -> Image:
    return replace(
        source,
        kernels=tuple(replace(kernel, spec=image.as_on_board(kernel.spec)) for kernel in source.kernels),
    )


@given(images())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_decoding_gives_back_what_was_encoded(source: Image) -> None:
    data = encode_image(source, KEY)
    assert len(data) % 16 == 0
    assert verify_image(data, vectors.TRUSTED) == as_on_board(source)
    assert encode_image(decode_image(data), KEY) == data


@given(st.binary(max_size=700), st.integers(0, 40))
@settings(deadline=None)
def test_bytes_at_random_are_malformed_and_nothing_else_goes_wrong(data: bytes, keep: int) -> None:
    with pytest.raises(errors.MalformedPack):
        decode_image(SMALL[:keep] + data)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_signed_nonsense_is_decoded_or_refused(data: st.DataObject) -> None:
    """Whatever a trusted key signs, the decoder answers with an image or a PackError."""
    bad = bytearray(FULL)
    for _ in range(data.draw(st.integers(1, 4))):
        bad[data.draw(st.integers(16, len(bad) - 1))] = data.draw(st.integers(0, 255))
    bad[40:48] = KEY.public.key_id
    assert vectors.answer(vectors.sign(bytes(bad), KEY)) in {vectors.OK, *(e.__name__ for e in errors.board_errors())}


@pytest.mark.parametrize("vector", vectors.load(), ids=lambda vector: vector.name)
def test_vector_gets_the_answer_that_boards_give(vector: vectors.Vector) -> None:
    assert vectors.answer(vector.data, vector.gate) == vector.expect


def test_vectors_are_what_the_generator_writes() -> None:
    for name, data in generate.files().items():
        assert (vectors.FOLDER / name).read_bytes() == data, f"{name}: run python tests/vectors/generate.py"


def test_vectors_cover_every_error_that_a_gate_gives() -> None:
    expected = {
        "OK", "MalformedPack", "NoTrustedKey", "KeyRevoked", "BadSignature", "HashMismatch", "WrongTarget",
        "KernelAbiMismatch", "AotVersionMismatch", "RuntimeTooOld", "RuntimeTooNew", "DowngradeRefused", "PackTooLarge",
    }  # fmt: skip
    assert {vector.expect for vector in vectors.load()} == expected


def test_every_single_flipped_bit_is_refused() -> None:
    table_end = 192 + int.from_bytes(SMALL[12:16], "little")
    for bit in range(len(SMALL) * 8):
        bad = bytearray(SMALL)
        bad[bit // 8] ^= 1 << bit % 8
        answer = vectors.answer(bytes(bad))
        if 16 <= bit // 8 < 40 or 48 <= bit // 8 < table_end + 64:
            assert answer == "BadSignature", f"bit {bit}"
        else:
            assert answer in {"MalformedPack", "NoTrustedKey", "HashMismatch", "BadSignature"}, f"bit {bit}"


def test_every_truncation_is_malformed() -> None:
    for length in range(len(SMALL)):
        assert vectors.answer(SMALL[:length]) == "MalformedPack", f"{length} bytes"


def test_missing_feature_says_what_is_required_and_what_there_is() -> None:
    with pytest.raises(errors.MissingFeature, match="needs features 0x1, the board has 0x0"):
        verify_image(SMALL, vectors.TRUSTED, replace(vectors.GATE, features=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "thumbv8m-hard"}, "for thumbv6m-soft, the board is thumbv8m-hard"),
        ({"abi_version": 2}, "kernel ABI 1, the board 2"),
        ({"aot_version": 5}, "AOT format 6, the board 5"),
        ({"runtime_version": "0.0.9"}, "needs kern 0.1.0, the board has 0.0.9"),
        ({"runtime_version": "0.2.1"}, "works up to kern 0.2.0, the board has 0.2.1"),
        ({"security_counter": 6}, "counter is 5, the board takes 6"),
        ({"slot_size": 1024}, "has 1840 bytes, a slot 1024"),
        ({"kernel_page": 1024}, "rope_f32 needs 1040 bytes for its own stack and data, the board has 1024"),
    ],
)
def test_refusal_says_required_and_actual(changes: dict[str, object], message: str) -> None:
    with pytest.raises(errors.PackError, match=message):
        verify_image(FULL, vectors.TRUSTED, replace(vectors.GATE, **changes))  # type: ignore[arg-type]


def test_without_a_gate_an_image_for_any_board_verifies() -> None:
    assert verify_image(FULL, vectors.TRUSTED).pack_name == "full"


def test_gate_of_a_board_has_its_facts() -> None:
    board = boards.load("rpi_pico")
    gate = gate_for(board, "0.1.0", 3)
    assert (gate.target, gate.slot_size, gate.kernel_page) == ("thumbv6m-soft", 0x20000, 4096)
    assert (gate.runtime_version, gate.security_counter) == ("0.1.0", 3)


def test_two_keys_of_which_one_is_right_verify() -> None:
    verify_image(SMALL, [vectors.KEYS["stranger"].public, KEY.public])


def test_untrusted_key_is_named_with_those_that_are_trusted() -> None:
    key_id = KEY.public.key_id.hex()
    with pytest.raises(errors.NoTrustedKey, match=rf"key {key_id}.*trusted keys: .*\(stranger\)"):
        verify_image(SMALL, [vectors.KEYS["stranger"].public])
    with pytest.raises(errors.NoTrustedKey, match="trusted keys: none"):
        verify_image(SMALL, [])


def test_encoding_refuses_what_a_field_cannot_hold() -> None:
    good = generate.small()
    with pytest.raises(ValueError, match="has 32 characters, its field holds 31"):
        encode_image(replace(good, pack_name="n" * 32), KEY)
    with pytest.raises(ValueError, match="does not fit"):
        encode_image(replace(good, security_counter=2**32), KEY)
    spec = good.kernels[0].spec
    unknown = replace(good.kernels[0], spec=replace(spec, test=replace(spec.test, sha256=None)))
    with pytest.raises(ValueError, match="copy has no known answer"):
        encode_image(replace(good, kernels=(unknown,)), KEY)
