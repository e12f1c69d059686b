"""The bounds checks that wamrc compiles in, against Wasmtime's: known holes, random loops, and planted errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT
from wasmtime import wat2wasm

from host import parts

sys.path.insert(0, str(ROOT / "tools" / "bounds"))

import bounds
from aot_machine import PAGE, Machine

# Each function is called with an address beyond memory, or as far below it as the second argument says.
HOLES = {
    "a local that was set after its old value was taken, for a load": """
        (local.get 0) (local.set 0 (i32.const 8)) (drop (i32.load (local.get 0))) (i32.load)""",
    "a local that was set after its old value was taken, for a store": """
        (local.get 0) (local.set 0 (i32.const 8)) (i32.load (local.get 0)) (i32.store) (i32.const 0)""",
    "memory.fill up to 2^32": "(memory.fill (local.get 0) (i32.const 7) (local.get 1)) (i32.const 0)",
    "memory.copy to what ends at 2^32": "(memory.copy (local.get 0) (i32.const 0) (local.get 1)) (i32.const 0)",
    "memory.copy of what ends at 2^32": "(memory.copy (i32.const 0) (local.get 0) (local.get 1)) (i32.const 0)",
}


@pytest.mark.parametrize("body", HOLES.values(), ids=HOLES)
def test_what_wamr_does_not_check_is_checked(body: str) -> None:
    text = f'(module (memory (export "memory") 1 1) (func (export "f0") (param i32 i32) (result i32) {body}))'
    wasm, memory = bytes(wat2wasm(text)), bytes(range(256)) * (PAGE // 256)
    machine, reference = Machine(bounds.compile_aot(parts.wamrc(), wasm)), bounds.Reference(bounds.engine(), wasm)
    for size in (0, 1, 16, PAGE, 1 << 20):
        for address in (-size & 0xFFFFFFFF, 64, PAGE, 0xFFF00000):
            expected = reference.call(0, (address, size), memory)
            assert expected is not None
            assert bounds.compare(machine, expected, 0, (address, size), memory) is None


# What a loop adds up, and its step: as often as the second argument says, from the address that the first one is.
LOOPS = {
    "a masked index": ("(i32.load8_u (i32.add (local.get 0) (i32.and (local.get $x) (i32.const 63))))", "1"),
    "offsets of one address": ("(i32.add (i32.load offset=60 (local.get $p)) (i32.load offset=4 (local.get $p)))", "4"),
    "a step that is not known": ("(i32.load8_u (local.get $p))", "(i32.shl (local.get 1) (i32.const 28))"),
}


@pytest.mark.parametrize(("value", "step"), LOOPS.values(), ids=LOOPS)
def test_hoisted_checks_hold_at_the_ends_of_memory(value: str, step: str) -> None:
    step = step if step.startswith("(") else f"(i32.const {step})"
    text = f"""(module (memory (export "memory") 1 1)
      (func (export "f0") (param i32 i32) (result i32) (local $i i32) (local $p i32) (local $x i32)
        (local.set $p (local.get 0))
        (loop $next
          (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 31)) {value}))
          (local.set $p (i32.add (local.get $p) {step}))
          (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 1))))
        (local.get $x)))"""
    wasm, memory = bytes(wat2wasm(text)), bytes(7 * n + 3 & 0xFF for n in range(PAGE))
    machine, reference = Machine(bounds.compile_aot(parts.wamrc(), wasm)), bounds.Reference(bounds.engine(), wasm)
    for count in (1, 2, 4, 5, 8, 17, 20):
        for address in (0, 1024, -4, -64, *range(PAGE - 70, PAGE + 2)):
            arguments = (address & 0xFFFFFFFF, count)
            expected = reference.call(0, arguments, memory)
            assert expected is not None
            assert bounds.compare(machine, expected, 0, arguments, memory) is None


def test_random_loops_end_as_under_wasmtime() -> None:
    """tools/bounds/bounds.py for half a minute or less."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "bounds" / "bounds.py", "--modules", "25"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert " 0 functions differ" in done.stdout
