"""What may happen once only, though it is sent again: a mark with a time to live."""

from __future__ import annotations

from datetime import timedelta

from broker.store import keys
from broker.store.connection import Commands


class Once:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def first(self, mark: str, lasts: timedelta) -> bool:
        """Set the mark; False where it was there. Raises `StoreUnavailable`."""
        key, milliseconds = keys.once(mark), lasts // timedelta(milliseconds=1)
        return await self._commands.run("SET", key, b"1", "NX", "PX", milliseconds) is not None

    async def forget(self, mark: str) -> None:
        """Let it happen again: nothing came of it."""
        await self._commands.run("DEL", keys.once(mark))
