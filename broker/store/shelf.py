"""Named values that many brokers write: pinned definitions, refused ones, the head of the seals. Bytes, not looked into."""

from __future__ import annotations

from broker.store import keys
from broker.store.connection import Commands
from broker.store.scripts import load

SWAP = load("swap")


class Shelf:
    """One set of names and their values."""

    def __init__(self, commands: Commands, name: str) -> None:
        self._commands = commands
        self._key = keys.shelf(name)

    async def get(self, name: str) -> bytes | None:
        found: bytes | None = await self._commands.run("HGET", self._key, name)
        return found

    async def put(self, name: str, value: bytes) -> None:
        """Write, whatever was there."""
        await self._commands.run("HSET", self._key, name, value)

    async def swap(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write `after` if the value still is `before` (None: there is none). False when somebody else was faster."""
        arguments = (name, int(before is not None), before or b"", after)
        return bool(await self._commands.script(SWAP, (self._key,), arguments))

    async def delete(self, name: str) -> bool:
        """Return whether it existed."""
        return bool(await self._commands.run("HDEL", self._key, name))

    async def all(self) -> dict[str, bytes]:
        row = await self._commands.run("HGETALL", self._key)
        return {name.decode(): value for name, value in zip(row[::2], row[1::2], strict=True)}


class SealHead:
    """The last seal of the audit, as every sealer has to find it."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def head(self) -> bytes | None:
        return await self._shelf.get("head")

    async def advance(self, before: bytes | None, after: bytes) -> bool:
        """Replace the head if it still is `before`; False when another sealer was faster."""
        return await self._shelf.swap("head", before, after)
