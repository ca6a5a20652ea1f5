"""The bookkeeper: keeps the figures of the last weeks in step with the audit, so that pages need not read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio

from broker.channels.web.archivist import Audit
from broker.chores import Chore, repeating
from broker.insights.figures import Figures, Tally
from broker.insights.reads import Reads

WINDOW = timedelta(days=30)
BATCH = 500
PAUSE = 5.0
# The window moves: this often everything is counted anew.
AGAIN = timedelta(hours=6)


class Bookkeeper:
    """Counts in the background. `figures()` is as of a few seconds ago."""

    def __init__(self, audit: Audit, clock: Callable[[], datetime]) -> None:
        self._audit = audit
        self._clock = clock
        self._tally = Tally()
        self.reads = Reads()
        self._place = 0
        self._begun: datetime | None = None

    def figures(self) -> Figures:
        return self._tally.figures()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("bookkeeper", self.catch_up, PAUSE)):
            yield

    async def catch_up(self) -> None:
        """Count what is new; from the beginning of the window where it has moved on."""
        now = self._clock()
        if self._begun is None or now - self._begun > AGAIN:
            self._tally, self._begun, self._place = Tally(), now, await self._first(now - WINDOW) - 1
        while entries := await self._audit.read(self._place, BATCH):
            for entry in entries:
                self._tally.take(entry)
                self.reads.take(entry)
            self._place = entries[-1].number
            await anyio.lowlevel.checkpoint()

    async def _first(self, since: datetime) -> int:
        """Return the number of the first entry that is not older than `since`, by halving: numbers grow with time."""
        low, high = 1, await self._audit.last() + 1
        while low < high:
            middle = (low + high) // 2
            entries = await self._audit.read(middle - 1, 1)
            if not entries or entries[0].event.at >= since:
                high = middle
            else:
                low = entries[0].number + 1
        return low
