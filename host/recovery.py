"""What follows after a kernel ended a call badly (requirement R3): a log record with all that is known, and, where the
manifest names one, the numpy reference's result instead.

The rules:

1. Every error is logged to ``host.runtime``, with the fields of `Failure` in the record.
2. A kernel's own return code (`KernelTrap`) is its answer to what it was given. Only a fault is made up for.
3. The reference gets what the kernel got. When the kernel may have changed that, the error stands.
4. A result of the reference counts as a fallback; strict mode has none of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import formats, reference
from host.errors import KernelError, KernelTrap, MemoryAccessViolation, NoSuchKernel
from host.pack.spec import BACKWARD_ENTRY, DType, KernelSpec
from host.reference import F64, REFERENCES, Reference
from host.shapes import element_shape, output_shape

Array = NDArray[Any]
Params = Mapping[str, float | int | bool]

_log = logging.getLogger("host.runtime")


@dataclass(frozen=True)
class Failure:
    """A call that ended badly.

    ``arrays`` are by tensor name. ``words`` is the descriptor, ten u32, when the call had one of its own (bind).
    ``intact`` says that the arrays still are what they were before the call: that they were copied into linear memory,
    not laid there, where a kernel that faults may have written anywhere.
    """

    pack: str
    version: str
    spec: KernelSpec
    arrays: Mapping[str, Array]
    params: Params
    error: KernelError
    intact: bool
    words: tuple[int, ...] | None = None

    @property
    def descriptor(self) -> list[int] | dict[str, str]:
        """The descriptor's words, else dtype and shape of every array: ``{"x": "float32[2, 64]"}``."""
        if self.words is not None:
            return list(self.words)
        return {name: f"{array.dtype}{list(array.shape)}" for name, array in self.arrays.items()}

    @property
    def trap_offset(self) -> int | None:
        """Where in linear memory the kernel reached, when Wasmtime tells it."""
        return self.error.offset if isinstance(self.error, MemoryAccessViolation) else None

    def fields(self) -> dict[str, Any]:
        """What the log record has beside its message; JSON types only."""
        return {
            "pack": self.pack,
            "version": self.version,
            "kernel": self.spec.id,
            "descriptor": self.descriptor,
            "params": dict(self.params),
            "error": type(self.error).__name__,
            "cause": str(self.error),
            "trap_offset": self.trap_offset,
        }


class Recovery:
    """The strategy of a runtime. With ``strict`` there are no fallbacks: every error stands.

    ``fell_back`` is called for each result that is the reference's, with the kernel's id and the nanoseconds it took.
    """

    def __init__(
        self,
        references: Mapping[str, Reference] = REFERENCES,
        *,
        strict: bool = False,
        fell_back: Callable[[str, int], None] = lambda kernel, nanoseconds: None,
    ) -> None:
        self._references = references
        self._strict = strict
        self._fell_back = fell_back

    def recover(self, failure: Failure) -> dict[str, Array]:
        """Log the failure, then return every output by name, new arrays, from the reference; or raise the error."""
        spec = failure.spec
        why_not = self._objection(failure)
        begin = time.perf_counter_ns()
        if why_not is None:
            try:
                outputs = reference_outputs(spec, failure.arrays, failure.params, self._references)
            except Exception as error:  # it may be anyone's code
                why_not = f"the reference failed with {type(error).__name__}: {error}"
        if why_not is not None:
            level = logging.ERROR if is_fault(failure.error) else logging.WARNING
            _report(level, failure, f"no fallback: {why_not}", fallback=None)
            raise failure.error
        _report(logging.WARNING, failure, f"the reference {spec.fallback} answered instead", fallback=spec.fallback)
        self._fell_back(spec.id, time.perf_counter_ns() - begin)
        return outputs

    def _objection(self, failure: Failure) -> str | None:
        """Why the error stands; None when the reference can make up for it."""
        spec = failure.spec
        if not is_fault(failure.error):
            return "the kernel itself returned it"
        if self._strict:
            return "strict mode"
        if spec.fallback is None:
            return "the manifest names none"
        if spec.entry_point == BACKWARD_ENTRY:
            return "gradients have no reference"
        if spec.fallback not in self._references:
            return f"there is no reference {spec.fallback}"
        if not failure.intact:
            return "the kernel may have changed its inputs"
        return None


def _report(level: int, failure: Failure, outcome: str, fallback: str | None) -> None:
    fields = {**failure.fields(), "fallback": fallback}
    text = "{pack} {version}: {kernel} ended with {error}: {cause}; {outcome}".format(**fields, outcome=outcome)
    _log.log(level, "%s", text, extra=fields)


def is_fault(error: KernelError) -> bool:
    """Whether the kernel was stopped, or could not start, rather than answered with a return code."""
    return not isinstance(error, KernelTrap | NoSuchKernel)


def reference_outputs(
    spec: KernelSpec, arrays: Mapping[str, Array], params: Params, references: Mapping[str, Reference] = REFERENCES
) -> dict[str, Array]:
    """What the reference that ``spec.fallback`` names gives for a call, by output name, in the output's dtype.

    ``arrays`` are by tensor name, ``params`` those that are not at their default. The formula's float64 value is
    rounded to the output's dtype, or packed into its blocks. Raises NoSuchKernel when there is no such reference,
    ValueError when it gives another shape than the kernel, or the kernel has several outputs.
    """
    every = {param.name: param.default for param in spec.params} | dict(params)
    expected = reference.expected(spec.fallback or "", arrays, every, references)
    if expected is None:
        raise NoSuchKernel(f"there is no reference {spec.fallback!r} for {spec.id}")
    if len(spec.outputs) != 1:
        raise ValueError(f"{spec.id} has {len(spec.outputs)} outputs, a reference gives one")
    output = spec.outputs[0]
    dtypes = {tensor.name: tensor.dtype for tensor in spec.tensors}
    shape = output_shape(spec, {name: element_shape(dtypes[name], array.shape) for name, array in arrays.items()})
    if expected.value.shape != shape:
        raise ValueError(f"reference {spec.fallback} gives shape {expected.value.shape}, must be {shape}")
    return {output.name: _rounded(expected.value, output.dtype)}


def _rounded(value: F64, dtype: DType) -> Array:
    with np.errstate(all="ignore"):
        if dtype.block > 1:
            return formats.quantize(value.astype(np.float32), dtype)
        return value.astype(dtype.numpy)
