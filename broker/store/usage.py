"""Counts of use, by month: a hash of numbers and a set of who called what. Kept longer than any record, and holds no call.

Who called a server in the last 30 days is the last day of each person's calls of it: one line a person, dropped when it is older.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import msgspec

from broker.insights.feedback import Said
from broker.insights.usage import LATELY, Count, Lately, Spot, Usage, first_day, lately, month_of, months_lately, usage
from broker.store import keys
from broker.store.connection import Commands
from broker.store.lanes import Argument

# How long a month is kept after its last count.
KEPT = timedelta(days=800)

_spot = msgspec.json.Decoder(tuple[str, Spot]).decode
_person = msgspec.json.Decoder(tuple[str, str]).decode
said_of = msgspec.json.Decoder(Said).decode


class UsageCounts:
    """The counts of all brokers. Each method raises `StoreUnavailable`."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def add(
        self, counts: Mapping[Spot, Count], people: Mapping[date, set[tuple[str, str]]],
        tools: Mapping[date, set[tuple[str, str, str]]] | None = None,
    ) -> None:  # fmt: skip
        """Add to what is counted, in one round trip. `people` are pairs of server and person, by day; `tools` are person,
        server and tool of calls that had a result.
        """
        wanted: list[tuple[Argument, ...]] = []
        for spot, count in counts.items():
            for kind, number in (("ok", count.succeeded), ("failed", count.failed)):
                if number:
                    wanted.append(("HINCRBY", keys.usage(month_of(spot.day)), msgspec.json.encode((kind, spot)), number))
        for day, pairs in people.items():
            wanted.append(("SADD", keys.usage_people(month_of(day)), *(msgspec.json.encode(pair) for pair in pairs)))
            wanted += _seen(day, pairs)
        for day, used in (tools or {}).items():
            wanted += _used(day, used)
        months = {month_of(day) for day in (*(spot.day for spot in counts), *people)}
        lasts = KEPT // timedelta(seconds=1)
        wanted += [("EXPIRE", key(month), lasts) for month in months for key in (keys.usage, keys.usage_people)]
        if wanted:
            await self._commands.run_all(*wanted)

    async def month(self, month: str) -> Usage:
        """Return the use of one month (`2026-11`); nothing is zero."""
        row, pairs, said = await self._commands.run_all(
            ("HGETALL", keys.usage(month)), ("SMEMBERS", keys.usage_people(month)), ("HGETALL", keys.feedback(month))
        )
        return usage(month, _counts(row), map(_person, pairs), _said(said))

    async def recent(self, person: str, today: date, limit: int) -> list[tuple[str, str]]:
        """Return server and name of the tools that a person's calls had results of in the last 30 days, the latest first."""
        row = await self._commands.run(
            "ZREVRANGEBYSCORE", keys.usage_of(person), "+inf", first_day(today).toordinal(), "LIMIT", 0, limit
        )
        return [_person(one) for one in row]

    async def lately(self, server: str, today: date) -> Lately:
        """Return the use of one server in the 30 days up to `today`."""
        asked = [("HGETALL", keys.usage(month)) for month in months_lately(today)]
        people = ("ZCOUNT", keys.usage_lately(server), first_day(today).toordinal(), "+inf")
        *rows, known = await self._commands.run_all(*asked, people)
        return lately(server, {spot: count for row in rows for spot, count in _counts(row).items()}, int(known), today)

    async def said(self, months: Sequence[str]) -> list[dict[Said, int]]:
        """Return how often people said what of which tool, in each of some months."""
        return [_said(row) for row in await self._commands.run_all(*(("HGETALL", keys.feedback(month)) for month in months))]


def _seen(day: date, pairs: set[tuple[str, str]]) -> list[tuple[Argument, ...]]:
    """What keeps the last day on which each person called a server."""
    wanted: list[tuple[Argument, ...]] = []
    for server in {server for server, _ in pairs}:
        key, number = keys.usage_lately(server), day.toordinal()
        wanted.append(("ZADD", key, "GT", *(part for name, who in pairs if name == server for part in (number, who))))
        wanted.append(("ZREMRANGEBYSCORE", key, "-inf", f"({number - LATELY}"))
        wanted.append(("EXPIRE", key, (LATELY + 1) * 86_400))
    return wanted


def _used(day: date, used: set[tuple[str, str, str]]) -> list[tuple[Argument, ...]]:
    """What keeps the last day on which each person's calls of a tool had a result."""
    wanted: list[tuple[Argument, ...]] = []
    for person, server, tool in used:
        key, number = keys.usage_of(person), day.toordinal()
        wanted.append(("ZADD", key, "GT", number, msgspec.json.encode((server, tool))))
        wanted.append(("ZREMRANGEBYSCORE", key, "-inf", f"({number - LATELY}"))
        wanted.append(("EXPIRE", key, (LATELY + 1) * 86_400))
    return wanted


def _counts(row: Sequence[bytes]) -> dict[Spot, Count]:
    counts: dict[Spot, Count] = {}
    for field, number in zip(row[::2], row[1::2], strict=True):
        kind, spot = _spot(field)
        more = Count(succeeded=int(number)) if kind == "ok" else Count(failed=int(number))
        counts[spot] = counts.get(spot, Count()) + more
    return counts


def _said(row: Sequence[bytes]) -> dict[Said, int]:
    return {said_of(field): int(number) for field, number in zip(row[::2], row[1::2], strict=True)}
