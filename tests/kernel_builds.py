"""The core kernels as tests call them: compiled to wasm, and natively as the firmware's references are.

``Call`` lays out a call by hand, byte by byte, so that tests can also break it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime
from numpy.typing import NDArray
from wasmtime import Engine, Func, Global, Instance, Memory, Store

from host import formats, project
from host.check import compare
from host.check_cases import Case
from host.native_build import build_native
from host.pack.flavours import FLAVOURS, PORTABLE
from host.pack.manifest import Manifest, ManifestKernel, Module
from host.pack.source import SourceKernel, read_source
from host.pack.spec import KernelSpec, params_block
from host.pack.wasm import compile_wasm
from host.shapes import element_shape, solve

SOURCE = read_source(project.root() / "kernels_aot")
KERNELS: Mapping[str, SourceKernel] = {kernel.spec.id: kernel for kernel in SOURCE.kernels}
SPECS: Mapping[str, KernelSpec] = {kernel_id: kernel.spec for kernel_id, kernel in KERNELS.items()}
IDS = tuple(SPECS)
NATIVE_MATH = Path(__file__).parent / "native_math.c"
FIRST = 16384
"""Where a call's regions begin: above any kernel's own data."""
REGIONS = ("input_a", "input_b", "output", "scratch", "params")


@cache
def wasm(kernel_id: str, flavour: str = PORTABLE) -> bytes:
    """The kernel's module, compiled as a pack build does."""
    kernel = KERNELS[kernel_id]
    return compile_wasm(kernel.source, kernel.spec, SOURCE.version, flavour, SOURCE.folder)


@cache
def native() -> ctypes.CDLL:
    """All kernels, under the names ``native_<id>``, and native_math.c in one shared library."""
    return build_native(SOURCE, NATIVE_MATH)


def bare_manifest(name: str, version: str, kernels: Sequence[ManifestKernel]) -> Manifest:
    """What a runtime reads of a pack that nobody signed."""
    nobody = {"author_name": "", "author_email": "", "signing_key": ""}
    return Manifest(name, version, "", "0.1.0", None, 1, None, **nobody, kernels=tuple(kernels), images={})


class CorePack:
    """The core kernels as a pack that needs no key: what `Runtime.install` takes."""

    name = "core"
    version = SOURCE.version
    security_counter = SOURCE.security_counter
    kernels = SPECS

    @property
    def manifest(self) -> Manifest:
        return bare_manifest(self.name, self.version, [self.kernel(kernel_id) for kernel_id in self.kernels])

    def kernel(self, kernel_id: str) -> ManifestKernel:
        modules = {flavour: Module(path, "", FLAVOURS[flavour]) for flavour, path in KERNELS[kernel_id].modules.items()}
        return ManifestKernel(SPECS[kernel_id], modules, "50.0.0", "2.4.3", {})

    def wasm(self, kernel_id: str, flavour: str) -> bytes:
        return wasm(kernel_id, flavour)


class Call:
    """A call's memory image. ``words`` is the descriptor, which a test may change before `run_wasm` or `run_native`."""

    def __init__(self, spec: KernelSpec, params: bytes, **regions: bytes | int) -> None:
        """``regions`` by their names in `REGIONS`: contents, or a size for zeros."""
        self.spec = spec
        self.words = dict.fromkeys([f"{name}.{part}" for name in REGIONS for part in ("offset", "size")], 0)
        self._image: dict[int, bytes] = {}
        self._end = FIRST
        for name, content in {**regions, "params": params}.items():
            data = bytes(content) if isinstance(content, int) else content
            self._image[self._end] = data
            self.words[f"{name}.offset"], self.words[f"{name}.size"] = self._end, len(data)
            self._end += -(-len(data) // 16) * 16

    def change(self, **words: int) -> Call:
        """Set words of the descriptor, as ``output_size=12``."""
        for name, value in words.items():
            region, part = name.rsplit("_", 1)
            self.words[f"{region}.{part}"] = value
        return self

    @property
    def descriptor(self) -> int:
        """Where the descriptor lies."""
        return self._end

    def memory(self) -> bytearray:
        """Linear memory at the beginning of the call."""
        memory = bytearray(self._end + 256)
        for offset, data in self._image.items():
            memory[offset : offset + len(data)] = data
        descriptor = np.array(list(self.words.values()), "<u4").tobytes()
        memory[self._end : self._end + len(descriptor)] = descriptor
        return memory

    def output(self, memory: bytes) -> bytes:
        offset = self.words["output.offset"]
        return memory[offset : offset + self.words["output.size"]]

    def change_param(self, index: int, value: int) -> Call:
        """Set a word of the params block."""
        offset = self.words["params.offset"]
        block = bytearray(self._image[offset])
        block[4 * index : 4 * index + 4] = value.to_bytes(4, "little")
        self._image[offset] = bytes(block)
        return self

    def run_wasm(self, flavour: str = PORTABLE) -> tuple[int, bytes]:
        """Return code, and the output region afterwards."""
        instance = WasmInstance(self.spec.id, flavour)
        assert instance.init(4 * len(self.spec.params)) == 0
        return instance.run(self)

    def run_native(self) -> tuple[int, bytes]:
        """The same with the native build."""
        image = self.memory()
        # 16-byte alignment of the image, as a linear memory has it.
        buffer = (ctypes.c_uint8 * (len(image) + 16))()
        base = -(-ctypes.addressof(buffer) // 16) * 16
        ctypes.memmove(base, bytes(image), len(image))
        library = native()
        ctypes.c_void_p.in_dll(library, "kernel_native_base").value = base
        code = getattr(library, f"native_{self.spec.id}")(ctypes.c_uint32(self._end))
        return code, self.output(ctypes.string_at(base, len(image)))


class WasmInstance:
    """A new instance of a kernel, not initialised. ``entry`` names another entry point than the kernel's own."""

    def __init__(self, kernel_id: str, flavour: str = PORTABLE, entry: str | None = None) -> None:
        self._store = Store(_engine())
        self._exports = Instance(self._store, _module(kernel_id, flavour), []).exports(self._store)
        self._entry = self._function(entry or SPECS[kernel_id].entry_point)
        memory, heap_base = self._exports["memory"], self._exports["__heap_base"]
        assert isinstance(memory, Memory) and isinstance(heap_base, Global)
        assert heap_base.value(self._store) <= FIRST
        self._memory = memory

    def _function(self, name: str) -> Func:
        function = self._exports[name]
        assert isinstance(function, Func)
        return function

    def init(self, size: int) -> int:
        """kernel_init with a params block of ``size`` bytes of zeros."""
        return int(self._function("kernel_init")(self._store, FIRST, size))

    def cleanup(self) -> None:
        self._function("kernel_cleanup")(self._store)

    def run(self, call: Call) -> tuple[int, bytes]:
        """Return code, and the output region afterwards."""
        image = call.memory()
        self._memory.grow(self._store, len(image) // 65536)
        self._memory.write(self._store, image[FIRST:], FIRST)
        code = self._entry(self._store, call.descriptor)
        return code, call.output(bytes(self._memory.read(self._store, 0, len(image))))


def named_inputs(case: Case) -> dict[str, NDArray[Any]]:
    """The arrays of a case by tensor name."""
    names = [tensor.name for tensor in SPECS[case.kernel].arguments]
    return {name: array for name, array in zip(names, case.inputs, strict=True) if array is not None}


def call_of(case: Case) -> Call:
    """The call of a case, laid out by hand."""
    spec = SPECS[case.kernel]
    arrays = named_inputs(case)
    dtypes = {tensor.name: tensor.dtype for tensor in spec.tensors}
    solved = solve(spec, {name: element_shape(dtypes[name], array.shape) for name, array in arrays.items()})
    regions: dict[str, bytes] = {}
    for tensor in spec.tensors:
        if tensor.name in solved.shapes:
            size = tensor.dtype.nbytes(solved.shapes[tensor.name])
            data = arrays[tensor.name].tobytes() if tensor.name in arrays else bytes(size)
            region = tensor.region.name.lower()
            before = regions.get(region, b"")
            regions[region] = before + bytes(-len(before) % 16) + data
    return Call(spec, params_block(spec, solved.symbols, case.params), **regions)


_EXAMPLES: Mapping[str, Mapping[str, int]] = {
    "rope": {"batch": 1, "seq": 2, "heads": 2, "dim": 32},
    "rmsnorm": {"rows": 2, "dim": 19},
    "swiglu": {"n": 37},
    "kv_pack": {"rows": 2, "dim": 64},
    "kv_unpack": {"rows": 2, "dim": 64},
    "lora_apply": {"rows": 2, "d_in": 5, "rank": 3, "d_out": 37},
}


def example(kernel_id: str) -> Case:
    """A small call with every input, of normal numbers."""
    spec = SPECS[kernel_id]
    rng = np.random.default_rng(5)
    inputs = []
    for tensor in spec.arguments:
        shape = tuple(dim.value(_EXAMPLES[spec.op]) for dim in tensor.shapes[0])
        values = rng.standard_normal(shape).astype(np.float32)
        block = tensor.dtype.block > 1
        inputs.append(formats.quantize(values, tensor.dtype) if block else values.astype(tensor.dtype.numpy))
    return Case(kernel_id, 0, "example", tuple(inputs), {param.name: param.default for param in spec.params})


def same_bits(kernel_id: str, one: bytes, other: bytes) -> bool:
    """Whether two output regions of a kernel are equal, NaN payloads apart."""
    dtype = SPECS[kernel_id].outputs[0].dtype.numpy
    return not compare(np.frombuffer(one, dtype), np.frombuffer(other, dtype)).any()


@cache
def _engine() -> Engine:
    return Engine()


@cache
def _module(kernel_id: str, flavour: str) -> wasmtime.Module:
    return wasmtime.Module(_engine(), wasm(kernel_id, flavour))


def pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    """An array for a C function."""
    return array.ctypes.data_as(ctypes.c_void_p)
