"""The emulated Pico behaves as a real one does for the programs and the firmware that use it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import serial

from host import boards, parts, project
from host.emulator import EmulatedBoard, find_running, rom
from host.errors import DeviceBusy, DeviceTimeout, NoDevice
from host.link import Link

FLASH_SIZE = 0x200000
SECTOR = 4096
SCRATCH = FLASH_SIZE - SECTOR  # the file system's last block, which an empty one does not use


@pytest.fixture(scope="session")
def flashed(firmware_uf2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flash image with the firmware and an empty file system, to be copied."""
    folder = tmp_path_factory.mktemp("flashed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_STATE_DIR", str(folder))
        with EmulatedBoard(flash=folder / "flash.bin", realtime=False) as board:
            board.program(firmware_uf2)
            run(board, "import os; print(os.statvfs('/')[0])")
    return folder / "flash.bin"


@pytest.fixture
def flash(flashed: Path, tmp_path: Path) -> Path:
    """A flash image of the test's own, with the firmware."""
    return Path(shutil.copyfile(flashed, tmp_path / "flash.bin"))


@pytest.fixture
def board(flash: Path, state_dir: Path) -> Iterator[EmulatedBoard]:
    """A board of the test's own that runs the firmware."""
    with EmulatedBoard(flash=flash) as running:
        running.wait_for_port()
        yield running


def run(board: EmulatedBoard, code: str, timeout: float = 60) -> str:
    """What ``code`` prints on the board."""
    with closing(Link(str(board.wait_for_port()))) as link:
        return link.exec(code, timeout).strip()


def wait_for_flash(board: EmulatedBoard, operations: int) -> None:
    """Wait for a sign from a program that cannot print: more flash operations than ``operations``."""
    end = time.monotonic() + 60
    while board.counters()["flash_operations"] == operations:
        assert time.monotonic() < end
        time.sleep(0.1)


def mpremote(board: EmulatedBoard, *arguments: str) -> str:
    """What the real mpremote prints."""
    command = [sys.executable, "-m", "mpremote", "connect", str(board.wait_for_port().resolve()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.strip()


# ---- serial port -----------------------------------------------------------------------------------


def test_mpremote_executes_code(board: EmulatedBoard) -> None:
    assert mpremote(board, "exec", "import sys; print(sys.platform, 6 * 7)") == "rp2 42"


def test_mpremote_copies_a_file_there_and_back(board: EmulatedBoard, tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    (tmp_path / "there").write_bytes(data)
    mpremote(board, "fs", "cp", str(tmp_path / "there"), ":file")
    mpremote(board, "fs", "cp", ":file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_a_soft_reset_forgets_objects_and_keeps_the_port(board: EmulatedBoard) -> None:
    before = board.wait_for_port().resolve()
    assert mpremote(board, "exec", "x = 1", "soft-reset", "exec", "print('x' in globals())").endswith("False")
    assert board.port.resolve() == before


def test_much_output_arrives_whole_at_a_slow_reader(board: EmulatedBoard) -> None:
    """MicroPython gives up a write that finds no room for 500 ms: `print` loses the rest, `write` says what it took."""
    lines = 2000
    before = board.counters()["flash_operations"]
    with closing(Link(str(board.wait_for_port()))) as link:
        link.begin(
            "import sys\n"
            "full = False\n"
            f"for i in range({lines}):\n"
            "    line = f'{i} {\"x\" * 90}\\n'.encode()\n"
            "    while line:\n"
            "        line = line[sys.stdout.buffer.write(line):]\n"
            "        if line and not full:\n"
            "            full = True\n"
            "            open('full', 'w').close()"
        )
        wait_for_flash(board, before)  # the board filled every buffer there is and waited in vain
        printed = link.finish(60)
    assert printed == "".join(f"{i} {'x' * 90}\n" for i in range(lines))


def test_output_without_a_reader_does_not_stop_the_board(board: EmulatedBoard) -> None:
    before = board.counters()["flash_operations"]
    with closing(Link(str(board.wait_for_port()))) as link:
        link.begin("for i in range(600): print('x' * 90)\nopen('done', 'w').close()")
    wait_for_flash(board, before)
    time.sleep(0.5)
    assert "done" in run(board, "import os; print(os.listdir())")


def test_unplugging_is_an_error_for_who_has_the_port_open(board: EmulatedBoard) -> None:
    run(board, "kept = 99")
    with serial.Serial(str(board.wait_for_port()), timeout=2, exclusive=True) as port:
        board.unplug()
        with pytest.raises(serial.SerialException):
            port.read(1)
        with pytest.raises(OSError):
            port.write(b"x")
    assert not board.port.exists()
    board.plug()
    assert run(board, "print(kept)") == "99"


# ---- reset and BOOTSEL -----------------------------------------------------------------------------


def test_blank_flash_means_bootsel(tmp_path: Path, state_dir: Path) -> None:
    with EmulatedBoard(flash=tmp_path / "flash.bin") as board:
        drive = board.wait_for_bootsel()
        assert not board.port.exists()
        assert "Board-ID: RPI-RP2" in (drive / "INFO_UF2.TXT").read_text().splitlines()
        assert (drive / "INDEX.HTM").is_file()


def test_a_uf2_is_programmed_and_run(firmware_uf2: Path, tmp_path: Path, state_dir: Path) -> None:
    with EmulatedBoard(flash=tmp_path / "flash.bin") as board:
        drive = board.wait_for_bootsel()
        data = firmware_uf2.read_bytes()
        with (drive / "firmware.uf2").open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(0.3)
            assert drive.is_dir()  # half a file is not a firmware
            file.write(data[len(data) // 2 :])
        assert run(board, "print('up')") == "up"
        assert not drive.exists()


@pytest.mark.parametrize("what", ["family", "garbage", "truncated"])
def test_a_file_that_is_no_firmware_for_the_chip_is_ignored_and_reported(
    what: str, firmware_uf2: Path, tmp_path: Path, state_dir: Path
) -> None:
    data = bytearray(firmware_uf2.read_bytes())
    if what == "family":
        for block in range(0, len(data), 512):
            struct.pack_into("<I", data, block + 28, 0xE48BFF59)  # RP2350
    elif what == "garbage":
        data = bytearray(b"not a UF2 file" * 1000)
    else:
        del data[-512:]
    with EmulatedBoard(flash=tmp_path / "flash.bin") as board:
        drive = board.wait_for_bootsel()
        (drive / "file.uf2").write_bytes(data)
        refused = board.wait_for_event("uf2_refused", 10)
        assert refused["file"] == "file.uf2"
        assert drive.is_dir()
    assert (tmp_path / "flash.bin").read_bytes() == b"\xff" * FLASH_SIZE


def test_machine_bootloader_enters_bootsel_and_the_port_vanishes(board: EmulatedBoard) -> None:
    link = Link(str(board.wait_for_port()))
    link.begin("import machine; machine.bootloader()")
    drive = board.wait_for_bootsel()
    with pytest.raises(NoDevice):
        link.exec("1")
    link.close()
    assert not board.port.exists()
    board.reset()
    assert run(board, "print('back')") == "back"
    assert not drive.exists()


def test_a_touch_at_1200_baud_enters_bootsel(board: EmulatedBoard) -> None:
    serial.Serial(str(board.wait_for_port()), 1200).close()
    board.wait_for_bootsel(10)


def test_the_button_at_power_up_enters_bootsel(board: EmulatedBoard) -> None:
    board.enter_bootsel()
    assert board.wait_for_bootsel().is_dir()
    assert not board.port.exists()


@pytest.mark.parametrize("how", ["machine.reset()", "machine.WDT(timeout=50)\nwhile True: pass"])
def test_a_watchdog_reset_restarts_the_firmware(board: EmulatedBoard, how: str) -> None:
    count = len(board.events)
    with closing(Link(str(board.wait_for_port()))) as link:
        link.begin(f"import machine\nlost = 1\n{how}")
        assert board.wait_for_event("reset", 20, after=count)["cause"] == "watchdog"
    printed = run(board, "import machine; print('lost' in globals(), machine.reset_cause() == machine.WDT_RESET)")
    assert printed == "False True"


def test_the_reset_pin_restarts_the_firmware(board: EmulatedBoard) -> None:
    run(board, "lost = 1")
    before = board.cycles()
    board.reset()
    assert run(board, "import machine; print('lost' in globals(), machine.reset_cause())") == "False 1"
    assert board.cycles() > before  # the count goes on


# ---- flash -----------------------------------------------------------------------------------------


def test_flash_survives_a_kill(board: EmulatedBoard) -> None:
    run(board, "f = open('kept', 'w'); f.write('written'); f.close()")
    assert board.pid is not None
    os.kill(board.pid, signal.SIGKILL)
    board.wait_for_event("crashed", 10)
    board.power_on()
    assert run(board, "print(open('kept').read())") == "written"


def test_what_is_half_done_is_decided_by_the_seed(board: EmulatedBoard, flash: Path) -> None:
    left = []
    for seed in (0, 1, 1):
        board.cut_power_at(3, "half", seed)
        write_pattern(board)
        left.append(flash.read_bytes()[SCRATCH:])
        board.power_on()
    assert left[0] != left[1] == left[2]


def write_pattern(board: EmulatedBoard) -> None:
    """Have the board erase the last sector twice (operations 1 and 2) and program 0x5a into its pages (3 and on)."""
    before = len(board.events)
    with closing(Link(str(board.wait_for_port()))) as link:
        with suppress(NoDevice):  # the board's echo may go with the power
            link.begin(
                "import rp2\nf = rp2.Flash()\nn = f.ioctl(4, 0) - 1\nf.ioctl(6, n)\nf.writeblocks(n, b'\\x5a' * 4096)"
            )
        board.wait_for_event("power_cut", 10, before)


@pytest.mark.parametrize(("operation", "outcome"), [(n, o) for n in (1, 4) for o in ("undone", "half", "done")])
def test_a_power_cut_leaves_the_flash_operation_as_ordered(
    board: EmulatedBoard, flash: Path, operation: int, outcome: str
) -> None:
    run(board, "import rp2; f = rp2.Flash(); f.writeblocks(f.ioctl(4, 0) - 1, b'\\x00' * 4096)")
    board.cut_power_at(operation, outcome)  # type: ignore[arg-type]
    write_pattern(board)
    old, new, start, length = (0x00, 0xFF, 0, SECTOR) if operation == 1 else (0xFF, 0x5A, 256, 256)
    sector = flash.read_bytes()[SCRATCH:]
    assert sector[:start] == b"\x5a" * start
    assert set(sector[start + length :]) <= {0xFF}  # what follows was erased, if there is any
    moved = [byte ^ old for byte in sector[start : start + length]]
    on_their_way = new ^ old
    assert all(bits & ~on_their_way == 0 for bits in moved)
    share = sum(map(int.bit_count, moved)) / (length * on_their_way.bit_count())
    assert share == pytest.approx({"undone": 0, "half": 0.5, "done": 1}[outcome], abs=0.1 if outcome == "half" else 0)
    assert not board.port.exists()
    board.power_on()
    assert run(board, "print('up')") == "up"


def test_one_flash_image_runs_once(flash: Path, board: EmulatedBoard) -> None:
    with pytest.raises(DeviceBusy, match=str(os.getpid())):
        EmulatedBoard(flash=flash, instance="other").start()
    code = f"import pathlib, host.emulator as e; e.EmulatedBoard(flash=pathlib.Path({str(flash)!r})).start()"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DeviceBusy" in other.stderr
    assert str(os.getpid()) in other.stderr


# ---- instances -------------------------------------------------------------------------------------


def test_a_board_is_found_while_it_runs(flash: Path, state_dir: Path) -> None:
    assert find_running("rpi_pico") is None
    with EmulatedBoard(flash=flash):
        found = find_running("rpi_pico")
        assert found is not None
        assert found.wait_for_port().exists()
        info = json.loads((found.folder / "info.json").read_text())
        assert (info["pid"], info["flash"], info["port"]) == (os.getpid(), str(flash), str(found.port))
    assert find_running("rpi_pico") is None


def serve(flash: Path) -> subprocess.Popen[str]:
    """`host emulate` in a process of its own."""
    code = f"from pathlib import Path; from host.emulator import serve; serve('rpi_pico', Path({str(flash)!r}))"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_prints_the_port_and_a_signal_cleans_up(flash: Path, state_dir: Path, number: signal.Signals) -> None:
    with serve(flash) as process:
        assert process.stdout is not None
        port = Path(process.stdout.readline().strip())
        with closing(Link(str(port))) as link:
            assert link.exec("print(1)").strip() == "1"
        process.send_signal(number)
        assert process.wait(10) == 0
    assert find_running("rpi_pico") is None
    assert not port.is_symlink()


def test_what_a_killed_process_left_is_ignored(flash: Path, state_dir: Path) -> None:
    with serve(flash) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    end = time.monotonic() + 10
    while find_running("rpi_pico") and time.monotonic() < end:
        time.sleep(0.05)
    assert find_running("rpi_pico") is None
    with EmulatedBoard(flash=flash) as board:
        assert run(board, "print('up')") == "up"


def test_a_stopped_board_says_so(flash: Path, state_dir: Path) -> None:
    board = EmulatedBoard(flash=flash)
    with pytest.raises(NoDevice):
        board.cycles()
    with pytest.raises(NoDevice):
        board.wait_for_port()
    with board, pytest.raises(DeviceTimeout):
        board.wait_for_bootsel(0.1)


# ---- time ------------------------------------------------------------------------------------------


def test_the_cycle_counter_only_grows_and_has_64_bits(board: EmulatedBoard) -> None:
    code = "from machine import mem32\nc = lambda: mem32[0x400fc000] + (mem32[0x400fc004] << 32)\n"
    first = int(run(board, code + "print(c())"))
    numbers = [int(line) for line in run(board, code + "for i in range(200): print(c())").splitlines()]
    assert first < numbers[0]
    assert all(a < b for a, b in pairwise(numbers))
    assert numbers[-1] < board.cycles()


def test_systick_counts_cycles(board: EmulatedBoard) -> None:
    printed = run(
        board,
        "from machine import mem32\n"
        "mem32[0xe000e014] = 0xffffff; mem32[0xe000e018] = 0; mem32[0xe000e010] = 5\n"
        "@micropython.asm_thumb\n"
        "def both(r0, r1, r2):\n"  # SysTick, counter, SysTick, counter: apart by the same few cycles
        "    ldr(r3, [r0, 0])\n    ldr(r4, [r1, 0])\n    str(r3, [r2, 0])\n    str(r4, [r2, 4])\n"
        "import array\n"
        "b = array.array('I', [0, 0])\n"
        "def pair():\n    both(0xe000e018, 0x400fc000, b)\n    return b[0], b[1]\n"
        "for n in range(50):\n"
        "    s, c = pair()\n    for i in range(n * 10): pass\n    t, d = pair()\n"
        "    print((s - t) & 0xffffff, d - c)",
    )
    pairs = [tuple(map(int, line.split())) for line in printed.splitlines()]
    assert len(pairs) == 50
    assert all(systick == counter for systick, counter in pairs)


def test_systick_reloads_after_zero_and_sets_countflag(board: EmulatedBoard) -> None:
    printed = run(
        board,
        "from machine import mem32\n"
        "mem32[0xe000e010] = 0; mem32[0xe000e014] = 999; mem32[0xe000e018] = 5\n"
        "print(mem32[0xe000e018], mem32[0xe000e010] >> 16)\n"
        "mem32[0xe000e010] = 5\n"
        "seen = [mem32[0xe000e018] for i in range(300)]\n"
        "print(max(seen) <= 999, len(set(seen)) > 20, mem32[0xe000e010] >> 16 & 1)",
    )
    assert printed.split() == ["0", "0", "True", "True", "1"]


def test_a_sleep_takes_real_time(board: EmulatedBoard) -> None:
    run(board, "import time")
    with closing(Link(str(board.port))) as link:
        began = time.monotonic()
        link.exec("time.sleep_ms(500)")
        assert time.monotonic() - began > 0.49


def test_a_sleep_takes_no_time_where_real_time_is_not_wanted(flash: Path, state_dir: Path) -> None:
    with EmulatedBoard(flash=flash, realtime=False) as board:
        began = time.monotonic()
        assert int(run(board, "import time; t = time.ticks_ms(); time.sleep(60); print(time.ticks_ms() - t)")) >= 60_000
        assert time.monotonic() - began < 30


def test_an_idle_board_leaves_the_processor_alone(board: EmulatedBoard) -> None:
    run(board, "1")
    time.sleep(0.5)

    def used() -> int:
        fields = Path(f"/proc/{board.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = used()
    time.sleep(1)
    assert used() - before <= 0.1 * os.sysconf("SC_CLK_TCK")


# ---- processor -------------------------------------------------------------------------------------

# A HardFault handler that counts in `count` and goes on behind the (16-bit) instruction that faulted.
HANDLER = """
import array, uctypes
from machine import mem32
count = array.array('I', [0])
handler = array.array('H', [0x9806, 0x3002, 0x9006, 0x4902, 0x680a, 0x3201, 0x600a, 0x4770, 0, 0])
at = uctypes.addressof(count)
handler[8], handler[9] = at & 0xffff, at >> 16
vector = mem32[0xe000ed08] + 12
before = mem32[vector]
def faults(code, a=0):
    code = array.array('H', code + [0x4770])
    count[0] = 0
    mem32[vector] = uctypes.addressof(handler) + 1
    call(uctypes.addressof(code) + 1, a)
    mem32[vector] = before
    return count[0]
@micropython.asm_thumb
def call(r0, r1):
    mov(r2, r0)
    mov(r0, r1)
    data(2, 0x4790)  # blx r2
"""


@pytest.mark.parametrize(
    ("what", "opcode", "address", "expected"),
    [
        ("word read", 0x6801, 0x20000400, 0),
        ("unaligned word read", 0x6801, 0x20000402, 1),
        ("unaligned word write", 0x6001, 0x20000401, 1),
        ("unaligned halfword read", 0x8801, 0x20000401, 1),
        ("unaligned LDM", 0xC802, 0x20000402, 1),
        ("unaligned read of flash", 0x6801, 0x10000001, 1),
        ("read from nowhere", 0x6801, 0x30000000, 1),
        ("write to nowhere", 0x6001, 0x20042000, 1),
        ("byte write to nowhere", 0x7001, 0x60000000, 1),
        ("write to the boot ROM", 0x6001, 0x00000000, 0),
        ("write to flash", 0x6001, 0x10000000, 0),
        ("undefined instruction", 0xDE00, 0, 1),
        ("breakpoint", 0xBE00, 0, 1),
    ],
)
def test_a_fault_is_a_hardfault_exception(
    board: EmulatedBoard, what: str, opcode: int, address: int, expected: int
) -> None:
    assert run(board, f"{HANDLER}\nprint(faults([{opcode}], {address}))") == str(expected), what


def test_a_fault_in_the_fault_handler_locks_up(board: EmulatedBoard) -> None:
    with closing(Link(str(board.wait_for_port()))) as link:
        link.begin(f"{HANDLER}\nhandler[0] = 0xde00\nfaults([0xde00])")
        event = board.wait_for_event("lockup", 10)
        assert "undefined instruction" in event["message"]
        assert int(event["registers"]["xpsr"], 16) & 0x3F == 3
    with pytest.raises(NoDevice):
        board.cycles()


def test_code_in_ram_may_be_rewritten(board: EmulatedBoard) -> None:
    printed = run(
        board,
        f"{HANDLER}\n"
        "code = array.array('H', [0x2000, 0x4770])\n"
        "results = []\n"
        "for i in range(100):\n"
        "    code[0] = 0x2000 + i\n"  # movs r0, #i
        "    results.append(call(uctypes.addressof(code) + 1, 0))\n"
        "print(results == list(range(100)))",
    )
    assert printed == "True"


def test_translated_code_does_what_the_interpreter_of_rp2040js_does(flash: Path, tmp_path: Path) -> None:
    code = (
        "import math\n"
        "print(sum(i * i % 7 for i in range(200)), math.sqrt(2) * 1.5, 2 ** 100 // 3, -7 // 2)\n"
        "print([i / 7 for i in range(9)])\n"
        "open('t', 'w').write('x' * 3000)\n"
        "import time; time.sleep_ms(5)\n"
        "print('end')"
    )
    other = shutil.copyfile(flash, tmp_path / "other.bin")
    node = shutil.which("node")
    assert node
    script = project.root() / "tools" / "emulator" / "lockstep.mjs"
    done = subprocess.run(
        [node, str(script), str(rom.image()), str(flash), str(other), code],
        env={**os.environ, "RP2040JS_DIR": str(parts.path("rp2040js"))},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    result = json.loads(done.stdout)
    assert result["difference"] is None
    assert "end" in result["output"]
    assert result["instructions"] > 500_000


def test_board_facts_fit_the_emulated_chip() -> None:
    facts = boards.load("rpi_pico")
    assert (facts.flash.size, facts.flash.sector, facts.flash.page) == (FLASH_SIZE, SECTOR, 256)
    assert facts.memory.ram == 0x42000


def test_a_port_in_use_is_busy(board: EmulatedBoard) -> None:
    with serial.Serial(str(board.wait_for_port()), exclusive=True), pytest.raises(OSError) as error:
        serial.Serial(str(board.port), exclusive=True)
    assert error.value.errno in (errno.EBUSY, errno.EAGAIN)
