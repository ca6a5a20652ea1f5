"""Streams without an end: they last as long as the broker runs, and as their caller would still be let in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from broker.errors import BrokerError, Forbidden, Unauthenticated, UnknownServer
from broker.gateway.exchange import Exchange
from broker.gateway.visits import Visit

# Seconds between two looks whether the caller of a stream would still be let in.
LOOK = 5.0

Still = Callable[[Visit], Awaitable[None]]
"""Raises where the caller of a long stream would not be let in any more."""


class Lasting:
    """The streams that are open."""

    def __init__(self, still: Still) -> None:
        self._still = still
        self._open: set[Exchange] = set()

    def drain(self) -> None:
        """End them all: the broker stops."""
        for exchange in tuple(self._open):
            exchange.end_early()

    @contextmanager
    def lasts(self, visit: Visit) -> Iterator[None]:
        """Keep an eye on one stream while it is open: a credential that is revoked or over hears nothing more."""
        self._open.add(visit.exchange)
        watcher = asyncio.create_task(self._watch(visit))
        try:
            yield
        finally:
            watcher.cancel()
            self._open.discard(visit.exchange)

    async def _watch(self, visit: Visit) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self._still(visit)
            except (Unauthenticated, Forbidden, UnknownServer):
                visit.exchange.end_early()
            except BrokerError:
                continue  # nobody can know now; what the stream tells was asked for while somebody could
