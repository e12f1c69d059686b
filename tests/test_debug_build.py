"""The debug build on an emulated Pico: it interprets packs without AOT code, with AOT code's results and errors.

The long form, ``host check`` of all kernels, is in docs/firmware.md.
"""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_faults import FAULT_CASES, TICK_US, X, deeper
from test_operators import FLOATS, OPERATORS, operands, same
from test_operators import FOLDER as OPERATORS_FOLDER
from wasmtime import wat2wasm

from host import boards, errors, firmware, pack
from host.board import Board, connect, image_target
from host.check import run_check
from host.emulator import EmulatedBoard
from host.firmware_variants import DEBUG
from host.pack import keys, keyset
from host.pack.image import decode_image, encode_image
from host.pack.spec import BYTECODE_TARGET
from host.runtime import Runtime

TARGET = "thumbv6m-soft"
QUICK = ["rope_f32", "rmsnorm_f16", "kv_pack_q4", "lora_apply_f32"]
"""Kernels that between them use every kind of input and operator that the core pack's do."""


@pytest.fixture(scope="module")
def debug_firmware() -> firmware.FirmwareBuild:
    """The rpi_pico firmware with an interpreter."""
    keys.default_or_create()
    return firmware.build_firmware(boards.load("rpi_pico"), keyset.current(), DEBUG)


def bytecode_pack(source: Path, folder: Path) -> pack.Pack:
    return pack.Pack.open(pack.build_pack(source, folder, keys.default_or_create(), [BYTECODE_TARGET]))


@pytest.fixture(scope="module")
def core_bytecode(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """The core pack without AOT code."""
    return bytecode_pack(ROOT / "kernels_aot", tmp_path_factory.mktemp("bytecode"))


@pytest.fixture(scope="module")
def faults_bytecode(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """The pack of kernels that go wrong without AOT code."""
    return bytecode_pack(ROOT / "tests" / "faults", tmp_path_factory.mktemp("bytecode"))


@pytest.fixture(scope="module")
def debug_port(
    debug_firmware: firmware.FirmwareBuild, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EmulatedBoard, str]]:
    """An emulated Pico with the debug build, and its port."""
    folder = tmp_path_factory.mktemp("debug")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_STATE_DIR", str(folder))
        with EmulatedBoard("rpi_pico", flash=folder / "flash.bin") as emulated:
            yield emulated, emulated.program(debug_firmware.file)


@pytest.fixture(scope="module")
def debug_board(debug_port: tuple[EmulatedBoard, str]) -> Iterator[Board]:
    """The emulated Pico with the debug build, over its serial port."""
    with connect(debug_port[1]) as link:
        yield link


# ---- what runs it, and what does not -------------------------------------------------------------


def test_debug_build_runs_a_pack_without_aot_code_and_says_so(debug_board: Board, core_bytecode: pack.Pack) -> None:
    assert image_target(core_bytecode, debug_board.status()) == BYTECODE_TARGET
    assert debug_board.install(core_bytecode.image(BYTECODE_TARGET))["code"] == "interpreted"
    status = debug_board.require_pack(core_bytecode)
    assert (status["variant"], status["pack"]["code"]) == ("debug", "interpreted")


def test_interpreted_kernels_give_the_bits_that_wasmtime_gives(debug_board: Board, core_bytecode: pack.Pack) -> None:
    debug_board.install(core_bytecode.image(BYTECODE_TARGET))
    with Runtime() as runtime:
        runtime.install(core_bytecode)
        for id in QUICK:
            debug_board.soft_reset()
            only = replace(core_bytecode.manifest, kernels=(core_bytecode.kernel(id),))
            pack_of_it = replace(core_bytecode, manifest=only)
            report = run_check(
                debug_board,
                runtime,
                pack_of_it,
                board_name="rpi_pico",
                code="interpreted",
                count=12,
                max_elements=256,
            )
            assert report.passed, report.to_json()
            assert report.to_json()["code"] == "interpreted"


def test_interpreted_operators_give_the_bits_that_wasmtime_gives(debug_board: Board, tmp_path: Path) -> None:
    """Denormals, infinities, NaN and ties among the operands: the boot ROM's float routines would differ."""
    operators = bytecode_pack(OPERATORS_FOLDER, tmp_path)
    a, b = (words[::4].copy() for words in operands())
    differ = []
    with Runtime() as runtime:
        runtime.install(operators)
        debug_board.install(operators.image(BYTECODE_TARGET))
        for op, name in enumerate(OPERATORS):
            expected = runtime.run("operators", a, b, op=op)
            if not same(name, debug_board.run("operators", [a, b], {"op": op}), expected):
                differ.append(name)
    assert not differ and len(OPERATORS) > len(FLOATS)


def test_debug_build_runs_aot_code_too(debug_board: Board, core_pack: Path) -> None:
    opened = pack.Pack.open(core_pack)
    assert image_target(opened, debug_board.status()) == TARGET
    assert debug_board.install(opened.image(TARGET))["code"] == "aot"
    x = np.arange(8, dtype="<f4").reshape(1, 2, 1, 4)
    with Runtime() as runtime:
        runtime.install(opened)
        expected = runtime.run("rope_f32", x)
    assert np.array_equal(debug_board.run("rope_f32", [x, None]), expected)


def test_release_build_refuses_bytecode(board: Board, core_bytecode: pack.Pack, core_pack: Path) -> None:
    before = board.status()
    assert (before["variant"], before["pack"]["code"]) == ("release", "aot")
    with pytest.raises(errors.WrongTarget, match="required thumbv6m-soft, actual wasm32"):
        board.install(core_bytecode.image(BYTECODE_TARGET))
    assert board.status()["pack"] == before["pack"]
    relabelled = replace(decode_image(core_bytecode.image(BYTECODE_TARGET)), target=TARGET, aot_version=before["aot"])
    with pytest.raises(errors.HealthCheckFailed, match=r"aot_loader\.c, line"):
        board.install(encode_image(relabelled, keys.default_or_create()))


def test_debug_build_refuses_an_image_of_the_wrong_kind_of_code(
    debug_board: Board, core_bytecode: pack.Pack, core_pack: Path
) -> None:
    key = keys.default_or_create()
    bytecode = decode_image(core_bytecode.image(BYTECODE_TARGET))
    aot = decode_image(pack.Pack.open(core_pack).image(TARGET))
    for image in (
        replace(bytecode, target=TARGET, aot_version=aot.aot_version),
        replace(aot, target=BYTECODE_TARGET, aot_version=0),
    ):
        with pytest.raises(errors.HealthCheckFailed, match="not of the kind that the image's target says"):
            debug_board.install(encode_image(image, key))
    with pytest.raises(errors.AotVersionMismatch, match="required 0, actual 6"):
        debug_board.install(encode_image(replace(bytecode, aot_version=aot.aot_version), key))


def test_only_the_debug_build_has_an_interpreter(firmware_uf2: Path, debug_firmware: firmware.FirmwareBuild) -> None:
    def interpreter(elf: Path) -> set[str]:
        names = subprocess.run(["arm-none-eabi-nm", elf], capture_output=True, text=True, check=True).stdout.split()
        return {name for name in names if name.startswith(("wasm_interp_", "bh_assert")) or name == "wasm_load"}

    assert not interpreter(firmware_uf2.parent / "cmake" / "firmware.elf")
    assert {"wasm_interp_call_wasm", "wasm_load", "bh_assert_internal"} <= interpreter(debug_firmware.elf)


def test_interpreter_computes_with_the_exact_floats_only(debug_firmware: firmware.FirmwareBuild) -> None:
    """Nothing that MicroPython's port wraps to the boot ROM's routines, no double precision, no allocation."""
    command = ["arm-none-eabi-nm", "-u", debug_firmware.elf.parent / "interpreter.o"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    used = {name for name in names if name.startswith("__aeabi_")}
    assert used == {f"__aeabi_{n}" for n in ("idiv", "idivmod", "uidiv", "uidivmod", "ldivmod", "uldivmod", "lmul")}
    assert not any("alloc" in name or name in {"sqrtf", "rintf", "sqrt", "rint"} for name in names)


# ---- what goes wrong -----------------------------------------------------------------------------


def test_interpreted_faults_raise_the_errors_of_aot_code(debug_board: Board, faults_bytecode: pack.Pack) -> None:
    debug_board.install(faults_bytecode.image(BYTECODE_TARGET))
    for kernel, arg, error in FAULT_CASES:
        with pytest.raises(errors.KernelError) as caught:
            debug_board.run(kernel, [X], {"arg": arg})
        assert type(caught.value) is errors.by_name(error), (kernel, arg)
        assert debug_board.run("code", [X], {"arg": 0}).tolist() == X.tolist()
    assert debug_board.run("recurse", [X], {"arg": 200})[0] == deeper(200)


def test_interpreted_loop_ends_at_32_times_its_deadline(debug_board: Board, faults_bytecode: pack.Pack) -> None:
    debug_board.install(faults_bytecode.image(BYTECODE_TARGET))
    debug_board.exec(
        textwrap.dedent(
            """
            import kern, time
            f = kern.bind('spin_short', kern.tensor((4,), 'i32'), arg=1)
            def took():
                start = time.ticks_us()
                try:
                    f()
                except kern.EpochDeadline:
                    return time.ticks_diff(time.ticks_us(), start)
            """
        )
    )
    for _ in range(3):
        assert abs(debug_board.eval("took()") - 32 * TICK_US) <= 5000  # loading included
        assert debug_board.run("code", [X], {"arg": 0}).tolist() == X.tolist()


WHAT_BOARDS_LACK = """(module
  (memory (export "memory") 1)
  (global (export "__data_end") i32 (i32.const 1024)) (global (export "__heap_base") i32 (i32.const 1024))
  (func (export "kernel_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "kernel_info") (result i32) (i32.const 512))
  (func (export "kernel_cleanup"))
  (func (export "code") (param $desc i32) (result i32)
    (local $arg i32) (local $y i32)
    (local.set $arg (i32.load offset=4 (i32.load offset=32 (local.get $desc))))
    (local.set $y (i32.load offset=16 (local.get $desc)))
    (memory.copy (local.get $y) (i32.load (local.get $desc)) (i32.load offset=20 (local.get $desc)))
    (if (i32.eq (local.get $arg) (i32.const 1)) (then (i32.store (local.get $y) (memory.grow (i32.const 1)))))
    (if (i32.eq (local.get $arg) (i32.const 2)) (then
      (f64.store (local.get $y) (f64.add (f64.load (local.get $y)) (f64.const 1)))))
    (i32.const 0)))"""
"""A kernel that copies, and with 1 grows its memory, with 2 adds doubles."""


def test_what_aot_code_may_not_use_is_not_there_for_bytecode(debug_board: Board, faults_bytecode: pack.Pack) -> None:
    image = decode_image(faults_bytecode.image(BYTECODE_TARGET))
    kernel = next(kernel for kernel in image.kernels if kernel.spec.id == "code")
    lacking = replace(kernel, body=bytes(wat2wasm(WHAT_BOARDS_LACK)), private_size=1024)
    debug_board.install(encode_image(replace(image, kernels=(lacking,)), keys.default_or_create()))
    assert debug_board.run("code", [X], {"arg": 0}).tolist() == X.tolist()
    assert debug_board.run("code", [X], {"arg": 1})[0] == -1
    printed = debug_board.exec(
        textwrap.dedent(
            """
            import kern, time
            try:
                kern.run('code', kern.tensor((4,), 'i32'), arg=2)
            except kern.KernelError as error:
                print(type(error))
            time.sleep_ms(1)
            """
        )
    )
    assert "KernelError" in printed
    assert "there are no f64 operators on a board" in printed


def test_failed_assertion_is_an_error_that_says_which(
    debug_board: Board, debug_firmware: firmware.FirmwareBuild
) -> None:
    symbols = subprocess.run(
        ["arm-none-eabi-nm", debug_firmware.elf], capture_output=True, text=True, check=True
    ).stdout
    function = next(line.split()[0] for line in symbols.splitlines() if line.endswith(" bh_assert_internal"))
    debug_board.exec(
        textwrap.dedent(
            """
            import micropython
            @micropython.asm_thumb
            def failed_assertion(r0, r1, r2):
                mov(r4, r0)
                push({r2})
                mov(r2, r1)
                mov(r0, 0)
                mov(r1, 0)
                mov(r3, 7)
                bx(r4)
            """
        )
    )
    with pytest.raises(errors.BoardError, match=r"RuntimeError: WAMR assertion failed: 1 < 0, some\.c:7"):
        debug_board.exec(rf"failed_assertion(0x{function} | 1, b'some.c\0', b'1 < 0\0')")
