"""How wasm-ld links every kernel, whatever language it is written in: docs/kernel-abi.md."""

from __future__ import annotations

from host.pack.spec import BACKWARD_ENTRY, KernelSpec

PAGE = 65536
"""Bytes of a page of linear memory."""
LIFECYCLE = {"kernel_init": "(i32, i32) -> (i32)", "kernel_info": "() -> (i32)", "kernel_cleanup": "() -> ()"}
"""What every kernel exports beside its entry point, with types."""


def functions(spec: KernelSpec) -> dict[str, str]:
    """Every function that the kernel exports, with its type."""
    entries = [spec.entry_point, *([BACKWARD_ENTRY] if spec.backward else [])]
    return dict.fromkeys(entries, "(i32) -> (i32)") | LIFECYCLE


def link_options(spec: KernelSpec) -> tuple[str, ...]:
    """Options of wasm-ld."""
    exports = [*functions(spec), "__heap_base", "__data_end"]  # wamrc cuts the first page down to what lies below
    return (
        "--no-entry",
        "--strip-all",
        "-z",
        "stack-size=1024",  # it lies first: running off its end leaves linear memory and traps
        "--initial-memory=65536",
        f"--max-memory={spec.limits.max_memory_pages * PAGE}",
        *(f"--export={name}" for name in exports),
    )
