"""Use: calls, people, servers, tools and the time that they saved, by month, from counts that brokers keep. Pure.

Time saved is what the owner of a tool says that a person would need for the same, times the calls that succeeded, by what the
owner said at the time of each call. It is directional: rounded, and said so wherever it is shown.
What people say themselves stands beside it, and changes nothing in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import msgspec

from broker.insights.feedback import Opinion, Said, opinions

# Days up to today that a server's own page tells of, beside the month.
LATELY = 30


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


class Estimate(msgspec.Struct, frozen=True):
    """What a call of one tool saves: the `owner_minutes` that its calls were counted by, the mean where that changed within the
    month, beside the median of people's `answers`, None where nobody answered.
    """

    server: str
    tool: str
    calls: int
    owner_minutes: float
    people_minutes: int | None = None
    answers: int = 0


class Lately(msgspec.Struct, frozen=True):
    """The use of one server in the last 30 days. `people` are distinct, `minutes` what its successful calls saved."""

    calls: int = 0
    failed: int = 0
    people: int = 0
    minutes: float = 0.0


class Usage(msgspec.Struct, frozen=True):
    """One month (`2026-11`). `people` are distinct persons with a call; services are none. `days` are calls by day.

    `estimates` are of tools that save time by what anybody says, the most minutes saved first.
    """

    month: str
    calls: int
    failed: int
    people: int
    servers: tuple[ServerUse, ...]
    days: tuple[tuple[date, int], ...]
    estimates: tuple[Estimate, ...] = ()

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


def usage(
    month: str, counts: Mapping[Spot, Count], people: Iterable[tuple[str, str]], said: Mapping[Said, int] | None = None
) -> Usage:  # fmt: skip
    """Return the use of one month. `people` are pairs of server and person, each at most once; `said` how often what was said."""
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
        _estimates(counts, opinions([said or {}])),
    )


def lately(server: str, counts: Mapping[Spot, Count], people: int, today: date) -> Lately:
    """Return the use of one server in the days up to `today`, out of the counts of the months that they lie in."""
    since = first_day(today)
    found = [(spot, count) for spot, count in counts.items() if spot.server == server and since <= spot.day <= today]
    if not found:
        return Lately(people=people)
    one = _server(server, found, people)
    return Lately(one.calls, one.failed, people, one.minutes)


def first_day(today: date) -> date:
    """Return the first of the days that `lately` counts."""
    return today - timedelta(days=LATELY - 1)


def months_lately(today: date) -> tuple[str, ...]:
    """Return the months that these days lie in."""
    return tuple(sorted({month_of(today - timedelta(days=back)) for back in range(LATELY)}))


def _server(name: str, found: list[tuple[Spot, Count]], people: int) -> ServerUse:
    return ServerUse(
        name,
        sum(count.calls for _, count in found),
        sum(count.failed for _, count in found),
        people,
        len({spot.tool for spot, _ in found}),
        sum(spot.minutes * count.succeeded for spot, count in found),
    )


def _estimates(counts: Mapping[Spot, Count], people: Mapping[tuple[str, str], Opinion]) -> tuple[Estimate, ...]:
    spots: dict[tuple[str, str], list[tuple[Spot, Count]]] = defaultdict(list)
    for spot, count in counts.items():
        spots[spot.server, spot.tool].append((spot, count))
    found = [_estimate(place, spots.get(place, []), people.get(place)) for place in spots.keys() | people.keys()]
    worth = [one for one in found if one.owner_minutes or one.answers]
    return tuple(sorted(worth, key=lambda one: (-one.calls * one.owner_minutes, one.server, one.tool)))


def _estimate(place: tuple[str, str], found: list[tuple[Spot, Count]], opinion: Opinion | None) -> Estimate:
    succeeded = sum(count.succeeded for _, count in found)
    saved = sum(spot.minutes * count.succeeded for spot, count in found)
    minutes = saved / succeeded if succeeded > 0 else max((spot.minutes for spot, _ in found), default=0.0)
    said = (opinion.minutes, opinion.answers) if opinion is not None else (None, 0)
    return Estimate(*place, sum(count.calls for _, count in found), round(minutes, 2), *said)
