"""A kernel of one's own, as README.md tells it: its commands, typed outside the repository, print what it says."""

from __future__ import annotations

import doctest
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import ROOT, RunHost

from host import boards
from host.check_cases import cases
from host.pack import read_source

SECTION = "## Your own kernel in ten minutes"
PORT = "emu:rpi_pico"


@dataclass
class Command:
    """A line that begins with ``$``, what it prints, and what is typed into it, with what that prints."""

    line: str
    output: list[str] = field(default_factory=list)
    typed: list[tuple[str, list[str]]] = field(default_factory=list)


def transcript() -> list[Command]:
    """The commands of README.md's section."""
    _, _, after = (ROOT / "README.md").read_text().partition(f"{SECTION}\n")
    commands: list[Command] = []
    for line in re.findall(r"^    (.*)$", after.partition("\n## ")[0], re.MULTILINE):
        if line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ ")))
        elif line.startswith(">>> "):
            commands[-1].typed.append((line.removeprefix(">>> "), []))
        else:
            (commands[-1].typed[-1][1] if commands[-1].typed else commands[-1].output).append(line)
    return commands


def in_rust(command: Command) -> Command:
    """The same with --rust."""
    if command.line.startswith("host pack new"):
        return Command(f"{command.line} --rust", [line.replace(".c", ".rs") for line in command.output])
    return command


def assert_printed(expected: list[str], printed: str, what: str) -> None:
    """``...`` stands for anything; how much white space there is does not matter."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output("\n".join(expected), printed, flags), f"{what} printed {printed!r}"


class Shell:
    """A folder and an environment to type commands in, ``host`` being in PATH."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "NO_COLOR": "1"}
        self._environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def type(self, command: Command) -> None:
        """Run a command. It must succeed, and print what it is expected to."""
        words = command.line.split()
        if words[0] == "cd":
            self._folder /= words[1]
        elif words[0] == "export":
            name, _, value = words[1].partition("=")
            self._environment[name] = value
        elif command.typed:
            self._converse(command)
        else:
            finished = subprocess.run(
                words, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert finished.returncode == 0, finished
            assert_printed(command.output, finished.stdout, command.line)

    def _converse(self, command: Command) -> None:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            command.line.split(),
            cwd=self._folder,
            env=self._environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        try:
            self._prompt(master)
            for line, output in command.typed:
                os.write(master, f"{line}\r".encode())
                echo, _, printed = read_until(master, "\n>>> ").partition("\n")
                assert echo.endswith(line)
                assert_printed(output, printed.removesuffix(">>> "), line)
            os.write(master, b"\x1d")
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            os.close(master)

    def _prompt(self, terminal: int) -> None:
        """Wait until the board listens: what is typed before mpremote took over the terminal is lost."""
        read_until(terminal, "Use Ctrl-]")
        while not select.select([terminal], [], [], 1)[0] or b">>> " not in os.read(terminal, 4096):
            os.write(terminal, b"\r")
        while select.select([terminal], [], [], 1)[0]:
            os.read(terminal, 4096)


def read_until(terminal: int, end: str) -> str:
    """What the terminal shows up to and with ``end``."""
    seen = b""
    deadline = time.monotonic() + 60
    while end not in (text := seen.decode(errors="replace").replace("\r\n", "\n")):
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    return text


@pytest.fixture
def own_emulator(state_dir: Path, firmware_uf2: Path, cli: RunHost) -> None:
    """An emulated board of the test's own that was flashed, with no pack on it."""
    flashed = cli("flash", "--board", "rpi_pico", "--port", PORT, "--firmware", firmware_uf2)
    assert flashed.returncode == 0, flashed


@pytest.mark.parametrize("language", ["C", "Rust"])
def test_the_readmes_transcript_is_what_happens(own_emulator: None, tmp_path: Path, language: str) -> None:
    commands = transcript()
    assert [command.line.split()[:2] for command in commands if command.line.startswith("host")] == [
        ["host", "pack"],
        ["host", "pack"],
        ["host", "run"],
        ["host", "push"],
        ["host", "repl"],
        ["host", "check"],
    ]
    shell = Shell(tmp_path)
    for command in commands:
        shell.type(command if language == "C" else in_rust(command))


# ---- host pack new -------------------------------------------------------------------------------


@pytest.fixture
def new(cli: RunHost, tmp_path: Path) -> Path:
    """A new pack's folder."""
    made = cli("pack", "new", "affine", "--folder", tmp_path / "mine")
    assert made.returncode == 0, made
    return tmp_path / "mine"


def test_a_new_pack_is_described_in_full(new: Path) -> None:
    source = read_source(new)
    assert (source.name, source.version) == ("affine", "0.1.0")
    assert set(source.targets) == {board.wamrc.target_id for board in boards.ported()}
    assert [kernel.spec.id for kernel in source.kernels] == ["affine_f32"]
    assert len(list(cases(source.kernels[0].spec, 1, 20))) == 20
    assert not [file for file in new.iterdir() if re.search(r"@[a-z]+@", file.read_text())]


def test_the_author_is_who_git_says_and_a_placeholder_without(cli: RunHost, tmp_path: Path) -> None:
    (tmp_path / "gitconfig").write_text('[user]\n\tname = "Ada \\"A\\" Lovelace"\n\temail = ada@example.org\n')
    for config, author in (("gitconfig", ('Ada "A" Lovelace', "ada@example.org")), ("none", ("Your Name", None))):
        folder = tmp_path / f"by_{config}"
        git = {"GIT_CONFIG_GLOBAL": str(tmp_path / config), "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": str(tmp_path)}
        assert cli("pack", "new", "affine", "--folder", folder, **git).returncode == 0
        source = read_source(folder)
        assert (source.author_name, source.author_email) == (author[0], author[1] or "you@example.org")


def test_nothing_is_overwritten(cli: RunHost, new: Path) -> None:
    (new / "affine.c").write_text("mine\n")
    finished = cli("pack", "new", "affine", "--folder", new)
    assert finished.returncode == 2
    assert "is there already; it is not overwritten" in finished.stderr
    assert (new / "affine.c").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["Affine", "2nd", "with-dash", "lambda", "a_name_of_16_char", ""])
def test_a_name_that_kern_could_not_have_is_refused(cli: RunHost, tmp_path: Path, name: str) -> None:
    finished = cli("pack", "new", name, "--folder", tmp_path / "mine")
    assert finished.returncode == 2
    assert "is no name for an operation" in finished.stderr
    assert not (tmp_path / "mine").exists()


def test_a_pack_is_not_made_inside_the_repository(cli: RunHost) -> None:
    finished = cli("pack", "new", "affine", "--folder", ROOT / "affine")
    assert finished.returncode == 2
    assert "this project's own folder" in finished.stderr
    assert not (ROOT / "affine").exists()


# ---- commands in a pack's folder -----------------------------------------------------------------


@pytest.fixture
def built(new: Path, cli: RunHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new pack's folder, as current folder, the pack being built."""
    monkeypatch.chdir(new)
    assert cli("pack", "build").returncode == 0
    yield new


def test_a_pack_is_built_beside_its_source_and_found_there(built: Path, cli: RunHost) -> None:
    assert (built / "build" / "affine-0.1.0" / "kernels.json").is_file()
    assert cli("pack", "verify").stdout.startswith("affine 0.1.0: signed by default")
    assert cli("run", "affine_f32", "--shape", "2,3").returncode == 0


def test_a_pack_that_is_not_built_yet_is_told_with_what_to_do(
    new: Path, cli: RunHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(new)
    finished = cli("run", "affine_f32", "--shape", "2")
    assert finished.returncode == 2
    assert finished.stderr.endswith("build/affine-0.1.0 is not built; make it with: host pack build\n")


def test_check_holds_results_against_the_users_reference(
    built: Path, own_emulator: None, cli: RunHost, tmp_path: Path
) -> None:
    assert cli("push", "--port", PORT).returncode == 0
    other = tmp_path / "other.py"
    other.write_text(
        (built / "reference.py").read_text().replace("return Expected(value,", "return Expected(2 * value,")
    )
    args = ["check", "--port", PORT, "--count", "5"]
    assert cli(*args).returncode == 0
    against_other = cli(*args, "--reference", other)
    assert against_other.returncode == 1
    assert f"Running {other} for its references" in against_other.stderr
    without = cli(*args, "--pack", built / "build" / "affine-0.1.0")
    assert without.returncode == 0
    assert "references" not in without.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("REFERENCE = {}", "has no REFERENCES, a dictionary of functions by kernel id"),
        ("REFERENCES = {'affine_f32': 1}", "has no REFERENCES, a dictionary of functions by kernel id"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_reference_that_cannot_be_used_is_explained(built: Path, cli: RunHost, text: str, message: str) -> None:
    (built / "reference.py").write_text(text)
    finished = cli("check", "--port", PORT)
    assert finished.returncode == 2
    assert message in finished.stderr
