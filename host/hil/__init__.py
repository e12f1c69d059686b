"""Hardware in the loop: the pytest plugin that gives tests a board, real or emulated.

    plugin.py     options, fixtures, retries: what pytest sees
    held.py       a board that a run holds: locked, opened, clean before each test
    choice.py     which boards `--board` means, and dealing them out to pytest-xdist's workers
    reporting.py  infrastructure errors apart from failures; what is attached to them; the summary
    junit.py      the same in JUnit XML

docs/hil.md is its manual. pytest loads the plugin for everybody who has this package, so nothing here imports what
takes time before a test asks for a board.
"""
