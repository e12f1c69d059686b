"""The kernel clip on a board: pytest, or pytest --board /dev/ttyACM0."""

import numpy as np
import pytest

import host
from host.errors import InvalidParams


def test_values_come_back_within_the_limits(board: host.Board, pack: host.Pack) -> None:
    x = np.array([-np.inf, -2, -0.5, 0, 0.5, 2, np.inf], np.float32)
    y = board.run("clip_f32", [x], {"low": -1.0, "high": 1.0})
    assert y.tolist() == [-1, -1, -0.5, 0, 0.5, 1, 1]


def test_the_board_gives_wasmtimes_bits(board: host.Board, pack: host.Pack) -> None:
    x = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    with host.Runtime() as runtime:
        runtime.install(pack)
        expected = runtime.run("clip_f32", x, low=-0.25, high=0.75)
    assert board.run("clip_f32", [x], {"low": -0.25, "high": 0.75}).tobytes() == expected.tobytes()


def test_limits_that_cross_are_refused(board: host.Board, pack: host.Pack) -> None:
    with pytest.raises(InvalidParams):
        board.run("clip_f32", [np.zeros(4, np.float32)], {"low": 1.0, "high": -1.0})
    assert board.stats()["faults"] == {"InvalidParams": 1}


def test_the_repl_has_the_operation(board: host.Board, pack: host.Pack) -> None:
    board.exec("import kern\nx = kern.tensor((3,), 'f32', [-3, 0.5, 3])")
    assert board.eval("kern.clip(x, low=0.0).tolist()") == [0.0, 0.5, 1.0]
