"""The outbox: what channels have to be told, written in the commit that made it true, and kept until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from broker.approvals.ports import Delivery
from broker.domain.requests import RequestId
from broker.store import keys
from broker.store.changes import ChangeStream
from broker.store.connection import Commands
from broker.store.scripts import load

TAKE = load("take")
LATER = load("later")
GROUP = "courier"
TRIES = 8
# A consumer that has held an entry for this long is taken for dead. One that is only slow makes a second delivery.
TAKEOVER = timedelta(seconds=60)
# How often a waiting `take` looks for entries whose next try has come, and for those of the dead.
LOOK = 1.0
DEAD_KEPT = 10_000


class StreamOutbox:
    """`Outbox` on a stream with a consumer group. It waits on the change stream, so it holds no connection of its own."""

    def __init__(self, commands: Commands, changes: ChangeStream, *, broker: str, takeover: timedelta = TAKEOVER) -> None:
        self._commands = commands
        self._changes = changes
        self._broker = broker
        self._takeover = takeover

    async def take(self, limit: int, within: float) -> Sequence[Delivery]:
        """Entries nobody holds, also those of a consumer that died; waits up to `within` seconds for the first."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + within
        while True:
            with self._changes.ear() as ear:
                found = await self._take(limit)
                left = ends - loop.time()
                if found or left <= 0:
                    return found
                await ear.wait(min(left, LOOK))

    async def _take(self, limit: int) -> list[Delivery]:
        dead_after = self._takeover // timedelta(milliseconds=1)
        rows = await self._commands.script(TAKE, (keys.outbox(), keys.outbox_later()), (GROUP, self._broker, limit, dead_after))
        return [_delivery(entry, request, tries) for entry, request, tries in rows]

    async def done(self, delivery: Delivery) -> None:
        """It was told. Harmless when said twice, or by somebody who lost it."""
        await self._commands.run_all(("XACK", keys.outbox(), GROUP, delivery.entry), ("XDEL", keys.outbox(), delivery.entry))

    async def later(self, delivery: Delivery, after: timedelta, why: str) -> None:
        """Give it back for another try; after `TRIES` of them it becomes a dead letter."""
        wait = after // timedelta(microseconds=1)
        await self._commands.script(
            LATER,
            (keys.outbox(), keys.outbox_later(), keys.outbox_dead()),
            (GROUP, delivery.entry, delivery.request, delivery.attempts + 1, TRIES, wait, why, DEAD_KEPT),
        )

    async def depth(self) -> tuple[int, int, int]:
        """Return how many deliveries wait or are held, wait for another try, and were given up."""
        waiting, later, dead = await self._commands.run_all(
            ("XLEN", keys.outbox()), ("ZCARD", keys.outbox_later()), ("XLEN", keys.outbox_dead())
        )
        return int(waiting), int(later), int(dead)

    async def dead(self, limit: int) -> Sequence[tuple[Delivery, str]]:
        """Dead letters with their reason, newest first."""
        rows = await self._commands.run("XREVRANGE", keys.outbox_dead(), "+", "-", "COUNT", limit)
        return [(_delivery(entry, fields[1], fields[3]), fields[5].decode()) for entry, fields in rows]


def _delivery(entry: bytes, request: bytes, tries: bytes) -> Delivery:
    return Delivery(entry.decode(), RequestId(request.decode()), int(tries))
