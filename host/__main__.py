"""``python -m host`` is the command ``host``."""

import sys

from host.cli import main

sys.exit(main())
