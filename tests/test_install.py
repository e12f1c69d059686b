"""Installing on the emulated board: a bad image is refused with its own error and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from host import errors, pack
from host.board import Board, connect
from host.emulator import EmulatedBoard
from host.pack import keys
from host.pack.image import Image, decode_image, encode_image

TARGET = "thumbv6m-soft"
X = np.arange(8, dtype="<f4").reshape(1, 2, 1, 4)


@pytest.fixture(scope="module")
def image(core_pack: Path) -> bytes:
    """The core pack's image."""
    return pack.Pack.open(core_pack).image(TARGET)


def resigned(image: bytes, **changes: object) -> bytes:
    """The image with some fields of its header changed, validly signed."""
    return encode_image(replace(decode_image(image), **changes), keys.default_or_create())  # type: ignore[arg-type]


def with_kernel(image: bytes, **changes: object) -> bytes:
    """The image with its first kernel changed, validly signed."""
    decoded: Image = decode_image(image)
    first = replace(decoded.kernels[0], **changes)  # type: ignore[arg-type]
    return resigned(image, kernels=(first, *decoded.kernels[1:]))


def flipped(image: bytes, offset: int) -> bytes:
    return image[:offset] + bytes([image[offset] ^ 1]) + image[offset + 1 :]


def by_stranger(image: bytes) -> bytes:
    folder_key = keys.KeyPair(*_stranger())
    return encode_image(decode_image(image), folder_key)


def _stranger() -> tuple[keys.PublicKey, object]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
    return keys.PublicKey("stranger", private.public_key().public_bytes_raw()), private


def wrong_answer(image: bytes) -> bytes:
    spec = decode_image(image).kernels[0].spec
    return with_kernel(image, spec=replace(spec, test=replace(spec.test, sha256="00" * 32)))


BAD: dict[str, tuple[Callable[[bytes], bytes], type[errors.PackError]]] = {
    "unknown key": (by_stranger, errors.NoTrustedKey),
    "another target": (lambda i: resigned(i, target="riscv32-soft"), errors.WrongTarget),
    "another ABI": (lambda i: resigned(i, abi_version=2), errors.KernelAbiMismatch),
    "another AOT version": (lambda i: resigned(i, aot_version=5), errors.AotVersionMismatch),
    "newer runtime": (lambda i: resigned(i, min_runtime_version="9.0.0"), errors.RuntimeTooOld),
    "older runtime": (
        lambda i: resigned(i, min_runtime_version="0.0.1", max_runtime_version="0.0.2"),
        errors.RuntimeTooNew,
    ),
    "private memory too large": (lambda i: with_kernel(i, private_size=65536), errors.PackTooLarge),
    "wrong known answer": (wrong_answer, errors.HealthCheckFailed),
    "no image": (lambda i: b"not an image", errors.MalformedPack),
    "empty": (lambda i: b"", errors.MalformedPack),
    "larger than a slot": (lambda i: i + bytes(0x20000), errors.PackError),
    "a byte too long": (lambda i: i + b"\0", errors.MalformedPack),
    **{
        f"cut at {name}": (lambda i, cut=cut: i[: cut if cut > 0 else len(i) + cut], errors.MalformedPack)
        for name, cut in {"1": 1, "100": 100, "header": 192, "table": 400, "body": 2000, "last": -1}.items()
    },
}


@pytest.mark.parametrize("name", BAD)
def test_bad_image_is_refused_by_name_and_changes_nothing(board: Board, image: bytes, name: str) -> None:
    make, error = BAD[name]
    before = board.status()["pack"]
    expected = board.run("rope_f32", [X, None])
    with pytest.raises(error) as caught:
        board.install(make(image))
    assert issubclass(type(caught.value), error)
    assert board.status()["pack"] == before
    assert np.array_equal(board.run("rope_f32", [X, None]), expected)


def test_a_flipped_bit_is_refused_wherever_it_is(board: Board, image: bytes) -> None:
    """A sample over the whole image; the decoders' own tests, on the PC, flip every bit."""
    before = board.status()["pack"]
    offsets = [
        0,
        5,
        9,
        13,
        17,
        41,
        50,
        75,
        130,
        170,
        200,
        380,
        *range(500, len(image), len(image) // 12),
        len(image) - 1,
    ]
    for offset in offsets:
        with pytest.raises(errors.PackError):
            board.install(flipped(image, offset))
    assert board.status()["pack"] == before
    board.run("rope_f32", [X, None])


def test_new_version_replaces_the_old_without_a_restart(board: Board, image: bytes) -> None:
    board.exec("import kern; x = kern.tensor((1, 2, 1, 4)); y = kern.rope(x); f = kern.bind('rope_f32', x)")
    newer = resigned(image, pack_version="1.0.1")
    assert board.install(newer)["version"] == "1.0.1"
    assert board.status()["pack"]["version"] == "1.0.1"
    board.exec("kern.rope(x)")
    board.install(image)
    assert board.status()["pack"]["version"] == "1.0.0"


def test_pack_is_still_there_after_a_restart(board: Board, emulated_board: EmulatedBoard, image: bytes) -> None:
    board.install(image)
    before = board.status()["pack"]
    board.close()
    emulated_board.reset()
    with connect(str(emulated_board.wait_for_port(30))) as again:
        assert again.status()["pack"] == before
        again.run("rope_f32", [X, None])


@pytest.fixture
def stored(board: Board, image: bytes) -> Iterator[Board]:
    """The board with the image in its filesystem, as /new.kimg."""
    board.exec("f = open('/new.kimg', 'wb')")
    for at in range(0, len(image), 512):
        board.exec(f"f.write({image[at : at + 512]!r})")
    board.exec("f.close(); import kern")
    yield board
    board.exec("import os; os.remove('/new.kimg')")


def test_image_in_the_boards_filesystem_can_be_installed(stored: Board) -> None:
    assert stored.eval("kern.install('/new.kimg')", 60)["name"] == "core"


def test_an_argument_that_installs_a_pack_does_not_get_into_its_kernels(stored: Board) -> None:
    stored.exec("""
class Installs:
    def __float__(self):
        kern.install('/new.kimg')
        return 1.0
x = kern.tensor((1, 1, 1, 2))
""")
    with pytest.raises(errors.BoardError, match="RuntimeError: another pack was installed meanwhile"):
        stored.exec("kern.rope(x, theta=Installs())", 60)
    assert stored.eval("kern.rope(x).tolist()") == [[[[0, 0]]]]


def test_unplugging_during_a_push_is_no_device_and_the_board_still_works(
    emulated_board: EmulatedBoard, image: bytes
) -> None:
    with connect(str(emulated_board.wait_for_port(30))) as link:
        before = link.status()["pack"]
        unplugged = threading.Event()

        def pull(done: int, total: int) -> None:
            if done > total // 2 and not unplugged.is_set():
                unplugged.set()
                emulated_board.unplug()

        with pytest.raises(errors.NoDevice) as caught:
            link.install(image, pull)
        assert caught.value.exit_code == 3
    emulated_board.plug()
    with connect(str(emulated_board.wait_for_port(30))) as again:
        assert again.status()["pack"] == before
        again.run("rope_f32", [X, None])
