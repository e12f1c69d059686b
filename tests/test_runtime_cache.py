"""`host.runtime.cache`: a module is compiled once, and only files that this user's runtime wrote are run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wat_kernels import ADD, COPY, OnePack, module, one_input_spec

from host import project
from host.runtime import KernelEngine, Runtime, Settings


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOST_CONFIG_DIR", str(tmp_path / "config"))


def files() -> list[Path]:
    return sorted((project.cache_dir() / "modules").iterdir())


def key_file() -> Path:
    return project.config_dir() / "module-cache.key"


@pytest.fixture
def engines() -> Iterator[Callable[..., KernelEngine]]:
    """Makes engines, as new processes would."""
    made: list[KernelEngine] = []

    def make(**settings: object) -> KernelEngine:
        made.append(KernelEngine(Settings(**settings)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for engine in made:
        engine.close()


Engines = Callable[..., KernelEngine]


def test_a_module_is_compiled_once_for_all_engines(engines: Engines) -> None:
    first, second = engines().modules, engines().modules
    module_ = first.get(module())
    assert (first.compiled, first.loaded) == (1, 0)
    assert first.get(module()) is module_, "kept in memory"
    second.get(module())
    assert (second.compiled, second.loaded) == (0, 1)
    assert len(files()) == 1


def test_other_wasm_another_configuration_and_another_version_are_compiled(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines().modules.get(module())
    for settings in ({"features": ("bulk-memory",)}, {"counted": True}, {"epochs": False}):
        cache = engines(**settings).modules
        cache.get(module())
        assert (cache.compiled, cache.loaded) == (1, 0), settings
    cache = engines().modules
    cache.get(module(ADD))
    assert (cache.compiled, cache.loaded) == (1, 0)
    monkeypatch.setattr("host.runtime.cache.version", lambda name: "50.0.999")
    cache = engines().modules
    cache.get(module())
    assert (cache.compiled, cache.loaded) == (1, 0)


def damage_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def damage_the_tag(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def leave_the_tag_only(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:32])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_a_byte, damage_the_tag, truncate, leave_the_tag_only, empty])
def test_a_damaged_file_is_compiled_anew_and_replaced(
    engines: Engines, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    engines().modules.get(module())
    (file,) = files()
    damage(file)
    cache = engines().modules
    cache.get(module())
    assert (cache.compiled, cache.loaded) == (1, 0)
    assert "compiled anew" in caplog.text
    again = engines().modules
    again.get(module())
    assert (again.compiled, again.loaded) == (0, 1), "it was replaced"


def test_a_good_file_cannot_stand_in_for_another(engines: Engines) -> None:
    """Both are signed, but by its place the one is a module that it is not."""
    engines().modules.get(module())
    (copy,) = files()
    engines().modules.get(module(ADD))
    (add,) = set(files()) - {copy}
    add.write_bytes(copy.read_bytes())
    cache = engines().modules
    cache.get(module(ADD))
    assert (cache.compiled, cache.loaded) == (1, 0)


def test_a_file_of_another_user_s_key_is_not_run(engines: Engines, tmp_path: Path) -> None:
    engines().modules.get(module())
    (theirs,) = files()
    content = theirs.read_bytes()
    key_file().unlink()
    engines().modules.get(module())
    (ours,) = set(files()) - {theirs}
    ours.write_bytes(content)
    cache = engines().modules
    cache.get(module())
    assert (cache.compiled, cache.loaded) == (1, 0)


def test_the_key_is_the_user_s_alone_and_replaced_when_it_was_not(engines: Engines) -> None:
    engines().modules.get(module())
    key = key_file().read_bytes()
    assert len(key) == 32 and stat.S_IMODE(key_file().stat().st_mode) == 0o600
    engines().modules.get(module())
    assert key_file().read_bytes() == key
    key_file().chmod(0o640)  # whoever could read it can sign
    cache = engines().modules
    cache.get(module())
    assert (cache.compiled, cache.loaded) == (1, 0)
    assert key_file().read_bytes() != key and stat.S_IMODE(key_file().stat().st_mode) == 0o600


def test_processes_that_start_together_share_key_and_files(tmp_path: Path) -> None:
    wasm = tmp_path / "copy.wasm"
    wasm.write_bytes(module(COPY))
    program = (
        "import sys, pathlib; from host.runtime import KernelEngine\n"
        "cache = KernelEngine().modules; cache.get(pathlib.Path(sys.argv[1]).read_bytes())"
    )
    environment = os.environ | {"PYTHONPATH": str(project.root())}
    started = [subprocess.Popen([sys.executable, "-c", program, wasm], env=environment) for _ in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4
    assert [file.suffix for file in files()] == [".cwasm"], "no temporary file is left"
    assert sorted(file.name for file in project.config_dir().iterdir()) == ["module-cache.key"]
    engine = KernelEngine()
    engine.modules.get(wasm.read_bytes())
    engine.close()
    assert (engine.modules.compiled, engine.modules.loaded) == (0, 1)


def test_without_a_folder_to_write_to_kernels_run_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "modules").write_text("a file where the folder should be")
    with Runtime() as runtime:
        runtime.install(OnePack(one_input_spec("copy"), portable=module()))
        assert runtime.run("copy", [1.5]).tolist() == [1.5]


def test_a_kernel_from_a_file_gives_the_same() -> None:
    for _ in range(2):
        with Runtime() as runtime:
            runtime.install(OnePack(one_input_spec("copy"), portable=module()))
            assert runtime.run("copy", [1.5]).tolist() == [1.5]


def test_the_files_that_were_not_used_for_longest_go(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.runtime.cache._MOST_FILES", 2)
    made: list[Path] = []
    for age in (300, 100, 200):
        engines().modules.get(module(init=f"(i32.const {age})"))
        (new,) = set(files()) - set(made)
        then = new.stat().st_mtime - age
        os.utime(new, (then, then))
        made.append(new)
    assert files() == sorted(made[1:])
