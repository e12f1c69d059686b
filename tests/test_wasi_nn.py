"""WASI-NN: a guest in C runs real ONNX models under `host.wasi_nn`, and whatever it can get wrong is an errno."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_guest import (
    ANY_SIZE,
    Arena,
    Array,
    by_onnxruntime,
    classifier,
    embedding,
    endless,
    guest_wasm,
    model,
    pixels,
    twice,
    two_inputs,
)
from onnx import TensorProto, helper
from wasmtime import wat2wasm

from host import errors
from host.wasi_nn import Budget, Encoding, Errno, Graph, Guest, GuestLimits, NNError, OnnxBackend, TensorType
from host.wasi_nn.abi import DTYPES, FUNCTIONS, LIST, TENSOR

X = np.linspace(-2, 2, 16, dtype=np.float32).reshape(2, 8)
MODELS: Mapping[str, tuple[bytes, Array]] = {
    "classifier": (classifier(), X),
    "embedding": (embedding(), np.array([7, 0, 9], np.int64)),
    "pixels": (pixels(), np.array([[0, 255], [128, 3]], np.uint8)),
    **{f"twice {kind.name}": (twice(kind), np.array([3, 1, 2], DTYPES[kind])) for kind in TensorType},
}

MEMORY = 13 << 20
"""The size of the guest's memory."""


def loaded(model_bytes: bytes) -> Graph:
    return OnnxBackend().load([model_bytes], Budget(time.monotonic() + 10, 0))


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest(guest_wasm(), models={"pair": loaded(two_inputs())}) as made:
        yield made


@pytest.fixture
def arena(guest: Guest) -> Arena:
    return Arena(guest)


# ---- models that run -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_guest_runs_a_model_of_its_own_bytes_as_onnxruntime_does(arena: Arena, name: str) -> None:
    model_bytes, x = MODELS[name]
    output, written = arena.room(1024), arena.room(4)
    arguments = (arena.put(model_bytes), len(model_bytes), Encoding.ONNX, arena.tensor(x), output, 1024, written)
    assert arena.guest.call("run", *arguments) == Errno.SUCCESS, arena.guest.last_error
    assert arena.guest.read(output, arena.u32(written)) == by_onnxruntime(model_bytes, x)[0].tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_a_guest_runs_a_model_of_the_hosts_by_its_name(tmp_path: Path, name: str) -> None:
    model_bytes, x = MODELS[name]
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    with Guest(guest_wasm(), models={name: OnnxBackend().open(tmp_path / "model.onnx")}) as guest:
        arena = Arena(guest)
        output, written = arena.room(1024), arena.room(4)
        arguments = (arena.put(name.encode()), len(name), arena.tensor(x), output, 1024, written)
        assert guest.call("run_by_name", *arguments) == Errno.SUCCESS, guest.last_error
        assert guest.read(output, arena.u32(written)) == by_onnxruntime(model_bytes, x)[0].tobytes()


def test_inputs_and_outputs_go_by_their_index_and_a_context_computes_again_and_again(arena: Arena) -> None:
    context = arena.named("pair")
    a, b, c = (np.array(pair, np.float32) for pair in ([1, 2], [30, 40], [500, 600]))
    assert arena.compute(context, a, b) == Errno.SUCCESS
    assert arena.output(context, 0) == (a + b).tobytes()
    assert arena.output(context, 1) == (a - b).tobytes()
    assert arena.guest.call("set_input", context, 1, arena.tensor(c)) == Errno.SUCCESS
    assert arena.output(context, 0) == (a + b).tobytes(), "until it is computed again"
    assert arena.guest.call("compute", context) == Errno.SUCCESS
    assert arena.output(context, 0) == (a + c).tobytes()


def test_contexts_of_one_graph_do_not_mix(arena: Arena) -> None:
    _, graph = arena.load(classifier())
    first, second = arena.context(graph), arena.context(graph)
    assert arena.compute(first, X) == arena.compute(second, -X) == Errno.SUCCESS
    for context, x in ((first, X), (second, -X)):
        assert arena.output(context) == by_onnxruntime(classifier(), x)[0].tobytes()


def test_autodetect_takes_the_encoding_from_the_bytes(arena: Arena) -> None:
    context = arena.loaded(classifier(), Encoding.AUTODETECT)
    assert arena.compute(context, X) == Errno.SUCCESS


def test_guests_in_threads_share_a_named_model() -> None:
    model_bytes, x = MODELS["classifier"]
    graph = loaded(model_bytes)
    expected = [by_onnxruntime(model_bytes, x + i)[0].tobytes() for i in range(8)]

    def run(i: int) -> bytes:
        with Guest(guest_wasm(), models={"shared": graph}) as guest:
            arena = Arena(guest)
            context = arena.named("shared")
            for _ in range(20):
                assert arena.compute(context, (x + i).astype(np.float32)) == Errno.SUCCESS
            return arena.output(context)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(8))) == expected


# ---- tensors that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (X.astype(np.float64), {}),
        (X.astype(np.float16), {}),
        (X, {"kind": TensorType.I32}),
        (X, {"kind": 6}),
        (X, {"kind": 255}),
        (X[0], {}),
        (X[None], {}),
        (X[:, :7].copy(), {}),
        (X, {"shape": (8, 2)}),
        (X, {"shape": (4, 8)}),
        (X, {"shape": (2**32 - 1, 8)}),
        (X, {"shape": (2,) * 17}),
        (X, {"size": X.nbytes - 4}),
        (X, {"size": X.nbytes + 4}),
        (X[:0], {"shape": (0, 2**32 - 1, 2**32 - 1, 2**32 - 1)}),
    ],
    ids=str,
)
def test_a_tensor_of_another_type_rank_or_size_is_an_invalid_argument(
    arena: Arena, x: Array, said: dict[str, Any]
) -> None:
    context = arena.loaded(classifier())
    assert arena.guest.call("set_input", context, 0, arena.tensor(x, **said)) == Errno.INVALID_ARGUMENT
    assert arena.guest.call("compute", context) == Errno.RUNTIME_ERROR, "nothing was set"
    assert arena.compute(context, X) == Errno.SUCCESS
    assert arena.output(context) == by_onnxruntime(classifier(), X)[0].tobytes()


def test_an_input_that_the_graph_has_not_is_an_invalid_argument(arena: Arena) -> None:
    context = arena.named("pair")
    tensor = arena.tensor(np.zeros(2, np.float32))
    for index in (2, 2**31, 2**32 - 1):
        assert arena.guest.call("set_input", context, index, tensor) == Errno.INVALID_ARGUMENT


def test_shapes_that_only_the_model_knows_to_be_wrong_are_an_errno(arena: Arena) -> None:
    add = helper.make_node("Add", ["a", "b"], ["y"])
    values = [(name, TensorProto.FLOAT, [f"{ANY_SIZE}{name}"]) for name in ("a", "b", "y")]
    context = arena.loaded(model([add], values[:2], values[2:]))
    assert arena.compute(context, np.ones(2, np.float32), np.ones(3, np.float32)) == Errno.RUNTIME_ERROR


def test_computing_before_all_inputs_are_set_is_a_runtime_error(arena: Arena) -> None:
    context = arena.named("pair")
    assert arena.guest.call("compute", context) == Errno.RUNTIME_ERROR
    assert arena.compute(context, np.zeros(2, np.float32)) == Errno.RUNTIME_ERROR
    assert str(arena.guest.last_error) == "not set: b"


def test_an_output_before_computing_is_a_runtime_error_and_one_that_is_not_there_an_invalid_argument(
    arena: Arena,
) -> None:
    context, buffer, written = arena.named("pair"), arena.room(64), arena.room(4)
    assert arena.guest.call("get_output", context, 0, buffer, 64, written) == Errno.RUNTIME_ERROR
    assert arena.compute(context, *np.zeros((2, 2), np.float32)) == Errno.SUCCESS
    for index in (2, 2**32 - 1):
        assert arena.guest.call("get_output", context, index, buffer, 64, written) == Errno.INVALID_ARGUMENT


def test_a_buffer_that_is_too_small_is_left_alone(arena: Arena) -> None:
    context, buffer, written = arena.named("pair"), arena.room(16), arena.room(4)
    assert arena.compute(context, *np.ones((2, 2), np.float32)) == Errno.SUCCESS
    for room in (0, 1, 7):
        assert arena.guest.call("get_output", context, 0, buffer, room, written) == Errno.TOO_LARGE
    assert arena.guest.read(buffer, 20) == b"\xaa" * 20
    assert arena.guest.call("get_output", context, 0, buffer, 8, written) == Errno.SUCCESS
    assert arena.u32(written) == 8
    assert arena.guest.read(buffer, 16) == np.full(2, 2, np.float32).tobytes() + b"\xaa" * 8


def test_an_output_is_written_only_when_its_whole_buffer_and_the_place_of_its_size_are_in_memory(arena: Arena) -> None:
    context, buffer, written = arena.named("pair"), arena.room(8), arena.room(4)
    assert arena.compute(context, *np.ones((2, 2), np.float32)) == Errno.SUCCESS
    beyond = MEMORY - buffer + 1
    for size, place in ((beyond, written), (2**32 - 1, written), (8, MEMORY - 3), (8, 2**32 - 1)):
        assert arena.guest.call("get_output", context, 0, buffer, size, place) == Errno.INVALID_ARGUMENT
    assert arena.guest.read(buffer, 8) == b"\xaa" * 8
    assert arena.guest.call("get_output", context, 0, buffer, beyond - 1, written) == Errno.SUCCESS


# ---- models that do not load ---------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [0, 2, 3, 4, 7, 2**31, 2**32 - 1])
def test_an_encoding_without_a_backend_is_invalid(arena: Arena, encoding: int) -> None:
    assert arena.load(classifier(), encoding) == (Errno.INVALID_ENCODING, 0xAAAAAAAA)


def test_a_guest_without_backends_has_only_the_hosts_models() -> None:
    with Guest(guest_wasm(), backends={}) as guest:
        for encoding in Encoding:
            assert Arena(guest).load(classifier(), encoding)[0] == Errno.INVALID_ENCODING


@pytest.mark.parametrize("target", [1, 2, 3, 2**32 - 1])
def test_any_target_but_the_cpu_is_unsupported(arena: Arena, target: int) -> None:
    assert arena.load(classifier(), target=target)[0] == Errno.UNSUPPORTED_OPERATION


@pytest.mark.parametrize("name", [b"", b"nosuch", b"pair\0", b"x" * 1024])
def test_a_name_that_the_host_does_not_know_is_not_found(arena: Arena, name: bytes) -> None:
    assert arena.load_by_name(name) == (Errno.NOT_FOUND, 0xAAAAAAAA)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"x" * 1025], ids=["not UTF-8", "too long"])
def test_a_name_that_no_model_can_have_is_an_invalid_argument(arena: Arena, name: bytes) -> None:
    assert arena.load_by_name(name)[0] == Errno.INVALID_ARGUMENT


def test_a_model_in_parts_is_an_invalid_argument(arena: Arena) -> None:
    two = arena.builders(classifier(), classifier())
    for count in (0, 2):
        assert arena.guest.call("load", two, count, Encoding.ONNX, 0, arena.room(4)) == Errno.INVALID_ARGUMENT
    assert arena.guest.call("load", two, 2**32 - 1, Encoding.ONNX, 0, arena.room(4)) == Errno.TOO_LARGE


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_that_are_no_model_are_an_errno(data: st.DataObject) -> None:
    whole = classifier()
    bad = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.integers(0, len(whole) - 1).map(lambda size: whole[:size]),
            st.integers(0, 400).map(lambda at: whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]),
        )
    )
    try:
        loaded(bad)
    except NNError as error:
        assert error.errno in (Errno.INVALID_ARGUMENT, Errno.UNSUPPORTED_OPERATION)


@pytest.mark.parametrize(("name", "bad"), [(b"Relu", b"Re\xffu"), (b"\1x", b"\1\xff"), (b"\1n", b"\1\xff")], ids=repr)
def test_a_name_that_is_not_utf_8_is_an_invalid_argument_and_nothing_is_printed(
    arena: Arena, capfd: pytest.CaptureFixture[str], name: bytes, bad: bytes
) -> None:
    assert name in classifier()
    assert arena.load(classifier().replace(name, bad))[0] == Errno.INVALID_ARGUMENT
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_has_nowhere_to_go_is_not_loaded() -> None:
    with Guest(guest_wasm(), limits=GuestLimits(max_graphs=1, max_bytes=len(classifier()))) as guest:
        arena = Arena(guest)
        builders = arena.builders(classifier())
        for _ in range(3):
            assert guest.call("load", builders, 1, Encoding.ONNX, 0, MEMORY - 3) == Errno.INVALID_ARGUMENT
        assert guest.call("load", builders, 1, Encoding.ONNX, 0, arena.room(4)) == Errno.SUCCESS


def test_a_bad_model_leaves_no_graph_behind(arena: Arena) -> None:
    assert arena.load(classifier()[:-40])[0] == Errno.INVALID_ARGUMENT
    assert arena.load(b"no model")[0] == Errno.INVALID_ARGUMENT
    assert arena.load(classifier()) == (Errno.SUCCESS, 0)


def test_an_operator_or_a_type_that_there_is_not_is_unsupported_or_invalid(arena: Arena) -> None:
    x, y = ("x", TensorProto.BOOL, [1]), ("y", TensorProto.BOOL, [1])
    assert arena.load(model([helper.make_node("Not", ["x"], ["y"])], [x], [y]))[0] == Errno.UNSUPPORTED_OPERATION
    node = helper.make_node("NoSuchThing", ["x"], ["y"], domain="example.com")
    made = helper.make_model(
        helper.make_graph([node], "g", [helper.make_tensor_value_info(*x)], [helper.make_tensor_value_info(*y)]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("example.com", 1)],
        ir_version=8,
    )
    assert arena.load(made.SerializeToString())[0] in (Errno.INVALID_ARGUMENT, Errno.UNSUPPORTED_OPERATION)


def test_a_model_cannot_read_the_hosts_files(arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(np.ones(4, "<f4").tobytes())
    monkeypatch.chdir(tmp_path)
    for location in ("secret", "./secret", f"../{tmp_path.name}/secret", str(tmp_path / "secret")):
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in {"location": location, "offset": "0", "length": "16"}.items():
            weight.external_data.add(key=key, value=value)
        values = [(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
        stealing = model([helper.make_node("Add", ["x", "w"], ["y"])], values[:1], values[1:], [weight])
        assert arena.load(stealing)[0] == Errno.INVALID_ARGUMENT, location
        assert "xternal data" in str(arena.guest.last_error)


def test_without_onnxruntime_loading_is_unsupported_and_says_what_to_install(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert arena.load(classifier())[0] == Errno.UNSUPPORTED_OPERATION
    assert "pip install 'host[nn]'" in str(arena.guest.last_error)
    assert "pip install 'host[nn]'" in caplog.text


# ---- numbers out of range ------------------------------------------------------------------------

LIVE = 32
"""Bytes of the guest's memory in which a call's results may go; all others must stay as they are."""


class Calls:
    """One valid call of each function, and which of its arguments are pointers, with the size that lies there."""

    def __init__(self) -> None:
        many = GuestLimits(max_graphs=10**6, max_contexts=10**6)  # so that no call fails for their sake
        self.guest = Guest(guest_wasm(), models={"pair": loaded(two_inputs())}, limits=many)
        arena = Arena(self.guest)
        context, x, builders, name = arena.named("pair"), X[0, :2], arena.builders(classifier()), arena.put(b"pair")
        assert arena.compute(context, x, x) == Errno.SUCCESS
        self.live, tensor = arena.room(LIVE), arena.tensor(x)
        self.valid: Mapping[str, Sequence[int]] = {
            "load": (builders, 1, Encoding.ONNX, 0, self.live),
            "load_by_name": (name, 4, self.live),
            "init_execution_context": (0, self.live),
            "set_input": (context, 0, tensor),
            "compute": (context,),
            "get_output": (context, 0, self.live, 8, self.live + 8),
        }
        self.pointers = [
            ("load", 0, LIST.size), ("load", 4, 4), ("load_by_name", 0, 4), ("load_by_name", 2, 4),
            ("init_execution_context", 1, 4), ("set_input", 2, TENSOR.size), ("get_output", 2, 8), ("get_output", 4, 4),
        ]  # fmt: skip
        self.tensor_record = arena.put(self.guest.read(tensor, TENSOR.size))
        self.builder_record = arena.put(self.guest.read(builders, LIST.size))

    def rest(self) -> bytes:
        """The memory behind what a call may change."""
        return self.guest.read(self.live + LIVE, MEMORY - self.live - LIVE)


@pytest.fixture(scope="module")
def calls() -> Iterator[Calls]:
    made = Calls()
    yield made
    made.guest.close()


def test_the_hosts_own_reads_and_writes_end_where_memory_does(calls: Calls) -> None:
    assert calls.guest.read(MEMORY, 0) == b""
    calls.guest.write(MEMORY - 1, b"x")
    assert calls.guest.read(MEMORY - 2, 2) == b"\0x"
    for out in (lambda: calls.guest.read(MEMORY, 1), lambda: calls.guest.write(MEMORY - 1, b"xy")):
        with pytest.raises(ValueError, match="memory has"):
            out()
    with pytest.raises(ValueError, match="memory has"):
        calls.guest.read(-1, 1)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_pointer_out_of_memory_is_an_invalid_argument_wherever_it_goes(calls: Calls, data: st.DataObject) -> None:
    name, at, size = data.draw(st.sampled_from(calls.pointers))
    out = data.draw(st.integers(MEMORY - size + 1, MEMORY) | st.integers(MEMORY, 2**32 - 1))
    arguments = [*calls.valid[name]]
    arguments[at] = out
    before = calls.rest()
    assert calls.guest.call(name, *arguments) == Errno.INVALID_ARGUMENT
    assert calls.rest() == before


@pytest.mark.parametrize("field", [0, 1, 3, 4])
@pytest.mark.parametrize("value", [MEMORY, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_offsets_and_lengths_within_a_tensor_record_are_checked(calls: Calls, field: int, value: int) -> None:
    record = list(TENSOR.unpack(calls.guest.read(calls.valid["set_input"][2], TENSOR.size)))
    record[field] = value
    calls.guest.write(calls.tensor_record, TENSOR.pack(*record))
    assert calls.guest.call("set_input", 0, 0, calls.tensor_record) == Errno.INVALID_ARGUMENT


@pytest.mark.parametrize("value", [MEMORY, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_offsets_and_lengths_within_a_builder_are_checked(calls: Calls, value: int) -> None:
    offset, size = LIST.unpack(calls.guest.read(calls.valid["load"][0], LIST.size))
    for record, expected in (((value, size), 1), ((offset, value), 1 if value < 2**28 else Errno.TOO_LARGE)):
        calls.guest.write(calls.builder_record, LIST.pack(*record))
        arguments = (calls.builder_record, 1, Encoding.ONNX, 0, calls.live)
        assert calls.guest.call("load", *arguments) == expected


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_numbers_a_guest_passes_it_gets_an_errno(calls: Calls, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(FUNCTIONS)))
    number = st.integers(0, 2**32 - 1) | st.integers(0, 100) | st.integers(MEMORY - 64, MEMORY + 64)
    valid = calls.valid[name]
    arguments = [data.draw(number | st.just(valid[i])) for i in range(FUNCTIONS[name])]
    assert calls.guest.call(name, *arguments) in list(Errno)


def test_handles_that_were_never_given_out_are_invalid_arguments(arena: Arena) -> None:
    context, live, tensor = arena.named("pair"), arena.room(8), arena.tensor(X[0, :2])
    for handle in (1, 2**31, 2**32 - 1):
        assert arena.guest.call("init_execution_context", handle, live) == Errno.INVALID_ARGUMENT
        assert arena.guest.call("set_input", context + handle, 0, tensor) == Errno.INVALID_ARGUMENT
        assert arena.guest.call("compute", context + handle) == Errno.INVALID_ARGUMENT
        assert arena.guest.call("get_output", context + handle, 0, live, 8, live) == Errno.INVALID_ARGUMENT


# ---- limits --------------------------------------------------------------------------------------


def test_graphs_and_contexts_are_limited() -> None:
    with Guest(guest_wasm(), limits=GuestLimits(max_graphs=2, max_contexts=3)) as guest:
        arena = Arena(guest)
        assert [arena.load(twice(TensorType.U8))[0] for _ in range(3)] == [0, 0, Errno.TOO_LARGE]
        live = arena.room(4)
        given_out = [guest.call("init_execution_context", 0, live) for _ in range(4)]
        assert given_out == [0, 0, 0, Errno.TOO_LARGE]


def test_the_bytes_of_models_inputs_and_outputs_are_limited_together() -> None:
    size = len(twice(TensorType.U8))
    with Guest(guest_wasm(), limits=GuestLimits(max_bytes=size + 30)) as guest:
        arena = Arena(guest)
        context = arena.loaded(twice(TensorType.U8))
        assert arena.load(twice(TensorType.U8))[0] == Errno.TOO_LARGE
        assert guest.call("set_input", context, 0, arena.tensor(np.zeros(31, np.uint8))) == Errno.TOO_LARGE
        assert arena.compute(context, np.zeros(11, np.uint8)) == Errno.TOO_LARGE, "11 and 22 bytes"
        assert arena.compute(context, np.zeros(10, np.uint8)) == Errno.SUCCESS
        assert arena.compute(context, np.zeros(10, np.uint8)) == Errno.SUCCESS, "in place of those before"


def test_an_endless_guest_is_ended_and_the_next_call_has_a_new_instance() -> None:
    with Guest(guest_wasm(), models={"pair": loaded(two_inputs())}, limits=GuestLimits(max_epoch_ticks=20)) as guest:
        context = Arena(guest).named("pair")
        with pytest.raises(errors.EpochDeadline):
            guest.call("endless", context)
        assert guest.call("compute", context) == Errno.INVALID_ARGUMENT, "its contexts are gone"
        assert Arena(guest).named("pair") == 0


def test_an_endless_model_is_ended() -> None:
    with Guest(guest_wasm(), limits=GuestLimits(max_epoch_ticks=50)) as guest:
        arena = Arena(guest)
        context = arena.loaded(endless())
        assert guest.call("set_input", context, 0, arena.tensor(np.ones(1, np.float32))) == Errno.SUCCESS
        began = time.monotonic()
        try:
            assert guest.call("compute", context) == Errno.RUNTIME_ERROR
            assert "terminate" in str(guest.last_error)
        except errors.EpochDeadline:
            pass  # the clock was first
        assert 0.4 < time.monotonic() - began < 10


def test_a_guest_that_traps_ends_alone(arena: Arena) -> None:
    arena.named("pair")
    with pytest.raises(errors.MemoryAccessViolation):
        arena.guest.call("outside")
    assert arena.guest.call("init_execution_context", 0, arena.room(4)) == Errno.INVALID_ARGUMENT
    assert arena.named("pair") == 0


# ---- modules -------------------------------------------------------------------------------------

COMPUTE = '(import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))'


def test_a_guest_without_a_memory_is_told_so() -> None:
    with Guest(wat2wasm(f'(module {COMPUTE} (func (export "f") (result i32) (call $compute (i32.const 0))))')) as guest:
        assert guest.call("f") == Errno.MISSING_MEMORY
        with pytest.raises(ValueError, match="memory has 0"):
            guest.read(0, 1)


@pytest.mark.parametrize(
    ("wat", "message"),
    [
        ('(module (import "wasi_snapshot_preview1" "fd_write" (func)))', "imports wasi_snapshot_preview1.fd_write"),
        ('(module (import "wasi_ephemeral_nn" "unload" (func)))', "imports wasi_ephemeral_nn.unload"),
        ('(module (import "wasi_ephemeral_nn" "compute" (func)))', "incompatible import type"),
        ("(module (memory 1025))", "memory"),
        ("(module (memory 1) (memory 1))", "memory"),
        ("(module (table 1025 funcref))", "table"),
        ("(module (table 1 funcref) (table 1 funcref))", "table"),
    ],
)
def test_a_module_that_asks_for_more_does_not_load(wat: str, message: str) -> None:
    with pytest.raises(errors.LoadError, match=message):
        Guest(wat2wasm(wat))


def test_bytes_that_are_no_module_do_not_load() -> None:
    with pytest.raises(errors.LoadError, match="guest: "):
        Guest(b"\0asm nonsense")


def test_a_start_function_is_limited_too() -> None:
    wat = "(module (func $f (loop (br 0))) (start $f))"
    with pytest.raises(errors.EpochDeadline):
        Guest(wat2wasm(wat), limits=GuestLimits(max_epoch_ticks=5))


def test_memory_does_not_grow_beyond_its_limit() -> None:
    wat = '(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))'
    with Guest(wat2wasm(wat), limits=GuestLimits(max_memory_pages=4)) as guest:
        assert [guest.call("grow", pages) for pages in (2, 2, 1)] == [1, -1, 3]


def test_a_guest_that_is_closed_does_not_run(guest: Guest) -> None:
    guest.close()
    with pytest.raises(errors.LoadError, match="guest is closed"):
        guest.call("arena")
    guest.close()


def test_calls_that_make_no_sense_say_so(guest: Guest) -> None:
    with pytest.raises(errors.LoadError, match="no exported function 'memory'"):
        guest.call("memory")
    with pytest.raises(TypeError, match="compute takes 1 arguments, got 2"):
        guest.call("compute", 0, 0)
    arena = Arena(guest)
    context = arena.named("pair")
    with pytest.raises(TypeError, match="convert"):
        guest.call("compute", "x")  # type: ignore[arg-type]
    assert guest.call("compute", context) == Errno.RUNTIME_ERROR, "the instance is still there"


def test_a_backend_that_fails_is_a_runtime_error_and_a_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def load(self, builders: Sequence[bytes], budget: Budget) -> Any:
            raise ZeroDivisionError("broken")

    with Guest(guest_wasm(), backends={Encoding.OPENVINO: Broken()}) as guest:
        assert Arena(guest).load(b"", Encoding.OPENVINO)[0] == Errno.RUNTIME_ERROR
        assert str(guest.last_error) == "ZeroDivisionError: broken"
        assert "a backend failed" in caplog.text
