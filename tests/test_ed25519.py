"""Ed25519 with the firmware's own field arithmetic, on the PC, against the `cryptography` package."""

from __future__ import annotations

import ctypes
import random
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from host import firmware_files, parts

ROOT = Path(__file__).resolve().parent.parent
SIGNATURES = 500


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """monocypher.c as the firmware has it, where undefined behaviour ends the process."""
    folder = tmp_path_factory.mktemp("ed25519")
    source = parts.path("monocypher") / "src"
    (folder / "monocypher.c").write_text(firmware_files.monocypher(source / "monocypher.c"))
    includes = [f"-I{path}" for path in (source, source / "optional", ROOT / "firmware" / "kern" / "crypto")]
    sanitizer = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    files = [folder / "monocypher.c", source / "optional" / "monocypher-ed25519.c"]
    command = ["gcc", "-O1", "-shared", "-fPIC", *sanitizer, *includes, "-o", folder / "ed25519.so", *files]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "ed25519.so"))


def test_good_signatures_are_taken_and_a_changed_bit_is_refused(library: ctypes.CDLL) -> None:
    rng = random.Random(1)
    for _ in range(SIGNATURES):
        key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), rng.randbytes(rng.randrange(300))
        signature = key.sign(message)
        assert library.crypto_ed25519_check(signature, public, message, ctypes.c_size_t(len(message))) == 0
        changed = bytearray(signature)
        changed[rng.randrange(64)] ^= 1 << rng.randrange(8)
        assert library.crypto_ed25519_check(bytes(changed), public, message, ctypes.c_size_t(len(message))) != 0
