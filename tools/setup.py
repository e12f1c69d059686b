#!/usr/bin/env python3
"""Install the system tools that are missing, from apt. Does nothing when all are there.

    python3 tools/setup.py

Needs nothing but the Python of Debian 12. Exit code 0: everything is there; 1: something is not, and what to
do was printed.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def load_systools() -> ModuleType:
    """host/systools.py by itself: the rest of the package needs libraries that are not there yet."""
    spec = importlib.util.spec_from_file_location("systools", ROOT / "host" / "systools.py")
    assert spec and spec.loader
    module = sys.modules["systools"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def apt_commands(packages: list[str]) -> list[list[str]]:
    """Commands that install ``packages``; none may remove what the user has."""
    install = ["apt-get", "install", "-y", "--no-install-recommends", "--no-remove"]
    return [["apt-get", "update"], [*install, *packages]]


def privilege() -> list[str] | None:
    """What must stand before apt-get: nothing for root, sudo otherwise, None when there is no way."""
    if os.geteuid() == 0:
        return ["env"]
    if shutil.which("sudo") is None:
        return None
    ask = sys.stdin.isatty() and sys.stderr.isatty()
    sudo = ["sudo"] if ask else ["sudo", "-n"]
    allowed = ask or subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0
    return [*sudo, "env"] if allowed else None


def install(packages: list[str]) -> bool:
    """Install by apt; False when that is not allowed or fails."""
    commands = apt_commands(packages)
    sudo = ["sudo"] if os.geteuid() != 0 and shutil.which("sudo") else []
    by_hand = " && ".join(shlex.join([*sudo, *command]) for command in commands)
    if shutil.which("apt-get") is None:
        say(f"This system has no apt-get. Install what Debian calls: {' '.join(packages)}")
        return False
    prefix = privilege()
    if prefix is None:
        say(f"Packages are installed by root, and sudo is not allowed here. Run as root:\n\n    {by_hand}\n")
        return False
    quiet = ["DEBIAN_FRONTEND=noninteractive"]
    for command in commands:
        say(f"+ {shlex.join(command)}")
        # apt's report goes to stderr: stdout belongs to what make prints
        if subprocess.run([*prefix, *quiet, *command], stdout=sys.stderr, check=False).returncode != 0:
            say(f"That failed. By hand:\n\n    {by_hand}\n")
            return False
    return True


def main() -> int:
    systools = load_systools()
    lacking = [probe for probe in systools.probe_all() if probe.status != "ok"]
    if not lacking:
        return 0
    for probe in lacking:
        found = f"found {probe.version}" if probe.version else "not found"
        wanted = f" {probe.tool.minimum} or later" if probe.tool.minimum else ""
        say(f"{probe.tool.name}{wanted} ({probe.tool.purpose}): {found}; package {probe.tool.package}")
    if not install(sorted({probe.tool.package for probe in lacking})):
        return 1
    lacking = [probe for probe in systools.probe_all() if probe.status != "ok"]
    for probe in lacking:
        found = f"{probe.where} {probe.version}" if probe.where else "not found"
        say(f"{probe.tool.name} is still {probe.status} ({found}); is another one first on PATH?")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
