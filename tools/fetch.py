#!/usr/bin/env python3
"""Fetch third-party parts into the user's cache and print where each one is.

Parts that are there cost nothing. Run it with .venv/bin/python.
"""

from __future__ import annotations

import argparse
import sys

from host import parts
from host.errors import HostError


def main() -> int:
    known = [part.name for part in parts.all_parts()]
    parser = argparse.ArgumentParser(description="Fetch third-party parts into the user's cache.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(known)}")
    parser.add_argument("--quiet", action="store_true", help="do not print where they are")
    arguments = parser.parse_args()
    try:
        for name in arguments.names or known:
            folder = parts.path(name)
            if not arguments.quiet:
                print(f"{name}\t{folder}")
    except HostError as error:
        print(f"fetch: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
