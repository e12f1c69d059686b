"""The group that every command belongs to."""

from __future__ import annotations

import rich_click as click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="host", prog_name="host")
@click.rich_config({"commands_panel_title": "Other commands"})
@click.command_panel("Start here", commands=["doctor", "boards", "devices", "completion"])
@click.command_panel("Firmware", commands=["build", "emulate", "flash"])
@click.command_panel("Kernel packs", commands=["key", "pack", "push", "confirm", "rollback"])
@click.command_panel("On a board", commands=["status", "repl", "run", "check", "bench", "profile"])
def host() -> None:
    """Build, sign, flash and prove WebAssembly compute kernels for microcontrollers."""
