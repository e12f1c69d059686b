"""Kernels that go wrong, on the emulated board: each raises its own error, and the board is none the worse for it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from deadline_rounds import PERIODIC
from installing import with_kernels

from host import boards, errors, pack
from host.board import Board
from host.boards import Board as Facts
from host.pack.image import ImageKernel, decode_image

pytestmark = pytest.mark.every_board

X = np.array([5, 6, 7, 8], "<i4")
ARENA = 0x1A000  # bytes, on every board
CODE_SECTION = 10
DEADLINE_US = 100_000
TICK_US = 10_000
ORDER, CLEANED = 65532, 65528
"""Words of memory that lifecycle.c goes by: what kernel_init has to do, and how often kernel_cleanup was called."""
ORDERS = [
    (0x1417A001, r"\(kernel_init returned 77\)"),
    (0x1417A002, r"\(kernel_init: The kernel executed unreachable\)"),
    (0x1417A003, r"\(kernel_init: The kernel ran longer than its budget and was stopped\)"),
]

FAULT_CASES = [
    ("oob_read", ARENA, "MemoryAccessViolation"),
    ("oob_read", ARENA - 2, "MemoryAccessViolation"),
    ("oob_read", -4, "MemoryAccessViolation"),
    ("oob_write", ARENA, "MemoryAccessViolation"),
    ("oob_write", -1, "MemoryAccessViolation"),
    ("oob_loop", ARENA - 60, "MemoryAccessViolation"),
    ("oob_loop", -60, "MemoryAccessViolation"),
    ("unreach", 1, "Unreachable"),
    ("divide", 1, "IntegerDivideByZero"),
    ("divide", 2, "IntegerOverflow"),
    ("convert", 1, "InvalidConversion"),
    ("convert", 2, "IntegerOverflow"),
    ("recurse", 100_000, "StackOverflow"),
    ("indirect", 2, "IndirectCallTypeMismatch"),
    ("indirect", 3, "UndefinedElement"),
    ("spin_short", 1, "EpochDeadline"),
    ("code", 1, "InvalidInput"),
    ("code", 2, "InvalidOutput"),
    ("code", 3, "InvalidParams"),
    ("code", 4, "KernelOutOfMemory"),
    ("code", 5, "KernelNotImplemented"),
    ("code", 6, "KernelInternalError"),
    ("code", 77, "KernelTrap"),
    ("code", -1, "KernelTrap"),
]


def assert_well(board: Board) -> None:
    """The next call of a kernel, the REPL and USB work."""
    assert board.run("code", [X], {"arg": 0}).tolist() == X.tolist()
    assert board.exec("print(6 * 7)").strip() == "42"


@pytest.mark.parametrize(("kernel", "arg", "error"), FAULT_CASES)
def test_fault_raises_its_own_error_and_the_next_call_works(
    faulty: Board, faults_pack: pack.Pack, facts: Facts, cycles_per_us: int, kernel: str, arg: int, error: str
) -> None:
    expected = errors.by_name(error)
    assert expected is not None
    with pytest.raises(expected) as caught:
        faulty.run(kernel, [X], {"arg": arg})
    assert type(caught.value) is expected
    if isinstance(caught.value, errors.KernelTrap):
        assert caught.value.trap_code == arg
    last = faulty.stats()["last_fault"]
    assert (last["error"], last["kernel"], last["address"]) == (error, kernel, None)
    assert 0 < last["cycles"] < 1.01 * cycles_per_us * DEADLINE_US
    if kernel == "code":
        assert (last["pc"], last["function"]) == (0, None)
    else:
        first_slot = facts.flash.address + facts.flash.slot_a
        assert first_slot <= last["pc"] < first_slot + 2 * facts.flash.slot_size
        assert last["function"] in defined_functions(faults_pack, kernel)
    assert_well(faulty)


def defined_functions(faults: pack.Pack, kernel: str) -> range:
    """Indices of the functions of a kernel's module."""
    module = faults.wasm(kernel)
    at = 8
    while module[at] != CODE_SECTION:
        size, at = leb128(module, at + 1)
        at += size
    _, at = leb128(module, at + 1)
    return range(leb128(module, at)[0])


def leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


@pytest.mark.parametrize("how", range(6))
def test_misaligned_access_works_or_is_a_native_fault(faulty: Board, how: int) -> None:
    """Which of the two is the processor's choice. Loads: 4 bytes, 2 of either kind, 8 but for a bit."""
    poke(faulty, 0x8000, 0x44332211)
    poke(faulty, 0x8004, 0x88776655)
    reads = {0: 0x55443322, 2: 0x3322, 3: 0x3322, 5: 0x55443322 >> 1}
    try:
        got = faulty.run("misaligned", [X], {"arg": 0x8001, "how": how})
    except errors.NativeFault:
        assert faulty.stats()["last_fault"]["address"] == 0x8001
    else:
        assert how not in reads or got[0] == reads[how]
    assert_well(faulty)


@pytest.mark.parametrize("how", range(6))
def test_misaligned_access_is_a_native_fault_that_tells_the_address(faulty: Board, target: str, how: int) -> None:
    if target != "thumbv6m-soft":
        pytest.skip("other processors do such accesses, or some of them")
    with pytest.raises(errors.NativeFault):
        faulty.run("misaligned", [X], {"arg": 0x8001, "how": how})
    last = faulty.stats()["last_fault"]
    assert (last["error"], last["address"]) == ("NativeFault", 0x8001)
    assert isinstance(last["function"], int)
    assert_well(faulty)


CANARY = 0x5EED5EED


@pytest.mark.pico_only  # which has interrupts of the user's
@pytest.mark.parametrize("kernel", ["recurse", "frames"])
def test_kernel_stack_ends_before_its_last_words(faulty: Board, facts: Facts, kernel: str) -> None:
    """Whatever the runtime's helpers and an interrupt need below a kernel's last frame is there too."""
    canaries = range(facts.memory.stack_address, facts.memory.stack_address + 256, 4)
    faulty.exec(f"import kern, machine\nmem = machine.mem32\nfor a in {canaries}: mem[a] = {CANARY}")
    faulty.exec(f"f = kern.bind({kernel!r}, kern.tensor((4,), 'i32', [5, 6, 7, 8]), arg=100000)")
    faulty.exec(PERIODIC + "t = periodic(lambda t: None)")
    with pytest.raises(errors.StackOverflow):
        faulty.exec("try:\n for depth in range(40): kern.run('frames', f.out, arg=depth)\n f()\nfinally: t.active(0)")
    assert faulty.eval(f"sum(mem[a] != {CANARY} for a in {canaries})") == 0
    assert_well(faulty)


def test_last_word_of_the_arena_can_be_read_and_written(faulty: Board) -> None:
    faulty.run("oob_read", [X], {"arg": ARENA - 4})
    faulty.run("oob_write", [X], {"arg": ARENA - 4})


def test_shallow_recursion_is_fine(faulty: Board) -> None:
    assert faulty.run("recurse", [X], {"arg": 200})[0] == deeper(200)


def deeper(depth: int) -> int:
    """What recurse.c computes."""
    value = 1
    for level in range(1, depth + 1):
        value = (value ^ level) * 3 & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


@pytest.mark.parametrize(("kernel", "budget_us"), [("spin", DEADLINE_US), ("spin_short", TICK_US)])
def test_endless_loop_without_calls_ends_at_its_deadline(
    faulty: Board, cycles_per_us: int, kernel: str, budget_us: int
) -> None:
    """Never before, by the clock; after, by what the board counts: others may have had the processor between."""
    took = faulty.eval(
        run_on_board(
            f"""
            import kern, time
            x = kern.tensor((4,), 'i32')
            f = kern.bind({kernel!r}, x, arg=1)
            def went():
                start = time.ticks_us()
                try:
                    f()
                except kern.EpochDeadline:
                    return time.ticks_diff(time.ticks_us(), start), kern.stats()['last_fault']['cycles']
            took = [went() for _ in range(5)]
            """,
            faulty,
            "took",
        )
    )
    assert all(us >= budget_us and abs(cycles // cycles_per_us - budget_us) <= 1000 for us, cycles in took), took
    assert_well(faulty)


def run_on_board(code: str, board: Board, result: str) -> str:
    """Run ``code`` on the board; returns the name of its result, to be evaluated there."""
    board.exec(textwrap.dedent(code), timeout=120)
    return result


def test_thousand_faults_in_a_row_leak_nothing(faulty: Board) -> None:
    faulty.exec(
        textwrap.dedent(
            """
            import kern, gc
            x = kern.tensor((4,), 'i32', [5, 6, 7, 8])
            quick = [kern.bind(k, x, arg=a) for k, a in (
                ('oob_read', -4), ('oob_write', -4), ('unreach', 1), ('divide', 1), ('divide', 2), ('convert', 1),
                ('recurse', 100000), ('indirect', 2), ('code', 3))]
            slow = kern.bind('spin_short', x, arg=1)
            def go(rounds):
                failed = 0
                for i in range(rounds):
                    for f in quick:
                        try:
                            f()
                        except kern.KernelError:
                            failed += 1
                    try:
                        slow()
                    except kern.EpochDeadline:
                        failed += 1
                return failed
            def free():
                gc.collect()
                s = kern.status()
                gc.collect()
                return s['arena']['free'], s['pool']['free']
            go(2)
            before, heap = free(), gc.mem_free()
            """
        )
    )
    faults = sum(faulty.stats()["faults"].values())
    assert faulty.exec("print(go(100))", timeout=200).strip() == "1000"
    before, after = faulty.eval("before", 20), faulty.eval("free()", 20)
    assert after == before
    assert abs(faulty.eval("gc.mem_free() - heap")) < 2000
    assert sum(faulty.stats()["faults"].values()) == faults + 1000
    assert_well(faulty)


def test_kernel_keeps_its_data_between_calls_until_a_trap(faulty: Board) -> None:
    first = faulty.run("counter", [X], {"arg": 0})
    second = faulty.run("counter", [X], {"arg": 0})
    assert second[0] == first[0] + 1
    with pytest.raises(errors.Unreachable):
        faulty.run("counter", [X], {"arg": 1})
    assert faulty.run("counter", [X], {"arg": 0}).tolist() == [1, 7, 7, 7]


def test_no_kernel_can_reach_the_data_of_another(faulty: Board) -> None:
    """A kernel that writes all over the private page changes only what it has itself."""
    faulty.run("counter", [X], {"arg": 0})
    before = faulty.run("counter", [X], {"arg": 0})
    for offset in range(1024, 1056, 4):
        faulty.run("oob_write", [X], {"arg": offset})
    after = faulty.run("counter", [X], {"arg": 0})
    assert after.tolist() == [before[0] + 1, 7, 7, 7]


@cache
def arena_address(board: Board) -> int:
    return boards.load(board.status()["board"]).memory.arena_address


def peek(board: Board, offset: int) -> int:
    """A word of the arena, read behind the runtime's back."""
    return int(board.eval(f"__import__('machine').mem32[{arena_address(board) + offset}]"))


def poke(board: Board, offset: int, word: int) -> None:
    board.exec(f"__import__('machine').mem32[{arena_address(board) + offset}] = {word}")


@pytest.mark.parametrize("inside", [1, 8, 15])
def test_a_loop_writes_what_is_before_the_end_of_memory(faulty: Board, inside: int) -> None:
    """Checks that were hoisted out of a loop change nothing: it is ended at the first access that is out of bounds."""
    for offset in range(ARENA - 64, ARENA, 4):
        poke(faulty, offset, 0)
    start = ARENA - 4 * inside
    with pytest.raises(errors.MemoryAccessViolation):
        faulty.run("oob_loop", [X], {"arg": start})
    written = [peek(faulty, offset) for offset in range(ARENA - 64, ARENA, 4)]
    assert written == [0] * (16 - inside) + [start] * inside


def test_a_loop_up_to_the_end_of_memory_is_let_through(faulty: Board) -> None:
    start = ARENA - 64
    assert faulty.run("oob_loop", [X], {"arg": start}).tolist() == X.tolist()
    assert [peek(faulty, offset) for offset in range(start, ARENA, 4)] == [start] * 16


@pytest.fixture
def lifecycle(faulty: Board) -> Iterator[Board]:
    """The board with the faults pack, nothing asked of kernel_init, and no kernel_cleanup counted."""
    poke(faulty, CLEANED, 0)
    yield faulty
    poke(faulty, ORDER, 0)


def test_kernel_init_gets_the_defaults_of_the_parameters(lifecycle: Board) -> None:
    given = lifecycle.run("lifecycle", [X], {"arg": 7, "gain": 9.0})
    assert given[:3].tolist() == [8, 0, np.float32(1.5).view("<i4")]


@pytest.mark.parametrize(("order", "message"), ORDERS)
def test_kernel_init_that_goes_wrong_is_a_load_error_that_says_how(lifecycle: Board, order: int, message: str) -> None:
    poke(lifecycle, ORDER, order)
    with pytest.raises(errors.LoadError, match=message):
        lifecycle.run("lifecycle", [X])
    assert lifecycle.stats()["last_fault"]["error"] == "LoadError"
    assert peek(lifecycle, CLEANED) == 0
    poke(lifecycle, ORDER, 0)
    lifecycle.run("lifecycle", [X])
    assert_well(lifecycle)


def test_pack_whose_kernel_init_goes_wrong_is_refused(lifecycle: Board, faults_pack: pack.Pack, target: str) -> None:
    before = lifecycle.status()["pack"]
    poke(lifecycle, ORDER, ORDERS[0][0])
    with pytest.raises(errors.HealthCheckFailed, match=r"lifecycle: .*kernel_init returned 77"):
        lifecycle.install(faults_pack.image(target))
    assert lifecycle.status()["pack"] == before
    assert_well(lifecycle)


def test_kernel_cleanup_is_called_before_another_kernel_takes_the_room(lifecycle: Board) -> None:
    lifecycle.run("lifecycle", [X])
    for kernel in lifecycle.kernels():
        if kernel != "lifecycle":
            lifecycle.run(kernel, [X])
    assert peek(lifecycle, CLEANED) == 1


def test_kernel_cleanup_is_called_before_a_soft_reset(lifecycle: Board) -> None:
    lifecycle.run("lifecycle", [X])
    lifecycle.soft_reset()
    assert peek(lifecycle, CLEANED) == 1
    assert_well(lifecycle)


def test_kernel_cleanup_is_called_when_another_pack_is_installed(
    lifecycle: Board, core_pack: Path, target: str
) -> None:
    lifecycle.run("lifecycle", [X])
    lifecycle.install(pack.Pack.open(core_pack).image(target))
    assert peek(lifecycle, CLEANED) == 1


def test_kernel_cleanup_is_not_called_after_a_fault(lifecycle: Board) -> None:
    with pytest.raises(errors.Unreachable):
        lifecycle.run("lifecycle", [X], {"arg": 1})
    lifecycle.soft_reset()
    assert peek(lifecycle, CLEANED) == 0


def without_export(kernel: ImageKernel, name: bytes) -> ImageKernel:
    """The kernel with that export under another name."""
    assert kernel.body.count(name) == 1
    return replace(kernel, body=kernel.body.replace(name, name[:-1] + b"_"))


UNLOADABLE: dict[str, tuple[str, Callable[[ImageKernel], ImageKernel], str]] = {
    "no kernel_init": (
        "code",
        lambda k: without_export(k, b"kernel_init"),
        r"no export kernel_init \(i32, i32\) -> i32",
    ),
    "no kernel_info": ("code", lambda k: without_export(k, b"kernel_info"), r"no export kernel_info \(\) -> i32"),
    "no kernel_cleanup": (
        "code",
        lambda k: without_export(k, b"kernel_cleanup"),
        r"no export kernel_cleanup \(\) -> \(\)",
    ),
    "an entry point of another type": (
        "code",
        lambda k: replace(k, spec=replace(k.spec, entry_point="kernel_info")),
        r"no export kernel_info \(i32\) -> i32",
    ),
    "too large a table": (
        "indirect",
        lambda k: replace(k, spec=replace(k.spec, limits=replace(k.spec.limits, max_table_elements=3))),
        "tables have 4 elements, the limit is 3",
    ),
}


@pytest.mark.parametrize("name", UNLOADABLE)
def test_kernel_that_is_not_as_the_engine_needs_it_is_refused(
    faulty: Board, faults_pack: pack.Pack, target: str, name: str
) -> None:
    id, change, message = UNLOADABLE[name]
    image = faults_pack.image(target)
    kernels = (change(kernel) if kernel.spec.id == id else kernel for kernel in decode_image(image).kernels)
    with pytest.raises(errors.HealthCheckFailed, match=f"{id}: .*{message}"):
        faulty.install(with_kernels(image, kernels))
    assert_well(faulty)


def test_memory_ends_at_the_kernels_own_limit(faulty: Board) -> None:
    faulty.run("one_page", [X], {"arg": 65532})
    with pytest.raises(errors.MemoryAccessViolation):
        faulty.run("one_page", [X], {"arg": 65536})
    assert_well(faulty)


@pytest.mark.parametrize("call", ["kern.one_page(x)", "kern.bind('one_page', x)"])
def test_call_beyond_the_memory_limit_says_what_it_needs(faulty: Board, call: str) -> None:
    faulty.exec("import kern; low = kern.tensor((4,), 'i32'); block = kern.tensor((15400,), 'u32')")
    faulty.exec("high = kern.tensor((4,), 'i32')")
    for x in ("x = low", "x = high"):
        with pytest.raises(errors.BoardError, match=r"one_page: the call needs 2 pages of memory, the limit is 1"):
            faulty.exec(f"{x}\n{call}")
    faulty.soft_reset()
    faulty.exec("import kern; kern.one_page(kern.tensor((4,), 'i32'))")
