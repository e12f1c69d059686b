#!/bin/sh
# Install the system tools that are missing (tools/setup.py does it), if there is a Python to do it with.
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "This needs Python 3.11 or later as python3. On Debian 12: sudo apt-get install -y python3" >&2
    exit 1
fi
exec python3 "$(dirname "$0")/setup.py"
