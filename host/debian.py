"""Files of the Debian archive, by the machine's own apt: its mirrors, proxies and credentials.

Only apt's downloader is used (``apt-helper``), on paths of the mirror's pool, so the machine's package lists
are neither read nor changed and its release does not matter. Trust comes from the sha256 in parts.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_APT = Path("/etc/apt")
# Suites and code names of the main archive; entries like bookworm-security have a pool of their own.
_SUITES = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "bullseye", "bookworm"}
_SUITES |= {"trixie", "forky", "duke"}


def mirrors(apt: Path = _APT) -> list[str]:
    """URIs of the Debian archive that apt is configured with, in its order, without trailing slashes."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found: dict[str, None] = {}
    for file in files:
        if file.suffix == ".sources":
            entries = _deb822(file.read_text())
        elif file.suffix == ".list" and file.is_file():
            entries = _one_line(file.read_text())
        else:
            continue
        for uri, suites, components in entries:
            if suites & _SUITES and "main" in components:
                found.update(dict.fromkeys(_resolve(uri)))
    return list(found)


def _deb822(text: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """(URI, suites, components) of each stanza of a .sources file that is enabled."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():  # a continuation of the field above
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off", "without"):
            continue
        for uri in fields.get("uris", "").split():
            yield uri, set(fields.get("suites", "").split()), set(fields.get("components", "").split())


def _one_line(text: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """(URI, suite, components) of each line of a .list file: ``deb [options] uri suite component...``."""
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words or words[0] not in ("deb", "deb-src"):
            continue
        del words[0]
        if words and words[0].startswith("["):
            while words and not words.pop(0).endswith("]"):
                pass
        if len(words) >= 3:
            yield words[0], {words[1]}, set(words[2:])


def _resolve(uri: str) -> list[str]:
    """The URI itself, or those listed in the file that ``mirror+file:`` names."""
    if not uri.startswith("mirror+file:"):
        return [uri.rstrip("/")]
    listed = Path("/" + uri.removeprefix("mirror+file:").strip("/"))
    if not listed.is_file():
        return []
    lines = listed.read_text().splitlines()
    return [line.split()[0].rstrip("/") for line in lines if line.strip() and not line.startswith("#")]
