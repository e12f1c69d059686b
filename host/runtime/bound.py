"""Calls whose tensors lie in the arena: where, and such a call prepared to be made again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from host.errors import KernelError, NoPack
from host.pack.linking import PAGE
from host.pack.spec import KernelSpec, Region
from host.runtime import layout
from host.runtime.arena import PRIVATE, Arena
from host.runtime.call import Array, Params, Plan, is_read
from host.runtime.instance import KernelInstance
from host.runtime.layout import RegionLayout
from host.runtime.pool import InstancePool
from host.runtime.watch import Watch

_ANOTHER_PACK = "another pack was installed: bind again"


@dataclass(frozen=True)
class Placement:
    """Where a call's tensors lie: the block that says so to the kernel, and the ``end`` of the memory that it needs.

    ``tensors`` are the inputs and outputs by name: the very arrays that were given where the kernel can use them in
    place, else views of new room in the arena. ``scratch`` only keeps its room.
    """

    block: bytes
    end: int
    tensors: Mapping[str, Array]
    scratch: Array | None


def place(
    spec: KernelSpec,
    plan: Plan,
    arrays: Mapping[str, Array],
    offsets: Sequence[int | None],
    arena: Arena,
    block_at: int,
) -> Placement:
    """Find a place for every region of a call, and copy what is read and does not lie there yet.

    ``offsets`` are those of ``arrays`` in the arena. Raises MemoryError when part of the call would be beyond the
    kernel's memory limit.
    """
    limit = spec.limits.max_memory_pages * PAGE
    at_hand = dict(zip(arrays, offsets, strict=True))
    places: dict[Region, tuple[int, int]] = {}
    tensors: dict[str, Array] = {}
    scratch = None
    for region, part in plan.regions.items():
        if region is Region.SCRATCH:
            offset = layout.align(block_at + layout.PARAMS_AT + len(plan.params))
            if offset + part.size > PRIVATE:
                offset, scratch = _room(spec, arena, part.size, limit)
        elif (found := _in_place(region, part, arrays, at_hand, places)) is not None:
            offset = found
            tensors.update((tensor.name, arrays[tensor.name]) for tensor, _ in part.tensors)
        else:
            offset, room = _room(spec, arena, part.size, limit)
            for tensor, at in part.tensors:
                view = tensors[tensor.name] = view_of(room[at:], tensor.dtype.numpy, plan.shapes[tensor.name])
                if is_read(tensor):
                    view[...] = arrays[tensor.name]
        places[region] = offset, part.size
    end = max((offset + size for offset, size in places.values()), default=0)
    if end > limit:
        raise MemoryError(f"{spec.id}: a tensor of the call ends at {end} bytes of memory, the limit is {limit}")
    return Placement(layout.block(block_at, places, plan.params), end, tensors, scratch)


def view_of(room: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """The bytes at the beginning of ``room`` as an array."""
    kind = np.dtype(dtype)
    return room[: math.prod(shape) * kind.itemsize].view(kind).reshape(shape)


def _in_place(
    region: Region,
    part: RegionLayout,
    arrays: Mapping[str, Array],
    at_hand: Mapping[str, int | None],
    inputs: Mapping[Region, tuple[int, int]],
) -> int | None:
    """The offset of a region whose tensors were all given and lie in the arena as the kernel needs them."""
    starts = set()
    for tensor, at in part.tensors:
        offset = at_hand.get(tensor.name)
        if offset is None or (region is Region.OUTPUT and not arrays[tensor.name].flags.writeable):
            return None
        starts.add(offset - at)
    start = starts.pop()
    if starts:
        return None
    if region is Region.OUTPUT and any(start < at + size and at < start + part.size for at, size in inputs.values()):
        return None
    return start


def _room(spec: KernelSpec, arena: Arena, size: int, limit: int) -> tuple[int, Array]:
    try:
        return arena.block(size, limit)
    except MemoryError as error:
        raise MemoryError(f"{spec.id}: {error}, which is its limit") from error


class Bound:
    """A call that was checked and laid out. To call it runs the kernel on what its tensors hold then.

    ``out`` is the first output, which the call returns too; ``tensors`` are all inputs and outputs by name. Threads may
    call it, but not two at once, as they would write the same output.
    """

    def __init__(
        self, kernel: str, pool: InstancePool, placement: Placement, out: str, params: Params, watch: Watch
    ) -> None:
        self.kernel = kernel
        self.tensors = placement.tensors
        self.out = placement.tensors[out]
        self._pool = pool
        self._placement = placement
        self._block = placement.block
        self._end = placement.end
        self._params = params
        self._watch = watch
        self._record = watch.record
        self._is_current = watch.is_current

    def __call__(self) -> Array:
        """Run the kernel. Raises KernelErrors, after which the next call works, and NoPack under another pack."""
        begin = perf_counter_ns()
        if not self._is_current():
            raise NoPack(_ANOTHER_PACK)
        pool = self._pool
        instance = pool.take()
        if instance.size < self._end:
            instance.reserve(self._end)
        try:
            instance.enter(self._block)
        except KernelError as error:
            self._record(perf_counter_ns() - begin)
            self._failed(error)
            raise
        pool.give_back(instance)
        self._record(perf_counter_ns() - begin)
        return self.out

    def _failed(self, error: KernelError) -> None:
        # Its tensors lie where the kernel can write: no reference makes up for it.
        words = layout.words(self._block)
        self._watch.failed(error, self.tensors, self._params, intact=False, words=words)


def run_all(calls: Sequence[Bound]) -> list[Array]:
    """Make every call in order; neighbours of one kernel share an instance. Returns their outputs.

    Raises the first error that a call ends with; those behind it are then not made.
    """
    pool: InstancePool | None = None
    instance: KernelInstance | None = None
    begin = perf_counter_ns()
    try:
        for call in calls:
            if not call._is_current():
                raise NoPack(_ANOTHER_PACK)
            if pool is not call._pool or instance is None:
                if pool is not None and instance is not None:
                    pool.give_back(instance)
                    instance = None
                pool = call._pool
                instance = pool.take()
            if instance.size < call._end:
                instance.reserve(call._end)
            try:
                instance.enter(call._block)
            except KernelError as error:
                instance = None
                call._record(perf_counter_ns() - begin)
                call._failed(error)
                raise
            end = perf_counter_ns()
            call._record(end - begin)
            begin = end
    except BaseException:
        instance = None  # whatever became of it
        raise
    finally:
        if pool is not None and instance is not None:
            pool.give_back(instance)
    return [call.out for call in calls]
