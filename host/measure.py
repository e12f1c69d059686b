"""What a pack build finds out about a compiled kernel by running it under Wasmtime.

All of it is exact: who the kernel says it is, what it answers to its known-answer test, how many WebAssembly
instructions it takes. So two builds agree, and nothing depends on how busy the machine was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from host import known_answer as known_answer_
from host.errors import BuildError, MalformedPack
from host.pack.flavours import PORTABLE
from host.pack.manifest import Benchmarks
from host.pack.spec import KERNEL_ABI_VERSION, KernelSpec
from host.runtime import known_answer_sha256, module_info, run_counted


def check_identity(modules: Mapping[str, bytes], spec: KernelSpec, version: str) -> None:
    """That ``kernel_info`` of every flavour says the kernel's id, the pack's version and this ABI.

    Raises MalformedPack.
    """
    for flavour, module in modules.items():
        info = module_info(module, spec)
        says = {
            "name": (info.name, spec.id),
            "version": (info.version, version),
            "ABI": (info.abi_version, KERNEL_ABI_VERSION),
        }
        for what, (actual, expected) in says.items():
            if actual != expected:
                raise MalformedPack(f"{spec.id} ({flavour}): kernel_info says {what} {actual!r}, must be {expected!r}")


def known_answer(modules: Mapping[str, bytes], spec: KernelSpec) -> str:
    """sha256 (hex) of the known-answer test's output.

    Raises BuildError for a flavour that gives other bits, there or at the sizes of ``spec.bench``.
    """
    if spec.bench is not None:
        _answer(modules, _at_bench(spec))
    return _answer(modules, spec)


def _answer(modules: Mapping[str, bytes], spec: KernelSpec) -> str:
    answers = {flavour: known_answer_sha256(module, spec) for flavour, module in modules.items()}
    for flavour, answer in answers.items():
        if answer != answers[PORTABLE]:
            raise BuildError(f"{spec.id}: the {flavour} flavour gives other bits than the portable one")
    return answers[PORTABLE]


def _at_bench(spec: KernelSpec) -> KernelSpec:
    """The kernel with a known-answer test of the sizes at which it is measured."""
    assert spec.bench is not None
    return replace(spec, test=replace(spec.test, symbols=spec.bench))


def benchmarks(modules: Mapping[str, bytes], spec: KernelSpec) -> Benchmarks:
    """Instructions an element of the first output, at the sizes of ``spec.bench``, on known-answer inputs."""
    sized = _at_bench(spec)
    inputs = known_answer_.inputs(sized)
    elements = math.prod(spec.outputs[0].sizes(sized.test.symbols))
    counts = {flavour: run_counted(module, sized, inputs) for flavour, module in modules.items()}
    return Benchmarks(elements, {flavour: round(count / elements, 3) for flavour, count in counts.items()})
