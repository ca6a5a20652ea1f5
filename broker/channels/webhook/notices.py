"""Tells a tracker of moves of enrolled servers: each notice again until it was taken, in their order, by one broker at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Protocol

import aiohttp
import msgspec
import structlog

from broker.chores import Chore, repeating
from broker.registry.tracker import Notice, signed

log = structlog.get_logger()

EVERY, AFTER_FAILURE = 0.5, 5.0
LEASE = timedelta(seconds=30)
# Notices that are kept for a tracker that does not answer; the oldest go first.
MOST = 1_000


class Kept(Protocol):
    """Notices that were written with the records. Each method raises `StoreUnavailable`."""

    async def notices(self) -> Mapping[str, bytes]: ...

    async def told(self, notice: str) -> None: ...


class Leased(Protocol):
    async def lease(self, name: str, owner: str, lasts: timedelta) -> bool: ...


class Tracker(msgspec.Struct, frozen=True):
    """Who is told: its address, and the secret that signs what is sent."""

    url: str
    secret: bytes


Write = Callable[[Notice], Awaitable[bytes]]
"""The message for a notice, as things are now."""


class Notices:
    """`http` is the client that may reach the tracker."""

    def __init__(
        self, kept: Kept, leases: Leased, http: aiohttp.ClientSession, tracker: Tracker, write: Write, *, broker: str,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._kept = kept
        self._leases = leases
        self._http = http
        self._write = write
        self._tracker = tracker
        self._broker = broker
        self._clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("webhook", self.round, EVERY, AFTER_FAILURE)):
            yield

    async def round(self) -> int:
        """Tell what waits, oldest first, up to the first that is not taken. Returns how many were."""
        kept = await self._kept.notices()
        if not kept or not await self._leases.lease("registry-webhook", self._broker, LEASE):
            return 0
        waiting = sorted(kept, key=int)
        for notice in waiting[:-MOST]:
            log.warning("webhook.dropped", notice=notice)
            await self._kept.told(notice)
        for done, notice in enumerate(waiting[-MOST:]):
            if not await self._taken(notice, kept[notice]):
                return done
            await self._kept.told(notice)
        return len(waiting)

    async def _taken(self, notice: str, held: bytes) -> bool:
        body = await self._write(msgspec.json.decode(held, type=Notice))
        headers = signed(self._tracker.secret, f"notice_{notice}", int(self._clock().timestamp()), body)
        try:
            async with self._http.post(
                self._tracker.url, data=body, headers={**headers, "content-type": "application/json"}, allow_redirects=False
            ) as answer:
                if answer.status < 300:
                    return True
                log.warning("webhook.refused", status=answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("webhook.away", error=type(error).__name__)
        return False
