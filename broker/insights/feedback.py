"""What people say that a result saved them: one answer for each result and person, counted beside what the tool's owner says.

Directional, as the owner's minutes are: medians of whole minutes. Time saved is never reckoned from it. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

import msgspec

# Minutes that people choose from, and the most that counts: a working day.
CHOICES = (0, 5, 15, 30, 60, 240)
MOST = 480


def words(minutes: int) -> str:
    """Return a choice as people read it."""
    if not minutes:
        return "It did not help"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} {'hour' if minutes == 60 else 'hours'}"


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What is counted together: `minutes` somebody gave for a tool while its owner said `estimate`."""

    server: str
    tool: str
    estimate: float
    minutes: int


class Opinion(msgspec.Struct, frozen=True):
    """What people say of one tool: the median of their `answers`, in whole minutes."""

    server: str
    tool: str
    minutes: int
    answers: int


def opinions(counts: Iterable[Mapping[Said, int]]) -> dict[tuple[str, str], Opinion]:
    """Return the opinion on each tool (server and name) that anybody answered for, out of the counts of some months."""
    found: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for month in counts:
        for said, count in month.items():
            found[said.server, said.tool][said.minutes] += count
    return {
        (server, tool): Opinion(server, tool, round(median(given.elements())), given.total())
        for (server, tool), given in found.items()
        if given.total()
    }
