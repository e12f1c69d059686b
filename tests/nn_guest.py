"""The guest in C (tests/wasi_nn), compiled, and what tests need to talk to it: models, and tensors in its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from host import project
from host.wasi_nn import Errno, Guest, TensorType
from host.wasi_nn.abi import DTYPES, LIST, TENSOR, U32

Array = NDArray[Any]
SOURCE = Path(__file__).parent / "wasi_nn"
ANY_SIZE = "n"


@cache
def guest_wasm() -> bytes:
    """guest.c as the project's clang makes it."""
    build = project.build_dir()
    build.mkdir(parents=True, exist_ok=True)
    module, zig_cache = build / "nn_guest.wasm", str(build / "zig-cache")
    subprocess.run(
        [
            sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-std=c11", "-O2", "-nostdlib",
            "-Wall", "-Wextra", "-Werror", "-Wl,--no-entry", "-o", str(module), "guest.c",
        ],
        cwd=SOURCE,
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": zig_cache, "ZIG_LOCAL_CACHE_DIR": zig_cache},
        check=True,
    )  # fmt: skip
    return module.read_bytes()


class Arena:
    """Things laid one behind the other in the guest's memory."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._end: int = guest.call("arena")

    def put(self, data: bytes) -> int:
        """Where ``data`` lies now."""
        offset, self._end = self._end, -(-(self._end + len(data)) // 16) * 16
        self.guest.write(offset, data)
        return offset

    def room(self, size: int) -> int:
        """``size`` bytes of 0xAA."""
        return self.put(b"\xaa" * size)

    def u32(self, offset: int) -> int:
        value: int = U32.unpack(self.guest.read(offset, 4))[0]
        return value

    def tensor(
        self, array: Array, *, kind: int | None = None, shape: Sequence[int] | None = None, size: int | None = None
    ) -> int:
        """A tensor record of ``array``, or one that says something else of it."""
        dims = array.shape if shape is None else shape
        kind = next(t for t, dtype in DTYPES.items() if dtype == array.dtype) if kind is None else kind
        size = array.nbytes if size is None else size
        dimensions = self.put(np.array(dims, "<u4").tobytes())
        return self.put(TENSOR.pack(dimensions, len(dims), kind, self.put(array.tobytes()), size))

    def builders(self, *models: bytes) -> int:
        """An array of graph builders."""
        return self.put(b"".join(LIST.pack(self.put(model), len(model)) for model in models))

    def load(self, model: bytes, encoding: int = 1, target: int = 0) -> tuple[int, int]:
        """errno and graph."""
        graph = self.room(4)
        return self.guest.call("load", self.builders(model), 1, encoding, target, graph), self.u32(graph)

    def load_by_name(self, name: bytes) -> tuple[int, int]:
        """errno and graph."""
        graph = self.room(4)
        return self.guest.call("load_by_name", self.put(name), len(name), graph), self.u32(graph)

    def context(self, graph: int) -> int:
        context = self.room(4)
        assert self.guest.call("init_execution_context", graph, context) == Errno.SUCCESS
        return self.u32(context)

    def loaded(self, model: bytes, encoding: int = 1) -> int:
        """A context of a new graph."""
        errno, graph = self.load(model, encoding)
        assert errno == Errno.SUCCESS, self.guest.last_error
        return self.context(graph)

    def named(self, name: str) -> int:
        """A context of a graph by its name."""
        errno, graph = self.load_by_name(name.encode())
        assert errno == Errno.SUCCESS, self.guest.last_error
        return self.context(graph)

    def compute(self, context: int, *inputs: Array) -> int:
        """Set inputs, all of which fit, and compute: the errno of that."""
        for index, array in enumerate(inputs):
            errno = self.guest.call("set_input", context, index, self.tensor(array))
            assert errno == Errno.SUCCESS, self.guest.last_error
        result: int = self.guest.call("compute", context)
        return result

    def output(self, context: int, index: int = 0, room: int = 1 << 16) -> bytes:
        buffer, written = self.room(room), self.room(4)
        errno = self.guest.call("get_output", context, index, buffer, room, written)
        assert errno == Errno.SUCCESS, self.guest.last_error
        return self.guest.read(buffer, self.u32(written))


# ---- ONNX models ---------------------------------------------------------------------------------

ONNX_TYPES = {
    TensorType.F16: TensorProto.FLOAT16,
    TensorType.F32: TensorProto.FLOAT,
    TensorType.F64: TensorProto.DOUBLE,
    TensorType.U8: TensorProto.UINT8,
    TensorType.I32: TensorProto.INT32,
    TensorType.I64: TensorProto.INT64,
}

Value = tuple[str, int, Sequence[int | str]]
"""Name, element type and shape."""


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Sequence[TensorProto] = (),
) -> bytes:
    """A model's bytes, checked by the package onnx."""
    values = [[helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "graph", *values, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if not any(constant.external_data for constant in constants):
        onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def constant(name: str, array: Array) -> TensorProto:
    return numpy_helper.from_array(array, name)


def classifier() -> bytes:
    """x f32 [n, 8] -> softmax(relu(x A + a) B + b) f32 [n, 3]."""
    rng = np.random.default_rng(5)
    shapes = {"A": (8, 16), "a": (16,), "B": (16, 3), "b": (3,)}
    return model(
        [
            helper.make_node("Gemm", ["x", "A", "a"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "B", "b"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["y"], axis=-1),
        ],
        [("x", TensorProto.FLOAT, [ANY_SIZE, 8])],
        [("y", TensorProto.FLOAT, [ANY_SIZE, 3])],
        [constant(name, rng.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()],
    )


def twice(kind: TensorType) -> bytes:
    """x [n] -> x behind x [2n], of any type."""
    node = helper.make_node("Concat", ["x", "x"], ["y"], axis=0)
    return model([node], [("x", ONNX_TYPES[kind], [ANY_SIZE])], [("y", ONNX_TYPES[kind], [ANY_SIZE])])


def embedding() -> bytes:
    """Tokens i64 [n] -> rows of a table f16 [n, 4]."""
    table = np.random.default_rng(6).standard_normal((10, 4)).astype(np.float16)
    return model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, [ANY_SIZE])],
        [("y", TensorProto.FLOAT16, [ANY_SIZE, 4])],
        [constant("table", table)],
    )


def pixels() -> bytes:
    """Pixels u8 [2, 2] -> (x - 128) / 32 in f32."""
    constants = [constant("scale", np.array(1 / 32, np.float32)), constant("zero", np.array(128, np.uint8))]
    return model(
        [helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["y"])],
        [("x", TensorProto.UINT8, [2, 2])],
        [("y", TensorProto.FLOAT, [2, 2])],
        constants,
    )


def two_inputs() -> bytes:
    """a, b f32 [2] -> a + b, a - b."""
    return model(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
        [("a", TensorProto.FLOAT, [2]), ("b", TensorProto.FLOAT, [2])],
        [("sum", TensorProto.FLOAT, [2]), ("difference", TensorProto.FLOAT, [2])],
    )


def endless() -> bytes:
    """x f32 [1] -> x after 2^62 rounds of a loop."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    return model(
        [helper.make_node("Loop", ["rounds", "true", "x"], ["y"], body=body)],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [1])],
        [constant("rounds", np.array(2**62)), constant("true", np.array(True))],
    )


def by_onnxruntime(model_bytes: bytes, *inputs: Array) -> list[Array]:
    """What ONNX Runtime, called directly, makes of the inputs."""
    session = onnxruntime.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs: list[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs
