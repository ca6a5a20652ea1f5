"""Counting use, wired: what this broker saw done, added to the counts of all every few seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime

import anyio

from broker.chores import Chore, repeating
from broker.domain.calls import Caller
from broker.domain.events import CallDecided, CallEnded, Event, Finished
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.servers import Server
from broker.insights.usage import Count, Spot
from broker.store.usage import UsageCounts

# Seconds between two additions. What a broker counted in between is lost with it: figures are directional.
EVERY = 2.0


class UsageBook:
    """Counts calls that were let through or released."""

    def __init__(self) -> None:
        self._server: Callable[[str], Server | None] = lambda name: None
        self._counts: dict[Spot, Count] = {}
        self._people: dict[date, set[tuple[str, str]]] = defaultdict(set)
        self._tools: dict[date, set[tuple[str, str, str]]] = defaultdict(set)

    def serving(self, server: Callable[[str], Server | None]) -> None:
        """Take the catalogue, for the minutes in force: it is made after the store that this book observes."""
        self._server = server

    def observe(self, event: Event, request: ApprovalRequest | None) -> None:
        """Take every event that this broker has written."""
        if isinstance(event, CallDecided):
            if event.effect == "allow":
                self._add(event.at, event.caller, event.server, event.tool, Count(succeeded=1))
        elif isinstance(event, CallEnded):  # it was counted as one that succeeds
            self._add(event.at, event.caller, event.server, event.tool, Count(-1, 1))
        elif isinstance(event, Finished) and request is not None:
            ran = request.state is RequestState.COMPLETED and not event.why
            self._add(event.at, request.call.caller, request.call.server, request.call.tool, Count(int(ran), int(not ran)))

    def answered(self, event: CallDecided) -> None:
        """An allowed call was answered with a result: its person may be asked what such a call saves."""
        if person := event.caller.user or event.caller.owner:
            self._tools[event.at.date()].add((person, event.server, event.tool))

    def _add(self, at: datetime, caller: Caller, server: str, tool: str, count: Count) -> None:
        entry = self._server(server)
        facts = entry.tools.get(tool) if entry is not None else None
        spot = Spot(at.date(), server, tool, facts.minutes_saved if facts is not None else 0.0)
        before = self._counts.get(spot)
        self._counts[spot] = count if before is None else before + count
        if person := caller.user or caller.owner:
            self._people[spot.day].add((server, person))

    @asynccontextmanager
    async def running(self, store: UsageCounts) -> AsyncIterator[None]:
        """Add to the store while this is open, and what is left at its end."""

        async def flush() -> None:
            await self.flush(store)

        chore = Chore("usage", flush, EVERY)
        async with repeating(chore):
            yield
        with anyio.move_on_after(2, shield=True):
            await chore.round()

    async def flush(self, store: UsageCounts) -> None:
        """Add what was counted since the last time. Raises `StoreUnavailable`; it is tried again then."""
        counts, people, tools = self._counts, self._people, self._tools
        self._counts, self._people, self._tools = {}, defaultdict(set), defaultdict(set)
        try:
            await store.add(counts, people, tools)
        except BaseException:
            for spot, count in counts.items():
                self._counts[spot] = self._counts.get(spot, Count()) + count
            for day, pairs in people.items():
                self._people[day] |= pairs
            for day, used in tools.items():
                self._tools[day] |= used
            raise
