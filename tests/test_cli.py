"""The command ``host`` as programs and people use it: what is on stdout and stderr, and the exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import RunHost
from kernel_builds import SPECS

from host import boards
from host.emulator import EmulatedBoard
from host.pack import Pack, write_archive


@pytest.fixture
def port(emulated_board: EmulatedBoard) -> str:
    """Path of the emulated board's port; its core pack is installed."""
    return str(emulated_board.wait_for_port(30))


def answer(finished: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one JSON object on stdout."""
    lines = finished.stdout.splitlines()
    assert len(lines) == 1, finished
    data = json.loads(lines[0])
    assert isinstance(data, dict)
    return data


# ---- every command -------------------------------------------------------------------------------

COMMANDS = [
    *("doctor", "boards", "devices", "build", "emulate", "flash", "push", "status", "repl", "run", "check", "bench"),
    *("key new", "key list", "key show", "pack new", "pack build", "pack sign", "pack verify", "pack inspect"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(cli: RunHost, command: str) -> None:
    finished = cli(*command.split(), "--help")
    assert finished.returncode == 0
    assert "--json" in finished.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["nonesuch"],
        ["status", "--nonesuch"],
        ["build", "nonesuch"],
        ["flash"],
        ["status", "--port", "emu:nonesuch"],
        ["pack", "verify", "/nonesuch"],
        ["run", "rope_f32", "--shape", "one"],
        ["repl"],
        ["key", "show", "nonesuch"],
        ["key", "new", "../escape"],
    ],
)
def test_what_makes_no_sense_is_code_2(cli: RunHost, core_pack: Path, args: list[str]) -> None:
    finished = cli(*args)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr
    told = answer(cli(*args, "--json"))
    assert (told["error"], told["exit"]) == ("UsageError", 2)
    assert told["message"]


def test_boards_lists_facts_and_targets(cli: RunHost) -> None:
    listed = answer(cli("boards", "--json"))["boards"]
    assert [board["name"] for board in listed] == boards.names()  # type: ignore[attr-defined]
    assert "rpi_pico" in cli("boards").stdout


def test_doctor_says_what_is_there(cli: RunHost) -> None:
    finished = cli("doctor", "--json")
    told = answer(finished)
    assert finished.returncode == (0 if told["ok"] else 1)
    names = {part["name"] for part in told["parts"]}  # type: ignore[attr-defined]
    assert {"wamr", "micropython", "rp2040js", "wamrc", "node", "wasmtime"} <= names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_exist_for_the_common_shells(cli: RunHost, shell: str) -> None:
    assert "_HOST_COMPLETE" in cli("completion", shell).stdout


def test_help_and_completion_do_not_wait_for_numpy() -> None:
    """A shell asks at every press of the Tab key."""
    code = "import sys, host.cli; print({'numpy', 'wasmtime', 'host.pack', 'host.board'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_names_complete(cli: RunHost) -> None:
    completed = cli(_HOST_COMPLETE="bash_complete", COMP_WORDS="host build rp", COMP_CWORD="2")
    assert "rpi_pico" in completed.stdout


def test_an_error_is_a_line_on_stderr_without_a_traceback(cli: RunHost) -> None:
    finished = cli("status", "--port", "/nonesuch")
    assert finished.stdout == ""
    assert finished.stderr == "NoDevice: no board on /nonesuch: No such file or directory\n"


def test_a_closed_pipe_is_no_error_message(port: str) -> None:
    command = f"{sys.executable} -m host doctor | head -c 1"
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in finished.stderr


def test_no_color_and_no_terminal_mean_plain_text(cli: RunHost) -> None:
    assert "\x1b[" not in cli("boards").stdout + cli("nonesuch").stderr


# ---- keys and packs ------------------------------------------------------------------------------


def test_a_new_key_is_readable_by_its_owner_only(cli: RunHost, tmp_path: Path) -> None:
    made = answer(cli("key", "new", "release", "--json", HOST_CONFIG_DIR=str(tmp_path)))
    secret = tmp_path / "keys" / "release.key"
    assert secret.stat().st_mode & 0o777 == 0o600
    listed = answer(cli("key", "list", "--json", HOST_CONFIG_DIR=str(tmp_path)))
    assert listed == {"keys": [{"name": "release", "key_id": made["key_id"]}]}
    shown = answer(cli("key", "show", "release", "--json", HOST_CONFIG_DIR=str(tmp_path)))
    assert str(shown["public_key"]).startswith("ed25519:")
    assert "PRIVATE" not in json.dumps(shown)


def test_a_key_is_never_overwritten(cli: RunHost, tmp_path: Path) -> None:
    cli("key", "new", HOST_CONFIG_DIR=str(tmp_path))
    before = (tmp_path / "keys" / "default.key").read_bytes()
    assert cli("key", "new", HOST_CONFIG_DIR=str(tmp_path)).returncode == 2
    assert (tmp_path / "keys" / "default.key").read_bytes() == before


def test_pack_build_verify_inspect(cli: RunHost, core_pack: Path, tmp_path: Path) -> None:
    built = answer(cli("pack", "build", "--out", tmp_path, "--archive", "--json"))
    assert built["kernels"] == list(SPECS)
    for path in (str(built["pack"]), str(built["archive"])):
        assert answer(cli("pack", "verify", path, "--json"))["name"] == "core"
    assert answer(cli("pack", "inspect", str(built["pack"]), "--json"))["trust"] == {
        "verified": True,
        "error": None,
        "message": None,
    }
    assert "rope_f32" in cli("pack", "inspect", str(built["pack"])).stdout


def test_a_pack_that_nobody_trusts_is_code_5(cli: RunHost, core_pack: Path, tmp_path: Path) -> None:
    finished = cli("pack", "verify", core_pack, "--json", HOST_CONFIG_DIR=str(tmp_path))
    assert finished.returncode == 5
    assert answer(finished)["error"] == "NoTrustedKey"


def test_pack_sign_makes_a_pack_ones_own(cli: RunHost, core_pack: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", core_pack, copy], check=True)
    mine = {"HOST_CONFIG_DIR": str(tmp_path)}
    signed = answer(cli("pack", "sign", copy, "--json", **mine))
    assert answer(cli("pack", "verify", copy, "--json", **mine))["key_id"] == signed["key_id"]
    assert cli("pack", "verify", copy).returncode == 5


# ---- a board -------------------------------------------------------------------------------------


def test_devices_lists_the_emulated_board(cli: RunHost, port: str) -> None:
    assert [device["path"] for device in answer(cli("devices", "--json"))["devices"]] == ["emu:rpi_pico"]  # type: ignore[attr-defined]


def test_status_for_programs_and_people(cli: RunHost, port: str) -> None:
    told = answer(cli("status", "--port", "emu:rpi_pico", "--json"))
    assert (told["board"], told["pack"]["name"]) == ("rpi_pico", "core")  # type: ignore[index]
    shown = cli("status", "--port", port)
    assert shown.returncode == 0
    assert "core 1.0.0" in shown.stdout


def test_push_says_what_is_active(cli: RunHost, port: str, core_pack: Path) -> None:
    told = answer(cli("push", "--port", port, "--json"))
    assert told["pack"]["name"] == "core"  # type: ignore[index]
    assert told["kernels"] == list(SPECS)
    shown = cli("push", core_pack, "--port", port)
    assert shown.stdout.startswith("Active: core 1.0.0")
    assert "\r" not in shown.stderr


def test_a_board_in_use_is_code_4(cli: RunHost, port: str) -> None:
    from host.board import connect

    with connect(port):
        finished = cli("status", "--port", port, "--json")
    assert finished.returncode == 4
    assert answer(finished)["error"] == "DeviceBusy"


def test_unplugging_during_a_push_is_code_3_and_the_board_still_works(
    cli: RunHost, emulated_board: EmulatedBoard, port: str
) -> None:
    before = answer(cli("status", "--port", port, "--json"))["pack"]
    operations = emulated_board.counters()["flash_operations"]
    push = start("push", "--port", port, "--json")
    try:
        while emulated_board.counters()["flash_operations"] < operations + 10:
            assert push.poll() is None, push.communicate()
        emulated_board.unplug()
        output, _ = push.communicate(timeout=60)
    finally:
        push.kill()
        emulated_board.plug()
        emulated_board.wait_for_port(30)
    assert push.returncode == 3
    assert json.loads(output)["error"] == "NoDevice"
    assert answer(cli("status", "--port", port, "--json"))["pack"] == before


def test_run_gives_the_same_bits_on_a_board_and_under_wasmtime(cli: RunHost, port: str, tmp_path: Path) -> None:
    args = [
        "run",
        "rope_f32",
        "--shape",
        "1,4,2,8",
        "--param",
        "theta=500000",
        "--param",
        "interleaved=false",
        "--json",
    ]
    ours, theirs = answer(cli(*args)), answer(cli(*args, "--port", port))
    assert (ours["where"], theirs["where"]) == ("wasmtime", port)
    assert ours["sha256"] == theirs["sha256"]


def test_run_reads_and_writes_npy(cli: RunHost, core_pack: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "gate.npy", np.full(3, 100, "f4"))
    np.save(tmp_path / "up.npy", np.arange(3, dtype="f4"))
    finished = cli(
        "run",
        "swiglu_f32",
        "--input",
        f"up={tmp_path}/up.npy",
        "--input",
        tmp_path / "gate.npy",
        "--output",
        tmp_path / "y.npy",
    )
    assert finished.returncode == 0, finished.stderr
    assert np.load(tmp_path / "y.npy").tolist() == [0, 100, 200]


@pytest.mark.parametrize("form", ["folder", "archive", "option"])
def test_run_takes_a_pack_before_the_kernel(cli: RunHost, core_pack: Path, tmp_path: Path, form: str) -> None:
    archive = write_archive(core_pack, tmp_path).rename(tmp_path / "core.zip")
    words = {
        "folder": [core_pack, "rope_f32"],
        "archive": [archive, "rope_f32"],
        "option": ["rope_f32", "--pack", archive],
    }
    told = answer(cli("run", *words[form], "--random", "1,64,8,32", "--json"))
    assert (told["pack"], told["kernel"], told["shape"]) == ("core 1.0.0", "rope_f32", [1, 64, 8, 32])
    assert told["sha256"] == answer(cli("run", "rope_f32", "--shape", "1,64,8,32", "--json"))["sha256"]


def test_run_says_what_the_call_took(cli: RunHost, core_pack: Path) -> None:
    told = answer(cli("run", "rope_f32", "--random", "1,2,1,8", "--json"))
    assert isinstance(told["seconds"], float) and 0 < told["seconds"] < 10
    assert re.search(r"^seconds +0\.[0-9]{6} *$", cli("run", "rope_f32", "--random", "1,2,1,8").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing argument"),
        (["core.kpack", "rope_f32"], "there is no pack core.kpack, neither folder nor archive"),
        (["a", "b", "rope_f32"], "give one pack and one kernel, not a b rope_f32"),
        ([".", "rope_f32", "--pack", "."], "give one pack and one kernel, not . rope_f32 and --pack"),
    ],
)
def test_run_wants_one_pack_and_one_kernel(cli: RunHost, words: list[str], message: str) -> None:
    finished = cli("run", *words)
    assert finished.returncode == 2
    assert message in finished.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["swiglu_f32", "--shape", "3"], "up is missing"),
        (["swiglu_f32", "--shape", "3", "--shape", "4"], "must be 3"),
        (["swiglu_f32", "--shape", "3", "--shape", "3", "--shape", "3"], "no input left"),
        (["rope_f32", "--shape", "1,1,1,2", "--param", "thet=1"], "theta (f32)"),
        (["rope_f32", "--shape", "1,1,1,2", "--param", "pos=-1"], "must be a u32"),
        (["rope_f32", "--input", "/nonesuch.npy"], "cannot read"),
    ],
)
def test_arguments_that_do_not_fit_a_kernel_are_explained(
    cli: RunHost, core_pack: Path, args: list[str], message: str
) -> None:
    finished = cli("run", *args)
    assert finished.returncode == 2
    assert message in finished.stderr


def test_a_kernel_that_refuses_its_parameters_is_code_1(cli: RunHost, core_pack: Path) -> None:
    finished = cli("run", "rope_f32", "--shape", "1,1,1,2", "--param", "theta=-1", "--json")
    assert finished.returncode == 1
    assert answer(finished)["error"] == "InvalidParams"


def test_check_reports_what_it_compared(cli: RunHost, port: str) -> None:
    finished = cli("check", "--port", port, "--count", "5", "--kernel", "swiglu_f32", "--json")
    told = answer(finished)
    assert finished.returncode == told["exit"] == 0, told
    assert (told["board"], told["mismatches"], told["error_code"]) == ("rpi_pico", 0, None)
    assert [(kernel["id"], kernel["cases"]) for kernel in told["kernels"]] == [("swiglu_f32", 5)]  # type: ignore[attr-defined]
    shown = cli("check", "--port", port, "--count", "2")
    assert "The same bits everywhere" in shown.stdout


def test_check_of_an_unknown_kernel_is_an_error_before_anything_runs(cli: RunHost, port: str) -> None:
    assert answer(cli("check", "--port", port, "--kernel", "nonesuch", "--json"))["error"] == "NoSuchKernel"


def test_check_wants_the_boards_own_pack(cli: RunHost, port: str, tmp_path: Path) -> None:
    """The same sources under another security counter are another pack."""
    root = Path(__file__).parent.parent
    subprocess.run(["cp", "-r", root / "kernels_aot", tmp_path / "source"], check=True)
    toml = tmp_path / "source" / "pack.toml"
    toml.write_text(toml.read_text().replace("security_counter = 1", "security_counter = 2"))
    built = answer(cli("pack", "build", tmp_path / "source", "--out", tmp_path, "--json"))
    finished = cli("check", "--port", port, "--pack", str(built["pack"]))
    assert finished.returncode == 2
    assert "another build of core 1.0.0" in finished.stderr


# ---- commands that stay --------------------------------------------------------------------------


@pytest.fixture
def emulating(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """``host emulate rpi_pico``, with a flash of its own."""
    process = start("emulate", "rpi_pico")
    yield process
    process.kill()
    process.communicate()


def test_emulate_prints_the_port_and_stays_until_ctrl_c(emulating: subprocess.Popen[str], firmware_uf2: Path) -> None:
    assert emulating.stdout is not None
    port = Path(emulating.stdout.readline().strip())
    assert port.name == "port"
    flashed = subprocess.run(
        [sys.executable, "-m", "host", "flash", "--board", "rpi_pico", "--port", "emu:rpi_pico", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert flashed.returncode == 0, flashed
    mpremote = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", port, "exec", "print(6 * 7)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert mpremote.stdout.strip() == "42"
    emulating.send_signal(signal.SIGINT)
    assert emulating.wait(20) == 0
    assert not port.exists()


def test_repl_is_mpremotes(port: str) -> None:
    """At a terminal, what is typed is answered by the board, and Ctrl-] leaves."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "host", "repl", "--port", port]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    seen = b""
    try:
        end = time.monotonic() + 60
        while b"\n42" not in seen:
            assert time.monotonic() < end, seen
            if select.select([master], [], [], 1)[0]:
                seen += os.read(master, 4096)
            elif b"Use Ctrl-]" in seen:  # what was typed before mpremote took over the terminal is lost
                os.write(master, b"print(6 * 7)\r")
        os.write(master, b"\x1d")
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(master)


def test_ctrl_c_is_code_130_and_frees_the_board(cli: RunHost, port: str) -> None:
    check = start("check", "--port", port, "--count", "5000", "--json")
    while not holds(check.pid, port):
        assert check.poll() is None, check.communicate()
    check.send_signal(signal.SIGINT)
    output, _ = check.communicate(timeout=60)
    assert check.returncode == 130
    assert json.loads(output)["error"] == "Interrupted"
    assert cli("status", "--port", port).returncode == 0


def start(*args: str) -> subprocess.Popen[str]:
    """``host`` with ``args``, in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "host", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def holds(pid: int, port: str) -> bool:
    """Whether that process has the port open."""
    wanted = os.path.realpath(port)
    try:
        return any(file.readlink() == Path(wanted) for file in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # it closed a file while we looked
        return False


def test_the_public_names_are_the_packages() -> None:
    import host

    assert host.Pack is Pack
    assert issubclass(host.NoTrustedKey, host.PackError)
    with pytest.raises(AttributeError):
        host.nonesuch  # noqa: B018
