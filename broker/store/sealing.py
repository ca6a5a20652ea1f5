"""Keys that all brokers on one store share, to seal what they hand out (session ids, cookies, what a client brings back).

Where the store is encrypted they are sealed themselves: whoever can read the store alone seals nothing.
"""

from __future__ import annotations

import secrets

import structlog

from broker.errors import ConfigInvalid, RecordUnreadable
from broker.store import keys
from broker.store.cipher import Cipher
from broker.store.connection import Commands

log = structlog.get_logger()

LENGTH = 32


class SigningKeys:
    """Random keys by name, each made once, by whichever broker asks first."""

    def __init__(self, commands: Commands, cipher: Cipher | None = None) -> None:
        self._commands = commands
        self._cipher = cipher or Cipher()
        self._known: dict[str, bytes] = {}

    async def check(self) -> None:
        """Raises `ConfigInvalid` where another data key is in use: what this broker would seal, no other could read."""
        self._familiar(await self._commands.run("GET", keys.signing("sessions")) or b"")

    async def signing_key(self, name: str) -> bytes:
        """Return the 32 bytes of `name`, the same on every broker of this store.

        One that was not made by a broker with the data keys counts for nothing, and is made anew: what it sealed is void.
        Raises `ConfigInvalid` for one that was sealed with a data key which is not here.
        """
        if name not in self._known:
            self._known[name] = await self._shared(keys.signing(name), secrets.token_bytes(LENGTH))
        return self._known[name]

    async def _shared(self, place: str, fresh: bytes) -> bytes:
        _, found = await self._commands.run_all(("SET", place, self._cipher.seal(fresh, place), "NX"), ("GET", place))
        self._familiar(found)
        if not self._cipher.on:
            return bytes(found)
        try:
            key = self._cipher.open(found, place)
        except RecordUnreadable as error:
            log.error("signing_key.made_anew", place=place, why=error.message)
            key = fresh
        if key is fresh or not self._cipher.writes(found):  # an older data key may be taken away one day
            await self._commands.run("SET", place, self._cipher.seal(key, place))
        return key

    def _familiar(self, found: bytes) -> None:
        if len(found) != LENGTH and self._cipher.foreign(found):
            raise ConfigInvalid(
                "the store was written by brokers with another data key: set BROKER_ENCRYPTION_KEY_FILE or "
                "BROKER_ENCRYPTION_KEYS as they have it; where that key is lost, so is what it sealed: begin with an empty store"
            )
