"""Native operations: numpy in place of a kernel, for what wasm is too slow for (requirement K6).

    ops = NativeOps()
    ops.allow("attention")
    y = ops.run("native:attention", q, k, v, causal=True)

They run outside the sandbox, so the rule is: a native operation runs only when it was allowed and the call itself says
``native:``. No kernel has that in its id, so a kernel of a pack is never replaced by one, nor hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from host.errors import NoSuchKernel

Array = NDArray[Any]

PREFIX = "native:"
"""What the name of a native operation begins with in a call."""
_LARGE = 1000 * 1000
"""Elements; a matrix product in which no matrix has more is for a kernel."""
_ROWS = 256
"""Queries whose scores are in memory at a time."""


@dataclass(frozen=True)
class NativeOp:
    """A trusted operation. ``compute`` takes arrays by position and parameters by name, and returns a new array.

    Arrays are of one dtype, one of ``dtypes``.
    """

    name: str
    compute: Callable[..., Array]
    arguments: tuple[str, ...]
    params: tuple[str, ...]
    dtypes: tuple[str, ...]


class NativeOps:
    """The native operations of a runtime, none of which is allowed to begin with."""

    def __init__(self) -> None:
        self._allowed: dict[str, NativeOp] = {}

    @property
    def allowed(self) -> tuple[str, ...]:
        """Names of the operations that were allowed, in that order."""
        return tuple(self._allowed)

    def allow(self, name: str) -> None:
        """Let calls of ``native:<name>`` run. Raises NoSuchKernel, saying which there are."""
        if name not in OPERATIONS:
            raise NoSuchKernel(f"there is no native operation {name!r}; there are: {', '.join(OPERATIONS)}")
        self._allowed[name] = OPERATIONS[name]

    def run(self, called: str, *arguments: ArrayLike | None, out: Array | None = None, **params: Any) -> Array:
        """Call the operation ``native:<name>`` and return its result: a new array, or ``out`` filled with it.

        Raises NoSuchKernel when there is none or it was not allowed, TypeError and ValueError for arguments that do
        not fit.
        """
        op = self._find(called.removeprefix(PREFIX))
        arrays = _arrays(op, arguments)
        unknown = sorted(set(params) - set(op.params))
        if unknown:
            known = ", ".join(op.params) or "none"
            raise TypeError(f"{called} has no parameter {unknown[0]!r}; its parameters: {known}")
        result = op.compute(*arrays, **params)
        if out is None:
            return result
        if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (result.shape, result.dtype):
            raise ValueError(f"{called}: out must be an array of {result.dtype}, shape {result.shape}")
        np.copyto(out, result)
        return out

    def _find(self, name: str) -> NativeOp:
        if name in self._allowed:
            return self._allowed[name]
        if name in OPERATIONS:
            raise NoSuchKernel(f"the native operation {name!r} is not allowed; it runs outside the sandbox")
        raise NoSuchKernel(f"there is no native operation {name!r}; there are: {', '.join(OPERATIONS)}")


def attention(q: Array, k: Array, v: Array, causal: bool = False) -> Array:
    """softmax(q k^T / sqrt(d)) v, over the last two dimensions.

    q [..., n, d], k [..., m, d], v [..., m, dv] of f32 or f16, leading dimensions broadcast; the result [..., n, dv]
    has their dtype. All is computed in f32. With ``causal`` the queries are the last n of m positions, and each sees
    the keys up to its own. Raises ValueError for shapes that do not fit.
    """
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape}, v {v.shape} must be [..., n, d], [..., m, d], [..., m, dv]"
        )
    n, d, m = q.shape[-2], q.shape[-1], k.shape[-2]
    if 0 in (d, m):
        raise ValueError(f"attention: k {k.shape} must have at least one key of at least one number")
    if causal and n > m:
        raise ValueError(f"attention: causal, but there are more queries ({n}) than keys ({m})")
    leading = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    result = np.empty((*leading, n, v.shape[-1]), q.dtype)
    scaled, keys, values = q.astype(np.float32) / np.float32(math.sqrt(d)), k.astype(np.float32), v.astype(np.float32)
    for begin in range(0, n, _ROWS):
        end = min(begin + _ROWS, n)
        seen = m - n + end if causal else m  # no query of these sees a later key
        scores = scaled[..., begin:end, :] @ np.swapaxes(keys[..., :seen, :], -1, -2)
        if causal:
            positions = np.arange(m - n + begin, m - n + end)[:, None]
            scores = np.where(np.arange(seen) <= positions, scores, -np.inf)
        result[..., begin:end, :] = _softmax(scores) @ values[..., :seen, :]
    return result


def matmul(a: Array, b: Array) -> Array:
    """a b of f32, a [m, k] and b [k, n], one of the three matrices having more than 1000 x 1000 elements.

    Raises ValueError for smaller ones, and for shapes that do not fit.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: a {a.shape} and b {b.shape} must be [m, k] and [k, n]")
    if max(a.size, b.size, a.shape[0] * b.shape[1]) <= _LARGE:
        raise ValueError(f"matmul: a {a.shape} and b {b.shape} are not above 1000 x 1000: that is for a kernel")
    return np.asarray(a @ b)


OPERATIONS: Mapping[str, NativeOp] = {
    op.name: op
    for op in (
        NativeOp("attention", attention, ("q", "k", "v"), ("causal",), ("float32", "float16")),
        NativeOp("matmul", matmul, ("a", "b"), (), ("float32",)),
    )
}
"""Every native operation by name."""


def _softmax(scores: Array) -> Array:
    """Over the last dimension, without overflow: the largest score is taken off first."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _arrays(op: NativeOp, arguments: tuple[ArrayLike | None, ...]) -> list[Array]:
    """The arguments as arrays of one of the operation's dtypes. Lists are taken as of the first."""
    if len(arguments) != len(op.arguments) or any(value is None for value in arguments):
        raise TypeError(f"{PREFIX}{op.name} takes {', '.join(op.arguments)}, got {len(arguments)} arguments")
    arrays = [value if isinstance(value, np.ndarray) else np.asarray(value, op.dtypes[0]) for value in arguments]
    for name, array in zip(op.arguments, arrays, strict=True):
        if array.dtype.name not in op.dtypes:
            raise TypeError(f"{PREFIX}{op.name}: {name} has dtype {array.dtype}, must be {' or '.join(op.dtypes)}")
        if array.dtype != arrays[0].dtype:
            raise TypeError(f"{PREFIX}{op.name}: {name} has dtype {array.dtype}, {op.arguments[0]} {arrays[0].dtype}")
    return arrays
