"""Kernels in Rust: SwiGLU in Rust is the one in C, bit for bit, and a module comes from the pack's sources alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import wasmtime
from kernel_builds import FIRST, KERNELS, SOURCE, Call, CorePack
from numpy.typing import NDArray
from wasmtime import Engine, Func, Instance, Memory, Store

from host import project
from host.check import Local, compare, run_check
from host.errors import BuildError, PartMissing
from host.pack import rust
from host.pack.flavours import PORTABLE
from host.pack.spec import BACKWARD_ENTRY, KernelSpec
from host.pack.wasm import compile_wasm, compiler_inputs
from host.runtime import Runtime, known_answer_sha256, module_info

ID = "swiglu_f32"
SPEC = KERNELS[ID].spec
SOURCE_RS = SOURCE.folder / "swiglu" / "swiglu_f32.rs"
CODES = {"OK": 0, "INVALID_INPUT": 1, "INVALID_OUTPUT": 2, "INVALID_PARAMS": 3, "INTERNAL_ERROR": 6}


@cache
def module(flavour: str = PORTABLE) -> bytes:
    """SwiGLU in Rust, compiled as a pack build does."""
    return compile_wasm(SOURCE_RS, SPEC, SOURCE.version, flavour, SOURCE.folder)


class OneKernel(CorePack):
    """The core pack with SwiGLU, in C, alone."""

    kernels: Mapping[str, KernelSpec] = {ID: SPEC}


class InRust(OneKernel):
    """The same in Rust."""

    def wasm(self, kernel_id: str, flavour: str) -> bytes:
        return module(flavour)


@pytest.fixture(scope="module")
def in_c() -> Iterator[Runtime]:
    with Runtime() as runtime:
        runtime.install(OneKernel())
        yield runtime


@pytest.fixture(scope="module")
def in_rust() -> Iterator[Runtime]:
    with Runtime() as runtime:
        runtime.install(InRust())
        yield runtime


# ---- the same bits as in C -----------------------------------------------------------------------


def test_every_case_of_the_check_gives_the_bits_of_the_c_kernel(in_c: Runtime, in_rust: Runtime) -> None:
    report = run_check(Local(in_rust), in_c, OneKernel(), board_name="Rust", seed=11, count=400)
    assert report.passed, report.to_json()
    assert report.kernels[0].cases == 400


def gates() -> Iterator[NDArray[np.float32]]:
    """4 194 304 floats, a quarter at a time: every sign and exponent, 8192 mantissas of each."""
    for quarter in range(4):
        steps = np.arange(quarter << 20, (quarter + 1) << 20, dtype=np.uint32)
        yield (steps << 10 | (steps * np.uint32(2654435761)) >> 22).view(np.float32)


def special() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Every pair of floats at an edge."""
    edges = [0.0, 1.0, 2.0**-149, 2.0**-126, 3.4028234663852886e38, np.inf, np.nan, 32.0, 88.72284, 87.33655, 103.97208]
    edges += [float(np.nextafter(np.float32(32), np.float32(towards))) for towards in (0, 64)]
    one_sign = np.array(edges, np.float32)
    x = np.concatenate([one_sign, -one_sign])
    return np.repeat(x, len(x)), np.tile(x, len(x))


def test_every_exponent_of_gate_gives_the_bits_of_the_c_kernel(in_c: Runtime, in_rust: Runtime) -> None:
    for gate in gates():
        up = np.full_like(gate, 1.5)
        assert not compare(in_rust.run(ID, gate, up), in_c.run(ID, gate, up)).any()


def test_every_special_value_gives_the_bits_of_the_c_kernel(in_c: Runtime, in_rust: Runtime) -> None:
    gate, up = special()
    assert not compare(in_rust.run(ID, gate, up), in_c.run(ID, gate, up)).any()


def test_the_gradients_have_the_bits_of_the_c_kernels(in_c: Runtime, in_rust: Runtime) -> None:
    gate, up = special()
    calls = [(gate, np.full_like(gate, 0.7), up)]
    calls += [(gate, np.full_like(gate, 0.7), np.full_like(gate, 1.5)) for gate in gates()]
    for gate, dy, up in calls:
        ours, theirs = (runtime.backward(ID, gate=gate, dy=dy, up=up) for runtime in (in_rust, in_c))
        for name in ("dgate", "dup"):
            assert not compare(ours[name], theirs[name]).any(), name


def test_the_known_answer_is_the_c_kernels() -> None:
    assert known_answer_sha256(module(), SPEC) == known_answer_sha256(CorePack().wasm(ID, PORTABLE), SPEC)


def test_a_kernel_in_rust_says_who_it_is() -> None:
    info = module_info(module(), SPEC)
    assert (info.abi_version, info.name, info.version) == (1, ID, SOURCE.version)


# ---- what it refuses -----------------------------------------------------------------------------


def run(call: Call, entry_point: str = SPEC.entry_point, *, initialised: bool = True) -> tuple[int, bytes]:
    """Return code of the kernel in Rust, and the output region afterwards."""
    store = Store(_engine())
    exports = Instance(store, _module(), []).exports(store)
    memory, entry, initialise = exports["memory"], exports[entry_point], exports["kernel_init"]
    assert isinstance(memory, Memory) and isinstance(entry, Func) and isinstance(initialise, Func)
    if initialised:
        assert initialise(store, 0, 0) == 0
    image = call.memory()
    memory.write(store, image[FIRST:], FIRST)
    code = entry(store, call.descriptor)
    return code, call.output(bytes(memory.read(store, 0, len(image))))


@cache
def _engine() -> Engine:
    return Engine()


@cache
def _module() -> wasmtime.Module:
    return wasmtime.Module(_engine(), module())


def words(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


def forward(n: int = 37, size: int = 4 * 37) -> Call:
    """A call with these dimensions in its params block, and tensors of ``size`` bytes."""
    return Call(SPEC, words(n), input_a=size, input_b=size, output=size)


def backward(n: int = 37) -> Call:
    """A call of the gradients: gate and dy in input A, dgate and dup in the output, each at a multiple of 16."""
    both = -(-4 * n // 16) * 16 + 4 * n
    return Call(SPEC, words(n), input_a=both, input_b=4 * n, output=both)


Change = Callable[[Call], Call]
BROKEN: dict[str, tuple[str, Change]] = {
    "nothing": ("OK", lambda c: c),
    "input A is missing": ("INVALID_INPUT", lambda c: c.change(input_a_offset=0, input_a_size=0)),
    "input A is too small": ("INVALID_INPUT", lambda c: c.change(input_a_size=c.words["input_a.size"] - 4)),
    "input A is too large": ("INVALID_INPUT", lambda c: c.change(input_a_size=c.words["input_a.size"] + 4)),
    "input A is misaligned": ("INVALID_INPUT", lambda c: c.change(input_a_offset=c.words["input_a.offset"] + 2)),
    "input A leaves the address space": ("INVALID_INPUT", lambda c: c.change(input_a_offset=2**32 - 16)),
    "input A lies at 0": ("INVALID_INPUT", lambda c: c.change(input_a_offset=0)),
    "input B is too small": ("INVALID_INPUT", lambda c: c.change(input_b_size=c.words["input_b.size"] - 4)),
    "input B is misaligned": ("INVALID_INPUT", lambda c: c.change(input_b_offset=c.words["input_b.offset"] + 1)),
    "output is missing": ("INVALID_OUTPUT", lambda c: c.change(output_offset=0, output_size=0)),
    "output is too small": ("INVALID_OUTPUT", lambda c: c.change(output_size=c.words["output.size"] - 4)),
    "output is misaligned": ("INVALID_OUTPUT", lambda c: c.change(output_offset=c.words["output.offset"] + 2)),
    "output begins in input A": ("INVALID_OUTPUT", lambda c: c.change(output_offset=c.words["input_a.offset"] + 4)),
    "output overlaps input B": ("INVALID_OUTPUT", lambda c: c.change(output_offset=c.words["input_b.offset"])),
    "output overlaps the params": ("INVALID_OUTPUT", lambda c: c.change(output_offset=c.words["params.offset"])),
    "output overlaps scratch": (
        "INVALID_OUTPUT",
        lambda c: c.change(scratch_offset=c.words["output.offset"] + 4, scratch_size=4),
    ),
    "params are missing": ("INVALID_PARAMS", lambda c: c.change(params_offset=0, params_size=0)),
    "params are too large": ("INVALID_PARAMS", lambda c: c.change(params_size=c.words["params.size"] + 4)),
    "params are misaligned": ("INVALID_PARAMS", lambda c: c.change(params_offset=c.words["params.offset"] + 2)),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_descriptor_is_refused_with_its_own_code(broken: str) -> None:
    code, change = BROKEN[broken]
    assert run(change(forward()))[0] == CODES[code]
    assert run(change(backward()), BACKWARD_ENTRY)[0] == CODES[code]


@pytest.mark.parametrize("n", [0, 2**30, 2**30 + 1, 2**32 - 1])
def test_dimensions_that_no_tensor_has_are_refused(n: int) -> None:
    assert run(forward(n, 4))[0] == CODES["INVALID_INPUT"]
    gradients = Call(SPEC, words(n), input_a=20, input_b=4, output=20)
    assert run(gradients, BACKWARD_ENTRY)[0] == CODES["INVALID_INPUT"]


def test_the_output_may_be_gate_itself_but_not_in_a_call_of_the_gradients() -> None:
    x = np.linspace(-4, 4, 37, dtype="<f4").tobytes()
    code, apart = run(Call(SPEC, words(37), input_a=x, input_b=x, output=len(x)))
    assert code == 0 and any(apart)
    call = Call(SPEC, words(37), input_a=x, input_b=x, output=len(x))
    assert run(call.change(output_offset=call.words["input_a.offset"])) == (0, apart)
    gradients = backward()
    gradients.change(output_offset=gradients.words["input_a.offset"])
    assert run(gradients, BACKWARD_ENTRY)[0] == CODES["INVALID_OUTPUT"]


def test_a_call_before_kernel_init_is_an_internal_error() -> None:
    assert run(forward(), initialised=False)[0] == CODES["INTERNAL_ERROR"]
    assert run(backward(), BACKWARD_ENTRY, initialised=False)[0] == CODES["INTERNAL_ERROR"]


def test_kernel_init_wants_one_word_a_parameter_and_kernel_cleanup_ends_it() -> None:
    store = Store(_engine())
    exports = Instance(store, _module(), []).exports(store)
    initialise, cleanup, entry = (exports[name] for name in ("kernel_init", "kernel_cleanup", SPEC.entry_point))
    assert isinstance(initialise, Func) and isinstance(cleanup, Func) and isinstance(entry, Func)
    assert initialise(store, 0, 4) == CODES["INVALID_PARAMS"]
    assert entry(store, 2048) == CODES["INTERNAL_ERROR"]
    assert initialise(store, 0, 0) == 0
    assert entry(store, 2048) == CODES["INVALID_PARAMS"]
    cleanup(store)
    assert entry(store, 2048) == CODES["INTERNAL_ERROR"]


# ---- the compiler --------------------------------------------------------------------------------

SCALE = """\
#![no_std]
use kernel_abi::{{Call, Code}};
use kernel_params::Params;
kernel_abi::stateless! {{ swiglu_forward => forward, kernel_backward => forward }}
fn forward(call: Call<Params>) -> Result<(), Code> {{
    {body}
}}
"""


@pytest.fixture
def compile_body(tmp_path: Path) -> Callable[[str], bytes]:
    """Compiles a kernel with that body in a pack's folder of its own, ``tmp_path / "pack"``."""

    def compile(body: str) -> bytes:
        folder = tmp_path / "pack"
        folder.mkdir(exist_ok=True)
        (folder / "kernel.rs").write_text(SCALE.format(body=body))
        return rust.compile_module(folder / "kernel.rs", SPEC, "1.0.0", PORTABLE, folder)

    return compile


def test_the_same_bytes_come_out_wherever_the_pack_lies(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "another, longer folder"):
        shutil.copytree(SOURCE.folder, folder)
        source = folder / "swiglu" / "swiglu_f32.rs"
        assert compile_wasm(source, SPEC, SOURCE.version, PORTABLE, folder) == module()


def test_no_folder_of_this_machine_is_in_a_module(compile_body: Callable[[str], bytes], tmp_path: Path) -> None:
    made = compile_body("call.output.slice::<u8>(9)?.copy_from_slice(file!().as_bytes()); Ok(())")
    assert b"kernel.rs" in made
    for place in (tmp_path, project.root(), Path.home()):
        assert str(place).encode() not in made


def test_a_panic_is_a_trap_and_costs_no_text(compile_body: Callable[[str], bytes]) -> None:
    made = compile_body('let x = call.input_a.slice::<f32>(call.params.n)?; if x[40] == 1.0 { panic!("seen"); } Ok(())')
    assert b"seen" not in made
    assert len(made) < 1500


def test_modules_of_the_pack_are_compiled_in_and_are_inputs(
    compile_body: Callable[[str], bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "helper.rs").write_text("pub fn code() -> kernel_abi::Code { kernel_abi::Code::NotImplemented }\n")
    body = 'let _ = call; Err(helper::code()) } mod helper { include!("helper.rs");'
    assert compile_body(body)
    before = compiler_inputs(folder / "kernel.rs", SPEC, "1.0.0", PORTABLE, folder)
    (folder / "helper.rs").write_text("pub fn code() -> kernel_abi::Code { kernel_abi::Code::OutOfMemory }\n")
    assert compiler_inputs(folder / "kernel.rs", SPEC, "1.0.0", PORTABLE, folder) != before
    assert "rustc 1." in str(before["rustc"])


def test_files_from_outside_the_pack_are_refused(compile_body: Callable[[str], bytes], tmp_path: Path) -> None:
    (tmp_path / "outside.rs").write_text("1")
    for file in (tmp_path / "outside.rs", "../outside.rs"):
        with pytest.raises(BuildError, match=r"reads .*outside\.rs, which is no Rust file of the pack"):
            compile_body(f'if include!("{file}") == call.params.n {{ return Err(Code::OutOfMemory); }} Ok(())')


def test_the_environment_is_not_read(compile_body: Callable[[str], bytes]) -> None:
    with pytest.raises(BuildError, match="reads the environment's HOME when it is compiled"):
        compile_body('if option_env!("HOME").is_some() { return Err(Code::OutOfMemory); } let _ = call; Ok(())')


def test_errors_and_warnings_of_the_compiler_are_shown(compile_body: Callable[[str], bytes]) -> None:
    with pytest.raises(BuildError, match=r"unused variable: `gate`[^$]*kernel\.rs:6"):
        compile_body("let gate = call; Ok(())")


def test_a_kernel_that_would_call_something_that_is_not_there_is_refused(compile_body: Callable[[str], bytes]) -> None:
    with pytest.raises(BuildError, match="undefined symbol: puts"):
        compile_body('extern "C" { fn puts(); } unsafe { puts(); } let _ = call; Ok(())')


def test_a_missing_compiler_is_told_with_what_to_do(
    compile_body: Callable[[str], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUST_ROOT", str(tmp_path))
    with pytest.raises(PartMissing, match=f"RUST_ROOT={tmp_path} is not rust: it has no bin/rustc"):
        compile_body("let _ = call; Ok(())")
