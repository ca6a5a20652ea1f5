"""The watchman: looks whether the channels deliver, and keeps the sentences that every open page shows while they don't."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import structlog

from broker.channels.web.ports import Vitals
from broker.errors import StoreUnavailable

log = structlog.get_logger()

EVERY = 5.0


class Watchman:
    """`told` is as of a few seconds ago."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self.told: tuple[str, ...] = ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._forever)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def look(self) -> None:
        """Raises `StoreUnavailable`."""
        self.told = tuple(
            f"{channel}: {count} {'card' if count == 1 else 'cards'} not delivered since {since:%H:%M} UTC"
            for channel, count, since in await self._vitals.undelivered()
        )

    async def _forever(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable:
                pass  # the banner says so by itself
            except Exception:
                log.exception("watchman.failed")
            await anyio.sleep(EVERY)
