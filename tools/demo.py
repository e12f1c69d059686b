"""What ``make demo`` shows, by the commands that a person would type.

Builds the firmware and the signed pack, boots an emulated Pico, flashes it, pushes the pack, types at its REPL and
compares the board with Wasmtime bit by bit.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import serial

HOST = [sys.executable, "-m", "host"]
PORT = "emu:rpi_pico"
PACK = "kernels_aot"
REPL_LINES = (
    "import kern",
    "x = kern.tensor((1, 2, 1, 4), 'f32', [1, 0, 0, 1, 1, 0, 0, 1])",
    "y = kern.rope(x, theta=10000.0, pos=0)",
    "y.tolist()",
)


def host(*args: str) -> None:
    """Run one ``host`` command, shown as typed; stop the demo with its exit code when it fails."""
    print(f"\n$ host {' '.join(args)}", flush=True)
    code = subprocess.run([*HOST, *args], check=False).returncode
    if code:
        sys.exit(code)


@contextmanager
def emulated_board() -> Iterator[str]:
    """``host emulate rpi_pico`` in the background; gives what it printed, its port."""
    print("\n$ host emulate rpi_pico &", flush=True)
    process = subprocess.Popen([*HOST, "emulate", "rpi_pico"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            sys.exit(process.wait() or 1)
        print(port, flush=True)
        yield port
    finally:
        process.terminate()
        process.wait()


def type_at_repl(port: str, lines: tuple[str, ...]) -> None:
    """Type ``lines`` at the board's REPL and show what a terminal would show."""
    print(f"\n$ host repl --port {PORT}", flush=True)
    with serial.Serial(port, timeout=0.2) as link:
        link.write(b"\r\x03\x02")
        read_until_prompt(link)
        sys.stdout.write(">>> ")
        for line in lines:
            link.write(line.encode() + b"\r")
            sys.stdout.write(read_until_prompt(link))
            sys.stdout.flush()
        print()


def read_until_prompt(link: serial.Serial, timeout: float = 20.0) -> str:
    """Everything up to and with the next ``>>> ``."""
    seen = b""
    end = time.monotonic() + timeout
    while not seen.endswith(b"\n>>> "):
        if time.monotonic() > end:
            sys.exit(f"the board's REPL did not answer; it printed {seen!r}")
        seen += link.read(link.in_waiting or 1)
    return seen.decode().replace("\r\n", "\n")


def main() -> None:
    """The whole tour."""
    started = time.monotonic()
    host("build", "rpi_pico")
    host("pack", "build", PACK)
    with emulated_board() as port:
        host("flash", "--board", "rpi_pico", "--port", PORT)
        host("push", "--port", PORT)
        type_at_repl(port, REPL_LINES)
        host("check", "--port", PORT)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Next: `host emulate rpi_pico`, and README.md.")


if __name__ == "__main__":
    if not Path("boards").is_dir():
        sys.exit("run this in the repository's root folder (or just: make demo)")
    main()
