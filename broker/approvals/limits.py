"""Limits on one agent: how fast it may call, how much it may leave with people and in the audit, no asking twice after a no."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from broker.approvals.ports import Query, RequestStore
from broker.domain.calls import Caller
from broker.domain.requests import RequestState
from broker.errors import TooMany

_AGENTS = 10_000
_NOTED_AGENTS = 1_000


class Rejections(Protocol):
    """A place that remembers by name, for a while."""

    async def put(self, kind: str, hash: str, record: bytes, *, holder: str, ttl: timedelta) -> None: ...

    async def get(self, kind: str, hash: str) -> bytes | None: ...


class Pace:
    """At most `per_minute` calls of one agent through this broker, in bursts up to as many. 0 is no limit."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, principal: str) -> None:
        """Raises `TooMany`, which says after how many seconds the next call may come."""
        if not self._per_minute:
            return
        now, rate = self._monotonic(), self._per_minute / 60
        left, at = self._left.get(principal, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - at) * rate)
        if left < 1:
            wait = round((1 - left) / rate, 1)
            raise TooMany(f"more than {self._per_minute} calls a minute; try again in {wait} s", retry_after=wait)
        if len(self._left) >= _AGENTS:
            self._left.clear()
        self._left[principal] = (left - 1, now)


class Waiting:
    """At most `pending` requests of one agent wait for people at once. 0 is no limit.

    Brokers that are asked at the same moment may each let as many through: it is a brake, not a lock.
    """

    def __init__(self, requests: RequestStore, pending: int) -> None:
        self._requests = requests
        self._pending = pending
        self._let: dict[str, int] = {}

    async def check(self, caller: Caller) -> Callable[[], None]:
        """Return what counts one more, or raises `TooMany`."""
        who = caller.principal
        before = self._let.get(who, 0)
        query = Query(states=(RequestState.PENDING,), principal=who)
        waiting = len((await self._requests.find(query, limit=self._pending)).requests) if self._pending else 0

        def one_more() -> None:
            # Many calls may have looked before people were asked about the first of them.
            let = self._let.get(who, 0)
            if self._pending and waiting + max(let - before, 0) >= self._pending:
                raise TooMany(f"{self._pending} calls of this agent wait for people already; wait for their decisions first")
            if who not in self._let and len(self._let) >= _AGENTS:
                self._let.clear()
            self._let[who] = let + 1

        return one_more


class Memory:
    """What people rejected is refused for a while without asking them again. A zero time remembers nothing."""

    KIND = "rejection"

    def __init__(self, rejections: Rejections, lasts: timedelta) -> None:
        self._rejections = rejections
        self._lasts = lasts

    async def keep(self, join: str, why: str) -> None:
        if self._lasts:
            await self._rejections.put(self.KIND, join, why.encode(), holder="", ttl=self._lasts)

    async def recall(self, join: str) -> str | None:
        """Return why the same call was rejected, None if it was not, or too long ago."""
        found = await self._rejections.get(self.KIND, join) if self._lasts else None
        return None if found is None else found.decode()


class Seldom:
    """Which of one agent's tries are written down: each thing once a minute, and `most` of them. Whoever tries without an end
    fills no audit.
    """

    def __init__(self, most: int = 1, again: timedelta = timedelta(minutes=1)) -> None:
        self._most = most
        self._again = again
        self._tries: dict[str, dict[str, datetime]] = {}

    def counts(self, who: str, what: str, now: datetime) -> bool:
        """Is this try to be written down?"""
        if who not in self._tries and len(self._tries) >= _NOTED_AGENTS:
            self._tries.clear()
        fresh = {tried: at for tried, at in self._tries.get(who, {}).items() if now - at < self._again}
        counts = what not in fresh and len(fresh) < self._most
        self._tries[who] = fresh | ({what: now} if counts else {})
        return counts
