"""Turns under a rate limit: a token bucket with a queue, the most urgent first. One lane for each of Slack's limits."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

Urgency = tuple[float, ...]


class Lane:
    """`burst` turns at once, then one every `every` seconds. A `serial` lane lets the next in when the last has ended."""

    def __init__(self, every: float, burst: int, *, serial: bool = False) -> None:
        self._every = every
        self._burst = burst
        self._serial = serial
        self._loop = asyncio.get_running_loop()
        self._tokens = float(burst)
        self._filled_at = self._loop.time()
        self._held_until = 0.0
        self._busy = False
        self._order = count()
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, urgency: Urgency) -> AsyncIterator[None]:
        """Wait for a turn. The smallest urgency comes first, then who came first."""
        ready = self._loop.create_future()
        heapq.heappush(self._waiting, (urgency, next(self._order), ready))
        self._let_in()
        try:
            await ready
            yield
        finally:
            if ready.done() and not ready.cancelled():
                self._busy = False
            ready.cancel()
            self._let_in()

    def hold(self, seconds: float) -> None:
        """Nobody gets a turn for so long: Slack asked for it."""
        self._held_until = max(self._held_until, self._loop.time() + seconds)

    def _let_in(self) -> None:
        while self._waiting:
            if self._waiting[0][2].cancelled():
                heapq.heappop(self._waiting)
                continue
            if self._serial and self._busy:
                return
            wait = self._wait()
            if wait > 0:
                self._later(wait)
                return
            _, _, ready = heapq.heappop(self._waiting)
            self._tokens -= 1
            self._busy = True
            ready.set_result(None)

    def _wait(self) -> float:
        """Seconds until a turn may be given."""
        now = self._loop.time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) / self._every)
        self._filled_at = now
        # a rounding error must not make it wait for nothing for ever
        missing = (1 - self._tokens) * self._every if self._tokens < 1 - 1e-9 else 0.0
        return max(missing, self._held_until - now)

    def _later(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._let_in)
