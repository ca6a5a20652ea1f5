"""Encryption at rest of what agents sent and upstreams answered: AES-256-GCM (NIST SP 800-38D), a fresh nonce each time.

A sealed value is: one byte format, four bytes of the key's name, twelve bytes nonce, ciphertext with its tag. It is bound to
where it stands, so that it can't be moved to another request. Old keys still read; the first key writes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import ConfigInvalid, RecordUnreadable

KEY_BYTES = 32
_SEALED = 1
_NAME, _NONCE = 4, 12
_HEAD = 1 + _NAME + _NONCE
# JSON begins with a brace. Where there are keys it is refused: whoever can write to the store could forge a record.
_PLAIN = ord("{")


class Cipher:
    """Seals with the first of `keys` and opens with any. Without keys it leaves values as they are."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """Raises `ConfigInvalid` for a key that is not 32 bytes long."""
        if any(len(key) != KEY_BYTES for key in keys):
            raise ConfigInvalid("an encryption key has to be 32 bytes long, 64 hex digits; make one with: openssl rand -hex 32")
        self._keys = {_name(key): AESGCM(key) for key in keys}
        self._writing = _name(keys[0]) if keys else b""

    @property
    def on(self) -> bool:
        return bool(self._keys)

    def writes(self, sealed: bytes) -> bool:
        """Was it sealed with the key that seals now?"""
        return sealed[1 : 1 + _NAME] == self._writing

    def foreign(self, value: bytes) -> bool:
        """Was it sealed, as it looks, with a key that is not here?"""
        return value[:1] == bytes((_SEALED,)) and len(value) > _HEAD and value[1 : 1 + _NAME] not in self._keys

    def seal(self, value: bytes, place: str) -> bytes:
        """Return `value` encrypted for one place."""
        if not self._writing:
            return value
        nonce = os.urandom(_NONCE)
        sealed = self._keys[self._writing].encrypt(nonce, value, place.encode())
        return bytes((_SEALED,)) + self._writing + nonce + sealed

    def open(self, value: bytes, place: str) -> bytes:
        """Return what `seal` was given. Raises `RecordUnreadable` when no key opens it, or it stands in another place."""
        if not self.on and value[:1] == bytes((_PLAIN,)):
            return value
        key = self._keys.get(value[1 : 1 + _NAME])
        if value[:1] != bytes((_SEALED,)) or key is None:
            raise RecordUnreadable("a record is encrypted with a key that this broker does not have")
        try:
            return key.decrypt(value[1 + _NAME : _HEAD], value[_HEAD:], place.encode())
        except (InvalidTag, ValueError):
            raise RecordUnreadable("a record does not open with its key: it was changed, or moved") from None


def _name(key: bytes) -> bytes:
    return hashlib.sha256(b"approval-broker key name" + key).digest()[:_NAME]
