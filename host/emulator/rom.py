"""The boot ROM's image, built from tools/emulator/bootrom when its sources or the compiler changed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from host import project
from host.errors import BuildError, PartMissing

_GCC = "arm-none-eabi-gcc"
_SOURCES = ("rom.S", "float.c", "double.c")
_FLAGS = (
    *("-mcpu=cortex-m0plus", "-mthumb", "-Os", "-std=c11", "-ffreestanding", "-fno-builtin", "-ffunction-sections"),
    *("-Wall", "-Wextra", "-Werror", "-nostdlib", "-nostartfiles", "-Wl,--gc-sections", "-Wl,--build-id=none"),
    *("-T", "rom.ld"),
)


def image() -> Path:
    """Path of the image, at most 16 KB. Raises PartMissing without the compiler, BuildError when it fails."""
    folder = project.root() / "tools" / "emulator" / "bootrom"
    gcc = shutil.which(_GCC)
    if gcc is None:
        raise PartMissing(f"{_GCC} is needed to build the emulator's boot ROM; install gcc-arm-none-eabi")
    version = subprocess.run([gcc, "--version"], capture_output=True, check=True).stdout
    sources = b"".join((folder / name).read_bytes() for name in (*_SOURCES, "rom.ld"))
    key = hashlib.sha256(version + " ".join(_FLAGS).encode() + sources).hexdigest()[:16]
    built = project.build_dir() / "emulator" / f"bootrom-{key}.bin"
    if not built.exists():
        _build(gcc, folder, built)
    return built


def _build(gcc: str, folder: Path, built: Path) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as temporary:
        elf, binary = Path(temporary) / "rom.elf", Path(temporary) / "rom.bin"
        objcopy = str(Path(gcc).with_name("arm-none-eabi-objcopy"))
        for command in (
            [gcc, *_FLAGS, "-o", str(elf), *_SOURCES, "-lgcc"],
            [objcopy, "-O", "binary", str(elf), str(binary)],
        ):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BuildError(f"building the emulator's boot ROM failed:\n{done.stderr}")
        binary.replace(built)
