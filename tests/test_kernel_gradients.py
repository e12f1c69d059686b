"""kernel_backward of the f32 kernels, against derivatives taken numerically of their float64 formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from kernel_builds import FIRST, IDS, SPECS, Call, CorePack, WasmInstance
from numpy.typing import NDArray

from host import reference
from host.errors import NoSuchKernel
from host.pack.spec import BACKWARD_ENTRY, params_block
from host.runtime import Runtime

F64 = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
WITH_GRADIENTS = [id for id in IDS if SPECS[id].backward]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    runtime = Runtime()
    runtime.install(CorePack())
    return runtime


def numeric(kernel_id: str, inputs: Arrays, dy: NDArray[Any], params: Mapping[str, Any], name: str) -> F64:
    """The derivative of sum(dy * y) by each element of the input ``name``, by central differences of the formula."""
    wide = {key: value.astype(np.float64) for key, value in inputs.items()}

    def loss(change: F64) -> float:
        expected = reference.expected(kernel_id, {**wide, name: wide[name] + change}, params)
        assert expected is not None
        return float(np.sum(dy * expected.value))

    gradient = np.empty(wide[name].size)
    for index in range(gradient.size):
        step = np.zeros(gradient.size)
        step[index] = 1e-5
        change = step.reshape(wide[name].shape)
        gradient[index] = (loss(change) - loss(-change)) / 2e-5
    return gradient.reshape(wide[name].shape)


def close(result: NDArray[Any], expected: F64) -> bool:
    return bool(np.allclose(result, expected, rtol=2e-5, atol=2e-6 * max(1.0, float(np.abs(expected).max()))))


def arrays(*shapes: tuple[int, ...], seed: int = 1, scale: float = 1.0) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("freqs", ["computed", "angles", "pairs"])
def test_gradient_of_rope(runtime: Runtime, freqs: str, interleaved: bool) -> None:
    x, dy, angles = arrays((2, 3, 2, 8), (2, 3, 2, 8), (3, 4))
    given = {"angles": angles, "pairs": np.stack([np.cos(angles), np.sin(angles)], axis=-1)}.get(freqs)
    params = {"theta": 100.0, "pos": 5, "interleaved": interleaved}
    gradients = runtime.backward("rope_f32", dy, given, **params)
    inputs = {"x": x} if given is None else {"x": x, "freqs": given}
    assert gradients.keys() == {"dx"}
    assert close(gradients["dx"], numeric("rope_f32", inputs, dy, params, "x"))


@pytest.mark.parametrize("eps", [1e-5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 16), (2, 2, 19)])
def test_gradients_of_rmsnorm(runtime: Runtime, shape: tuple[int, ...], eps: float) -> None:
    x, dy, weight = arrays(shape, shape, shape[-1:])
    gradients = runtime.backward("rmsnorm_f32", x, dy, weight, eps=eps)
    inputs = {"x": x, "weight": weight}
    assert close(gradients["dx"], numeric("rmsnorm_f32", inputs, dy, {"eps": eps}, "x"))
    assert close(gradients["dweight"], numeric("rmsnorm_f32", inputs, dy, {"eps": eps}, "weight"))


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_gradients_of_swiglu(runtime: Runtime, scale: float) -> None:
    gate, up, dy = arrays((53,), (53,), (53,), scale=scale)
    gradients = runtime.backward("swiglu_f32", gate, dy, up)
    inputs = {"gate": gate, "up": up}
    assert close(gradients["dgate"], numeric("swiglu_f32", inputs, dy, {}, "gate"))
    assert close(gradients["dup"], numeric("swiglu_f32", inputs, dy, {}, "up"))


def test_gradient_of_swiglu_far_out_is_that_of_its_limits(runtime: Runtime) -> None:
    gate = np.array([1e30, -1e30, 200.0, -200.0, 0.0], np.float32)
    one = np.ones_like(gate)
    assert runtime.backward("swiglu_f32", gate, one, one)["dgate"].tolist() == [1, 0, 1, 0, 0.5]


def test_a_kernel_without_gradients_says_which_have_them(runtime: Runtime) -> None:
    with pytest.raises(NoSuchKernel, match=r"no gradients of a kernel 'kv_pack_q8'.*rope_f32, rmsnorm_f32"):
        runtime.backward("kv_pack_q8", np.zeros((1, 32), np.float32))


def test_a_shape_that_does_not_fit_is_named(runtime: Runtime) -> None:
    x, dy, weight = arrays((2, 8), (2, 7), (8,))
    with pytest.raises(ValueError, match=r"dimension 1 .dim. of dy is 7, must be 8"):
        runtime.backward("rmsnorm_f32", x, dy, weight)


# Sizes of input A, input B and output, by the kernel: right ones for the symbols below.
CALLS: dict[str, tuple[dict[str, int], int, int, int]] = {
    "rope_f32": ({"batch": 1, "seq": 1, "heads": 1, "dim": 2}, 8, 0, 8),
    "rmsnorm_f32": ({"rows": 1, "dim": 3}, 16 + 12, 12, 16 + 12),
    "swiglu_f32": ({"n": 3}, 16 + 12, 12, 16 + 12),
}


@pytest.mark.parametrize("kernel_id", WITH_GRADIENTS)
@pytest.mark.parametrize(
    "code, words",
    [
        (0, {}),
        (1, {"input_a_size": 4}),
        (1, {"input_b_size": 20}),
        (2, {"output_size": 4}),
        (2, {"output_offset": FIRST}),
        (3, {"params_size": 48}),
    ],
    ids=["right", "input A", "input B", "output's size", "output over the inputs", "params"],
)
def test_a_broken_call_of_kernel_backward_gets_its_code(kernel_id: str, code: int, words: dict[str, int]) -> None:
    spec = SPECS[kernel_id]
    symbols, input_a, input_b, output = CALLS[kernel_id]
    regions = {"input_a": input_a, "input_b": input_b, "output": output, "scratch": 64 if spec.scratch else 0}
    call = Call(spec, params_block(spec, symbols, {}), **regions)
    instance = WasmInstance(kernel_id, entry=BACKWARD_ENTRY)
    assert instance.run(call)[0] == 6, "not initialised"
    assert instance.init(4 * len(spec.params)) == 0
    if kernel_id == "rope_f32" and "output_offset" in words:
        words = {"output_offset": FIRST + 4}  # it works in place
    assert instance.run(call.change(**words))[0] == code
