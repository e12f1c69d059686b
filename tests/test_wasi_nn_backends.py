"""WASI-NN's other backends: GGUF files that PyPI's `gguf` writes, and the project's kernels, by a guest in C."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import CorePack
from nn_guest import Arena, Array, guest_wasm
from numpy.typing import NDArray

from host.pack.spec import DTYPES
from host.runtime import Runtime
from host.wasi_nn import Budget, Encoding, Errno, GgufBackend, Guest, KernelGraph, NNError
from host.wasi_nn.graph import Graph

F32 = NDArray[np.float32]
TYPES = {name: gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "Q8_0", "Q4_0")}
RNG = np.random.default_rng(7)
WEIGHTS = [RNG.standard_normal(shape).astype(np.float32) for shape in ((64, 32), (96, 64), (5, 96))]
BIASES = [RNG.standard_normal(len(weight)).astype(np.float32) for weight in WEIGHTS]
X = RNG.standard_normal((3, 32)).astype(np.float32)


def mlp(
    weights: Mapping[str, Array],
    types: Mapping[str, gguf.GGMLQuantizationType],
    activation: str | None = "relu",
    architecture: str = "mlp",
) -> bytes:
    """A GGUF file's bytes, as PyPI's `gguf` writes them; weights without a type are F32."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        if activation is not None:
            writer.add_string("mlp.activation", activation)
        writer.add_array("labels", ["no", "one", "reads"])  # what an mlp does not need is read over
        writer.add_array("sizes", [1, 2, 3])
        for name, weight in weights.items():
            kind = types.get(name, gguf.GGMLQuantizationType.F32)
            writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


@cache
def network(kind: str, activation: str = "relu") -> bytes:
    """Three layers with weights of one type; the first two have biases."""
    weights = {f"layers.{i}.weight": weight for i, weight in enumerate(WEIGHTS)}
    biases = {f"layers.{i}.bias": bias for i, bias in enumerate(BIASES[:2])}
    return mlp({**weights, **biases}, dict.fromkeys(weights, TYPES[kind]), activation)


def by_gguf(kind: str, activation: str, x: F32) -> F32:
    """The same network in numpy, its weights read by PyPI's `gguf`."""
    functions = {"none": lambda x: x, "relu": lambda x: np.maximum(x, 0), "silu": lambda x: x / (1 + np.exp(-x))}
    for i, weight in enumerate(WEIGHTS):
        x = x @ dequantize(quantize(weight, TYPES[kind]), TYPES[kind]).astype(np.float32).T
        if i < 2:
            x = functions[activation](x + BIASES[i])
    return x


def load(data: bytes) -> Graph:
    return GgufBackend().load([data], Budget(time.monotonic() + 10, 1 << 20))


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest(guest_wasm()) as made:
        yield made


@pytest.fixture
def arena(guest: Guest) -> Arena:
    return Arena(guest)


# ---- GGUF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["none", "relu", "silu"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_guest_runs_a_network_of_a_gguf_file(arena: Arena, kind: str, activation: str) -> None:
    data = network(kind, activation)
    output, written = arena.room(256), arena.room(4)
    arguments = (arena.put(data), len(data), Encoding.GGML, arena.tensor(X), output, 256, written)
    assert arena.guest.call("run", *arguments) == Errno.SUCCESS, arena.guest.last_error
    result = np.frombuffer(arena.guest.read(output, arena.u32(written)), np.float32).reshape(3, 5)
    np.testing.assert_allclose(result, by_gguf(kind, activation, X), rtol=1e-4, atol=1e-4)


def test_a_file_of_the_hosts_is_found_by_its_name_and_a_guests_own_by_its_magic(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(network("Q4_0"))
    with Guest(guest_wasm(), models={"small": GgufBackend().open(tmp_path / "small.gguf")}) as guest:
        arena = Arena(guest)
        contexts = arena.named("small"), arena.loaded(network("Q4_0"), Encoding.AUTODETECT)
        for context in contexts:
            assert arena.compute(context, X) == Errno.SUCCESS
        assert arena.output(contexts[0]) == arena.output(contexts[1])


def test_a_layer_of_many_rows_is_unpacked_in_parts_to_the_same_result() -> None:
    weight = np.random.default_rng(8).standard_normal((70_000, 32)).astype(np.float32)
    kind = TYPES["Q8_0"]
    graph = load(mlp({"layers.0.weight": weight}, {"layers.0.weight": kind}, "none"))
    (result,) = graph.infer({0: X[:1]}, Budget(time.monotonic() + 10, 1 << 20))
    np.testing.assert_allclose(result, X[:1] @ dequantize(quantize(weight, kind), kind).T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("x", [X.astype(np.float16), X[0], X[:, :31].copy(), X[None]], ids=str)
def test_an_input_that_does_not_fit_the_first_layer_is_an_invalid_argument(arena: Arena, x: Array) -> None:
    context = arena.loaded(network("F16"), Encoding.GGML)
    assert arena.guest.call("set_input", context, 0, arena.tensor(x)) == Errno.INVALID_ARGUMENT
    assert arena.guest.call("set_input", context, 1, arena.tensor(X)) == Errno.INVALID_ARGUMENT
    assert arena.guest.call("compute", context) == Errno.RUNTIME_ERROR


def test_outputs_beyond_the_limit_are_refused_before_they_are_computed() -> None:
    graph = load(network("F32"))
    with pytest.raises(NNError, match="1152 bytes, 1151 are left") as caught:
        graph.infer({0: X}, Budget(time.monotonic() + 10, 3 * 96 * 4 - 1))
    assert caught.value.errno == Errno.TOO_LARGE


def test_computing_ends_with_the_time() -> None:
    with pytest.raises(NNError, match="time is used up") as caught:
        load(network("F32")).infer({0: X}, Budget(time.monotonic() - 1, 1 << 20))
    assert caught.value.errno == Errno.RUNTIME_ERROR


ROW = np.zeros((4, 32), np.float32)
BROKEN: Mapping[str, tuple[bytes, Errno, str]] = {
    "a language model": (mlp({"layers.0.weight": ROW}, {}, architecture="llama"), Errno.UNSUPPORTED_OPERATION, "llama"),
    "an activation nobody knows": (mlp({"layers.0.weight": ROW}, {}, "tanh"), Errno.UNSUPPORTED_OPERATION, "tanh"),
    "no activation": (mlp({"layers.0.weight": ROW}, {}, None), Errno.UNSUPPORTED_OPERATION, "None"),
    "a type nobody knows": (
        mlp({"layers.0.weight": ROW}, {"layers.0.weight": gguf.GGMLQuantizationType.Q5_0}),
        Errno.UNSUPPORTED_OPERATION,
        "ggml type 6",
    ),
    "no tensor": (mlp({}, {}), Errno.INVALID_ARGUMENT, "no layer"),
    "a tensor too many": (mlp({"layers.0.weight": ROW, "rope": ROW}, {}), Errno.INVALID_ARGUMENT, "rope"),
    "a layer left out": (
        mlp({"layers.0.weight": ROW, "layers.2.weight": ROW}, {}),
        Errno.INVALID_ARGUMENT,
        "layers.2.weight",
    ),
    "layers that do not fit": (
        mlp({"layers.0.weight": ROW, "layers.1.weight": ROW}, {}),
        Errno.INVALID_ARGUMENT,
        "layer 0 gives 4 values, the next takes 32",
    ),
    "a bias that does not fit": (
        mlp({"layers.0.weight": ROW, "layers.0.bias": ROW[0]}, {}),
        Errno.INVALID_ARGUMENT,
        r"layers.0.bias has shape \[32\], must be \[4\]",
    ),
    "three dimensions": (mlp({"layers.0.weight": ROW[None]}, {}), Errno.INVALID_ARGUMENT, r"\[1, 4, 32\]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_such_network_says_what_is_wrong(name: str) -> None:
    data, errno, message = BROKEN[name]
    with pytest.raises(NNError, match=message) as caught:
        load(data)
    assert caught.value.errno == errno


def test_a_file_cut_short_anywhere_is_an_invalid_argument() -> None:
    whole = mlp({"layers.0.weight": ROW, "layers.0.bias": ROW[0, :4]}, {"layers.0.weight": TYPES["Q8_0"]})
    end = max(tensor.data_offset + int(tensor.n_bytes) for tensor in read_by_gguf(whole))
    load(whole[:end])
    for size in range(end):
        with pytest.raises(NNError) as caught:
            load(whole[:size])
        assert caught.value.errno in (Errno.INVALID_ARGUMENT, Errno.UNSUPPORTED_OPERATION), size


@pytest.mark.parametrize("rows", [5, 2**31, 2**62, 2**64 - 1])
def test_a_tensor_that_is_larger_than_the_file_is_cut_short(rows: int) -> None:
    whole = mlp({"layers.0.weight": ROW}, {})
    dims = (len(ROW[0]).to_bytes(8, "little"), len(ROW).to_bytes(8, "little"))
    assert whole.count(b"".join(dims)) == 1
    with pytest.raises(NNError, match="cut short") as caught:
        load(whole.replace(b"".join(dims), dims[0] + rows.to_bytes(8, "little")))
    assert caught.value.errno == Errno.INVALID_ARGUMENT


def read_by_gguf(data: bytes) -> list[gguf.gguf_reader.ReaderTensor]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(data)
        return list(gguf.GGUFReader(path).tensors)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_errno_or_another_network(data: st.DataObject) -> None:
    damaged = bytearray(network("Q8_0"))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    try:
        graph = load(bytes(damaged))
        graph.check_input(0, X)
        graph.infer({0: X}, Budget(time.monotonic() + 10, 1 << 20))
    except NNError as error:
        assert error.errno in (Errno.INVALID_ARGUMENT, Errno.UNSUPPORTED_OPERATION, Errno.TOO_LARGE)


def test_counts_that_the_file_does_not_hold_up_are_refused_at_once() -> None:
    header = b"GGUF" + (3).to_bytes(4, "little")
    array = b"\1" + bytes(7) + b"k" + (9).to_bytes(4, "little")
    huge = (2**60).to_bytes(8, "little")
    one = (1).to_bytes(8, "little")
    for bad in (
        header + huge + bytes(8),
        header + bytes(8) + huge,
        header + bytes(8) + one + huge,
        *(header + bytes(8) + one + array + kind.to_bytes(4, "little") + huge for kind in range(13)),
        header + bytes(8) + one + array + (8).to_bytes(4, "little") + (3).to_bytes(8, "little") + bytes(8),
    ):
        with pytest.raises(NNError) as caught:
            load(bad)
        assert caught.value.errno == Errno.INVALID_ARGUMENT


# ---- kernels -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with Runtime() as made:
        made.install(CorePack())
        yield made


@pytest.fixture
def with_kernels(runtime: Runtime) -> Iterator[Arena]:
    with runtime.guest(guest_wasm()) as guest:
        yield Arena(guest)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_a_guest_runs_a_kernel_of_the_pack_by_its_name(runtime: Runtime, with_kernels: Arena, dtype: str) -> None:
    x, weight = (RNG.standard_normal(shape).astype(DTYPES[dtype].numpy) for shape in ((4, 64), (64,)))
    context = with_kernels.named(f"rmsnorm_{dtype}")
    assert with_kernels.compute(context, x, weight) == Errno.SUCCESS, with_kernels.guest.last_error
    assert with_kernels.output(context) == runtime.run(f"rmsnorm_{dtype}", x, weight).tobytes()


def test_quantised_tensors_of_kernels_are_bytes(runtime: Runtime, with_kernels: Arena) -> None:
    context, x = with_kernels.named("kv_pack_q4"), RNG.standard_normal((2, 64)).astype(np.float32)
    assert with_kernels.compute(context, x) == Errno.SUCCESS, with_kernels.guest.last_error
    packed = np.frombuffer(with_kernels.output(context), np.uint8).reshape(2, 36)
    assert packed.tobytes() == quantize(x, TYPES["Q4_0"]).tobytes()
    back = with_kernels.named("kv_unpack_q4")
    assert with_kernels.compute(back, packed) == Errno.SUCCESS, with_kernels.guest.last_error
    assert with_kernels.output(back) == runtime.run("kv_unpack_q4", packed).tobytes()


def test_an_in_out_kernel_leaves_the_guests_inputs_as_they_were(runtime: Runtime, with_kernels: Arena) -> None:
    shapes = ((2, 16), (2, 8), (8, 4), (4, 16))
    arrays = [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]
    context = with_kernels.named("lora_apply_f32")
    expected = runtime.run("lora_apply_f32", *(array.copy() for array in arrays)).tobytes()
    assert with_kernels.compute(context, *arrays) == Errno.SUCCESS, with_kernels.guest.last_error
    assert with_kernels.output(context) == expected
    assert with_kernels.guest.call("compute", context) == Errno.SUCCESS
    assert with_kernels.output(context) == expected


def test_what_does_not_fit_a_kernel_is_an_invalid_argument(with_kernels: Arena) -> None:
    x, weight = np.zeros((4, 64), np.float32), np.zeros(64, np.float32)
    context = with_kernels.named("rmsnorm_f32")
    assert with_kernels.guest.call("compute", context) == Errno.INVALID_ARGUMENT, "nothing is set"
    for wrong in ((x.astype(np.float64), weight), (x, weight[:32].copy()), (x, weight, weight)):
        assert with_kernels.compute(with_kernels.named("rmsnorm_f32"), *wrong) == Errno.INVALID_ARGUMENT
    assert with_kernels.guest.call("set_input", context, 16, with_kernels.tensor(x)) == Errno.INVALID_ARGUMENT
    assert with_kernels.compute(context, x, weight) == Errno.SUCCESS


def test_what_is_beyond_a_kernels_memory_is_too_large(with_kernels: Arena) -> None:
    packed = np.zeros((1 << 19, 18), np.uint8)  # 64 MiB of f32
    assert with_kernels.compute(with_kernels.named("kv_unpack_q4"), packed) == Errno.TOO_LARGE


def test_a_kernel_that_the_pack_has_no_more_is_a_runtime_error(runtime: Runtime) -> None:
    with Guest(guest_wasm(), models={"gone": KernelGraph(runtime.run, "gone")}) as guest:
        arena = Arena(guest)
        assert arena.compute(arena.named("gone"), X) == Errno.RUNTIME_ERROR
        assert str(guest.last_error).startswith("NoSuchKernel: ")
