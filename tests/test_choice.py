"""On the board: which kernel of an operation a call gets, where its arguments go; tensors of halves and of blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import have_pack

from host import pack
from host.board import Board
from host.pack import keys

pytestmark = pytest.mark.every_board

CALLS = Path(__file__).parent / "calls"


@pytest.fixture(scope="module")
def calls_pack(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """The pack with several kernels for an operation."""
    folder = tmp_path_factory.mktemp("calls")
    return pack.Pack.open(pack.build_pack(CALLS, folder, keys.default_or_create()))


@pytest.fixture
def repl(board: Board, calls_pack: pack.Pack, core_pack_again: None) -> Board:
    """A board with that pack and a few tensors."""
    have_pack(board, calls_pack)
    board.exec(
        "import kern; from array import array\n"
        "T = kern.tensor; x = T((32,)); w = T((4,), 'i32', [1, 2, 3, 4]); y = T((4,), 'i32', [10, 20, 30, 40])\n"
        "q4 = T((32,), 'q4'); q8 = T((32,), 'q8'); h = T((4,), 'f16')"
    )
    return board


CHOSEN = [
    ("kern.pack(x, 'q4')", "q4"),
    ("kern.pack(x, 'q8')", "q8"),
    ("kern.pack(x, out=q4)", "q4"),
    ("kern.pack(x, out=q8)", "q8"),
    ("kern.pack(x=x, out=q8)", "q8"),
    ("kern.pack([0.5] * 32, 'q4')", "q4"),
    ("kern.unpack(q4)", "f32"),
    ("kern.unpack(bytes(34), 'q8')", "f32"),
    ("kern.copy(w)", "i32"),
    ("kern.copy(h)", "f16"),
    ("kern.copy(x=h)", "f16"),
    ("kern.copy(array('f', [1, 2]))", "f32"),
    ("kern.copy([1, 2])", "f32"),
    ("kern.copy(bytes(8))", "f32"),
    ("kern.copy([1, 2], 'f16')", "f16"),
    ("kern.copy([1, 2], out=T((2,), 'i32'))", "i32"),
    ("kern.add(y, w)", "i32"),
    ("kern.add(y, [1, 2, 3, 4])", "i32"),
    ("kern.add(y, bytes(16), 'i32')", "i32"),
]


@pytest.mark.parametrize(("call", "dtype"), CHOSEN)
def test_kernel_is_chosen_by_the_dtypes_of_a_call(repl: Board, call: str, dtype: str) -> None:
    assert repl.eval(f"{call}.dtype") == dtype


REFUSED = [
    ("kern.pack(x)", "TypeError", "pack: pack_q4 and pack_q8 fit; name a dtype, as in kern.pack(..., 'q4')"),
    ("kern.pack([0.5] * 32)", "TypeError", "pack: pack_q4 and pack_q8 fit; "),
    ("kern.pack(x, 'f32')", "TypeError", "pack: pack_q4 and pack_q8 fit; "),
    ("kern.unpack(bytes(306))", "TypeError", "unpack: unpack_q4 and unpack_q8 fit; "),
    ("kern.pack(x, 'q5')", "ValueError", "pack: no dtype 'q5'; its dtypes: f32, q8, q4"),
    ("kern.copy(x, 'q4')", "ValueError", "copy: no dtype 'q4'; its dtypes: f32, f16, i32"),
    ("kern.narrow(T((64,)), 'q4')", "ValueError", "narrow: no dtype 'q4'; its dtypes: f32, q8"),
    (
        "kern.copy(q4)",
        "TypeError",
        "copy: no kernel takes (q4); there is copy_f32(x f32) -> f32, copy_f16(x f16) -> f16, ",
    ),
    ("kern.copy()", "TypeError", "copy: no kernel takes (); there is copy_f32(x f32)"),
    ("kern.copy(x, x)", "TypeError", "copy: no kernel takes (f32, f32); "),
    ("kern.pack(w, 'q4')", "TypeError", "pack_q4: x is i32, must be f32"),
    ("kern.unpack(q8, 'q4')", "TypeError", "unpack_q4: b is q8, must be q4"),
    ("kern.add(y, x)", "TypeError", "add: no kernel takes (i32, f32); there is add_u32(y u32, x u32) -> u32, add_i32("),
    ("kern.run('copy_f32', 'f32')", "TypeError", "x is a str"),
    ("kern.run('add_i32', y)", "TypeError", "add_i32: input x is missing"),
    ("kern.run('add_i32', x=w)", "TypeError", "add_i32: y is read first, and is missing"),
    ("kern.run('add_i32', y, w, w)", "TypeError", "add_i32 takes 2 tensors but 3 were given"),
    ("kern.run('add_i32', y, w, out=y)", "TypeError", "add_i32 takes 1 tensors but 2 were given"),
    ("kern.run('add_i32', w, y=y, x=y)", "TypeError", "add_i32: x is given twice"),
    ("kern.run('add_i32', [1, 2, 3, 4], w)", "TypeError", "add_i32: y is a list, must be a Tensor"),
    ("kern.run('add_i32', T((3,), 'i32'), w)", "ValueError", "add_i32: dimension 0 (n) of y is 3, must be 4"),
    ("kern.run('copy_f32', x, out=[1])", "TypeError", "copy_f32: y is a list, must be a Tensor"),
    ("kern.pack(T((2, 33)), 'q4')", "ValueError", "pack_q4: dim is 33, y needs a multiple of 32"),
    ("kern.pack(T((2, 33)), out=T((2, 32), 'q8'))", "ValueError", "pack_q8: dim is 33, y needs a multiple of 32"),
    ("kern.narrow(T((32,)))", "ValueError", "narrow: the last dimension of y is 16, must be a multiple of 32"),
    ("kern.unpack(bytes(35), 'q8')", "ValueError", "unpack_q8: b has 35 bytes, must be a multiple of 34"),
    ("kern.unpack([0] * 34, 'q8')", "ValueError", "unpack_q8: dim is 34, b needs a multiple of 32"),
    ("kern.unpack([0] * 32, 'q8')", "TypeError", "b: a q8 tensor takes bytes, not numbers"),
    ("T((2, 33), 'q8')", "ValueError", "the last dimension of a q8 tensor is 33, must be a multiple of 32"),
    ("T((), 'q4')", "ValueError", "the last dimension of a q4 tensor is 0, must be a multiple of 32"),
    ("T((32,), 'q8', [0] * 32)", "TypeError", "a q8 tensor takes bytes, not numbers"),
    ("q4.tolist()", "TypeError", "a q4 tensor holds blocks: unpack it, or take bytes(tensor)"),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED)
def test_refused_call_says_what_was_wrong(repl: Board, call: str, kind: str, message: str) -> None:
    said = repl.exec(f"try:\n    {call}\nexcept Exception as e:\n    print(type(e).__name__, e)").strip()
    assert said.startswith(f"{kind} "), said
    assert message in said


IN_PLACE = [
    "kern.add(y, w)",
    "kern.add(w, out=y)",
    "kern.add(w, y=y)",
    "kern.add(x=w, y=y)",
    "kern.add(y, x=w)",
    "kern.run('add_i32', y, w)",
    "kern.run('add_i32', w, out=y)",
    "kern.bind('add_i32', y, w)()",
    "kern.bind('add_i32', w, y=y)()",
]


@pytest.mark.parametrize("call", IN_PLACE)
def test_inout_output_comes_first_or_by_name_and_is_the_result(repl: Board, call: str) -> None:
    assert repl.eval(f"{call} is y")
    assert repl.eval("y.tolist()") == [11, 22, 33, 44]


def test_host_gives_inout_outputs_first_too(repl: Board) -> None:
    y, x = np.array([10, 20, 30], "<i4"), np.array([1, 2, 3], "<i4")
    assert repl.run("add_i32", [y, x]).tolist() == [11, 22, 33]


def test_kernels_tells_which_outputs_are_read_first(repl: Board) -> None:
    assert [tensor["inout"] for tensor in repl.eval("kern.kernels('add_i32')['outputs']")] == [True]
    assert [tensor["inout"] for tensor in repl.eval("kern.kernels('copy_i32')['outputs']")] == [False]


def test_blocks_go_in_and_out_as_bytes(repl: Board) -> None:
    blocks = bytes(range(36))
    assert repl.eval(f"bytes(T((2, 32), 'q4', {blocks!r}))") == blocks
    assert repl.eval("T((2, 32), 'q4').nbytes") == 36
    packed = repl.run("pack_q8", [np.arange(64, dtype="<f4").reshape(2, 32)])
    assert packed.shape == (2, 34)
    assert packed.tobytes() == np.arange(64, dtype="<f4").tobytes()[:68]
    assert repl.run("unpack_q8", [packed[0]]).shape == (32,)


def test_halves_are_the_nearest_to_even(repl: Board) -> None:
    """Every finite half, the middle between each two, and the floats next to it; infinities and NaN."""
    halves = np.arange(0x7C00, dtype="<u2").view("<f2").astype("<f4")
    middles = np.append((halves[:-1] + halves[1:]) / 2, np.float32(65520))
    values = np.concatenate([halves, middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.inf)])
    values = np.random.default_rng(3).permutation(np.concatenate([values, -values]))[:3000].astype("<f4")
    edges = [0.0, -0.0, 65504, 65519.99, 65520, -65520, 65536, 1e30, np.inf, -np.inf, 2**-24, 2**-25, 2**-25 * 1.001]
    edges += [2**-14, 2**-14 - 2**-25, 1.5 * 2**-24, 2.5 * 2**-24, 1e-30, 1.9997]
    values = np.concatenate([values, np.array(edges, "<f4")])
    with np.errstate(over="ignore"):
        expected = values.astype("<f2")
    repl.exec("import struct")
    for at in range(0, len(values), 100):
        part = values[at : at + 100]
        got = repl.eval(f"bytes(T(({len(part)},), 'f16', struct.unpack('<{len(part)}f', {part.tobytes()!r})))")
        assert got == expected[at : at + 100].tobytes()


def test_halves_are_listed_exactly(repl: Board) -> None:
    halves = np.array([0, 1, 2, 0x3FF, 0x400, 0x3C00, 0x3C01, 0x7BFF, 0x8001, 0xFBFF], "<u2")
    floats = repl.eval(f"bytes(T(({len(halves)},), 'f32', T(({len(halves)},), 'f16', {halves.tobytes()!r}).tolist()))")
    assert floats == halves.view("<f2").astype("<f4").tobytes()
    odd = np.array([0x7C00, 0xFC00, 0x7E00], "<u2").tobytes()
    assert repl.exec(f"print(T((3,), 'f16', {odd!r}).tolist())").strip() == "[inf, -inf, nan]"
    nan = repl.eval("bytes(T((1,), 'f16', [float('nan')]))")
    assert np.isnan(np.frombuffer(nan, "<f2")[0])
