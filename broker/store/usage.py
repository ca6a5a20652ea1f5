"""Counts of use, by month: a hash of numbers and a set of who called what. Kept longer than any record, and holds no call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec

from broker.insights.usage import Count, Spot, Usage, month_of, usage
from broker.store import keys
from broker.store.connection import Commands
from broker.store.lanes import Argument

# How long a month is kept after its last count.
KEPT = timedelta(days=800)

_spot = msgspec.json.Decoder(tuple[str, Spot]).decode
_person = msgspec.json.Decoder(tuple[str, str]).decode


class UsageCounts:
    """The counts of all brokers. Each method raises `StoreUnavailable`."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def add(self, counts: Mapping[Spot, Count], people: Mapping[str, set[tuple[str, str]]]) -> None:
        """Add to what is counted, in one round trip. `people` are pairs of server and person, by month."""
        wanted: list[tuple[Argument, ...]] = []
        for spot, count in counts.items():
            for kind, number in (("ok", count.succeeded), ("failed", count.failed)):
                if number:
                    wanted.append(("HINCRBY", keys.usage(month_of(spot.day)), msgspec.json.encode((kind, spot)), number))
        for month, pairs in people.items():
            wanted.append(("SADD", keys.usage_people(month), *(msgspec.json.encode(pair) for pair in pairs)))
        months = {month_of(spot.day) for spot in counts} | set(people)
        lasts = KEPT // timedelta(seconds=1)
        wanted += [("EXPIRE", key(month), lasts) for month in months for key in (keys.usage, keys.usage_people)]
        if wanted:
            await self._commands.run_all(*wanted)

    async def month(self, month: str) -> Usage:
        """Return the use of one month (`2026-11`); nothing is zero."""
        row, pairs = await self._commands.run_all(("HGETALL", keys.usage(month)), ("SMEMBERS", keys.usage_people(month)))
        counts: dict[Spot, Count] = {}
        for field, number in zip(row[::2], row[1::2], strict=True):
            kind, spot = _spot(field)
            more = Count(succeeded=int(number)) if kind == "ok" else Count(failed=int(number))
            counts[spot] = counts.get(spot, Count()) + more
        return usage(month, counts, map(_person, pairs))
