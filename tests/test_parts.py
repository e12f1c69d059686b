"""Third-party parts, system tools and what ``host doctor`` knows of them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from host import debian, doctor, fetch, parts, systools
from host.errors import BuildError, PartMissing, UsageError


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing in it, and no overrides."""
    monkeypatch.setenv("HOST_CACHE_DIR", str(tmp_path / "cache"))
    for part in parts.all_parts():
        monkeypatch.delenv(part.variable, raising=False)
    return tmp_path / "cache"


# ---- the list


def test_every_part_is_pinned_by_sha256_and_can_be_overridden() -> None:
    variables = [part.variable for part in parts.all_parts()]
    assert len(set(variables)) == len(variables)
    for part in parts.all_parts():
        assert part.files and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in part.files.values()), part
        assert part.how in ("crate", "debian-source", "debian-binary", "npm"), part
        assert part.version and part.licence and part.purpose and part.markers, part


def test_a_part_stands_after_those_that_it_needs() -> None:
    names = [part.name for part in parts.all_parts()]
    assert len(set(names)) == len(names)
    for part in parts.all_parts():
        assert all(names.index(needed) < names.index(part.name) for needed in part.needs)


def test_every_tool_names_a_package_and_a_valid_pattern() -> None:
    for tool in systools.tools():
        assert tool.package and tool.licence and tool.command, tool
        has_version = re.compile(tool.pattern).groups == 1
        assert has_version or tool.minimum is None, f"{tool.name}: a minimum, but no version to compare"


def test_an_unknown_part_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match=r"no part 'wasmer'; known parts: wamr, monocypher"):
        parts.path("wasmer")


# ---- fetching


def test_a_fetched_part_is_reused_and_has_its_markers(empty_cache: Path) -> None:
    part = parts.get("rp2040js")
    folder = parts.path("rp2040js")
    assert folder.is_relative_to(empty_cache)
    assert all((folder / marker).exists() for marker in part.markers)
    before = (folder / "package.json").stat()
    assert parts.path("rp2040js") == folder
    assert (folder / "package.json").stat() == before


def test_a_damaged_download_in_the_cache_is_replaced_not_used(empty_cache: Path) -> None:
    part = parts.get("rp2040js")
    folder = parts.path("rp2040js")
    archive = empty_cache / "parts" / "downloads" / "rp2040js" / "rp2040js-1.4.1.tgz"
    flip_one_bit(archive)
    shutil.rmtree(folder)
    assert parts.path("rp2040js") == folder
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == part.files[archive.name]


def test_a_damaged_file_is_refused_with_both_sha256(empty_cache: Path, tmp_path: Path) -> None:
    [archive] = fetch.download(parts.get("monocypher"), tmp_path)
    fetch.check(archive, parts.get("monocypher").files[archive.name])
    flip_one_bit(archive)
    with pytest.raises(BuildError, match=rf"{archive.name} has sha256 [0-9a-f]{{64}}, but [0-9a-f]{{64}} is pinned"):
        fetch.check(archive, parts.get("monocypher").files[archive.name])


def test_what_does_not_match_its_pin_is_not_unpacked(empty_cache: Path, tmp_path: Path) -> None:
    part = parts.get("monocypher")
    wrong = replace(part, files=dict.fromkeys(part.files, "0" * 64))
    with pytest.raises(PartMissing, match=r"monocypher 4\.0\.2 cannot be fetched: .* refused\n.*MONOCYPHER_ROOT"):
        fetch.download(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_the_mirror_dropped_is_reported_with_what_to_do(empty_cache: Path, tmp_path: Path) -> None:
    if not debian.mirrors():
        pytest.skip("apt on this machine has no Debian mirror")
    gone = replace(parts.get("tinyusb"), package_version="0.0.1-1", files={"tinyusb-source_0.0.1-1_all.deb": "0" * 64})
    with pytest.raises(PartMissing, match=r"(?s)tinyusb.*404.*tinyusb-source 0\.0\.1-1 is gone.*TINYUSB_DIR"):
        fetch.download(gone, tmp_path)


def test_two_fetches_at_once_end_with_one_whole_part(empty_cache: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "fetch.py"), "monocypher"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {run.communicate(timeout=120)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert outputs == {f"monocypher\t{parts.path('monocypher')}\n"}
    assert not [path for path in (empty_cache / "parts").iterdir() if path.name.startswith(".")]


def test_a_lock_makes_the_second_wait(empty_cache: Path) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.wait()
        with parts.locked("demo"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with parts.locked("demo"):
        entered.set()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_micropython_is_complete_and_its_cross_compiler_runs() -> None:
    folder = parts.path("micropython")
    for name in ("pico-sdk", "tinyusb", "mbedtls"):
        assert (folder / "lib" / name).resolve() == parts.path(name).resolve()
    answer = subprocess.run(
        [folder / "mpy-cross/build/mpy-cross", "--version"], capture_output=True, text=True, check=True
    )
    assert "mpy-cross" in answer.stdout


# ---- overrides


def test_an_override_is_used_as_it_is(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "tusb.h").touch()
    monkeypatch.setenv("TINYUSB_DIR", str(tmp_path))
    assert parts.path("tinyusb") == tmp_path
    assert not list(empty_cache.glob("parts/tinyusb*"))


@pytest.mark.parametrize("part", parts.all_parts(), ids=lambda part: part.name)
def test_an_override_that_is_not_the_part_is_refused_by_name(
    part: parts.Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(part.variable, str(tmp_path))
    with pytest.raises(PartMissing, match=rf"{part.variable}={tmp_path} is not {part.name}: it has no "):
        parts.path(part.name)


# ---- Debian mirrors


def test_mirrors_are_read_from_both_of_apts_formats(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://commented.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian/ bookworm main contrib # note\n"
        "deb http://one.example/debian-security bookworm-security main\n"
        "deb http://other.example/repo nodistro main\n"
    )
    (tmp_path / "mirrors").write_text("# list\nhttp://four.example/debian\tpriority:1\n")
    parts_dir = tmp_path / "sources.list.d"
    parts_dir.mkdir()
    (parts_dir / "debian.sources").write_text(
        "Types: deb\nURIs: http://two.example/debian\n http://three.example/debian\n"
        "Suites: trixie trixie-updates\nComponents: main\n# comment\nSigned-By:\n -----BEGIN\n .\n\n"
        "Types: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\nEnabled: no\n\n"
        f"Types: deb\nURIs: mirror+file:{tmp_path}/mirrors\nSuites: sid\nComponents: main\n"
    )
    (parts_dir / "old.list.disabled").write_text("deb http://disabled.example/debian sid main\n")
    assert debian.mirrors(tmp_path) == [
        "http://one.example/debian",
        "http://two.example/debian",
        "http://three.example/debian",
        "http://four.example/debian",
    ]


@given(st.text())
def test_no_sources_text_breaks_the_readers(text: str) -> None:
    for entries in (debian._deb822(text), debian._one_line(text)):
        for uri, suites, components in entries:
            assert uri and all(suites) and all(components)


# ---- system tools


def test_versions_are_compared_as_numbers(tmp_path: Path) -> None:
    def status(minimum: str) -> str:
        tool = systools.Tool("t", "", "", "", ("echo", "tool 1.10.2"), r"tool ([\d.]+)", minimum)
        return systools.probe(tool).status

    assert [status(minimum) for minimum in ("1.9", "1.10", "1.10.2", "1.10.3", "2")] == ["ok"] * 3 + ["wrong"] * 2


def test_a_tool_that_is_not_there_is_missing() -> None:
    tool = systools.Tool("t", "", "", "", ("no-such-program-anywhere",), "x", None)
    assert systools.probe(tool).status == "missing"
    tool = systools.Tool("t", "", "", "", ("ls", "/no/such/file"), "x", None)
    assert systools.probe(tool).status == "missing"


def script(folder: Path, name: str, body: str) -> None:
    """A program in ``folder`` that stands for one of the system's."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def load_setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_tool", ROOT / "tools" / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_setup_does_nothing_when_everything_is_there(tmp_path: Path) -> None:
    script(tmp_path, "apt-get", f"touch {tmp_path}/called; exit 1")
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run([ROOT / "tools" / "setup.sh"], env=env, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (tmp_path / "called").exists()


def test_setup_installs_the_packages_of_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "apt-get", f'echo "$DEBIAN_FRONTEND $@" >> {tmp_path}/log')
    script(tmp_path, "env", 'exec /usr/bin/env "$@"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load_setup().main() == 1, "nothing was really installed"
    packages = " ".join(sorted({tool.package for tool in systools.tools()}))
    assert (tmp_path / "log").read_text() == (
        f"noninteractive update\nnoninteractive install -y --no-install-recommends --no-remove {packages}\n"
    )


def test_setup_prints_the_command_when_it_may_not_use_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(tmp_path, "apt-get", f"touch {tmp_path}/called")
    script(tmp_path, "sudo", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load_setup().main() == 1
    shown = capsys.readouterr().err
    assert "sudo apt-get update && sudo apt-get install -y" in shown
    assert all(tool.package in shown for tool in systools.tools())
    assert not (tmp_path / "called").exists()


# ---- doctor


def test_doctor_names_every_part_tool_and_package() -> None:
    findings = {finding.name: finding for finding in doctor.diagnose()}
    expected = {part.name for part in parts.all_parts()} | {tool.name for tool in systools.tools()}
    assert expected | {"wamrc", "numpy", "wasmtime", "ziglang"} <= set(findings)
    assert all(finding.status == "ok" or finding.remedy for finding in findings.values())


def test_doctor_tells_missing_from_wrong_and_fetches_nothing(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAMR_ROOT", str(tmp_path))
    monkeypatch.setenv("WAMRC", str(tmp_path / "nothing"))
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["wamr"].status == "wrong" and "WAMR_ROOT" in findings["wamr"].remedy
    assert findings["wamrc"].status == "wrong" and "WAMRC=" in findings["wamrc"].remedy
    assert findings["micropython"].status == "missing" and "tools/fetch.py" in findings["micropython"].remedy
    assert not list(empty_cache.glob("parts/*-*"))


def flip_one_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
