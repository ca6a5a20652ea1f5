"""Keys for data at rest: from the setting, from its file, or made once beside the embedded store."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import structlog

from broker.audit.keys import made_once
from broker.errors import ConfigInvalid
from broker.settings import Settings

log = structlog.get_logger()


def data_keys(settings: Settings) -> Sequence[bytes]:
    """Return the encryption keys, the writing one first. Empty: an outside store is used and nobody gave a key.

    Raises `ConfigInvalid` when a key can't be read.
    """
    if settings.encryption_keys is not None:
        return _parsed(settings.encryption_keys.get_secret_value())
    if settings.encryption_key_file is not None:
        return _read(settings.data_key_file)
    if settings.redis_url is None:
        return _read(_made(settings.data_key_file))
    log.warning("data.unencrypted", mend="set BROKER_ENCRYPTION_KEY_FILE to a file with 64 hex digits, the same for all brokers")
    return ()


def _parsed(text: str) -> Sequence[bytes]:
    try:
        keys = [bytes.fromhex(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigInvalid("an encryption key has to be 64 hex digits; make one with: openssl rand -hex 32") from None
    if not keys:
        raise ConfigInvalid("there is no encryption key where the settings say")
    return keys


def _read(path: Path) -> Sequence[bytes]:
    try:
        return _parsed(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"the encryption key {path} can't be read: {type(error).__name__}") from None


def _made(path: Path) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        made_once(path, secrets.token_hex(32).encode() + b"\n")
    return path
