"""Where things are: the repository, and the user's folders for configuration, cache and state.

Each folder can be moved by an environment variable, which tests use to stay out of the user's own.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from host.errors import UsageError

_APP = "host-kern"
TIME = "%Y-%m-%dT%H:%M:%SZ"
"""How times are written, in UTC."""


def root() -> Path:
    """The repository that this package was installed from (``pip install -e``)."""
    return Path(__file__).resolve().parent.parent


def _folder(variable: str, default: Path | str) -> Path:
    path = Path(os.environ.get(variable) or default).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def build_dir() -> Path:
    """Everything that is built: ``HOST_BUILD_DIR``, else ``build`` in the repository."""
    return _folder("HOST_BUILD_DIR", root() / "build")


def cache_dir() -> Path:
    """Pinned third-party parts and tools built from them: ``HOST_CACHE_DIR``, else the user's cache."""
    return _folder("HOST_CACHE_DIR", platformdirs.user_cache_dir(_APP))


def config_dir() -> Path:
    """Keys: ``HOST_CONFIG_DIR``, else the user's configuration folder."""
    return _folder("HOST_CONFIG_DIR", platformdirs.user_config_dir(_APP))


def state_dir() -> Path:
    """Flash images and ports of emulated boards: ``HOST_STATE_DIR``, else the user's state folder."""
    return _folder("HOST_STATE_DIR", platformdirs.user_state_dir(_APP))


def source_date() -> str | None:
    """SOURCE_DATE_EPOCH as a time; None without it. Raises UsageError for one that is no time.

    Builds have no other time, as the clock's would make every one differ.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    try:
        if int(epoch) < 0:
            raise ValueError("before 1970")
        return datetime.fromtimestamp(int(epoch), UTC).strftime(TIME)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}, must be seconds since 1970") from error
