"""Key sets on the emulated board: whom it trusts, what it refuses, and what becomes of a revoked key's packs."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vectors
from conftest import RunHost

from host import boards, errors, flash, pack
from host.board import Board, connect
from host.emulator import EmulatedBoard
from host.flash import Firmware, uf2
from host.pack import keys, keyset_image
from host.pack.image import decode_image, encode_image
from host.pack.keys import KeyPair, Trust
from host.pack.keyset import KeySet

PICO = boards.load("rpi_pico")
X = np.arange(8, dtype="<f4").reshape(1, 2, 1, 4)
NEW, STRANGER = vectors.KEYS["second"], vectors.KEYS["stranger"]


@pytest.fixture(scope="module")
def flashed(firmware_uf2: Path, core_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flash of a Pico that trusts the tests' key, with the core pack."""
    folder = tmp_path_factory.mktemp("flashed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_STATE_DIR", str(folder))
        emulated = EmulatedBoard("rpi_pico", flash=folder / "flash.bin")
        with emulated, connect(emulated.program(firmware_uf2)) as board:
            board.install(image_by(keys.default_or_create(), core_pack))
    return folder / "flash.bin"


@pytest.fixture
def emulated(flashed: Path, tmp_path: Path, state_dir: Path) -> Iterator[EmulatedBoard]:
    """A Pico of the test's own with that flash: whom it trusts cannot be undone."""
    shutil.copy(flashed, tmp_path / "flash.bin")
    with EmulatedBoard("rpi_pico", flash=tmp_path / "flash.bin") as running:
        yield running


@contextmanager
def connected(emulated: EmulatedBoard) -> Iterator[Board]:
    with connect(str(emulated.wait_for_port(30))) as board:
        yield board


def image_by(pair: KeyPair, core_pack: Path) -> bytes:
    return encode_image(decode_image(pack.Pack.open(core_pack).image("thumbv6m-soft")), pair)


def key_set(
    version: int,
    pairs: Sequence[KeyPair],
    signers: Sequence[KeyPair],
    revoked: Sequence[KeyPair] = (),
    threshold: int = 1,
) -> bytes:
    trust = Trust(tuple(pair.public for pair in pairs), threshold, {pair.public.key_id: "" for pair in revoked})
    return keyset_image.sign(keyset_image.encode(KeySet(version, trust)), signers)


def told(version: int, *pairs: KeyPair, revoked: Sequence[KeyPair] = (), threshold: int = 1) -> Mapping[str, Any]:
    """``status()["keys"]`` of a board that trusts these."""
    return {
        "version": version,
        "threshold": threshold,
        "ids": sorted(pair.public.key_id.hex() for pair in pairs),
        "revoked": sorted(pair.public.key_id.hex() for pair in revoked),
    }


def test_a_revoked_keys_pack_runs_no_more_and_one_by_the_new_key_does(emulated: EmulatedBoard, core_pack: Path) -> None:
    """Also the one that is active, and what is bound to it, at once and after a reset."""
    old = keys.default_or_create()
    with connected(emulated) as board:
        assert board.status()["keys"] == told(0, old)
        expected = board.run("rope_f32", [X, None])
        board.exec("import kern; f = kern.bind('rope_f32', kern.tensor((1, 2, 1, 4)))")
        answer = board.install_keys(key_set(1, [NEW], [old, NEW], revoked=[old]))
        assert answer == board.status()["keys"] == told(1, NEW, revoked=[old])
        with pytest.raises(errors.NoSuchKernel, match="bind again"):
            board.exec("f()")
        with pytest.raises(errors.KeyRevoked, match="key id"):
            board.exec("kern.bind('rope_f32', kern.tensor((1, 2, 1, 4)))")
    emulated.reset()
    with connected(emulated) as board:
        assert board.status()["keys"] == told(1, NEW, revoked=[old])
        assert board.status()["pack"] is None
        assert [slot["error"] for slot in board.packs()] == ["KeyRevoked"]
        with pytest.raises(errors.KeyRevoked):
            board.run("rope_f32", [X, None])
        with pytest.raises(errors.KeyRevoked):
            board.install(image_by(old, core_pack))
        board.install(image_by(NEW, core_pack))
        assert np.array_equal(board.run("rope_f32", [X, None]), expected)


def test_a_bad_key_set_is_refused_by_name_and_changes_nothing(emulated: EmulatedBoard) -> None:
    old = keys.default_or_create()
    bad = {
        "by a stranger": (key_set(1, [STRANGER], [STRANGER]), errors.NoTrustedKey),
        "of too few of its own": (key_set(2, [old, NEW], [old], threshold=2, revoked=[STRANGER]), errors.NoTrustedKey),
        "by a revoked key": (key_set(2, [old], [old, STRANGER], revoked=[STRANGER]), errors.KeyRevoked),
        "the same again": (key_set(1, [old], [old], revoked=[STRANGER]), errors.DowngradeRefused),
        "without the revocation": (key_set(2, [old], [old]), errors.DowngradeRefused),
        "changed": (vectors.flipped(key_set(2, [old], [old], revoked=[STRANGER]), 8 * 8), errors.BadSignature),
        "cut": (key_set(2, [old], [old], revoked=[STRANGER])[:-1], errors.MalformedPack),
        "nothing": (b"", errors.MalformedPack),
        "too large": (key_set(2, [old], [old], revoked=[STRANGER]) + bytes(8000), errors.MalformedPack),
    }
    with connected(emulated) as board:
        board.install_keys(key_set(1, [old], [old], revoked=[STRANGER]))
        for name, (image, error) in bad.items():
            with pytest.raises(errors.PackError) as caught:
                board.install_keys(image)
            assert type(caught.value) is error, name
        assert board.status()["keys"] == told(1, old, revoked=[STRANGER])
        board.run("rope_f32", [X, None])


def test_a_key_set_comes_from_the_boards_filesystem_too(emulated: EmulatedBoard) -> None:
    old = keys.default_or_create()
    with connected(emulated) as board:
        board.exec(f"f = open('/keys', 'wb'); f.write({key_set(7, [old, NEW], [old])!r}); f.close(); import kern")
        assert board.eval("kern.install_keys('/keys')") == told(7, old, NEW)
        with pytest.raises(errors.BoardError, match="TypeError"):
            board.exec("kern.install_keys(5)")


def with_key_set(firmware: bytes, image: bytes) -> bytes:
    """The firmware with another key set of the same size built in."""
    blocks = [bytearray(firmware[at : at + 512]) for at in range(0, len(firmware), 512)]
    sizes = [struct.unpack_from("<I", block, 16)[0] for block in blocks]
    data = b"".join(bytes(block[32 : 32 + size]) for block, size in zip(blocks, sizes, strict=True))
    at = data.index(keyset_image.MAGIC + struct.pack("<HH", keyset_image.FORMAT_VERSION, keyset_image.HEADER.size))
    data = data[:at] + image + data[at + len(image) :]
    for block, size in zip(blocks, sizes, strict=True):
        block[32 : 32 + size], data = data[:size], data[size:]
    return b"".join(map(bytes, blocks))


def test_firmware_with_a_later_key_set_counts_but_brings_no_revoked_key_back(
    emulated: EmulatedBoard, firmware_uf2: Path, tmp_path: Path
) -> None:
    old = keys.default_or_create()
    current = flash.read_firmware(PICO, firmware_uf2)

    def flash_with(image: bytes) -> None:
        path = tmp_path / "other.uf2"
        path.write_bytes(with_key_set(firmware_uf2.read_bytes(), image))
        with uf2.target(PICO, "emu:rpi_pico") as target:
            uf2.flash(PICO, Firmware(path, current.build, current.version), target, report=lambda text: None)

    with connected(emulated) as board:
        board.install_keys(key_set(5, [NEW], [old, NEW], revoked=[old]))
    flash_with(keyset_image.encode(KeySet(4, Trust((STRANGER.public,)))))
    with connected(emulated) as board:
        assert board.status()["keys"] == told(5, NEW, revoked=[old])
    flash_with(keyset_image.encode(KeySet(6, Trust((STRANGER.public,)))))
    with connected(emulated) as board:
        assert board.status()["keys"] == told(6, STRANGER, revoked=[old])
    flash_with(keyset_image.encode(KeySet(6, Trust((old.public,)))))
    with connected(emulated) as board:
        assert board.status()["keys"] == told(6, revoked=[old])
        with pytest.raises(errors.KeyRevoked):
            board.run("rope_f32", [X, None])


def test_host_pushes_every_key_set_that_the_board_missed(emulated: EmulatedBoard, cli: RunHost, tmp_path: Path) -> None:
    """The second of them is signed by a key that only the first one brings."""
    config = tmp_path / "config"
    shutil.copytree(keys.folder().parent, config)
    environment = {"HOST_CONFIG_DIR": str(config)}

    def run(*arguments: str, code: int = 0) -> str:
        finished = cli("key", *arguments, **environment)
        assert finished.returncode == code, finished.stderr
        return finished.stdout + finished.stderr

    port = str(emulated.wait_for_port(30))
    assert "no key set to push" in run("set", "push", "--port", port, code=2)
    run("new", "later")
    run("set", "new", "--add", "later")
    run("set", "new", "--revoke", "default", "--reason", "laptop stolen", "--key", "later")
    said = run("set", "push", "--port", port)
    assert "The board trusts key set 2, before: 0." in said and "host push" in said
    with connected(emulated) as board:
        assert board.status()["keys"]["revoked"] == [keys.default_or_create().public.key_id.hex()]
    assert "The board trusts key set 2, before: 2." in run("set", "push", "--port", port)
