"""Installing on the emulated board: trial, confirmation and the way back; a bad image changes nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vectors
from installing import resigned, save, slots, with_kernels
from installing import small as small_image

from host import errors, pack
from host.board import Board, connect
from host.boards import Board as Facts
from host.emulator import EmulatedBoard, ProgramBoard, make
from host.pack.image import Image, decode_image, encode_image

pytestmark = pytest.mark.every_board

Emulated = EmulatedBoard | ProgramBoard
X = np.arange(8, dtype="<f4").reshape(1, 2, 1, 4)


@pytest.fixture(scope="module")
def image(core_pack: Path, facts: Facts, target: str, core_pack_again: None) -> bytes:
    """The core pack's image; for boards in QEMU, to which that takes seconds to send, the two kernels that are used."""
    core = pack.Pack.open(core_pack).image(target)
    if facts.port != "qemu":
        return core
    return with_kernels(core, (k for k in decode_image(core).kernels if k.spec.id in ("rope_f32", "rmsnorm_f32")))


@pytest.fixture
def own(emulated_board: Emulated, tmp_path: Path, state_dir: Path) -> Iterator[Emulated]:
    """A board with a copy of the other one's flash, for what cannot be undone. A sleeping Pico's clock runs ahead."""
    shutil.copyfile(emulated_board.flash, tmp_path / "flash.bin")
    with make(emulated_board.board, flash=tmp_path / "flash.bin", realtime=False) as emulated:
        assert isinstance(emulated, Emulated)
        if isinstance(emulated, ProgramBoard):
            emulated.program(emulated_board.firmware)
        yield emulated


@pytest.fixture(scope="module")
def small(image: bytes) -> bytes:
    """An image with rmsnorm_f32 only, version 2.0.0."""
    return small_image(image, pack_version="2.0.0")


def restarted(emulated: Emulated) -> Board:
    """The board after its RUN pin was pulled, or without power for a moment."""
    emulated.reset()
    return connect(str(emulated.wait_for_port(30)))


def with_kernel(image: bytes, **changes: object) -> bytes:
    """The image with its first kernel changed, validly signed."""
    decoded: Image = decode_image(image)
    first = replace(decoded.kernels[0], **changes)  # type: ignore[arg-type]
    return resigned(image, kernels=(first, *decoded.kernels[1:]))


def wrong_answer(image: bytes) -> bytes:
    spec = decode_image(image).kernels[0].spec
    return with_kernel(image, spec=replace(spec, test=replace(spec.test, sha256="00" * 32)))


BAD: dict[str, tuple[Callable[[bytes], bytes], type[errors.PackError]]] = {
    "unknown key": (lambda i: encode_image(decode_image(i), vectors.KEYS["stranger"]), errors.NoTrustedKey),
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
    "larger than a slot": (lambda i: i + bytes(0x20000), errors.PackTooLarge),
    "a byte too long": (lambda i: i + b"\0", errors.MalformedPack),
    **{
        f"cut at {name}": (lambda i, cut=cut: i[: cut if cut > 0 else len(i) + cut], errors.MalformedPack)
        for name, cut in {"1": 1, "100": 100, "header": 192, "table": 400, "body": 2000, "last": -1}.items()
    },
}


@pytest.mark.parametrize("name", BAD)
def test_bad_image_is_refused_by_name_and_changes_nothing(board: Board, small: bytes, name: str) -> None:
    make, error = BAD[name]
    before = board.status()["pack"]
    expected = board.run("rope_f32", [X, None])
    with pytest.raises(error) as caught:
        board.install(make(small))
    assert type(caught.value) is error
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
            board.install(vectors.flipped(image, 8 * offset))
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


def test_pack_is_still_there_after_a_restart(board: Board, emulated_board: Emulated, image: bytes) -> None:
    board.install(image)
    before = board.status()["pack"]
    board.close()
    emulated_board.reset()
    with connect(str(emulated_board.wait_for_port(30))) as again:
        assert again.status()["pack"] == before
        again.run("rope_f32", [X, None])


def test_image_in_the_boards_filesystem_can_be_installed(board: Board, image: bytes) -> None:
    save(board, image)
    assert board.eval("kern.install('/new.kimg')", 60)["name"] == "core"
    board.exec("import os; os.remove('/new.kimg')")


@pytest.mark.pico_only  # a program's port has no plug
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


# ---- trial, confirmation, the way back ----


def test_pack_on_trial_is_gone_back_from_at_a_reset(
    board: Board, emulated_board: Emulated, image: bytes, small: bytes
) -> None:
    board.install(image)
    for reset in (Board.soft_reset, None):
        active = board.install(small, confirm=False)
        assert not active["confirmed"]
        assert slots(board) == {"trial": "2.0.0", "previous": "1.0.0"}
        assert board.kernels() == ("rmsnorm_f32",)
        if reset:
            reset(board)
        else:
            board.close()
            board = restarted(emulated_board)
        assert slots(board) == {"active": "1.0.0"}
        board.run("rope_f32", [X, None])
        with pytest.raises(errors.NoPreviousPack):
            board.rollback()
    board.close()


def test_first_pack_on_trial_leaves_none_at_a_reset(own: Emulated, facts: Facts, small: bytes) -> None:
    own.power_off()
    flash = facts.flash
    with own.flash.open("r+b") as file:
        file.seek(flash.state)
        file.write(b"\xff" * flash.state_size)
    own.power_on()
    with connect(str(own.wait_for_port(30))) as board:
        with pytest.raises(errors.NoPack):
            board.confirm()
        save(board, small)
        assert not board.eval("kern.install('/new.kimg', confirm=False)")["confirmed"]
        assert slots(board) == {"trial": "2.0.0"}
        board.soft_reset()
        assert board.packs() == []
        assert board.status()["pack"] is None


def test_no_installation_while_a_pack_is_on_trial(board: Board, image: bytes, small: bytes) -> None:
    board.install(image)
    board.install(small, confirm=False)
    with pytest.raises(errors.PackOnTrial):
        board.install(image)
    assert slots(board) == {"trial": "2.0.0", "previous": "1.0.0"}
    board.confirm()
    assert board.install(small)["version"] == "2.0.0"
    board.install(image)


def test_confirmed_pack_stays_and_only_then_raises_the_counter(own: Emulated, image: bytes, small: bytes) -> None:
    raised = resigned(small, security_counter=2)
    with connect(str(own.wait_for_port(30))) as board:
        save(board, raised)
        before = board.status()["pack"]
        for back in ("kern.rollback()", "None"):
            board.exec("kern.install('/new.kimg', confirm=False)")
            board.exec(back)
            board.soft_reset()
            board.exec("import kern")
            assert board.status()["pack"] == before
        board.exec("kern.install('/new.kimg', confirm=False)")
        assert board.confirm()["confirmed"]
        assert board.confirm() == board.status()["pack"]  # again: nothing to do
        with pytest.raises(errors.DowngradeRefused, match="required 2, actual 1"):
            board.rollback()
        assert slots(board) == {"active": "2.0.0", "previous": "DowngradeRefused"}
    with restarted(own) as board:
        assert board.status()["pack"]["version"] == "2.0.0"
        save(board, resigned(small, pack_version="2.0.1"))
        with pytest.raises(errors.DowngradeRefused):
            board.eval("kern.install('/new.kimg')")
        assert slots(board) == {"active": "2.0.0"}


def test_rollback_and_back_again(board: Board, image: bytes, small: bytes) -> None:
    board.install(image)
    expected = board.run("rope_f32", [X, None])
    board.install(small)
    assert slots(board) == {"active": "2.0.0", "previous": "1.0.0"}
    board.exec("import kern; f = kern.bind('rmsnorm_f32', [[1.0, 2.0]], [1.0, 1.0])")
    assert board.rollback() == board.status()["pack"]
    assert slots(board) == {"active": "1.0.0", "previous": "2.0.0"}
    assert np.array_equal(board.run("rope_f32", [X, None]), expected)
    with pytest.raises(errors.NoSuchKernel, match="bind again"):
        board.exec("f()")
    assert board.rollback()["version"] == "2.0.0"
    with pytest.raises(errors.NoSuchKernel, match="bind again"):  # though its pack is back
        board.exec("f()")
    assert board.exec("print(f)").strip() == "<bound kernel of a former pack>"
    board.rollback()


def test_rollback_needs_a_previous_pack(board: Board, image: bytes) -> None:
    board.install(image)
    board.install(image)
    assert [found["slot"] for found in board.packs()] in (["a", "b"], ["b", "a"])
    with pytest.raises(errors.MalformedPack):
        board.install(b"bad")  # writes to the slot that the previous pack was in
    with pytest.raises(errors.NoPreviousPack):
        board.rollback()
    board.run("rope_f32", [X, None])


@pytest.mark.pico_only  # whose clock runs ahead
def test_previous_pack_is_released_after_300_s(own: EmulatedBoard, small: bytes) -> None:
    with connect(str(own.wait_for_port(30))) as board:
        save(board, small)
        board.exec("import time; kern.install('/new.kimg'); time.sleep(299)")
        assert board.rollback()["version"] == "1.0.0"
        board.exec("time.sleep(299)")
        assert slots(board) == {"active": "1.0.0", "previous": "2.0.0"}
    with restarted(own) as board:  # where its time begins anew
        board.exec("import kern, time; time.sleep(299)")
        assert slots(board) == {"active": "1.0.0", "previous": "2.0.0"}
        board.exec("time.sleep(2)")
        operations = own.counters()["flash_operations"]
        board.exec("kern.run('rope_f32', [[[[1.0, 2.0]]]])")
        assert own.counters()["flash_operations"] == operations  # a call writes nothing
        assert slots(board) == {"active": "1.0.0"}
        assert own.counters()["flash_operations"] > operations
        with pytest.raises(errors.NoPreviousPack):
            board.rollback()
    with restarted(own) as board:
        assert slots(board) == {"active": "1.0.0"}


@pytest.mark.pico_only  # whose clock runs ahead
def test_trial_is_not_released(own: EmulatedBoard, small: bytes) -> None:
    with connect(str(own.wait_for_port(30))) as board:
        save(board, small)
        board.exec("import time; kern.install('/new.kimg', confirm=False); time.sleep(1000)")
        assert slots(board) == {"trial": "2.0.0", "previous": "1.0.0"}
        assert board.rollback()["version"] == "1.0.0"
        assert slots(board) == {"active": "1.0.0"}  # what never was confirmed is nothing to go back to


def test_damaged_previous_pack_is_not_gone_back_to(own: Emulated, facts: Facts, small: bytes) -> None:
    with connect(str(own.wait_for_port(30))) as board:
        save(board, small)
        slot = board.status()["pack"]["slot"]
        board.exec("kern.install('/new.kimg')")
    own.power_off()
    with own.flash.open("r+b") as file:
        flash = facts.flash
        file.seek((flash.slot_a if slot == "a" else flash.slot_b) + 9000)
        file.write(b"\0\0\0\0")
    own.power_on()
    with connect(str(own.wait_for_port(30))) as board:
        assert slots(board) == {"active": "2.0.0", "previous": "HashMismatch"}
        with pytest.raises(errors.HashMismatch):
            board.rollback()
        assert board.status()["pack"]["version"] == "2.0.0"


# ---- chunk by chunk ----


def test_calls_go_on_while_a_pack_is_received(own: Emulated, small: bytes) -> None:
    """From the source itself, from a timer between its chunks, and from other tasks."""
    with connect(str(own.wait_for_port(30))) as board:
        save(board, small)
        board.exec(
            "import asyncio, machine\n"
            "x = kern.tensor((1, 1, 1, 4), 'f32', [1.0, 2.0, 3.0, 4.0]); y = kern.rope(x, pos=1).tolist(); good = []\n"
            "def call(_=None): good.append(kern.rope(x, pos=1).tolist() == y)\n"
            "class Source:\n"
            "  def __init__(self): self.f = open('/new.kimg', 'rb')\n"
            "  def readinto(self, b): call(); return self.f.readinto(b)\n"
            "timer = machine.Timer(period=1, callback=call)\n"
            "kern.install(Source(), confirm=False); timer.deinit(); from_install = len(good)\n"
            "kern.rollback()\n"
        )
        assert board.eval("from_install") > len(small) // 1024 + 1  # the source's calls, and the timer's
        board.exec(
            "async def feed():\n"
            "  i = kern.installer()\n"
            "  with open('/new.kimg', 'rb') as f:\n"
            "    while data := f.read(777): i.write(data); await asyncio.sleep(0)\n"
            "  return i.finish(confirm=False)\n"
            "async def main():\n"
            "  task = asyncio.create_task(feed())\n"
            "  while not task.done(): call(); await asyncio.sleep(0)\n"
            "  return await task\n"
            "installed = asyncio.run(main())"
        )
        assert board.eval("installed")["version"] == "2.0.0"
        assert board.eval("all(good)")
        assert board.eval("len(good) - from_install") > len(small) // 777


def test_abandoned_installation_changes_nothing(board: Board, image: bytes, small: bytes) -> None:
    board.install(image)
    board.exec(f"import kern; i = kern.installer(); i.write({small[:1500]!r}); del i")
    assert slots(board) == {"active": "1.0.0"}
    board.run("rope_f32", [X, None])
    assert board.install(small)["version"] == "2.0.0"
    board.rollback()


def test_one_installation_at_a_time(board: Board, image: bytes, small: bytes) -> None:
    """The newest counts; those before, and those that have ended, say so."""
    board.install(image)
    board.install(small)
    board.exec("import kern; i = kern.installer(); j = kern.installer(); j.write(b'1')")
    ended = "this installation has ended"
    with pytest.raises(errors.BoardError, match=ended):
        board.exec("i.write(b'1')")
    assert board.rollback()["version"] == "1.0.0"  # j had not erased anything yet
    for use in ("j.write(b'1')", "j.finish()"):
        with pytest.raises(errors.BoardError, match=ended):
            board.exec(use)
    with pytest.raises(errors.MalformedPack):
        board.exec("i = kern.installer(); i.finish()")
    assert slots(board) == {"active": "1.0.0", "previous": "2.0.0"}
    with pytest.raises(errors.PackTooLarge):
        board.exec("i = kern.installer()\nwhile True: i.write(bytes(4096))", 30)
    with pytest.raises(errors.BoardError, match=ended):
        board.exec("i.write(b'1')")
    board.run("rope_f32", [X, None])


def test_installing_within_an_installation_ends_the_outer_one(board: Board, image: bytes, small: bytes) -> None:
    board.install(image)
    save(board, small)
    board.exec(
        "class Source:\n  def readinto(self, b): kern.install('/new.kimg'); return open('/new.kimg', 'rb').readinto(b)"
    )
    with pytest.raises(errors.BoardError, match="this installation has ended"):
        board.exec("kern.install(Source())")
    assert slots(board) == {"active": "2.0.0", "previous": "1.0.0"}
    board.exec("import os; os.remove('/new.kimg')")
    board.rollback()


def test_an_arena_full_of_garbage_is_room_for_the_known_answer_tests(board: Board, image: bytes) -> None:
    board.exec(
        "import kern; kept = []\ntry:\n while True: kept.append(kern.tensor((99,), 'u8'))\nexcept MemoryError: del kept"
    )
    assert board.install(image)["name"] == "core"


def test_operations_of_a_former_pack_are_no_attributes(board: Board, image: bytes, small: bytes) -> None:
    board.exec("import kern; rope = kern.rope")
    board.install(small)
    assert board.eval("(hasattr(kern, 'rope'), hasattr(kern, 'rmsnorm'))") == (False, True)
    board.rollback()
    assert board.eval("hasattr(kern, 'rope')")
