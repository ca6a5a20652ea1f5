"""The watchman: looks whether the channels deliver, and keeps the sentences that every open page shows while they don't."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.channels.web.ports import Vitals
from broker.chores import Chore, repeating

EVERY = 5.0


class Watchman:
    """`told` is as of a few seconds ago."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self.told: tuple[str, ...] = ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("watchman", self.look, EVERY)):
            yield

    async def look(self) -> None:
        """Raises `StoreUnavailable`."""
        self.told = tuple(
            f"{channel}: {count} {'card' if count == 1 else 'cards'} not delivered since {since:%H:%M} UTC"
            for channel, count, since in await self._vitals.undelivered()
        )
