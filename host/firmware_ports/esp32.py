"""MicroPython's port esp32."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from host import firmware_files, parts, project, steps
from host.boards import Board
from host.errors import BuildError
from host.firmware_ports.port import Port, Show, write_changed

_IDF = "ESP-IDF 5.2 to 5.4 (https://docs.espressif.com/projects/esp-idf), whose export.sh sets IDF_PATH and PATH"
_IDF_VERSIONS = range(502, 505)
_IDF_COMPILERS = {
    "ESP32": "xtensa-esp32-elf-gcc",
    "ESP32-S3": "xtensa-esp32s3-elf-gcc",
    "ESP32-C3": "riscv32-esp-elf-gcc",
}
"""By chip."""

_COMPONENTS = "set(IDF_COMPONENTS esp_mm)\n"
"""Of ESP-IDF's components, what flash_esp32.c uses and the port does not."""


class Esp32(Port):
    """ESP32, ESP32-S3 and ESP32-C3, by an ESP-IDF that the user has. Never built: see docs/esp32.md."""

    file = "firmware.bin"
    elf = "micropython.elf"
    measured = False

    def check(self, board: Board) -> None:
        needed = f"firmware for {board.name} needs {_IDF}"
        if "IDF_PATH" not in os.environ:
            raise BuildError(f"{needed}; IDF_PATH is not set")
        major, minor, _patch = self._version()
        if major * 100 + minor not in _IDF_VERSIONS:
            raise BuildError(f"{needed}; IDF_PATH names ESP-IDF {major}.{minor}, {_idf()}")
        if shutil.which(self.compiler(board)) is None:
            raise BuildError(f"{needed}; {self.compiler(board)} is not in PATH")

    def sdk(self) -> str:
        return f"ESP-IDF {'.'.join(map(str, self._version()))}"

    def _version(self) -> tuple[int, ...]:
        """Major, minor, patch."""
        for name in ("project.cmake", "version.cmake"):
            if not (_idf() / "tools" / "cmake" / name).is_file():
                raise BuildError(f"IDF_PATH is {_idf()}, which is no ESP-IDF: it has no tools/cmake/{name}")
        text = (_idf() / "tools" / "cmake" / "version.cmake").read_text()
        found = re.findall(r"set\(IDF_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)\)", text)
        if len(found) != 3:
            raise BuildError(f"IDF_PATH is {_idf()}, which is no ESP-IDF: tools/cmake/version.cmake has no version")
        return tuple(map(int, found))

    def source(self) -> Path:
        return parts.path("micropython") / "ports" / "esp32"

    def environment(self) -> Mapping[str, str]:
        return {"IDF_COMPONENT_MANAGER": "1"}  # as idf.py sets it: it fetches what the port's idf_component.yml names

    def project(self, folder: Path) -> Path:
        # Not the port's own: ESP-IDF writes what it downloads into its project, and parts are not to be changed.
        return folder / "project"

    def compiler(self, board: Board) -> str:
        return _IDF_COMPILERS[board.chip]

    def definitions(self, board: Board, folder: Path) -> Mapping[str, object]:
        python = os.environ.get("IDF_PYTHON_ENV_PATH")
        return {
            "MICROPY_DIR": parts.path("micropython"),
            "MICROPY_PORT_DIR": self.source(),
            "MICROPY_BOARD": board.micropython_board,
            "MICROPY_BOARD_DIR": folder / "board",
            "MICROPY_FROZEN_MANIFEST": folder / "board" / "manifest.py",
            "ESP_PLATFORM": 1,
            "CCACHE_ENABLE": 0,
            # ESP-IDF's own Python: the first in PATH may be that of this program.
            **({"PYTHON": Path(python) / "bin" / "python"} if python else {}),
        }

    def generated(self, board: Board) -> Mapping[str, str]:
        return {
            "kern_port_board.h": f'#include "boards/{board.micropython_board}/mpconfigboard.h"\n',
            "partitions.csv": firmware_files.partition_table(board),
        }

    def prepare(self, board: Board, folder: Path) -> None:
        for path in (project.root() / "firmware" / "esp32").iterdir():
            write_changed(folder / "board" / path.name, path.read_bytes())
        table = folder / "generated" / "partitions.csv"
        setting = f'CONFIG_PARTITION_TABLE_CUSTOM_FILENAME="{table}"\n'
        write_changed(folder / "board" / "sdkconfig.partitions", setting.encode())
        # The port's project, elsewhere. Its main component is also read without cmake's variables: the paths are in it.
        for name in ("CMakeLists.txt", "main/idf_component.yml"):
            write_changed(self.project(folder) / name, (self.source() / name).read_bytes())
        paths = f"set(MICROPY_DIR {parts.path('micropython')})\nset(MICROPY_PORT_DIR {self.source()})\n"
        main = f"{paths}{_COMPONENTS}include(${{MICROPY_PORT_DIR}}/esp32_common.cmake)\n"
        write_changed(self.project(folder) / "main" / "CMakeLists.txt", main.encode())

    def finish(self, board: Board, elf: Path, file: Path, show: Show) -> None:
        built = elf.parent
        images = (
            built / "bootloader" / "bootloader.bin",
            built / "partition_table" / "partition-table.bin",
            built / "micropython.bin",
        )
        outputs = (file, file.with_suffix(".uf2"))  # the other one for boot loaders that the S3 may have
        steps.run([sys.executable, self.source() / "makeimg.py", built / "sdkconfig", *images, *outputs], show)


def _idf() -> Path:
    return Path(os.environ["IDF_PATH"])
