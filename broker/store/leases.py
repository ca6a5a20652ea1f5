"""Leases, for work that one broker at a time should do. A lease saves work; it is no lock: its holder may be late."""

from __future__ import annotations

from datetime import timedelta

from broker.store import keys
from broker.store.connection import Commands
from broker.store.scripts import load

LEASE = load("lease")


class Leases:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def lease(self, name: str, owner: str, lasts: timedelta) -> bool:
        """Take or keep a named lease; False while somebody else holds it."""
        return await self._run(name, owner, max(1, lasts // timedelta(milliseconds=1)))

    async def give_up(self, name: str, owner: str) -> None:
        """Let somebody else have it at once. Harmless for who does not hold it."""
        await self._run(name, owner, 0)

    async def _run(self, name: str, owner: str, milliseconds: int) -> bool:
        return bool(await self._commands.script(LEASE, (keys.lease(name),), (owner, milliseconds)))
