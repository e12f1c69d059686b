"""The kernels of a pack compiled for this machine: what their wasm is compared with, by tests and by the bench.

The same portable sources with KERNEL_NATIVE, as firmware has them for its reference: nothing here may change a bit, so
no fused multiply-add and no reordered sum. The compiler vectorises what it can.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import project, steps
from host.errors import BuildError
from host.pack import clang
from host.pack.flavours import PORTABLE
from host.pack.params_header import file_name, params_header
from host.pack.source import PackSource, SourceKernel
from host.pack.spec import KernelSpec, Region, params_block
from host.runtime import layout
from host.shapes import array_shape, element_shape, solve

Array = NDArray[Any]

_FLAGS = (
    "-std=c11", "-Wall", "-Wextra", "-Werror",
    "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-DKERNEL_NATIVE",
)  # fmt: skip
_BASELINES: Mapping[str, str] = {"x86_64": "-march=x86-64-v2", "aarch64": "-march=armv8-a"}
"""Processors with vectors of 128 bits, which is what a wasm kernel may use."""
_BASE = """#include "kernel_abi.h"

uint8_t *kernel_native_base;

int32_t native_repeat(int32_t (*kernel)(uint32_t), uint32_t descriptor, uint32_t times);
int32_t native_repeat(int32_t (*kernel)(uint32_t), uint32_t descriptor, uint32_t times) {
    int32_t code = KERNEL_OK;
    for (; times != 0; times--) {
        code |= kernel(descriptor);
    }
    return code;
}
"""


def compiler() -> str | None:
    """The machine's C compiler, cc; None where there is none."""
    return shutil.which("cc")


def build_native(source: PackSource, *more: Path) -> ctypes.CDLL:
    """One shared library of all kernels of ``source`` in C, as functions ``native_<id>``, and of ``more`` C files.

    It is built into the build folder, once for the same inputs. Raises BuildError with the compiler's messages.
    """
    cc = compiler()
    if cc is None:
        raise BuildError("there is no C compiler, cc, on this machine")
    kernels = [kernel for kernel in source.kernels if kernel.source.suffix == ".c"]
    flags = [*_FLAGS, *filter(None, [_BASELINES.get(platform.machine())])]
    library = project.build_dir() / "native" / f"{_key(cc, flags, source, kernels, more)}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            _compile([cc, *flags], source, kernels, more, Path(scratch)).replace(library)
    return ctypes.CDLL(str(library))


def _key(cc: str, flags: list[str], source: PackSource, kernels: list[SourceKernel], more: tuple[Path, ...]) -> str:
    """Another one for other inputs."""
    inputs = {
        "compiler": [steps.run([cc, "--version"], lambda _line: None), platform.machine(), *flags],
        "base": _BASE,
        "kernels": [
            clang.inputs(kernel.source, kernel.spec, source.version, PORTABLE, source.folder) for kernel in kernels
        ],
        "more": [path.read_text() for path in more],
    }
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]


def _compile(
    command: list[str], source: PackSource, kernels: list[SourceKernel], more: tuple[Path, ...], scratch: Path
) -> Path:
    """The library, in the folder ``scratch``."""
    base = scratch / "base.c"
    base.write_text(_BASE)
    places = {place for kernel in kernels for place in _include_folders(source, kernel.source.parent)}
    objects: list[Path] = []
    for kernel in kernels:
        id = kernel.spec.id
        (scratch / file_name(kernel.spec)).write_text(params_header(kernel.spec, source.version))
        includes = [f"-I{path}" for path in (scratch, *_include_folders(source, kernel.source.parent))]
        objects.append(scratch / f"{id}.o")
        rename = f"-D{kernel.spec.entry_point}=native_{id}"
        steps.run([*command, *includes, rename, "-c", "-o", objects[-1], kernel.source], lambda _line: None)
    library = scratch / "native.so"
    includes = [f"-I{path}" for path in sorted(places)]
    steps.run([*command, "-shared", *includes, "-o", library, *objects, base, *more], lambda _line: None)
    return library


def _include_folders(source: PackSource, place: Path) -> list[Path]:
    """Where a kernel's source in the folder ``place`` finds its headers, as in host/pack/clang.py."""
    include = clang.include_folder()
    return [place / PORTABLE, place, source.folder / PORTABLE, source.folder, include / PORTABLE, include]


class NativeCall:
    """A call of a native kernel, with its linear memory, to be made again and again. Parameters are at their defaults.

    Raises as `host.runtime.Runtime.run` does for inputs that do not fit.
    """

    def __init__(self, library: ctypes.CDLL, spec: KernelSpec, inputs: Mapping[str, Array]) -> None:
        dtypes = {tensor.name: tensor.dtype for tensor in spec.tensors}
        solved = solve(spec, {name: element_shape(dtypes[name], array.shape) for name, array in inputs.items()})
        params = params_block(spec, solved.symbols, {})
        places: dict[Region, tuple[int, int]] = {}
        tensors: dict[str, int] = {}
        end = layout.PARAMS_AT + len(params)
        for region, placed in layout.regions(spec, solved).items():
            start = layout.align(end)
            places[region] = start, placed.size
            tensors |= {tensor.name: start + offset for tensor, offset in placed.tensors}
            end = start + placed.size
        block = layout.block(0, places, params)
        room = np.zeros(end + layout.ALIGN, np.uint8)
        memory = room[-room.ctypes.data % layout.ALIGN :]
        memory[: len(block)] = np.frombuffer(block, np.uint8)
        for name, array in inputs.items():
            memory[tensors[name] :][: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        first = spec.outputs[0]
        shape = solved.shapes[first.name]
        output = memory[tensors[first.name] :][: first.dtype.nbytes(shape)]
        self.output: Array = output.view(first.dtype.numpy).reshape(array_shape(first.dtype, shape))
        """The first output, which every call writes."""
        self._base = ctypes.c_void_p.in_dll(library, "kernel_native_base")
        self._memory = memory.ctypes.data  # which `output` keeps
        self._repeat = library.native_repeat
        self._function = library[f"native_{spec.id}"]
        self._id = spec.id

    def __call__(self, times: int = 1) -> None:
        """Raises BuildError when the kernel refuses the call, which its wasm would not."""
        self._base.value = self._memory
        if self._repeat(self._function, 0, times):
            raise BuildError(f"native_{self._id} refuses a call")
