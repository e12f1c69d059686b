"""Files that the firmware's C sources are built with, made from the facts that the host has: one source of truth each.

kern_board.h      the board's memory map and limits       boards/<name>/board.toml
kern_errors.h     error codes, names, what they mean      host/errors.py
kern_dtypes.h     element types                           host/pack/spec.py
kern_keys.h       the key set that it trusts              the user's keys
kern_natives.h    kernels compiled into the firmware      kernels_aot/pack.toml
natives.cmake     the same, for the build
<id>_params.h     params blocks of those kernels          kernels_aot/pack.toml
memmap.ld         linker script                           the port's own, and board.toml
memory.ld         its memory regions, of a port of ours   board.toml
partitions.csv    partition table of an ESP32             board.toml
kern_build.h      the build's id                          a hash of everything that goes in
aot_loader.c      less what no kernel can use             WAMR's own, and wamr_platform/loader.h
aot_runtime.c     the same                                WAMR's own
monocypher.c      with smaller arithmetic                 Monocypher's own, and crypto/field.h
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from host.boards import MAIN_STACK, Board, Memory
from host.errors import BuildError, board_errors
from host.firmware_variants import Variant
from host.pack import image, keyset_image
from host.pack.keyset import KeySet
from host.pack.params_header import file_name, params_header
from host.pack.source import PackSource, SourceKernel
from host.pack.spec import DTYPES, KERNEL_ABI_VERSION, KernelSpec

LIBGCC = "_libgcc"
"""What a reference's id ends with when its floats are libgcc's."""

_TYPECODES = {"f32": "f", "f16": "e", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I"}
"""Codes of MicroPython's struct and array; block formats have none."""


def board_header(board: Board, version: str) -> str:
    """``kern_board.h``."""
    memory, flash = board.memory, board.flash
    facts: dict[str, int | str] = {
        "BOARD": board.name,
        "TARGET": board.wamrc.target_id,
        "VERSION": version,
        "VERSION_NUMBER": image.version_number(version),
        "ABI": KERNEL_ABI_VERSION,
        "FEATURES": image.FEATURE_BULK_MEMORY,
        **_addresses(memory),
        "ARENA_SIZE": memory.arena_size,
        "POOL_SIZE": memory.pool_size,
        "STACK_SIZE": memory.stack_size,
        "KERNEL_PAGE": memory.kernel_page,
        "FLASH_ADDRESS": flash.address,
        "FLASH_SIZE": flash.size,
        "FIRMWARE_SIZE": flash.firmware_size,
        "FLASH_SECTOR": flash.sector,
        "SLOT_A": flash.slot_a,
        "SLOT_B": flash.slot_b,
        "SLOT_SIZE": flash.slot_size,
        "STATE": flash.state,
        "STATE_SIZE": flash.state_size,
        "KEYS_AREA": flash.keys,
        "FILESYSTEM": flash.filesystem,
        "FILESYSTEM_SIZE": flash.filesystem_size,
        "DEADLINE_MS": board.limits.deadline_ms,
    }
    lines = [f"#define KERN_{name} {_literal(value)}" for name, value in facts.items()]
    if memory.arena_address == 0:
        lines += ["", *_VARIABLES]
    return _header("kern_board.h", lines, types=memory.arena_address == 0)  # the assembler reads it too


def _addresses(memory: Memory) -> Mapping[str, int]:
    fixed = {"ARENA": memory.arena_address, "POOL": memory.pool_address, "STACK": memory.stack_address}
    return {f"{name}_ADDRESS": address for name, address in fixed.items() if address != 0}


_VARIABLES = [
    line
    for name in ("arena", "pool", "stack")
    for line in (
        f"extern uintptr_t kern_{name}_address; // 0 until kern is imported",
        f"#define KERN_{name.upper()}_ADDRESS kern_{name}_address",
    )
]
"""Addresses that are only known when the firmware runs."""


def errors_header() -> str:
    """``kern_errors.h``: an enum of the codes, and a list macro of (constant, name, parent, code, phrase)."""
    rows = [("KERN_" + _constant(cls.__name__), cls) for cls in board_errors()]
    enum = [f"    {constant} = {cls.code}," for constant, cls in rows]
    table = []
    for constant, cls in rows:
        parent = cls.__bases__[0].__name__
        phrase = _phrase(cls.__doc__ or "")
        parent = "Exception" if parent == "HostError" else parent
        table.append(f'    X({constant}, {cls.__name__}, {parent}, {cls.code}, "{phrase}")')
    return _header(
        "kern_errors.h",
        ["enum kern_error {", "    KERN_OK = 0,", *enum, "};", "", "#define KERN_ERRORS(X) \\", " \\\n".join(table)],
    )


def dtypes_header() -> str:
    """``kern_dtypes.h``: a list macro of (name, code, elements a block, bytes a block, typecode)."""
    rows = []
    for dtype in DTYPES.values():
        typecode = f"'{_TYPECODES[dtype.name]}'" if dtype.name in _TYPECODES else "0"
        rows.append(f"    X({dtype.name}, {dtype.code}, {dtype.block}, {dtype.size}, {typecode})")
    return _header("kern_dtypes.h", ["#define KERN_DTYPES(X) \\", " \\\n".join(rows)])


def keys_header(key_set: KeySet) -> str:
    """``kern_keys.h``: the bytes of the key set's image, as an initialiser. Raises UsageError when it is too large."""
    names = ", ".join(key.name for key in key_set.trust)
    lines = [f"// Version {key_set.version}: {names}", f"#define KERN_KEY_SET {_bytes(keyset_image.encode(key_set))}"]
    return _header("kern_keys.h", lines)


def native_files(source: PackSource, variant: Variant) -> Mapping[str, str]:
    """The headers of the kernels whose reference the firmware has, and the list of them for C and for cmake."""
    kernels = [kernel for kernel in source.kernels if variant.all_references or _is_fallback(kernel.spec)]
    ids = [
        kernel.spec.id + suffix for kernel in kernels for suffix in (("", LIBGCC) if variant.all_references else ("",))
    ]
    header = [f"uint32_t native_{id}(uint32_t descriptor);" for id in ids]
    table = "".join(f' {{ "{id}", native_{id} }},' for id in ids)
    lines = "\n".join(f'    "{_native(kernel)}"' for kernel in kernels)
    optimisation = "-O3" if variant.all_references else "-O2"
    return {
        "kern_natives.h": _header("kern_natives.h", [*header, "", f"#define KERN_NATIVES{table}"]),
        "natives.cmake": f"set(KERN_NATIVE_KERNELS\n{lines}\n)\nset(KERN_NATIVE_OPTIMISATION {optimisation})\n"
        f"set(KERN_NATIVE_LIBGCC {int(variant.all_references)})\n",
        **{file_name(kernel.spec): params_header(kernel.spec, source.version) for kernel in kernels},
    }


def _is_fallback(spec: KernelSpec) -> bool:
    """Whether every firmware has the reference: the pack names it, all is f32, and nothing that is read is overwritten,
    for then a call could not be repeated."""
    tensors = spec.inputs + spec.outputs
    return spec.fallback == spec.id and all(tensor.dtype.name == "f32" and not tensor.inout for tensor in tensors)


def build_header(build_id: str, variant: Variant) -> str:
    """``kern_build.h``: in a file of its own, since it changes with every build."""
    return _header("kern_build.h", [f'#define KERN_BUILD "{build_id}"', f'#define KERN_VARIANT "{variant.name}"'])


def linker_script(port_script: Path, board: Board) -> str:
    """The port's script with MicroPython's RAM ending where the kernel stack begins, flash where the slots begin.

    It also names the objects that belong in RAM as this cmake does: ``*.c.o`` where the port expects ``*.c.obj``.
    But the parser stays in flash: 3 KB more for the heap.
    Raises BuildError when the port's script is not as expected.
    """
    ram = board.memory.stack_address - board.memory.ram_address
    changes = [
        (r"(FLASH\(rx\) : ORIGIN = 0x10000000, LENGTH = )\d+k", rf"\g<1>{board.flash.firmware_size}"),
        (r"(RAM\(rwx\) : ORIGIN =  0x20000000, LENGTH = )\d+k", rf"\g<1>{ram}"),
        (r"\*gc\.c\.obj \*vm\.c\.obj \*parse\.c\.obj", "*gc.c.o* *vm.c.o*"),
    ]
    return _changed(port_script, changes + _STACK_CHANGES.get(board.chip, []))


_STACK_CHANGES = {
    "RP2350": [
        (r"(__GcHeapEnd = ORIGIN\(RAM\) \+ LENGTH\(RAM\)) - __micropy_extra_stack__;", r"\g<1>;"),
        (r"__StackBottom = __GcHeapEnd;", "__StackBottom = ORIGIN(SCRATCH_X);"),
    ]
}
"""By chip, where the port's script has MicroPython's stack go on below the scratch memory: there the kernels' is."""


def memory_regions(board: Board) -> str:
    """``memory.ld``: firmware at the start of flash, RAM up to the kernels' memory, MicroPython's stack behind it."""
    memory, flash = board.memory, board.flash
    regions = {
        "ROM (rx)": (flash.address, flash.firmware_size),
        "RAM (rwx)": (memory.ram_address, memory.stack_address - memory.ram_address),
        "STACK (rw)": (memory.main_stack, MAIN_STACK),
    }
    lines = [f"    {name} : ORIGIN = {origin:#x}, LENGTH = {size:#x}" for name, (origin, size) in regions.items()]
    return "\n".join(["/* Made by host/firmware_files.py. */", "MEMORY", "{", *lines, "}", ""])


_PARTITIONS_END = 0x10000
"""Where ESP-IDF's own partitions end: boot loader, partition table, settings, radio calibration."""


def partition_table(board: Board) -> str:
    """``partitions.csv`` as ESP-IDF reads it: the firmware up to the slots; slots, state log and keys as one; files."""
    flash = board.flash
    rows = [
        ("nvs", "data", "nvs", 0x9000, 0x6000),
        ("phy_init", "data", "phy", 0xF000, 0x1000),
        ("factory", "app", "factory", _PARTITIONS_END, flash.firmware_size - _PARTITIONS_END),
        ("kern", "0x40", "0x00", flash.slot_a, flash.filesystem - flash.slot_a),
        ("vfs", "data", "fat", flash.filesystem, flash.filesystem_size),
    ]
    lines = [f"{name}, {kind}, {subtype}, {offset:#x}, {size:#x}," for name, kind, subtype, offset, size in rows]
    return "\n".join(["# Name, Type, SubType, Offset, Size, Flags. Made by host/firmware_files.py.", *lines, ""])


def wamr_files(wamr: Path) -> Mapping[str, str]:
    """The two of WAMR's files that are changed, less what no kernel can use. Lines are numbered as they were."""
    loader, runtime = (wamr / "core" / "iwasm" / "aot" / name for name in ("aot_loader.c", "aot_runtime.c"))
    line = loader.read_text().partition("#define exchange_uint8")[0].count("\n") + 1
    start = r"if \(!execute_post_instantiate_functions\(module_inst, is_sub_inst,\n +exec_env_main\)\) {"
    return {
        loader.name: _changed(
            loader,
            [
                (r"(?m)^#define exchange_uint8\(", rf'#include "loader.h"\n#line {line}\n\g<0>'),
                (r"(?m)^load_relocation_section\(const uint8", "relocate(const uint8"),
                (r"\(uint8 \*\)module->code \+ text_offset;", "code_address((uint8 *)module->code + text_offset);"),
            ],
        ),
        runtime.name: _changed(runtime, [(start, "if (module->start_function\n) {")]),
    }


def monocypher(source: Path) -> str:
    """``monocypher.c`` with the field arithmetic of ``crypto/field.h`` instead of its own."""
    changes = [
        (
            r"(?m)^static void fe_mul\(fe h, const fe f, const fe g\)$",
            "static inline void unrolled_mul(fe h, const fe f, const fe g)",
        ),
        (r"(?m)^static void fe_sq\(fe h, const fe f\)$", "static inline void unrolled_sq(fe h, const fe f)"),
        (r"(?m)^// Decodes a field element from a byte buffer.$", r'#include "field.h"\n\g<0>'),
    ]
    return _changed(source, changes)


def _changed(source: Path, changes: Sequence[tuple[str, str]]) -> str:
    """The text with each pattern replaced. Raises BuildError for a pattern that is not there once."""
    text = source.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        if count != 1:
            raise BuildError(f"{source}: {pattern} found {count} times, must be there once")
    return text


def _phrase(docstring: str) -> str:
    """What an error means, from its class's first line: plain text, without the code that the class has anyway."""
    text = docstring.split("\n")[0].rstrip(".").replace("``", "").replace('"', "'")
    return re.sub(r"^Return code \d+: | \(.*?\)", "", text)


def _native(kernel: SourceKernel) -> str:
    return f"{kernel.spec.id}|{kernel.spec.entry_point}|{kernel.source}"


def _header(name: str, lines: Sequence[str], types: bool = True) -> str:
    guard = name.upper().replace(".", "_")
    include = ["#include <stdint.h>", ""] if types else []
    top = ["// Made by host/firmware_files.py.", f"#ifndef {guard}", f"#define {guard}", "", *include]
    return "\n".join([*top, *lines, "", "#endif", ""])


def _constant(name: str) -> str:
    """``EPOCH_DEADLINE`` of ``EpochDeadline``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _literal(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else f"({value:#x})"


def _bytes(data: bytes) -> str:
    return ", ".join(f"0x{byte:02x}" for byte in data)
