"""The core kernels as tests call them: compiled to wasm, and natively as the firmware's references are.

``Call`` lays out a call by hand, byte by byte, so that tests can also break it.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import wasmtime
from numpy.typing import NDArray
from wasmtime import Engine, Func, Global, Instance, Memory, Store

from host import project
from host.pack.flavours import FLAVOURS, PORTABLE
from host.pack.manifest import ManifestKernel, Module
from host.pack.params_header import file_name, params_header
from host.pack.source import SourceKernel, read_source
from host.pack.spec import KernelSpec
from host.pack.wasm import compile_wasm

SOURCE = read_source(project.root() / "kernels_aot")
KERNELS: Mapping[str, SourceKernel] = {kernel.spec.id: kernel for kernel in SOURCE.kernels}
SPECS: Mapping[str, KernelSpec] = {kernel_id: kernel.spec for kernel_id, kernel in KERNELS.items()}
IDS = tuple(SPECS)
NATIVE_MATH = Path(__file__).parent / "native_math.c"
REGIONS = ("input_a", "input_b", "output", "scratch", "params")


def _folder() -> Path:
    folder = project.build_dir() / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def wasm(kernel_id: str, flavour: str = PORTABLE) -> bytes:
    """The kernel's module, compiled as a pack build does."""
    kernel = KERNELS[kernel_id]
    return compile_wasm(kernel.source, kernel.spec, SOURCE.version, flavour, SOURCE.folder)


@cache
def native() -> ctypes.CDLL:
    """All kernels, under the names ``native_<id>``, and native_math.c in one shared library, without optimisations that
    would change rounding.
    """
    out = _folder()
    flags = [
        "-std=c11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fPIC",
        "-DKERNEL_NATIVE",
    ]
    objects = []
    for kernel in SOURCE.kernels:
        id = kernel.spec.id
        (out / file_name(kernel.spec)).write_text(params_header(kernel.spec, SOURCE.version))
        includes = [f"-I{path}" for path in (out, *_include_folders(kernel.source.parent))]
        objects.append(out / f"{id}.o")
        rename = f"-D{kernel.spec.entry_point}=native_{id}"
        subprocess.run(["cc", *flags, *includes, rename, "-c", "-o", objects[-1], kernel.source], check=True)
    library = out / "native.so"
    includes = [f"-I{path}" for path in _include_folders(SOURCE.folder / "rope")]
    subprocess.run(["cc", *flags, "-shared", *includes, "-o", library, *objects, NATIVE_MATH], check=True)
    return ctypes.CDLL(str(library))


def _include_folders(place: Path) -> list[Path]:
    """Where a kernel's source in the folder ``place`` finds its headers, as in host/pack/clang.py."""
    include = SOURCE.folder / "include"
    return [place, place / PORTABLE, SOURCE.folder / PORTABLE, SOURCE.folder, include / PORTABLE, include]


class CorePack:
    """The core kernels as a pack that needs no key: what `Runtime.install` takes."""

    name = "core"
    version = SOURCE.version
    kernels = SPECS

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
        self._end = 2048
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

    def _memory(self) -> bytearray:
        memory = bytearray(self._end + 256)
        for offset, data in self._image.items():
            memory[offset : offset + len(data)] = data
        descriptor = np.array(list(self.words.values()), "<u4").tobytes()
        memory[self._end : self._end + len(descriptor)] = descriptor
        return memory

    def _output(self, memory: bytes) -> bytes:
        offset = self.words["output.offset"]
        return memory[offset : offset + self.words["output.size"]]

    def run_wasm(self, flavour: str = PORTABLE) -> tuple[int, bytes]:
        """Return code, and the output region afterwards."""
        store = Store(_engine())
        exports = Instance(store, _module(self.spec.id, flavour), []).exports(store)
        memory, entry, heap_base = exports["memory"], exports[self.spec.entry_point], exports["__heap_base"]
        initialise = exports["kernel_init"]
        assert isinstance(memory, Memory) and isinstance(entry, Func) and isinstance(heap_base, Global)
        assert heap_base.value(store) <= 2048
        assert isinstance(initialise, Func) and initialise(store, 0, 4 * len(self.spec.params)) == 0
        image = self._memory()
        memory.grow(store, len(image) // 65536)
        memory.write(store, image[2048:], 2048)
        code = entry(store, self._end)
        return code, self._output(bytes(memory.read(store, 0, len(image))))

    def run_native(self) -> tuple[int, bytes]:
        """The same with the native build."""
        image = self._memory()
        # 16-byte alignment of the image, as a linear memory has it.
        buffer = (ctypes.c_uint8 * (len(image) + 16))()
        base = -(-ctypes.addressof(buffer) // 16) * 16
        ctypes.memmove(base, bytes(image), len(image))
        library = native()
        ctypes.c_void_p.in_dll(library, "kernel_native_base").value = base
        code = getattr(library, f"native_{self.spec.id}")(ctypes.c_uint32(self._end))
        return code, self._output(ctypes.string_at(base, len(image)))


@cache
def _engine() -> Engine:
    return Engine()


@cache
def _module(kernel_id: str, flavour: str) -> wasmtime.Module:
    return wasmtime.Module(_engine(), wasm(kernel_id, flavour))


def pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    """An array for a C function."""
    return array.ctypes.data_as(ctypes.c_void_p)
