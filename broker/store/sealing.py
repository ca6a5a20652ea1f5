"""Keys that all brokers on one store share, to seal what they hand out (session ids, cookies)."""

from __future__ import annotations

import secrets

from broker.store import keys
from broker.store.connection import Commands

LENGTH = 32


class SigningKeys:
    """Random keys by name, each made once, by whichever broker asks first."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._known: dict[str, bytes] = {}

    async def signing_key(self, name: str) -> bytes:
        """Return the 32 bytes of `name`, the same on every broker of this store."""
        if name not in self._known:
            key = keys.signing(name)
            _, found = await self._commands.run_all(("SET", key, secrets.token_bytes(LENGTH), "NX"), ("GET", key))
            self._known[name] = found
        return self._known[name]
