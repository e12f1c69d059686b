"""pack.toml: read strictly, and what is made of it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutations
import pytest
from hypothesis import HealthCheck, given, settings
from vectors import generate

from host import errors
from host.pack import params_header, read_source
from host.pack.spec import Dim, Param, Region

KERNEL = """
id = "scale_f32"
op = "scale"
category = "test"
source = "src/scale.c"
entry_point = "scale_forward"
symbols = ["rows", "dim"]
inputs = [
    { name = "x", region = "input_a", dtype = "f32", shape = ["*rows", "dim"] },
    { name = "w", region = "input_b", dtype = "f16", shapes = [["dim/2"], ["dim*3/2", 2]], optional = true },
]
outputs = [{ name = "y", region = "output", dtype = "f32", shape = ["*rows", "dim"], inout = true }]
params = [{ name = "factor", type = "f32", default = 2 }, { name = "pos", type = "u32", default = 3 }]
resource_limits = { max_memory_pages = 4, max_epoch_ticks = 100, max_table_elements = 1 }
test = { seed = 1, symbols = { rows = 2, dim = 4 } }
bench = { rows = 8, dim = 16 }
error_bound = "1 unit in the last place"
flavours = ["simd128"]

[kernel.backward]
inputs = [{ name = "dy", region = "input_a", dtype = "f32", shape = ["*rows", "dim"] }]
outputs = [{ name = "dx", region = "output", dtype = "f32", shape = ["*rows", "dim"] }]
scratch = [{ name = "sums", region = "scratch", dtype = "f32", shape = ["rows"] }]
"""
PACK = f"""
name = "mine"
version = "0.1.0"
description = "A test"
min_runtime_version = "0.1.0"
security_counter = 1
author = {{ name = "Me", email = "me@example.org" }}
targets = ["thumbv6m-soft"]

[[kernel]]
{KERNEL}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a pack.toml beside a source file."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "scale.c").write_text("")

    def put(text: str) -> Path:
        (tmp_path / "pack.toml").write_text(text)
        return tmp_path

    return put


def test_pack_toml_becomes_specs(write: Callable[[str], Path]) -> None:
    folder = write(PACK)
    source = read_source(folder)
    assert source == read_source(folder / "pack.toml")
    assert (source.name, source.version, source.targets) == ("mine", "0.1.0", ("thumbv6m-soft",))
    kernel = source.kernels[0]
    assert kernel.source == folder.resolve() / "src" / "scale.c"
    assert kernel.modules == {"portable": "src/scale_f32.wasm", "simd128": "src/scale_f32.simd128.wasm"}
    x, w = kernel.spec.inputs
    assert x.leading and x.shapes == ((Dim("rows"), Dim("dim")),)
    assert w.optional and w.region is Region.INPUT_B
    assert w.shapes == ((Dim("dim", 1, 2),), (Dim("dim", 3, 2), Dim(None, 2)))
    assert kernel.spec.outputs[0].inout
    assert kernel.spec.params == (Param("factor", "f32", 2.0), Param("pos", "u32", 3))
    assert isinstance(kernel.spec.params[0].default, float)
    assert kernel.spec.fallback is None and kernel.spec.test.sha256 is None
    assert (kernel.spec.bench, kernel.spec.error_bound) == ({"rows": 8, "dim": 16}, "1 unit in the last place")
    assert kernel.spec.arguments == (kernel.spec.outputs[0], x, w)
    backward = kernel.spec.of_backward()
    assert backward is not None and backward.entry_point == "kernel_backward"
    assert [tensor.name for tensor in backward.tensors] == ["dy", "dx", "sums"]
    assert (backward.symbols, backward.params, backward.limits) == (
        kernel.spec.symbols,
        kernel.spec.params,
        kernel.spec.limits,
    )


def test_what_a_kernel_may_leave_out_is_not_there(write: Callable[[str], Path]) -> None:
    bare = PACK[: PACK.index("bench =")]
    kernel = read_source(write(bare)).kernels[0]
    assert kernel.modules == {"portable": "src/scale_f32.wasm"}
    assert kernel.spec.backward is kernel.spec.of_backward() is kernel.spec.bench is kernel.spec.error_bound is None


REFUSED = {
    "unknown field": ("security_counter = 1", "security_counter = 1\nlicence = 'MIT'", "'licence' was unexpected"),
    "missing field": ('name = "mine"\n', "", "'name' is a required property"),
    "unknown field of a kernel": ('op = "scale"', 'op = "scale"\nspeed = 1', "'speed' was unexpected"),
    "missing field of a kernel": ('op = "scale"\n', "", r"kernel\[0\]: 'op' is a required property"),
    "unknown field of a tensor": ("inout = true", "in_out = true", r"outputs\[0\].*'in_out'"),
    "key twice": ('op = "scale"', 'op = "scale"\nop = "scale"', "overwrite"),
    "no TOML": ('op = "scale"', "op = scale", "pack.toml"),
    "no targets": ('targets = ["thumbv6m-soft"]', "targets = []", "targets"),
    "path up": ("src/scale.c", "../scale.c", r"kernel\[0\]\.source"),
    "absolute path": ("src/scale.c", "/src/scale.c", r"kernel\[0\]\.source"),
    "no such file": ("src/scale.c", "src/other.c", "there is no file src/other.c"),
    "folder": ("src/scale.c", "src", "there is no file src"),
    "infinite default": ("default = 2 ", "default = inf ", "not a finite f32"),
    "NaN default": ("default = 2 ", "default = nan ", "not a finite f32"),
    "date": ("seed = 1", "seed = 2026-01-01", "seed"),
    "seed 0": ("seed = 1", "seed = 0", "seed"),
    "unknown dtype": ('dtype = "f16"', 'dtype = "f64"', r"inputs\[1\]\.dtype"),
    "unknown symbol": ('["dim/2"]', '["dims/2"]', "kernel scale_f32: w: 'dims' is not among the symbols"),
    "bench lacks a symbol": ("bench = { rows = 8, dim", "bench = { dim", "bench: has no value for 'rows'"),
    "bench has one more": ("{ rows = 8,", "{ rows = 8, cols = 8,", "bench: 'cols' is not among the symbols"),
    "bench of nothing": ("{ rows = 8,", "{ rows = 0,", r"kernel\[0\]\.bench\.rows"),
    "unknown flavour": ('["simd128"]', '["avx2"]', r"kernel\[0\]\.flavours\[0\]"),
    "portable as a flavour": ('["simd128"]', '["portable"]', r"kernel\[0\]\.flavours\[0\]"),
    "flavour twice": ('["simd128"]', '["simd128", "simd128"]', r"kernel\[0\]\.flavours"),
    "error bound that is no text": ('"1 unit in the last place"', "1", r"kernel\[0\]\.error_bound"),
    "backward with a field of its own": ("[kernel.backward]", "[kernel.backward]\nparams = []", r"backward.*'params'"),
    "backward without outputs": ('outputs = [{ name = "dx"', 'output = [{ name = "dx"', "'outputs?'"),
    "backward that cannot find a symbol": (
        'region = "input_a", dtype = "f32", shape = ["*rows", "dim"] }]\noutputs = [{ name = "dx"',
        'region = "input_a", dtype = "f32", shape = ["*rows", 4] }]\noutputs = [{ name = "dx"',
        "kernel scale_f32: backward: symbols: 'dim' is not by itself",
    ),
    "backward with a param's name": ('"dy"', '"factor"', "kernel scale_f32: backward: .*'factor' comes 2 times"),
    "deeper than anyone nests": ("security_counter = 1", "x = " + "[" * 100_000, "pack.toml"),
    "max runtime below min": ("security_counter = 1", 'max_runtime_version = "0.0.1"\nsecurity_counter = 1', "max_run"),
    "star in one shape only": ('[["dim/2"]', '[["*rows"]', "either all of its shapes take leading"),
    "too many records": (
        "params =",
        "scratch = ["
        + ",".join(f'{{ name = "s{i}", region = "scratch", dtype = "u8", shape = [1] }}' for i in range(5))
        + "]\nparams =",
        "more than 8",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_pack_toml_that_is_wrong_is_refused_by_name(write: Callable[[str], Path], name: str) -> None:
    old, new, message = REFUSED[name]
    assert old in PACK
    with pytest.raises(errors.UsageError, match=message):
        read_source(write(PACK.replace(old, new, 1)))


def test_two_kernels_of_one_id_are_refused(write: Callable[[str], Path]) -> None:
    with pytest.raises(errors.UsageError, match="kernel ids: 'scale_f32' comes 2 times"):
        read_source(write(PACK + "[[kernel]]\n" + KERNEL))


@pytest.mark.parametrize("place", ["src", "src/scale.c"])
def test_source_behind_a_symbolic_link_is_refused(write: Callable[[str], Path], place: str) -> None:
    folder = write(PACK)
    (folder / place).rename(folder / "elsewhere")
    (folder / place).symlink_to(folder / "elsewhere")
    with pytest.raises(errors.UsageError, match="symbolic link"):
        read_source(folder)


def test_pack_toml_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"pack\.toml: No such file"):
        read_source(tmp_path)


def test_pack_toml_that_is_a_link_to_itself_is_said(tmp_path: Path) -> None:
    (tmp_path / "pack.toml").symlink_to(tmp_path / "pack.toml")
    with pytest.raises(errors.UsageError, match=r"pack\.toml: "):
        read_source(tmp_path)


DATA = tomllib.loads(PACK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a pack.toml can be written over and over, with its source file."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "src").mkdir()
    (folder / "src" / "scale.c").write_text("")
    return folder


@given(mutation=mutations.mutations(DATA, toml=True))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_changed_pack_toml_is_refused_by_name_or_means_something_else(
    folder: Path, mutation: mutations.Mutation
) -> None:
    """Nothing in a pack.toml is ever passed over."""
    (folder / "pack.toml").write_text(PACK)
    original = read_source(folder)
    (folder / "pack.toml").write_text(mutation.toml())
    try:
        changed = read_source(folder)
    except errors.UsageError as error:
        # For a key that comes twice, TOML's own parser says where it is.
        assert any(name in str(error) for name in [*mutation.names, "Cannot overwrite a value (at line"]), error
        return
    assert (changed == original) == (said(mutation.data) == said(DATA))


def said(data: Any) -> Any:
    """A pack.toml without what may be said or not: empty lists, flags that are false, a factor of 1."""
    if isinstance(data, dict):
        return {name: said(value) for name, value in data.items() if value is not False and value != []}
    if isinstance(data, list):
        return [said(item) for item in data]
    return re.sub(r"[*/]1(?![0-9])", "", data) if isinstance(data, str) else data


@given(raw=mutations.damaged(PACK.encode()))
@settings(deadline=None, max_examples=300)
def test_bytes_at_random_are_a_pack_toml_or_refused(folder: Path, raw: bytes) -> None:
    (folder / "pack.toml").write_bytes(raw)
    with suppress(errors.UsageError):
        read_source(folder)


@given(escape=mutations.PATH_ESCAPES)
@settings(deadline=None, max_examples=100)
def test_source_that_lies_elsewhere_is_refused_by_name(folder: Path, escape: str) -> None:
    kernel = {**DATA["kernel"][0], "source": escape}
    (folder / "pack.toml").write_text(mutations.Mutation({**DATA, "kernel": [kernel]}, [], "").toml())
    with pytest.raises(errors.UsageError, match="source"):
        read_source(folder)


def test_params_header_has_a_word_for_each_symbol_and_parameter(tmp_path: Path) -> None:
    spec = generate.full().kernels[0].spec
    header = params_header(spec, "1.2.3")
    fields = re.findall(r"^    (\w+) (\w+);$", header, re.MULTILINE)
    assert fields == [
        ("uint32_t", "n"),
        ("uint32_t", "m"),
        ("float", "theta"),
        ("uint32_t", "pos"),
        ("int32_t", "shift"),
        ("uint32_t", "interleaved"),
    ]
    checks = """
_Static_assert(sizeof(struct rope_f32_params) == 24, "");
_Static_assert(sizeof(KERNEL_NAME KERNEL_VERSION) == sizeof("rope_f321.2.3") && KERNEL_PARAM_COUNT == 4, "");
"""
    twice = header + header + checks
    (tmp_path / "twice.c").write_text(twice)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-c", "twice.c"]
    subprocess.run([*command, "-Wall", "-Werror"], cwd=tmp_path, check=True)


def test_params_header_of_a_kernel_with_nothing_to_pass_has_no_struct() -> None:
    spec = replace(generate.small().kernels[0].spec, symbols=(), params=())
    assert "struct" not in params_header(spec, "1.2.3")
