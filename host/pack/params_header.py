"""The C header made for each kernel: its identity, and its params block as a struct, so that no field can drift."""

from __future__ import annotations

from host.pack.spec import KernelSpec, ParamType

_C_TYPES: dict[ParamType, str] = {"f32": "float", "i32": "int32_t", "u32": "uint32_t", "bool": "uint32_t"}


def file_name(spec: KernelSpec) -> str:
    """What a kernel includes."""
    return f"{spec.id}_params.h"


def params_header(spec: KernelSpec, version: str) -> str:
    """``KERNEL_NAME``, ``KERNEL_VERSION`` (the pack's) and ``KERNEL_PARAM_COUNT`` for kernel_info and kernel_init, and
    ``struct <id>_params``: each symbol's value, then each parameter, one 32-bit word each.

    A kernel without any gets a header without the struct, as C has no empty one.
    """
    guard = f"{spec.id.upper()}_PARAMS_H"
    fields = [f"    uint32_t {symbol};" for symbol in spec.symbols]
    fields += [f"    {_C_TYPES[param.type]} {param.name};" for param in spec.params]
    struct = f"struct {spec.id}_params"
    lines = [
        f"// Identity and params block of {spec.id}, made from pack.toml.",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
        f'#define KERNEL_NAME "{spec.id}"',
        f'#define KERNEL_VERSION "{version}"',
        f"#define KERNEL_PARAM_COUNT {len(spec.params)}",
        "",
    ]
    if fields:
        lines += [
            f"{struct} {{",
            *fields,
            "};",
            "",
            f'_Static_assert(sizeof({struct}) == {4 * len(fields)}, "one word a field");',
            "",
        ]
    return "\n".join([*lines, "#endif", ""])
