"""A compiled kernel and its instances.

A call takes an instance and has it alone, so threads may call at once. There are two sorts. Calls with ordinary arrays
run in instances that have all of their memory to themselves; arrays are copied in and out. As soon as one array is a
tensor of the arena, the call runs in an instance that maps the arena.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from wasmtime import Module, WasmtimeError

from host import known_answer
from host.errors import LoadError
from host.pack.spec import KernelSpec
from host.pack.wasm import export_problem, export_types
from host.runtime.bound import Bound, Placement, place
from host.runtime.call import Array, Params, Plan, Planner
from host.runtime.engine import KernelEngine
from host.runtime.instance import Frame, KernelInfo, KernelInstance
from host.runtime.layout import align
from host.runtime.pool import InstancePool
from host.runtime.watch import Watch

_MOST_PLACEMENTS = 256


class Kernel:
    """A kernel on ``engine``. Raises LoadError for wasm that is no kernel as ``spec`` says."""

    def __init__(self, engine: KernelEngine, wasm: bytes, spec: KernelSpec) -> None:
        self.spec = spec
        self.planner = Planner(spec)
        self._arena = engine.arena
        self._in_place: dict[tuple[object, ...], tuple[bytes, int]] = {}
        module = _compile(engine, wasm, spec)
        self._alone = InstancePool(lambda: KernelInstance(engine, module, spec, None))
        self._sharing = InstancePool(lambda: KernelInstance(engine, module, spec, engine.arena))

    def close(self) -> None:
        """Let the kernel end its instances. Calls in flight finish; no other can begin."""
        self._alone.close()
        self._sharing.close()

    def call(self, arrays: Mapping[str, Array], params: Params) -> dict[str, Array]:
        """Run the kernel on arrays by name. Returns every output by name; one that was given is filled with its result.

        Raises TypeError, ValueError, MemoryError and KernelErrors as `Runtime.run` does.
        """
        plan = self.planner.plan(arrays, params)
        offsets = self._offsets(arrays)
        if all(offset is None for offset in offsets):
            return self._call_alone(plan, arrays)
        return self._call_sharing(plan, arrays, offsets)

    def _call_alone(self, plan: Plan, arrays: Mapping[str, Array]) -> dict[str, Array]:
        instance = self._alone.take()
        try:
            frame = instance.frame(plan)
        except MemoryError:
            self._alone.give_back(instance)
            raise
        for name, view in frame.reads:
            view[...] = arrays[name]
        instance.enter(frame.block)
        outputs = {}
        for name, view in frame.writes:
            given = arrays.get(name)
            if given is None:
                outputs[name] = view.copy()
            else:
                given[...] = view
                outputs[name] = given
        self._alone.give_back(instance)
        return outputs

    def _call_sharing(self, plan: Plan, arrays: Mapping[str, Array], offsets: Sequence[int | None]) -> dict[str, Array]:
        instance = self._sharing.take()
        try:
            placement = self._place(plan, arrays, offsets, instance)
            instance.reserve(placement.end)
        except MemoryError:
            self._sharing.give_back(instance)
            raise
        instance.enter(placement.block)
        self._sharing.give_back(instance)
        outputs = {}
        for tensor in self.spec.outputs:
            result, given = placement.tensors[tensor.name], arrays.get(tensor.name)
            if given is not None and given is not result:
                given[...] = result
            outputs[tensor.name] = result if given is None else given
        return outputs

    def _offsets(self, arrays: Mapping[str, Array]) -> list[int | None]:
        offset = self._arena.offset
        return [None if array.base is None else offset(array) for array in arrays.values()]

    def _place(
        self, plan: Plan, arrays: Mapping[str, Array], offsets: Sequence[int | None], instance: KernelInstance
    ) -> Placement:
        """`place`, which is not done again for tensors that all are where they were in an earlier call."""
        key = (plan, *offsets)
        known = self._in_place.get(key)
        if known is not None and all(arrays[tensor.name].flags.writeable for tensor in self.spec.outputs):
            return Placement(*known, arrays, None)
        placement = place(self.spec, plan, arrays, offsets, self._arena, instance.block_at)
        same = all(array is arrays.get(name) for name, array in placement.tensors.items())
        if same and placement.scratch is None:
            if len(self._in_place) >= _MOST_PLACEMENTS:
                self._in_place.clear()
            self._in_place[key] = placement.block, placement.end
        return placement

    def in_arena(self, arrays: Mapping[str, Array]) -> bool:
        """Whether any of the arrays lies where kernels can write."""
        return any(offset is not None for offset in self._offsets(arrays))

    def bind(self, arrays: Mapping[str, Array], params: Params, watch: Watch) -> Bound:
        """Prepare a call whose tensors lie in the arena. Raises as `Runtime.bind` does."""
        plan = self.planner.plan(arrays, params)
        instance = self._sharing.take()
        try:
            placement = self._place(plan, arrays, self._offsets(arrays), instance)
        finally:
            self._sharing.give_back(instance)
        for tensor in self.spec.outputs:
            if tensor.name in arrays and placement.tensors[tensor.name] is not arrays[tensor.name]:
                raise ValueError(
                    f"{self.spec.id}: {tensor.name} must be a tensor of this runtime (Runtime.tensor), writable, "
                    "that overlaps no input"
                )
        return Bound(self.spec.id, self._sharing, placement, self.spec.outputs[0].name, params, watch)

    def prepare(self, arrays: Mapping[str, Array]) -> tuple[KernelInstance, Frame]:
        """An instance that is given away, with a call laid out in it; parameters are at their defaults."""
        instance = self._alone.take()
        frame = instance.frame(self.planner.plan(arrays, {}))
        for name, view in frame.reads:
            view[...] = arrays[name]
        return instance, frame

    def info(self) -> KernelInfo:
        """What the module says of itself. Raises MalformedPack when that is not in the form of docs/kernel-abi.md."""
        return self._alone.take().info()

    def known_answer_sha256(self) -> str:
        """sha256 (hex) of the output region of the kernel's known-answer test. Raises KernelError when it fails."""
        outputs = self.call(known_answer.inputs(self.spec), {})
        region = bytearray()
        for tensor in self.spec.outputs:
            region += bytes(align(len(region)) - len(region)) + outputs[tensor.name].tobytes()
        return hashlib.sha256(region).hexdigest()


def _compile(engine: KernelEngine, wasm: bytes, spec: KernelSpec) -> Module:
    try:
        module = engine.modules.get(wasm)
    except WasmtimeError as error:
        raise LoadError(f"{spec.id}: {error}") from error
    if module.imports:
        raise LoadError(f"{spec.id}: imports {module.imports[0].name!r}, but a kernel has no imports")
    problem = export_problem(export_types(module), spec)
    if problem is not None:
        raise LoadError(problem)
    return module
