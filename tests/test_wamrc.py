"""wamrc: its command line, its exit codes, and what it makes."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime
from conftest import ROOT

from host import boards, parts, wamrc_build
from host.errors import PartMissing

sys.path.insert(0, str(ROOT / "tools" / "bounds"))

from aot_machine import sections

Run = Callable[..., "subprocess.CompletedProcess[str]"]

WASM = wasmtime.wat2wasm("""
(module
  (memory 1 1)
  (func (export "sum") (param i32 i32) (result f32) (local f32)
    (loop $next
      (local.set 2 (f32.add (local.get 2) (f32.load (local.get 0))))
      (local.set 0 (i32.add (local.get 0) (i32.const 4)))
      (br_if $next (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
    (local.get 2)))
""")

# Every option of the official wamrc 2.4.3, with a value where it takes one.
OFFICIAL_OPTIONS = [
    "--target=x86_64",
    "--target-abi=gnu",
    "--cpu=skylake",
    "--cpu-features=+avx2",
    "--opt-level=2",
    "--size-level=1",
    "-sgx",
    "--bounds-checks=1",
    "--stack-bounds-checks=0",
    "--stack-usage=usage.txt",
    "--format=object",
    "--disable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-multi-thread",
    "--enable-tail-call",
    "--enable-simd",
    "--disable-simd",
    "--disable-ref-types",
    "--enable-call-indirect-overlong",
    "--disable-aux-stack-check",
    "--enable-extended-const",
    "--enable-lime1",
    "--enable-gc",
    "--enable-dump-call-stack",
    "--call-stack-features=ip,func-idx",
    "--call-stack-features=",
    "--enable-perf-profiling",
    "--enable-memory-profiling",
    "--xip",
    "--enable-indirect-mode",
    "--disable-llvm-intrinsics",
    "--enable-builtin-intrinsics=i32.common",
    "--disable-llvm-jump-tables",
    "--disable-llvm-lto",
    "--enable-llvm-pgo",
    "--enable-llvm-passes=instcombine",
    "--enable-segue",
    "--enable-segue=i32.load,f64.store",
    "--emit-custom-sections=a,b",
    "--invoke-c-api-import",
    "--enable-linux-perf",
    "--mllvm=-inline-threshold=10",
    "--enable-shared-heap",
    "--enable-shared-chain",
    "-v=5",
]
# What some of them need beside them.
COMPANIONS = {
    "--target-abi=gnu": ["--target=x86_64"],
    "--cpu=skylake": ["--target=x86_64"],
    "--cpu-features=+avx2": ["--target=x86_64", "--cpu=skylake"],
    "--enable-segue": ["--target=x86_64"],
    "--enable-segue=i32.load,f64.store": ["--target=x86_64"],
}


@pytest.fixture(scope="module")
def wamrc(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs our wamrc in a folder that has sum.wasm."""
    program = parts.wamrc()
    folder = tmp_path_factory.mktemp("wamrc")
    (folder / "sum.wasm").write_bytes(WASM)

    def run(*args: str | Path, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=60)

    return run


# ---- command line


def test_help_goes_to_stdout_and_names_every_official_option(wamrc: Run) -> None:
    result = wamrc("--help")
    assert (result.returncode, result.stderr) == (0, "")
    for option in OFFICIAL_OPTIONS:
        if option != "--enable-simd":  # obsolete: accepted without effect
            assert f"  {option.split('=')[0]}" in result.stdout, option


def test_version_is_that_of_the_pinned_wamr(wamrc: Run) -> None:
    result = wamrc("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == f"wamrc {parts.get('wamr').version}"
    assert result.stdout.splitlines()[1].startswith("LLVM 22.")


@pytest.mark.parametrize("option", OFFICIAL_OPTIONS)
def test_every_official_option_compiles(wamrc: Run, option: str, tmp_path: Path) -> None:
    (tmp_path / "sum.wasm").write_bytes(WASM)
    result = wamrc(*COMPANIONS.get(option, []), option, "-o", "out", "sum.wasm", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Compile success, file out was generated."
    assert (tmp_path / "out").stat().st_size > 0


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--target=help", "thumbv6m"),
        ("--target-abi=help", "eabihf"),
        ("--cpu=help --target=thumbv6m", "cortex-m0plus"),
        ("--cpu-features=+help --target=thumbv6m --cpu=cortex-m0plus", "strict-align"),
    ],
)
def test_lists_go_to_stdout(wamrc: Run, option: str, expected: str) -> None:
    result = wamrc(*option.split())
    assert (result.returncode, result.stderr) == (0, "")
    assert expected in result.stdout


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("", 1, "no wasm file is named"),
        ("sum.wasm", 1, "no output file is named"),
        ("-o", 1, "-o needs a file name"),
        ("-o out", 1, "no wasm file is named"),
        ("--nonsense -o out sum.wasm", 1, "unknown option '--nonsense'"),
        ("--xip=1 -o out sum.wasm", 1, "--xip takes no value"),
        ("--cpu -o out sum.wasm", 1, "--cpu needs a value"),
        ("--cpu= -o out sum.wasm", 1, "--cpu has an empty value"),
        ("--opt-level=fast -o out sum.wasm", 1, "--opt-level takes a number from 0 to 3, not 'fast'"),
        ("--bounds-checks=2 -o out sum.wasm", 1, "--bounds-checks takes a number from 0 to 1"),
        ("-v=6 -o out sum.wasm", 1, "-v takes a number from 0 to 5"),
        ("--format=elf -o out sum.wasm", 1, "--format does not know 'elf'"),
        ("--call-stack-features=ip,all -o out sum.wasm", 1, "--call-stack-features does not know 'all'"),
        ("--enable-segue=i8.load -o out sum.wasm", 1, "--enable-segue does not know 'i8.load'"),
        ("--enable-segue --target=thumbv6m -o out sum.wasm", 1, "--enable-segue is for Linux x86-64 only"),
        ("--mllvm=-nonsense -o out sum.wasm", 1, "Unknown command line argument '-nonsense'"),
        ("--native-lib=no.so -o out sum.wasm", 1, "--native-lib: no.so"),
        ("--target=z80 -o out sum.wasm", 1, "Invalid target"),
        ("--target=z80 --cpu=help", 1, "Invalid target"),
        ("--target=xtensa --cpu=esp32s3 -o out sum.wasm", 1, "no CPU 'esp32s3' of xtensa"),
        ("--target=thumbv6m --cpu=cortex-m0 --cpu-features=+fast -o out sum.wasm", 1, "no feature '+fast'"),
        ("--target=thumbv6m --cpu=cortex-m0 --cpu-features=dsp -o out sum.wasm", 1, "must begin with + or -"),
        ("-o out sum.wasm --xip", 1, "'--xip' stands after the wasm file"),
        ("-o out missing.wasm", 1, "cannot read 'missing.wasm': No such file or directory"),
        ("-o out /proc/version", 1, "'/proc/version' is not a wasm file"),
        ("-o no/such/folder/out sum.wasm", 1, "open or create aot file failed"),
        ("-o sum.wasm sum.wasm", 255, "input and output are the same file"),
    ],
)
def test_what_cannot_be_done_is_said_on_stderr(wamrc: Run, args: str, code: int, message: str) -> None:
    result = wamrc(*args.split())
    assert result.returncode == code
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("wamrc: ")]
    assert len(errors) == 1 and message in errors[0], result.stderr


def test_a_broken_module_is_refused(wamrc: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.wasm").write_bytes(WASM[:-3])
    result = wamrc("-o", "out", "broken.wasm", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "WASM module load failed" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_native_library_is_registered_for_imports(wamrc: Run, tmp_path: Path) -> None:
    (tmp_path / "lib.c").write_text("""
        #include <stdint.h>
        typedef struct { const char *symbol; void *function; const char *signature; void *attachment; } NativeSymbol;
        static int32_t twice(void *exec_env, int32_t x) { (void)exec_env; return 2 * x; }
        static NativeSymbol symbols[] = { { "twice", (void *)twice, "(i)i", 0 } };
        uint32_t get_native_lib(char **module, NativeSymbol **list) { *module = "env"; *list = symbols; return 1; }
    """)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "lib.so", "lib.c"], cwd=tmp_path, check=True)
    (tmp_path / "in.wasm").write_bytes(
        wasmtime.wat2wasm("""
        (module (import "env" "twice" (func $twice (param i32) (result i32)))
          (func (export "four") (result i32) (call $twice (i32.const 2))))
    """)
    )
    alone = wamrc("-o", "alone", "in.wasm", cwd=tmp_path)
    linked = wamrc("--native-lib=./lib.so", "-o", "linked", "in.wasm", cwd=tmp_path)
    assert (alone.returncode, linked.returncode) == (0, 0)
    assert (tmp_path / "alone").read_bytes() != (tmp_path / "linked").read_bytes()


# ---- output


@pytest.mark.parametrize("name", [board.name for board in boards.ported()])
def test_output_for_a_board_is_aot_and_the_same_each_time(wamrc: Run, name: str, tmp_path: Path) -> None:
    (tmp_path / "sum.wasm").write_bytes(WASM)
    flags = boards.load(name).wamrc.flags
    for out in ("first.aot", "second.aot"):
        result = wamrc(*flags, "-o", out, "sum.wasm", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    first = (tmp_path / "first.aot").read_bytes()
    assert first[:4] == b"\0aot"
    assert first == (tmp_path / "second.aot").read_bytes()


@pytest.mark.parametrize("name", [board.name for board in boards.ported()])
def test_code_for_a_board_needs_no_relocation(wamrc: Run, name: str, tmp_path: Path) -> None:
    (tmp_path / "sum.wasm").write_bytes(WASM)
    result = wamrc(*boards.load(name).wamrc.flags, "-o", "sum.aot", "sum.wasm", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    relocations = dict(sections((tmp_path / "sum.aot").read_bytes()))[5]
    assert relocations == bytes(12), "no symbols, no names, no groups"


@pytest.mark.parametrize(
    "flags",
    [
        "--target=x86_64 --target-abi=gnu --cpu=x86-64 --enable-builtin-intrinsics=f32.const --stack-bounds-checks=1",
        "--target=xtensa --cpu=esp32 --enable-builtin-intrinsics=f32.const,llvm.minnum.f32 --stack-bounds-checks=0",
    ],
)
def test_signs_constants_and_literals_need_no_relocation(wamrc: Run, flags: str, tmp_path: Path) -> None:
    """Two functions: on Xtensa the second's literals have to be aligned behind the first, whatever its size is."""
    (tmp_path / "signs.wasm").write_bytes(
        wasmtime.wat2wasm("""
        (module
          (func (export "odd") (param i32) (result i32) (i32.add (local.get 0) (i32.const 0x12345678)))
          (func (export "signs") (param f32 f32) (result f32)
            (f32.min (f32.neg (local.get 0))
              (f32.copysign (f32.mul (f32.const 1.5) (f32.abs (local.get 0))) (local.get 1)))))
        """)
    )
    result = wamrc(
        *flags.split(), "--xip", "--disable-simd", "--bounds-checks=1", "-o", "signs.aot", "signs.wasm", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert dict(sections((tmp_path / "signs.aot").read_bytes()))[5] == bytes(12), "no symbols, no names, no groups"


def test_edges_from_one_block_bring_one_constant(wamrc: Run, tmp_path: Path) -> None:
    """A switch that goes to one place from several cases; LLVM takes no phi with a value for each."""
    (tmp_path / "cases.wasm").write_bytes(
        wasmtime.wat2wasm("""
        (module (func (export "cases") (param i32 f32) (result f32)
          (block $out (result f32)
            (block $square (block $twice (block $constant
              (br_table $constant $square $twice $constant $square $twice $square $constant $twice (local.get 0)))
              (br $out (f32.reinterpret_i32 (i32.const 0x3fc00000))))
              (br $out (f32.add (local.get 1) (local.get 1))))
            (f32.mul (local.get 1) (local.get 1)))))
        """)
    )
    flags = boards.load("unix").wamrc.flags
    result = wamrc(*flags, "--format=llvmir-opt", "-o", "cases.ll", "cases.wasm", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    code = (tmp_path / "cases.ll").read_text()
    assert code.count("(i32 1069547520)") == 1, "the constant 1.5 is hidden once"
    edges = re.findall(r"\[ (%\w+), (%\w+) \]", re.search(r"= phi float (.+)", code)[1])
    assert len(edges) > len(set(edges)) == len({block for _, block in edges})


def test_hoisted_bounds_checks_leave_the_loop(wamrc: Run, tmp_path: Path) -> None:
    """The loop is there twice: without its check, and as it was for when memory ends before the loop does."""
    (tmp_path / "sum.wasm").write_bytes(WASM)
    flags = [flag for flag in boards.load("rpi_pico").wamrc.flags if flag != "--hoist-bounds-checks"]
    loops = {}
    for option in ([], ["--hoist-bounds-checks"]):
        result = wamrc(*flags, *option, "--format=llvmir-opt", "-o", "sum.ll", "sum.wasm", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        code = (tmp_path / "sum.ll").read_text()
        loops[bool(option)] = [code.count("load float"), code.count(".checked")]
    assert loops[False][1] == 0 < loops[True][1]
    assert loops[True][0] > loops[False][0]


def test_a_branch_to_an_empty_loop_without_end_compiles(wamrc: Run, tmp_path: Path) -> None:
    (tmp_path / "endless.wasm").write_bytes(
        wasmtime.wat2wasm("""
        (module (memory 1 1)
          (func (export "endless") (param $at i32) (param $count i32)
            (loop $next
              (if (i32.gt_u (local.get $at) (i32.const 77)) (then (loop $forever (br $forever))))
              (i32.store (local.get $at) (i32.const 0))
              (local.set $at (i32.add (local.get $at) (i32.const 4)))
              (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))))
        """)
    )
    result = wamrc(*boards.load("rpi_pico").wamrc.flags, "-o", "endless.aot", "endless.wasm", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


# ---- which wamrc


def test_wamrc_is_built_once(wamrc: Run) -> None:
    before = parts.wamrc().stat()
    assert parts.wamrc().stat() == before


def test_another_wamrc_is_used_when_it_runs(wamrc: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other-wamrc"
    other.write_text(f'#!/bin/sh\nexec {parts.wamrc()} "$@"\n')
    other.chmod(other.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("WAMRC", str(other))
    assert parts.wamrc() == other
    assert wamrc_build.version(other) == "2.4.3"


@pytest.mark.parametrize("value", ["/no/such/wamrc", "/bin/true", "/etc/hostname"])
def test_what_is_no_wamrc_is_refused_by_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAMRC", value)
    with pytest.raises(PartMissing, match=f"WAMRC={value}"):
        parts.wamrc()
