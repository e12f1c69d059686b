"""How the firmware is built for each of MicroPython's ports: all by cmake, with firmware/kern as a user module."""

from __future__ import annotations

from collections.abc import Mapping

from host.firmware_ports.esp32 import Esp32
from host.firmware_ports.own import Own, Qemu
from host.firmware_ports.port import Port, write_changed
from host.firmware_ports.rp2 import Rp2

PORTS: Mapping[str, Port] = {
    "rp2": Rp2(),
    "esp32": Esp32(),
    "unix": Own("unix", "gcc", measured=False),
    "qemu": Qemu("qemu", "arm-none-eabi-gcc"),
}
"""By the name that board.toml has."""

__all__ = ["PORTS", "Port", "write_changed"]
