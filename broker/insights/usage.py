"""Use: calls, people, servers, tools and the time that they saved, by month, from counts that brokers keep. Pure.

Time saved is what the owner of a tool says that a person would need for the same, times the calls that succeeded, by what the
owner said at the time of each call. It is directional: rounded, and said so wherever it is shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import date

import msgspec


class Spot(msgspec.Struct, frozen=True, array_like=True):
    """What is counted together: a day in UTC, a tool, and the `minutes` in force that a call of it saves."""

    day: date
    server: str
    tool: str
    minutes: float = 0.0


class Count(msgspec.Struct, frozen=True):
    """Calls that the server answered with a result, and calls that it answered with an error or not at all."""

    succeeded: int = 0
    failed: int = 0

    @property
    def calls(self) -> int:
        return self.succeeded + self.failed

    def __add__(self, other: Count) -> Count:
        return Count(self.succeeded + other.succeeded, self.failed + other.failed)


class ServerUse(msgspec.Struct, frozen=True):
    """One server in a month. `people` are distinct, `minutes` what its successful calls saved."""

    server: str
    calls: int
    failed: int
    people: int
    tools: int
    minutes: float


class Usage(msgspec.Struct, frozen=True):
    """One month (`2026-11`). `people` are distinct persons with a call; services are none. `days` are calls by day."""

    month: str
    calls: int
    failed: int
    people: int
    servers: tuple[ServerUse, ...]
    days: tuple[tuple[date, int], ...]

    @property
    def minutes(self) -> float:
        return sum(server.minutes for server in self.servers)

    @property
    def hours(self) -> int:
        """Hours saved, rounded: more digits would claim more than is known."""
        return round(self.minutes / 60)

    @property
    def tools(self) -> int:
        return sum(server.tools for server in self.servers)


def month_of(day: date) -> str:
    return f"{day:%Y-%m}"


def usage(month: str, counts: Mapping[Spot, Count], people: Iterable[tuple[str, str]]) -> Usage:
    """Return the use of one month. `people` are pairs of server and person, each at most once."""
    spots: dict[str, list[tuple[Spot, Count]]] = defaultdict(list)
    days: Counter[date] = Counter()
    for spot, count in counts.items():
        spots[spot.server].append((spot, count))
        days[spot.day] += count.calls
    persons: dict[str, set[str]] = defaultdict(set)
    for server, person in people:
        persons[server].add(person)
    servers = tuple(_server(name, found, len(persons[name])) for name, found in sorted(spots.items()))
    return Usage(
        month,
        sum(server.calls for server in servers),
        sum(server.failed for server in servers),
        len(set().union(*persons.values())),
        tuple(sorted(servers, key=lambda server: (-server.calls, server.server))),
        tuple(sorted(days.items())),
    )


def _server(name: str, found: list[tuple[Spot, Count]], people: int) -> ServerUse:
    return ServerUse(
        name,
        sum(count.calls for _, count in found),
        sum(count.failed for _, count in found),
        people,
        len({spot.tool for spot, _ in found}),
        sum(spot.minutes * count.succeeded for spot, count in found),
    )
