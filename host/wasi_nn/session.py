"""What one guest has loaded, and the six functions of WASI-NN over it.

Every function takes the guest's memory and the guest's numbers, u32 each, and raises NNError. A call that fails
has no effect: where results go is checked before anything is written or kept. WASI-NN has no way to drop a graph or a
context: both live as long as the instance does, and `GuestLimits` says how many there may be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from host.wasi_nn.abi import DTYPES, LIST, TENSOR, Encoding, Errno, NNError, Target, TensorType
from host.wasi_nn.graph import Array, Backend, Budget, Graph
from host.wasi_nn.memory import GuestMemory

MAX_BUILDERS = 16
MAX_RANK = 16
MAX_NAME = 1024
"""In bytes."""


@dataclass(frozen=True)
class GuestLimits:
    """What one guest may use."""

    max_memory_pages: int = 1024
    """Of linear memory, 64 KiB each."""
    max_epoch_ticks: int = 1000
    """For one call of an export, 10 ms each, what backends do for it included."""
    max_table_elements: int = 1024
    max_graphs: int = 16
    max_contexts: int = 64
    max_bytes: int = 256 << 20
    """Of models, inputs and outputs that the host keeps for the guest, in all. A model counts as many bytes as it was
    loaded from; a model of the host's counts none."""


@dataclass
class _Context:
    graph: Graph
    inputs: dict[int, Array] = field(default_factory=dict)
    outputs: Sequence[Array] | None = None

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.inputs.values(), *(self.outputs or ())))


class Session:
    """The graphs and contexts of one instance of a guest. A handle is an index into either."""

    def __init__(self, backends: Mapping[Encoding, Backend], models: Mapping[str, Graph], limits: GuestLimits) -> None:
        self.deadline = 0.0
        """When the time of the guest's call is up, on `time.monotonic`'s clock."""
        self._backends = backends
        self._models = models
        self._limits = limits
        self._graphs: list[Graph] = []
        self._graph_bytes = 0
        self._contexts: list[_Context] = []

    def load(self, memory: GuestMemory, builders: int, count: int, encoding: int, target: int, graph: int) -> None:
        """Make a graph of the guest's bytes."""
        self._check_new_graph(memory, graph)
        if target != Target.CPU:
            raise NNError(Errno.UNSUPPORTED_OPERATION, f"target {target}, graphs run on the CPU ({Target.CPU:d}) only")
        parts = self._read_builders(memory, builders, count)
        loaded = self._backend(encoding, parts).load(parts, self._budget())
        self._graph_bytes += sum(map(len, parts))
        self._add_graph(memory, loaded, graph)

    def load_by_name(self, memory: GuestMemory, name: int, size: int, graph: int) -> None:
        """Hand out a graph that the host has loaded."""
        self._check_new_graph(memory, graph)
        if size > MAX_NAME:
            raise NNError(Errno.INVALID_ARGUMENT, f"the name has {size} bytes, at most {MAX_NAME}")
        stored = memory.read(name, size, "name")
        try:
            model = self._models[stored.decode()]
        except UnicodeDecodeError as error:
            raise NNError(Errno.INVALID_ARGUMENT, f"the name {bytes(stored)!r} is not UTF-8") from error
        except KeyError as error:
            known = ", ".join(self._models) or "none"
            raise NNError(Errno.NOT_FOUND, f"no model {error}; there are: {known}") from error
        self._add_graph(memory, model, graph)

    def init_execution_context(self, memory: GuestMemory, graph: int, context: int) -> None:
        """Make a context in which inputs of a graph are set and its outputs got."""
        if graph >= len(self._graphs):
            raise NNError(Errno.INVALID_ARGUMENT, f"no graph {graph}")
        if len(self._contexts) == self._limits.max_contexts:
            raise NNError(Errno.TOO_LARGE, f"the guest has {len(self._contexts)} contexts, as many as it may")
        memory.write_u32(context, len(self._contexts), "where the context goes")
        self._contexts.append(_Context(self._graphs[graph]))

    def set_input(self, memory: GuestMemory, context: int, index: int, tensor: int) -> None:
        """Keep a copy of a tensor until the next one of this index. What was computed before stays."""
        found = self._context(context)
        before = found.inputs[index].nbytes if index in found.inputs else 0
        array = _read_tensor(memory, tensor, self._free_bytes + before)
        found.graph.check_input(index, array)
        found.inputs[index] = array

    def compute(self, memory: GuestMemory, context: int) -> None:
        """Compute every output of the inputs as they are."""
        found = self._context(context)
        found.outputs = None
        outputs = found.graph.infer(found.inputs, self._budget())
        for index, output in enumerate(outputs):
            if output.dtype not in DTYPES.values():
                raise NNError(Errno.UNSUPPORTED_OPERATION, f"output {index} is {output.dtype}, which no tensor can be")
        if (size := sum(output.nbytes for output in outputs)) > self._free_bytes:
            raise NNError(Errno.TOO_LARGE, f"the outputs have {size} bytes, {self._free_bytes} are left")
        found.outputs = outputs

    def get_output(
        self, memory: GuestMemory, context: int, index: int, buffer: int, max_size: int, written: int
    ) -> None:
        """Write an output's elements, and how many bytes they are."""
        memory.check(buffer, max_size, "the output's buffer")
        memory.check(written, 4, "where the output's size goes")
        outputs = self._context(context).outputs
        if outputs is None:
            raise NNError(Errno.RUNTIME_ERROR, f"context {context} has computed nothing")
        if index >= len(outputs):
            raise NNError(Errno.INVALID_ARGUMENT, f"output {index}, the graph has {len(outputs)}")
        output = outputs[index]
        if output.nbytes > max_size:
            raise NNError(Errno.TOO_LARGE, f"output {index} has {output.nbytes} bytes, the buffer {max_size}")
        memory.write(buffer, output.tobytes(), "the output's buffer")
        memory.write_u32(written, output.nbytes, "where the output's size goes")

    @property
    def _free_bytes(self) -> int:
        return self._limits.max_bytes - self._graph_bytes - sum(context.nbytes for context in self._contexts)

    def _budget(self) -> Budget:
        return Budget(self.deadline, self._free_bytes)

    def _context(self, context: int) -> _Context:
        if context >= len(self._contexts):
            raise NNError(Errno.INVALID_ARGUMENT, f"no context {context}")
        return self._contexts[context]

    def _check_new_graph(self, memory: GuestMemory, graph: int) -> None:
        memory.check(graph, 4, "where the graph goes")
        if len(self._graphs) == self._limits.max_graphs:
            raise NNError(Errno.TOO_LARGE, f"the guest has {len(self._graphs)} graphs, as many as it may")

    def _add_graph(self, memory: GuestMemory, loaded: Graph, graph: int) -> None:
        memory.write_u32(graph, len(self._graphs), "where the graph goes")
        self._graphs.append(loaded)

    def _read_builders(self, memory: GuestMemory, builders: int, count: int) -> list[bytes]:
        if count > MAX_BUILDERS:
            raise NNError(Errno.TOO_LARGE, f"{count} builders, at most {MAX_BUILDERS}")
        lists = list(LIST.iter_unpack(memory.read(builders, count * LIST.size, "builders")))
        if (size := sum(length for _offset, length in lists)) > self._free_bytes:
            raise NNError(Errno.TOO_LARGE, f"the model has {size} bytes, {self._free_bytes} are left")
        return [bytes(memory.read(offset, length, "a builder")) for offset, length in lists]

    def _backend(self, encoding: int, parts: Sequence[bytes]) -> Backend:
        if encoding == Encoding.AUTODETECT:
            encoding = Encoding.GGML if parts and parts[0].startswith(b"GGUF") else Encoding.ONNX
        try:
            return self._backends[Encoding(encoding)]
        except (KeyError, ValueError) as error:
            raise NNError(Errno.INVALID_ENCODING, f"no backend for encoding {encoding}") from error


def _read_tensor(memory: GuestMemory, tensor: int, max_bytes: int) -> Array:
    """An array of its own, as a tensor record describes it."""
    dimensions, rank, kind, data, size = TENSOR.unpack(memory.read(tensor, TENSOR.size, "tensor"))
    if kind not in DTYPES:
        raise NNError(Errno.INVALID_ARGUMENT, f"tensor type {kind}")
    if rank > MAX_RANK:
        raise NNError(Errno.INVALID_ARGUMENT, f"the tensor has {rank} dimensions, at most {MAX_RANK}")
    shape = np.frombuffer(memory.read(dimensions, 4 * rank, "the tensor's dimensions"), "<u4").tolist()
    dtype = DTYPES[TensorType(kind)]
    if (want := math.prod(shape) * dtype.itemsize) != size:
        raise NNError(Errno.INVALID_ARGUMENT, f"a {dtype} tensor {shape} has {want} bytes, not {size}")
    memory.check(data, size, "the tensor's data")
    if size > max_bytes:
        raise NNError(Errno.TOO_LARGE, f"the tensor has {size} bytes, {max_bytes} are left")
    try:
        return np.frombuffer(memory.read(data, size, "the tensor's data"), dtype).reshape(shape)
    except ValueError as error:  # an empty tensor with dimensions that numpy cannot multiply
        raise NNError(Errno.INVALID_ARGUMENT, f"a tensor {shape}: {error}") from error
