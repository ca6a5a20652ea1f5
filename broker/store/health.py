"""Is the store there? Judged by the last exchange and a steady beat that also reads its clock and writes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from broker.errors import StoreUnavailable
from broker.store import keys
from broker.store.clock import Clock, told
from broker.store.connection import Commands

BEAT = 0.5
# A broker that has not beaten for this long counts as gone.
ALIVE = 10


class Pulse:
    """`Health` of the store. `down` is set while it can't be reached."""

    def __init__(self) -> None:
        self.down = asyncio.Event()
        self.clock = Clock()
        self._writable = False
        self._task: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Is the store known to answer, and to take writes?"""
        return self._writable and not self.down.is_set()

    def seen(self, answered: bool) -> None:
        """Take note of an exchange."""
        if answered:
            self.down.clear()
        else:
            self.down.set()

    async def start(self, commands: Commands, broker: str) -> None:
        """Beat once, then in the background. Raises `StoreUnavailable` when the first beat fails."""
        await self._beat(commands, broker)
        self._task = asyncio.create_task(self._beat_on(commands, broker))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _beat_on(self, commands: Commands, broker: str) -> None:
        while True:
            await asyncio.sleep(BEAT)
            with suppress(StoreUnavailable):
                await self._beat(commands, broker)

    async def _beat(self, commands: Commands, broker: str) -> None:
        try:
            time, _ = await commands.run_all(("TIME",), ("SET", keys.broker(broker), "", "EX", ALIVE))
        except StoreUnavailable:
            self._writable = False  # full, read-only or away: whatever it is, nothing can be promised
            raise
        self.clock.set(told(time))
        self._writable = True
