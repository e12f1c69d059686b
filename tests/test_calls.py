"""Calls as a person types them at the board's REPL: what works, and what clear error the rest gets."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from host import parts
from host.board import Board
from host.boards import Board as Facts
from host.errors import BoardError, NoSuchKernel

pytestmark = pytest.mark.every_board


@pytest.fixture
def repl(board: Board) -> Board:
    """A board with kern imported and a tensor x of rope's shape."""
    board.exec("import kern; from array import array; x = kern.tensor((1, 2, 1, 4), 'f32', [1, 0, 0, 1, 1, 0, 0, 1])")
    return board


def test_rope_rotates_by_position(repl: Board) -> None:
    got = np.array(repl.eval("kern.rope(x, theta=10000.0, pos=0).tolist()"))
    angles = np.array([[0, 0], [1, 0.01]])
    expected = np.stack([np.cos(angles[:, 0]), np.sin(angles[:, 0]), -np.sin(angles[:, 1]), np.cos(angles[:, 1])], -1)
    np.testing.assert_allclose(got.reshape(2, 4), expected, atol=1e-6)


def test_out_is_written_and_returned(repl: Board) -> None:
    assert repl.eval(
        "[(y := kern.tensor((1, 2, 1, 4))), kern.rope(x, out=y) is y, y.tolist() == kern.rope(x).tolist()][1:]"
    ) == [
        True,
        True,
    ]


def test_bound_call_gives_what_the_plain_call_gives(repl: Board) -> None:
    repl.exec("f = kern.bind('rope_f32', x, pos=3); f()")
    assert repl.eval("f.out.tolist() == kern.rope(x, pos=3).tolist()")
    assert repl.eval("f.cycles") > 0


def test_reference_in_the_firmware_gives_the_same_bits(repl: Board) -> None:
    repl.exec("f = kern.bind('rope_f32', x, pos=3); f(); g = kern.bind('rope_f32', x, pos=3, reference=True); g()")
    assert repl.eval("bytes(f.out) == bytes(g.out)")


def test_references_may_be_in_a_batch(repl: Board) -> None:
    repl.exec("calls = [kern.bind('rope_f32', x, pos=3, reference=r) for r in (False, True, False, True)]")
    repl.exec("kern.batch(calls); results = [bytes(f.out) for f in calls]; calls[0]()")
    assert repl.eval("results == 4 * [bytes(calls[0].out)] and kern.stats()['calls'] == 5")


def test_array_bytes_and_lists_are_accepted(repl: Board) -> None:
    """rmsnorm of ones with weight one is (nearly) one, whatever the inputs are made of."""
    for weight in ("array('f', [1] * 4)", "bytes(array('f', [1] * 4))", "[1.0] * 4", "memoryview(array('f', [1] * 4))"):
        got = repl.eval(f"kern.rmsnorm(kern.tensor((2, 4), 'f32', [[1] * 4] * 2), {weight}).tolist()")
        np.testing.assert_allclose(got, 1.0, atol=1e-5)


def test_tensor_speaks_the_buffer_protocol(repl: Board) -> None:
    assert repl.eval("bytes(x) == bytes(array('f', [1, 0, 0, 1, 1, 0, 0, 1]))")
    assert repl.eval("(x.shape, x.dtype, x.nbytes)") == ((1, 2, 1, 4), "f32", 32)


def test_kernels_chain_with_no_copy(repl: Board) -> None:
    repl.exec(
        "y = kern.rope(x); w = kern.tensor((4,), 'f32', [1] * 4); z = kern.rmsnorm(y, w, out=kern.tensor(y.shape))"
    )
    assert repl.eval("z.shape") == (1, 2, 1, 4)


def test_kv_cache_is_packed_and_unpacked_in_either_format(repl: Board) -> None:
    repl.exec("a = kern.tensor((2, 64), 'f32', [i / 64 - 1 for i in range(128)])")
    expected = np.arange(128) / 64 - 1
    for dtype, step in (("q4", 1 / 8), ("q8", 1 / 127)):
        repl.exec(f"b = kern.kv_pack(a, {dtype!r})")
        assert repl.eval("(b.shape, b.dtype)") == ((2, 64), dtype)
        for unpack in ("kern.kv_unpack(b)", f"kern.kv_unpack(kern.tensor((2, 64), {dtype!r}, bytes(b)), {dtype!r})"):
            got = np.array(repl.eval(f"{unpack}.tolist()")).reshape(-1)
            np.testing.assert_allclose(got, expected, atol=step)


def test_lora_apply_adds_to_its_first_argument(repl: Board) -> None:
    repl.exec("T = kern.tensor; y = T((1, 2), 'f32', [1, 2]); a = T((3, 1), 'f32', [1, 1, 1])")
    repl.exec("b = T((1, 2), 'f32', [1, 10])")
    assert repl.eval("kern.lora_apply(y, [[1, 2, 3]], a, b, scale=0.5) is y")
    assert repl.eval("y.tolist()") == [[4, 32]]


def test_status_tells_version_pack_and_memory(repl: Board, facts: Facts) -> None:
    status = repl.status()
    assert (status["board"], status["target"]) == (facts.name, facts.wamrc.target_id)
    assert (status["pack"]["name"], status["pack"]["version"]) == ("core", "1.0.0")
    assert status["arena"]["size"] == facts.memory.arena_size and 0 < status["arena"]["free"] < status["arena"]["size"]
    assert status["deadline_ms"] == facts.limits.deadline_ms
    assert status["wamr"] == parts.get("wamr").version


def test_stats_count_calls(repl: Board) -> None:
    before = repl.stats()["calls"]
    repl.exec("f = kern.bind('rope_f32', x)\nfor _ in range(10): f()")
    assert repl.stats()["calls"] == before + 10


def test_an_argument_may_change_the_list_that_it_is_in(repl: Board) -> None:
    """What the list was made of is gone by then, and may be something else."""
    repl.exec("""
import gc
class Clears:
    def __init__(self, items): self.items = items
    def __float__(self):
        self.items.clear(); gc.collect(); self.other = [bytearray(range(16)) for _ in range(50)]
        return 2.0
    def __int__(self):
        return int(self.__float__())
data, shape = [], []
data.extend([Clears(data)] + [1.0] * 200)
shape.extend([Clears(shape), 3, 4])
""")
    assert repl.eval("kern.tensor(shape).shape") == (2, 3, 4)
    with pytest.raises(BoardError, match="ValueError: tensor: a list has 0 elements, must have 201"):
        repl.exec("kern.tensor((201,), 'f32', data)")


BAD_CALLS = [
    ("kern.tensor((4,), 'f64')", "ValueError", "f64"),
    ("kern.tensor((4, 0), 'f32')", "ValueError", "0"),
    ("kern.tensor((-1,), 'f32')", "ValueError", "-1"),
    ("kern.tensor((4,), 'f32', [1, 2, 3])", "ValueError", "3"),
    ("kern.tensor((4,), 'f32', b'123')", "ValueError", "3"),
    ("kern.tensor((4,), 'f32', range(4))", "TypeError", "range, must be a Tensor, nested lists"),
    ("kern.tensor((4,), 'f32', 4)", "TypeError", "int, must be"),
    ("(c := []).append(c); kern.tensor((2,), 'f32', c)", "ValueError", "too many dimensions"),
    ("kern.tensor((1 << 20,), 'f32')", "MemoryError", "4194304"),
    ("kern.tensor((1 << 30, 1 << 30), 'f32')", "(MemoryError|ValueError|OverflowError)", ""),
    ("kern.rope(kern.tensor((2, 4), 'f32'))", "ValueError", "(batch, seq, heads, dim)"),
    ("kern.rope(kern.tensor((1, 2, 1, 5), 'f32'))", "ValueError", "dim"),
    ("kern.rope(x, kern.tensor((2, 3), 'f32'))", "ValueError", "freqs"),
    ("kern.rope(x, colour=1)", "TypeError", "colour"),
    ("kern.rope(x, pos=-1)", "(ValueError|OverflowError)", "pos"),
    ("kern.rope(x, pos='far')", "TypeError", ""),
    ("kern.rope()", "TypeError", "x"),
    ("kern.rope(x, 'q4')", "ValueError", "its dtypes: f32, f16, q8"),
    ("kern.kv_pack(x)", "TypeError", "kv_pack_q4 and kv_pack_q8 fit"),
    ("kern.kv_pack(kern.tensor((2, 33)), 'q4')", "ValueError", "kv_pack_q4: dim is 33, y needs a multiple of 32"),
    ("kern.rope(x, None, x, x)", "TypeError", ""),
    ("kern.rope(x, out=kern.tensor((1, 2, 1, 8)))", "ValueError", "8"),
    ("kern.rope(x, out=3)", "TypeError", ""),
    ("kern.rmsnorm(x, kern.tensor((5,), 'f32'))", "ValueError", "5"),
    ("kern.rmsnorm(x, array('f', [1] * 5))", "ValueError", "weight"),
    ("kern.rmsnorm(a, w, out=kern.tensor((2, 3, 5)))", "ValueError", "dimension 2 (dim) of y is 5, must be 4"),
    ("kern.rmsnorm(a, w, out=kern.tensor((2, 2, 4)))", "ValueError", "leading dimensions of y make rows = 4,"),
    ("kern.swiglu(x, kern.tensor((3,), 'f32'))", "ValueError", "up"),
    ("kern.rope(kern.tensor((1, 2, 1, 4), 'i32'))", "(NoSuchKernel|TypeError|KernelError)", "i32"),
    ("kern.run('rope_f32', kern.tensor((1, 2, 1, 4), 'i32'))", "TypeError", "i32"),
    ("kern.run('nothing', x)", "NoSuchKernel", "nothing"),
    ("kern.bind('nothing', x)", "NoSuchKernel", "nothing"),
    ("kern.nothing(x)", "AttributeError", "nothing"),
    ("kern.install('/nothing.kimg')", "OSError", ""),
    ("kern.install(3)", "TypeError", ""),
]


@pytest.mark.parametrize(("call", "error", "names"), BAD_CALLS)
def test_bad_call_gets_a_python_error_that_names_what_was_wrong(repl: Board, call: str, error: str, names: str) -> None:
    code = f"""
        a = kern.tensor((2, 3, 4))
        w = kern.tensor((4,))
        try:
            {call}
        except Exception as e:
            print(type(e).__name__, e)
        else:
            print('nothing')
    """
    kind, _, message = repl.exec(textwrap.dedent(code)).strip().partition(" ")
    assert kind in error.strip("()").split("|"), (kind, message)
    assert names in message
    assert repl.eval("kern.rope(x).shape") == (1, 2, 1, 4)


def test_tensors_that_are_no_longer_reachable_are_freed(repl: Board) -> None:
    repl.exec("for _ in range(50): t = kern.tensor((4096,), 'f32')")


def test_soft_reset_gives_the_arena_back(board: Board) -> None:
    free = board.status()["arena"]["free"]
    board.exec("import kern; t = [kern.tensor((1024,), 'f32') for _ in range(20)]")
    assert board.status()["arena"]["free"] < free
    board.soft_reset()
    assert board.status()["arena"]["free"] == free


def test_host_sees_the_boards_own_error_classes(board: Board) -> None:
    with pytest.raises(NoSuchKernel, match="nothing"):
        board.run("nothing", [np.zeros(4, "<f4")])
    with pytest.raises(BoardError, match="ZeroDivisionError"):
        board.exec("1 / 0")


def test_ctrl_c_during_calls_leaves_the_board_well(repl: Board) -> None:
    repl.exec("a = kern.tensor((1, 8, 4, 32)); f = kern.bind('rope_f32', a)")
    for _ in range(5):
        repl._link.begin("while True: f()")
        repl._link.interrupt()
        assert repl.eval("kern.rope(x).shape") == (1, 2, 1, 4)
