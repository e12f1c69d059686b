"""Building packs with the real compilers: what comes out, that it is always the same, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vectors
from cryptography.hazmat.primitives import serialization
from wasmtime import wat2wasm

from host import boards, errors, parts, project
from host.pack import Pack, aot, build_pack, manifest, read_source, verify_image, wasm
from host.pack.files import write_folder
from host.pack.flavours import PORTABLE
from host.pack.image import decode_image, gate_for
from host.pack.objects import Objects
from host.pack.pack import assemble
from host.pack.spec import BYTECODE_TARGET, KernelSpec
from host.runtime import Runtime, known_answer_sha256, run_module

KEY = vectors.KEYS["test"]
TARGET = "thumbv6m-soft"
C = """
#include "kernel_abi.h"
#include "scale_params.h"
#include "kernel_stateless.h"
#include "half.h"

KERNEL_EXPORT(scale_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const struct scale_params *params = KERNEL_PARAMS(call, struct scale_params);
    if (params == NULL) {
        return KERNEL_INVALID_PARAMS;
    }
    const float *x = kernel_pointer(call->input_a.offset);
    float *y = kernel_pointer(call->output.offset);
    for (uint32_t i = 0; i < params->n; i++) {
        y[i] = x[i] * params->factor * HALF;
    }
    return KERNEL_OK;
}
"""
TOML = """
name = "mine"
version = "0.1.0"
description = "A test"
min_runtime_version = "0.1.0"
security_counter = 1
author = { name = "Me", email = "me@example.org" }
targets = ["thumbv6m-soft"]

[[kernel]]
id = "scale"
op = "scale"
category = "test"
source = "src/scale.c"
entry_point = "scale_forward"
symbols = ["n"]
inputs = [{ name = "x", region = "input_a", dtype = "f32", shape = ["n"] }]
outputs = [{ name = "y", region = "output", dtype = "f32", shape = ["n"] }]
params = [{ name = "factor", type = "f32", default = 3.0 }]
resource_limits = { max_memory_pages = 4, max_epoch_ticks = 100, max_table_elements = 1 }
test = { seed = 1, symbols = { n = 5 } }
"""


@pytest.fixture(autouse=True)
def build_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing was ever built here."""
    monkeypatch.setenv("HOST_BUILD_DIR", str(tmp_path / "build"))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return tmp_path / "build"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A user's pack outside the repository: one kernel and a header."""
    return write_source(tmp_path / "mine")


def write_source(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "pack.toml").write_text(TOML)
    (folder / "src" / "scale.c").write_text(C)
    (folder / "src" / "half.h").write_text("#define HALF 0.5f\n")
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def compilers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the compilers that are called from now on, in order; they still run."""
    calls: list[str] = []

    def watch(module: object, name: str) -> None:
        real: Callable[..., object] = getattr(module, name)

        def call(*args: object) -> object:
            calls.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, call)

    watch(wasm, "compile_wasm")
    watch(aot, "compile_aot")
    return calls


def test_built_pack_has_what_its_source_says(source: Path, tmp_path: Path) -> None:
    folder = build_pack(source, tmp_path / "out", KEY)
    assert folder == tmp_path / "out" / "mine-0.1.0"
    assert sorted(contents(folder)) == [f"aot/{TARGET}.kimg", "kernels.json", "kernels.json.sig", "src/scale.wasm"]
    opened = Pack.open(folder, [KEY.public])
    spec = opened.kernels["scale"]
    assert spec.inputs == read_source(source).kernels[0].spec.inputs
    assert spec.test.sha256 == known_answer_sha256(opened.wasm("scale"), spec)
    x = np.array([1, -2, 3], "<f4")
    assert run_module(opened.wasm("scale"), spec, {"x": x}, {})["y"].tolist() == [1.5, -3.0, 4.5]
    image = verify_image(opened.image(TARGET), [KEY.public], gate_for(boards.load("rpi_pico"), "0.1.0"))
    assert image.kernels[0].private_size == wasm.inspect_wasm(opened.wasm("scale")).heap_base
    assert aot.aot_version(image.kernels[0].body) == 6


def test_image_of_bytecode_has_the_portable_modules(source: Path, tmp_path: Path) -> None:
    folder = build_pack(source, tmp_path / "out", KEY, [BYTECODE_TARGET, TARGET])
    assert contents(folder) == contents(build_pack(source, tmp_path / "again", KEY, [BYTECODE_TARGET, TARGET]))
    opened = Pack.open(folder, [KEY.public])
    gate = replace(gate_for(boards.load("rpi_pico"), "0.1.0"), interpreter=True)
    image = verify_image(opened.image(BYTECODE_TARGET), [KEY.public], gate)
    assert (image.aot_version, image.kernels[0].body) == (0, opened.wasm("scale"))
    assert image.kernels[0].spec == verify_image(opened.image(TARGET), [KEY.public], gate).kernels[0].spec
    assert list(opened.kernel("scale").aot) == [TARGET]
    with pytest.raises(errors.WrongTarget, match="the image is for wasm32"):
        verify_image(opened.image(BYTECODE_TARGET), [KEY.public], replace(gate, interpreter=False))


def test_pack_without_aot_code_says_so(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = compilers(monkeypatch)
    folder = build_pack(source, tmp_path / "out", KEY, [BYTECODE_TARGET])
    assert "compile_aot" not in calls
    wamr = json.loads((folder / "kernels.json").read_bytes())["kernels"][0]["platforms"]["wamr"]
    assert (wamr["aot_available"], wamr["aot"]) == (False, {})


def test_image_of_other_modules_than_the_pack_has_is_malformed(source: Path, tmp_path: Path) -> None:
    folder = build_pack(source, tmp_path / "out", KEY, [BYTECODE_TARGET])
    opened = Pack.open(folder, [KEY.public])
    decoded = decode_image(opened.image(BYTECODE_TARGET))
    other = replace(decoded.kernels[0], body=opened.wasm("scale") + b"\0\2\1x")
    changed = assemble(opened.manifest, {BYTECODE_TARGET: replace(decoded, kernels=(other,))}, opened.files, KEY)
    write_folder(changed, folder)
    with pytest.raises(errors.MalformedPack, match=r"aot/wasm32.kimg and kernels.json do not say the same: modules"):
        Pack.open(folder, [KEY.public])


def test_manifest_says_only_what_is_so(source: Path, tmp_path: Path) -> None:
    folder = build_pack(source, tmp_path / "out", KEY)
    data = json.loads((folder / "kernels.json").read_bytes())
    kernel = data["kernels"][0]
    assert data["created_at"] is None
    assert data["author"]["signing_key"] == KEY.public.text
    assert "benchmarks" not in kernel
    assert kernel["platforms"]["wasmtime"]["features"] == ["bulk-memory"]
    assert kernel["platforms"]["wamr"]["min_version"] == parts.get("wamr").version
    assert kernel["params"] == {"factor": {"type": "f32", "default": 3.0, "offset": 4}}


def test_created_at_is_source_date_epoch(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    opened = Pack.open(build_pack(source, tmp_path / "out", KEY), [KEY.public])
    assert opened.manifest.created_at == "2023-11-14T22:13:20Z"
    for nonsense in ("yesterday", "-1", "1e9", "9" * 20, "9" * 5000):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", nonsense)
        with pytest.raises(errors.UsageError, match=r"SOURCE_DATE_EPOCH is .*, must be seconds since 1970"):
            build_pack(source, tmp_path / "out", KEY)


def test_two_builds_in_two_folders_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    for name in ("one", "a longer name/two"):
        monkeypatch.setenv("HOST_BUILD_DIR", str(tmp_path / name / "build"))
        folder = write_source(tmp_path / name / "mine")
        edit(folder / "src" / "scale.c", "return KERNEL_OK", 'return __FILE__[0] == "x"[0] ? 6 : KERNEL_OK')
        built.append(contents(build_pack(folder, tmp_path / name / "out", KEY)))
    assert built[0] == built[1]
    for name, data in built[0].items():
        assert str(tmp_path).encode() not in data and str(project.root()).encode() not in data, name


def test_second_build_compiles_nothing_and_touches_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_pack(source, tmp_path / "out", KEY)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    calls = compilers(monkeypatch)
    began = time.process_time()
    build_pack(source, tmp_path / "out", KEY)
    assert time.process_time() - began < 1
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_only_what_changed_is_compiled_again(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_pack(source, tmp_path / "out", KEY)
    calls = compilers(monkeypatch)
    edit(source / "pack.toml", '"A test"', '"Another text"')
    assert Pack.open(build_pack(source, tmp_path / "out", KEY), [KEY.public]).manifest.description == "Another text"
    assert calls == []
    edit(source / "src" / "scale.c", "KERNEL_OK;", "KERNEL_OK; // a comment")
    build_pack(source, tmp_path / "out", KEY)
    assert calls == ["compile_wasm"], "the module came out the same, so its AOT file stands"
    edit(source / "src" / "half.h", "0.5f", "0.25f")
    opened = Pack.open(build_pack(source, tmp_path / "out", KEY), [KEY.public])
    assert calls == ["compile_wasm", "compile_wasm", "compile_aot"]
    x = np.array([4], "<f4")
    assert run_module(opened.wasm("scale"), opened.kernels["scale"], {"x": x}, {})["y"].tolist() == [3.0]


def test_kernel_that_left_the_pack_leaves_its_folder(source: Path, tmp_path: Path) -> None:
    folder = build_pack(source, tmp_path / "out", KEY)
    edit(source / "pack.toml", 'id = "scale"', 'id = "scale_f32"')
    edit(source / "src" / "scale.c", "scale_params.h", "scale_f32_params.h")
    source_text = (source / "src" / "scale.c").read_text()
    (source / "src" / "scale.c").write_text(source_text.replace("struct scale_params", "struct scale_f32_params"))
    assert build_pack(source, tmp_path / "out", KEY) == folder
    assert "src/scale.wasm" not in contents(folder)
    assert list(Pack.open(folder, [KEY.public]).kernels) == ["scale_f32"]


def test_folder_that_is_no_pack_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    precious = tmp_path / "out" / "mine-0.1.0" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("three years of work")
    with pytest.raises(errors.UsageError, match="it is no pack"):
        build_pack(source, tmp_path / "out", KEY)
    assert precious.read_text() == "three years of work"


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 5000])
def test_damaged_objects_are_made_again(source: Path, tmp_path: Path, build_folder: Path, damage: bytes) -> None:
    good = contents(build_pack(source, tmp_path / "out", KEY))
    objects = [path for path in (build_folder / "objects").rglob("*") if path.is_file()]
    assert len(objects) == 3
    for path in objects:
        path.write_bytes(damage)
    assert contents(build_pack(source, tmp_path / "out", KEY)) == good


def test_failed_object_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Objects(tmp_path)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise errors.BuildError("no")

    with pytest.raises(errors.BuildError):
        store.get(["x"], fail)

    def make(path: Path) -> None:
        path.write_bytes(b"whole")

    assert store.get(["x"], make) == b"whole"
    assert store.get(["x"], fail) == b"whole"


# ---- WAMRC ----------------------------------------------------------------------------------------


def fake_wamrc(folder: Path, tail: str) -> Path:
    """A wamrc that writes ``{log}`` its arguments and then does ``tail``."""
    program = folder / "wamrc"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "if sys.argv[1:] == ['--version']:\n"
        "    print('wamrc 2.4.3')\n"
        "    sys.exit()\n"
        f"{tail}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_wamrc_that_the_user_names_is_used_with_the_boards_flags(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, log = parts.wamrc(), tmp_path / "log"
    usual = contents(build_pack(source, tmp_path / "usual", KEY))
    forward = f"open({str(log)!r}, 'w').write(chr(10).join(sys.argv[1:]))\nos.execv({str(real)!r}, sys.argv)"
    monkeypatch.setenv("WAMRC", str(fake_wamrc(tmp_path, forward)))
    assert contents(build_pack(source, tmp_path / "out", KEY)) == usual
    arguments = log.read_text().splitlines()
    assert arguments[: len(boards.load("rpi_pico").wamrc.flags)] == list(boards.load("rpi_pico").wamrc.flags)


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("print('no such target', file=sys.stderr); sys.exit(1)", "no such target"),
        ("", "wrote no file"),
        ("open(sys.argv[sys.argv.index('-o') + 1], 'wb').write(b'elf?')", "did not write an AOT file"),
        (
            f"open(sys.argv[sys.argv.index('-o') + 1], 'wb').write({struct.pack('<4sI', bytes([0]) + b'aot', 5)!r})",
            "writes AOT format 5; this project's WAMR reads 6",
        ),
    ],
    ids=["fails", "writes nothing", "writes something else", "writes another version"],
)
def test_wamrc_that_does_not_do_its_work_is_a_build_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: str, message: str
) -> None:
    monkeypatch.setenv("WAMRC", str(fake_wamrc(tmp_path, tail)))
    with pytest.raises(errors.BuildError, match=message):
        build_pack(source, tmp_path / "out", KEY)
    assert not (tmp_path / "out").exists()


# ---- kernels that are none ------------------------------------------------------------------------


def test_compilers_message_reaches_the_user(source: Path, tmp_path: Path) -> None:
    edit(source / "src" / "scale.c", "return KERNEL_OK;", "return KERNEL_FINE;")
    with pytest.raises(errors.BuildError, match=r"src/scale\.c:\d+:\d+: error: .*KERNEL_FINE"):
        build_pack(source, tmp_path / "out", KEY)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("KERNEL_EXPORT(scale_forward)", "KERNEL_EXPORT(scale_backward)", errors.BuildError, "scale_forward"),
        (
            "int32_t scale_forward(uint32_t descriptor)", "int64_t scale_forward(uint32_t descriptor)",
            errors.MalformedPack, r"exports scale_forward as \(i32\) -> \(i64\), must be \(i32\) -> \(i32\)",
        ),
        (
            "return KERNEL_OK;", "extern int helper(void); return helper();",
            errors.BuildError, "helper",
        ),
        (
            "return KERNEL_OK;",
            '__attribute__((import_module("env"), import_name("helper"))) extern int helper(void); return helper();',
            errors.MalformedPack, r"scale imports env\.helper; a kernel has no imports",
        ),
        ("return KERNEL_OK;", "return __DATE__[0];", errors.BuildError, "date-time"),
        ("return KERNEL_OK;", "int unused; return KERNEL_OK;", errors.BuildError, "unused"),
    ],
    ids=["no entry point", "another type", "undefined", "import", "date", "warning"],
)  # fmt: skip
def test_kernel_that_no_board_could_run_is_refused_by_name(
    source: Path, tmp_path: Path, old: str, new: str, error: type[errors.HostError], message: str
) -> None:
    path = source / "src" / "scale.c"
    edit(path, "KERNEL_EXPORT(scale_forward)", '__attribute__((export_name("scale_forward")))\nint32_t scale_forward')
    if old.startswith("KERNEL_EXPORT"):
        path.write_text(C)
    edit(path, old, new)
    with pytest.raises(error, match=message):
        build_pack(source, tmp_path / "out", KEY)


def test_copies_and_fills_need_no_library(source: Path, tmp_path: Path) -> None:
    copy = "struct big { float a[300]; } *to = (void *)y; *to = *(const struct big *)x; return KERNEL_OK;"
    edit(source / "src" / "scale.c", "return KERNEL_OK;", f"if (params->n >= 300) {{ {copy} }} return KERNEL_OK;")
    opened = Pack.open(build_pack(source, tmp_path / "out", KEY), [KEY.public])
    assert wasm.inspect_wasm(opened.wasm("scale")).imports == ()


def test_stack_lies_first_so_that_running_off_it_traps(source: Path, tmp_path: Path) -> None:
    """A kernel's data begins behind the 1024 bytes of stack; were it in front, an overflow would overwrite it."""
    edit(source / "src" / "scale.c", "return KERNEL_OK;", "static volatile int data = 7; return data - 7 + (int)&data;")
    spec = read_source(source).kernels[0].spec
    module = wasm.compile_wasm(source / "src" / "scale.c", spec, "0.1.0", PORTABLE, source)
    with pytest.raises(errors.KernelTrap) as caught:
        run_module(module, spec, {"x": np.zeros(1, "<f4")}, {})
    assert 1024 <= (caught.value.trap_code or 0) < 2048


def test_header_from_outside_the_pack_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.h").write_text("#define OUTSIDE 1\n")
    edit(source / "src" / "scale.c", '#include "half.h"', '#include "half.h"\n#include "../../outside.h"')
    with pytest.raises(errors.BuildError, match=r"includes .*outside\.h, which is no header of the pack"):
        build_pack(source, tmp_path / "out", KEY)


def test_private_memory_larger_than_a_boards_page_is_refused(source: Path, tmp_path: Path) -> None:
    big = "static volatile uint8_t table[4000]; return table[params->n % 4000];"
    edit(source / "src" / "scale.c", "return KERNEL_OK;", big)
    with pytest.raises(errors.PackTooLarge, match="kernel scale needs 51"):
        build_pack(source, tmp_path / "out", KEY)
    assert not (tmp_path / "out").exists()


def test_unknown_target_is_refused_with_those_there_are(source: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"no board has target 'vax'; known targets: .*thumbv6m-soft"):
        build_pack(source, tmp_path / "out", KEY, ["vax"])


def test_module_that_is_none_is_malformed() -> None:
    with pytest.raises(errors.MalformedPack, match="not a WebAssembly module"):
        wasm.inspect_wasm(b"\0asm\1\0\0")


def test_module_that_does_not_stop_starting_is_malformed() -> None:
    endless = bytes.fromhex("0061736d01000000" "010401600000" "03020100" "0606017f0041000b" "070f010b5f5f686561705f626173650300" "080100" "0a0901070003400c000b0b")  # noqa: E501  # fmt: skip
    with pytest.raises(errors.MalformedPack, match="cannot be instantiated"):
        wasm.inspect_wasm(endless)


# ---- what every kernel exports --------------------------------------------------------------------

EXPORTS = {
    "memory": '(memory (export "memory") 1 4)',
    "__heap_base": '(global (export "__heap_base") i32 (i32.const 1024))',
    "scale_forward": '(func (export "scale_forward") (param i32) (result i32) (i32.const 0))',
    "kernel_init": '(func (export "kernel_init") (param i32 i32) (result i32) (i32.const 0))',
    "kernel_info": '(func (export "kernel_info") (result i32) (i32.const 0))',
    "kernel_cleanup": '(func (export "kernel_cleanup"))',
}
BACKWARD = '(func (export "kernel_backward") (param i32) (result i32) (i32.const 0))'


def checked(spec: KernelSpec, **changes: str) -> wasm.WasmInfo:
    """What is said of a module with these exports."""
    return wasm.check_kernel(bytes(wat2wasm(f"(module {' '.join((EXPORTS | changes).values())})")), spec)


def test_module_with_just_the_exports_of_a_kernel_is_one(source: Path) -> None:
    assert set(checked(read_source(source).kernels[0].spec).exports) == set(EXPORTS)


@pytest.mark.parametrize("name", EXPORTS)
def test_export_that_is_missing_is_named(source: Path, name: str) -> None:
    with pytest.raises(errors.MalformedPack, match=f"scale does not export {name}"):
        checked(read_source(source).kernels[0].spec, **{name: ""})


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("kernel_init", '(func (export "kernel_init") (param i32) (result i32) (i32.const 0))',
         r"exports kernel_init as \(i32\) -> \(i32\), must be \(i32, i32\) -> \(i32\)"),
        ("kernel_init", '(global (export "kernel_init") i32 (i32.const 0))', "exports kernel_init as i32, must be"),
        ("kernel_info", '(func (export "kernel_info"))', r"kernel_info as \(\) -> \(\), must be \(\) -> \(i32\)"),
        ("kernel_info", '(func (export "kernel_info") (result i64) (i64.const 0))', r"must be \(\) -> \(i32\)"),
        ("kernel_cleanup", '(func (export "kernel_cleanup") (result i32) (i32.const 0))', r"must be \(\) -> \(\)"),
        ("memory", '(func (export "memory"))', "exports memory as .*, must be memory"),
        ("memory", '(memory (export "memory") 2 4)', "has 2 pages of memory, at most 4; must be 1, at most 4"),
        ("memory", '(memory (export "memory") 1)', "at most any number; must be 1, at most 4"),
        ("memory", '(memory (export "memory") 1 5)', "at most 5; must be 1, at most 4"),
        ("__heap_base", '(global (export "__heap_base") (mut i32) (i32.const 0))', "as mut i32, must be i32"),
        ("kernel_backward", BACKWARD, "exports kernel_backward, but is described without backward"),
    ],
)  # fmt: skip
def test_export_of_another_type_is_named(source: Path, name: str, other: str, message: str) -> None:
    with pytest.raises(errors.MalformedPack, match=f"^scale .*{message}"):
        checked(read_source(source).kernels[0].spec, **{name: other})


def test_kernel_described_with_gradients_exports_them(source: Path) -> None:
    spec = read_source(with_everything(source)).kernels[0].spec
    checked(spec, kernel_backward=BACKWARD)
    with pytest.raises(errors.MalformedPack, match="scale does not export kernel_backward"):
        checked(spec)
    with pytest.raises(errors.MalformedPack, match="scale exports kernel_backward as"):
        checked(spec, kernel_backward='(func (export "kernel_backward"))')


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("KERNEL_NAME", '"other"', r"scale \(portable\): kernel_info says name 'other', must be 'scale'"),
        ("KERNEL_VERSION", '"0.1"', r"scale \(portable\): kernel_info says version '0.1', must be '0.1.0'"),
        ("KERNEL_ABI_VERSION", "2", r"scale \(portable\): kernel_info says ABI 2, must be 1"),
    ],
)
def test_kernel_that_says_it_is_another_is_refused(
    source: Path, tmp_path: Path, name: str, other: str, message: str
) -> None:
    include = '#include "kernel_stateless.h"'
    edit(source / "src" / "scale.c", include, f"#undef {name}\n#define {name} {other}\n{include}")
    with pytest.raises(errors.MalformedPack, match=message):
        build_pack(source, tmp_path / "out", KEY)


# ---- flavours, gradients, measurements ------------------------------------------------------------

MORE_TOML = """
flavours = ["simd128"]
bench = { n = 64 }
error_bound = "none: exact"

[kernel.backward]
inputs = [{ name = "dy", region = "input_a", dtype = "f32", shape = ["n"] }]
outputs = [{ name = "dx", region = "output", dtype = "f32", shape = ["n"] }]
"""


def with_everything(source: Path) -> Path:
    """The pack with all that a kernel may have; the gradient of a scaling is the scaling."""
    with (source / "pack.toml").open("a") as file:
        file.write(MORE_TOML)
    with (source / "src" / "scale.c").open("a") as file:
        file.write("KERNEL_BACKWARD(uint32_t descriptor) { return scale_forward(descriptor); }\n")
    return source


def test_flavours_are_modules_of_one_kernel_with_the_same_bits(source: Path, tmp_path: Path) -> None:
    folder = build_pack(with_everything(source), tmp_path / "out", KEY)
    opened = Pack.open(folder, [KEY.public])
    kernel = opened.kernel("scale")
    assert {name: module.path for name, module in kernel.modules.items()} == {
        "portable": "src/scale.wasm",
        "simd128": "src/scale.simd128.wasm",
    }
    assert opened.wasm("scale") != opened.wasm("scale", "simd128")
    x = np.linspace(-2, 2, 37, dtype="<f4")
    results = []
    for features in (("bulk-memory",), ("bulk-memory", "simd128")):
        with Runtime(features) as runtime:
            runtime.install(opened)
            results.append([runtime.run("scale", x).tobytes(), runtime.backward("scale", x)["dx"].tobytes()])
    assert results[0] == results[1]


def test_manifest_has_what_a_kernel_may_have(source: Path, tmp_path: Path) -> None:
    folder = build_pack(with_everything(source), tmp_path / "out", KEY)
    kernel = json.loads((folder / "kernels.json").read_bytes())["kernels"][0]
    flavour = kernel["platforms"]["wasmtime"]["flavours"]["simd128"]
    assert (flavour["path"], flavour["features"]) == ("src/scale.simd128.wasm", ["bulk-memory", "simd128"])
    assert kernel["error_bound"] == "none: exact"
    assert [tensor["name"] for tensor in kernel["backward"]["inputs"] + kernel["backward"]["outputs"]] == ["dy", "dx"]
    measured = kernel["benchmarks"]
    assert (measured["symbols"], measured["elements"]) == ({"n": 64}, 64)
    counts = measured["instructions_per_element"]
    assert counts.keys() == {"portable", "simd128"}
    assert all(1 < count < 50 for count in counts.values())
    described = read_source(source).kernels[0].spec
    opened = Pack.open(folder, [KEY.public]).kernels["scale"]
    assert opened == replace(described, test=opened.test)


def test_kernel_is_measured_again_to_the_same_figures(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Pack.open(build_pack(with_everything(source), tmp_path / "out", KEY), [KEY.public])
    monkeypatch.setenv("HOST_BUILD_DIR", str(tmp_path / "another"))
    again = Pack.open(build_pack(source, tmp_path / "again", KEY), [KEY.public])
    assert first.kernel("scale").benchmarks == again.kernel("scale").benchmarks is not None
    edit(source / "pack.toml", "bench = { n = 64 }\n", "")
    without = Pack.open(build_pack(source, tmp_path / "without", KEY), [KEY.public])
    assert without.kernel("scale").benchmarks is None


def test_flavour_that_gives_other_bits_is_refused(source: Path, tmp_path: Path) -> None:
    with_everything(source)
    (source / "src" / "half.h").unlink()
    for flavour, half in (("portable", "0.5f"), ("simd128", "0.4999f")):
        (source / "src" / flavour).mkdir()
        (source / "src" / flavour / "half.h").write_text(f"#define HALF {half}\n")
    with pytest.raises(errors.BuildError, match="scale: the simd128 flavour gives other bits than the portable one"):
        build_pack(source, tmp_path / "out", KEY)
    assert not (tmp_path / "out").exists()


def test_kernel_that_fails_to_initialise_is_refused(source: Path, tmp_path: Path) -> None:
    edit(source / "src" / "scale.c", '#include "kernel_stateless.h"', """
#undef KERNEL_PARAM_COUNT
#define KERNEL_PARAM_COUNT 9
#include "kernel_stateless.h"
""")  # fmt: skip
    with pytest.raises(errors.LoadError, match="scale: kernel_init returned 3"):
        build_pack(source, tmp_path / "out", KEY)


# ---- the project's own pack -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def core_builds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The project's pack, built twice from nothing, each time as another machine would."""
    key = tmp_path_factory.mktemp("key") / "test.key"
    key.write_bytes(
        KEY.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    surroundings = [
        ("one", {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, 0o022),
        ("a longer name", {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"}, 0o077),
    ]
    built = []
    for name, variables, umask in surroundings:
        folder = tmp_path_factory.mktemp(name)
        source = folder / name / "sources"
        shutil.copytree(project.root() / "kernels_aot", source)
        for number, path in enumerate(sorted(source.rglob("*"), reverse=name == "one")):
            os.utime(path, (number, number))
        command = [
            sys.executable,
            "-m",
            "host",
            "pack",
            "build",
            source,
            "--out",
            folder / "out",
            "--key",
            key,
            "--archive",
        ]
        environment = {**os.environ, **variables, "HOST_BUILD_DIR": str(folder / "build" / name)}
        finished = subprocess.run(
            command, env=environment, umask=umask, cwd=folder, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
        built.append(folder / "out")
    return built


def test_core_pack_is_the_same_from_two_copies_of_its_sources(core_builds: list[Path]) -> None:
    """Modules of every flavour, images, manifest, signature, archive: byte for byte."""
    one, two = (contents(folder) for folder in core_builds)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    for kernel in read_source(project.root() / "kernels_aot").kernels:
        assert all(any(name.endswith(path) for name in one) for path in kernel.modules.values())
    for name, data in one.items():
        assert str(core_builds[0].parent).encode() not in data and str(project.root()).encode() not in data, name


def test_core_pack_verifies_and_says_what_its_source_says(core_builds: list[Path]) -> None:
    described = read_source(project.root() / "kernels_aot")
    folder = core_builds[0] / f"{described.name}-{described.version}"
    opened = Pack.open(folder, [KEY.public])
    assert opened == Pack.open(folder.with_name(f"{folder.name}.kpack"), [KEY.public])
    for kernel in described.kernels:
        spec = opened.kernels[kernel.spec.id]
        assert spec == replace(kernel.spec, test=replace(kernel.spec.test, sha256=spec.test.sha256))
    image = verify_image(opened.image(TARGET), [KEY.public], gate_for(boards.load("rpi_pico"), "0.1.0"))
    assert image == decode_image(opened.image(TARGET))
    raw = (folder / "kernels.json").read_bytes()
    assert manifest.write(manifest.parse(raw)) == raw
