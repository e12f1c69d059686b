"""What the RISC-V board has of its own: exceptions, inside of kernels and outside. What it has in common with other
boards is tested with them: ``every_board`` in conftest.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from installing import with_kernels

from host import errors, pack
from host.board import Board, connect
from host.emulator import ProgramBoard
from host.pack.image import decode_image

pytestmark = pytest.mark.parametrize("emulated_board", ["qemu_rv32"], indirect=True, scope="session")

X = np.array([5, 6, 7, 8], "<i4")
LOOP = b"\x01\xa0"  # a jump to itself: all that spin_short.c does for ever
ILLEGAL = b"\x00\x00"
LOAD_S0 = b"\x00\x40"  # from the address in s0, which is `arg`
NOWHERE = 0x40


@pytest.mark.parametrize(("instruction", "code"), [("illegal", ILLEGAL), ("load from nowhere", LOAD_S0)])
def test_an_exception_in_a_kernel_is_a_native_fault(
    faulty: Board, faults_pack: pack.Pack, target: str, instruction: str, code: bytes
) -> None:
    image = faults_pack.image(target)
    kernels = decode_image(image).kernels
    spin = next(kernel for kernel in kernels if kernel.spec.id == "spin_short")
    assert spin.body.count(LOOP) == 1
    changed = replace(spin, body=spin.body.replace(LOOP, code))
    faulty.install(with_kernels(image, (changed if kernel is spin else kernel for kernel in kernels)))
    for _ in range(3):
        with pytest.raises(errors.NativeFault):
            faulty.run("spin_short", [X], {"arg": NOWHERE})
        last = faulty.stats()["last_fault"]
        assert (last["error"], last["address"]) == ("NativeFault", None)
        assert isinstance(last["function"], int)
        assert faulty.run("code", [X], {"arg": 0}).tolist() == X.tolist()


def test_kernels_do_not_run_where_no_deadline_could_end_them(faulty: Board) -> None:
    faulty.exec("import kern, machine\nf = kern.bind('code', kern.tensor((4,), 'i32'))")
    with pytest.raises(errors.BoardError, match="RuntimeError"):
        faulty.exec("before = machine.disable_irq()\ntry: f()\nfinally: machine.enable_irq(before)")
    faulty.exec("f()")


def test_an_exception_outside_of_kernels_ends_the_machine_with_a_message(
    emulated_board: ProgramBoard, core_pack_again: None
) -> None:
    so_far = len(emulated_board.events)
    with connect(str(emulated_board.wait_for_port())) as board, pytest.raises((errors.DeviceError, OSError)):
        board.exec(f"import machine\nmachine.mem32[{NOWHERE}]")
    message = emulated_board.wait_for_event("crashed", after=so_far)["message"]
    assert "exception 5 at 0x80" in message and "value 0x00000040" in message
    emulated_board.power_on()
    with connect(str(emulated_board.wait_for_port())) as board:
        assert board.eval("6 * 7") == 42
