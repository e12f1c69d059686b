"""Signed packs of one kernel, ``add``, y = x + a number that is the pack's own: a result says which pack gave it."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import vectors
from numpy.typing import NDArray
from wasmtime import wat2wasm

from host import known_answer
from host.pack import Pack, pack
from host.pack.manifest import Manifest, ManifestKernel, Module
from host.pack.spec import DTYPES, Dim, KernelSpec, KnownAnswer, Limits, Region, Tensor

KEY = vectors.KEYS["test"]
N = (Dim("n"),)
F32 = DTYPES["f32"]
SPEC = KernelSpec(
    id="add",
    op="add",
    category="test",
    entry_point="add_forward",
    symbols=("n",),
    inputs=(Tensor("x", Region.INPUT_A, F32, (N,)),),
    outputs=(Tensor("y", Region.OUTPUT, F32, (N,)),),
    scratch=(),
    params=(),
    limits=Limits(4, 1000, 1),
    fallback=None,
    test=KnownAnswer(1, {"n": 4}),
)
# The descriptor's offset of input_a is its word 0, that of output word 4; the output's size word 5.
_MODULE = """(module
  (memory (export "memory") 1)
  (data (i32.const 512) "{info}")
  (global (export "__heap_base") i32 (i32.const 1024))
  (func (export "kernel_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "kernel_info") (result i32) (i32.const 512))
  (func (export "kernel_cleanup"))
  (func (export "add_forward") (param $desc i32) (result i32)
    (local $at i32)
    (loop $next
      (f32.store (i32.add (i32.load offset=16 (local.get $desc)) (local.get $at))
        (f32.add (f32.const {number}) (f32.load (i32.add (i32.load (local.get $desc)) (local.get $at)))))
      (br_if $next (i32.lt_u
        (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.load offset=20 (local.get $desc)))))
    (i32.const 0)))"""


@dataclass(frozen=True)
class AddingPack:
    """A pack as it was opened, and the number that its kernel adds."""

    opened: Pack
    number: int

    @property
    def name(self) -> str:
        return self.opened.name

    @property
    def version(self) -> str:
        return self.opened.version

    @property
    def security_counter(self) -> int:
        return self.opened.manifest.security_counter

    @property
    def wasm(self) -> bytes:
        return self.opened.wasm("add")

    def answers(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> bool:
        """Whether all of ``y`` is this pack's."""
        return bool(np.array_equal(y, x + np.float32(self.number)))


def adding_pack(
    number: int,
    *,
    counter: int = 1,
    name: str = "adding",
    minimum: str = "0.1.0",
    known: int | None = None,
    module: str = _MODULE,
) -> AddingPack:
    """A pack of version 1.<number>.0, signed, written to a folder and opened there.

    With ``known``, its known answer is that of another number, so that its health check fails; ``module`` is text of
    another module than the one that adds.
    """
    wasm = bytes(wat2wasm(module.format(info=_info(f"1.{number}.0"), number=number)))
    answer = known_answer.inputs(SPEC)["x"] + np.float32(number if known is None else known)
    spec = replace(SPEC, test=replace(SPEC.test, sha256=hashlib.sha256(answer.tobytes()).hexdigest()))
    listed = Module("add.wasm", hashlib.sha256(wasm).hexdigest(), ())
    manifest = Manifest(
        name=name,
        version=f"1.{number}.0",
        description="Adds a number",
        min_runtime_version=minimum,
        max_runtime_version=None,
        security_counter=counter,
        created_at=None,
        author_name="The authors",
        author_email="authors@example.org",
        signing_key=KEY.public.text,
        kernels=(ManifestKernel(spec, {"portable": listed}, "50.0.0", "2.4.3", {}),),
        images={},
    )
    with tempfile.TemporaryDirectory() as folder:
        for path, data in pack.assemble(manifest, {}, {"add.wasm": wasm}, KEY).items():
            (Path(folder) / path).write_bytes(data)
        return AddingPack(Pack.open(folder, [KEY.public]), number)


def _info(version: str) -> str:
    """What kernel_info points to, as text of a data segment."""
    data = b"\x38\0\0\0\x01\0\0\0" + b"add".ljust(24, b"\0") + version.encode().ljust(24, b"\0")
    return "".join(f"\\{byte:02x}" for byte in data)
