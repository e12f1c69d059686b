"""The command ``host``. Commands are thin: they call the library and show what it returns.

``main`` is the one place where an error becomes a message and an exit code (docs/cli.md lists them).
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

import rich_click as click

from host.cli import bench, check, compute, devices, making, packs  # noqa: F401  (each adds its commands to the group)
from host.cli.app import host
from host.cli.output import console, error_object
from host.errors import HostError, UsageError

_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(args: Sequence[str] | None = None) -> int:
    """Run ``host`` with ``args`` (default: the process's) and return its exit code."""
    words = list(sys.argv[1:] if args is None else args)
    as_json = "--json" in words
    try:
        code = host.main(words, prog_name="host", standalone_mode=False, obj=tuple(words))
        return code if isinstance(code, int) else 0
    except HostError as error:
        return _failed(as_json, type(error).__name__, str(error), error.exit_code)
    except click.ClickException as error:  # click's own: a usage error, shown with the usage
        if not as_json:
            error.show()
            return UsageError.exit_code
        return _failed(as_json, UsageError.__name__, error.format_message(), UsageError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _failed(as_json, "Interrupted", "interrupted", _INTERRUPTED)
    except BrokenPipeError:  # `host ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:  # a mistake of ours: all that helps to find it, and still one JSON object
        traceback.print_exc()
        return _failed(as_json, type(error).__name__, f"internal error: {error}", 1)


def _failed(as_json: bool, name: str, message: str, code: int) -> int:
    if as_json:
        click.echo(json.dumps(error_object(name, message, code)))
    else:
        console(stderr=True).print(f"{name}: {message}" if message else name, soft_wrap=True)
    return code
