"""Progress of long work, on stderr: a spinner with the child's last line on a terminal, else a line each."""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from host.errors import BuildError

_TAIL = 40  # lines of a failed command's output that are worth showing
_WIDTH = 400  # characters of each: a linker's command line would bury its error


@contextmanager
def step(text: str) -> Iterator[Callable[[str], None]]:
    """Announce ``text``, then how long it took. Yields a function that shows a detail on a terminal."""
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    if not console.is_terminal:
        console.print(escape(text), soft_wrap=True)
        yield lambda _detail: None
        return
    with console.status(escape(text)) as status:
        yield lambda detail: status.update(f"{escape(text)} [dim]{escape(detail[-60:])}[/dim]")
    console.print(f"{escape(text)} [dim]{time.monotonic() - began:.1f} s[/dim]", soft_wrap=True)


def run(
    command: Sequence[str | Path],
    show: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run ``command``, giving each line it prints to ``show``; return the end of what it printed.

    Raises BuildError with that end when the command cannot be started or fails.
    """
    words = [str(word) for word in command]
    tail: deque[str] = deque(maxlen=_TAIL)
    try:
        process = subprocess.Popen(
            words, cwd=cwd, env=env, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise BuildError(f"cannot run {words[0]}: {error.strerror}") from error
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line.rstrip())
            show(tail[-1])
    if process.returncode != 0:
        shown = "\n".join(line[:_WIDTH] for line in tail)
        raise BuildError(f"{words[0]} failed with code {process.returncode}:\n{shown}")
    return "\n".join(tail)
