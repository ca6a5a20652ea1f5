from __future__ import annotations

from datetime import UTC, datetime, timedelta

from broker.domain.calls import Caller
from broker.domain.events import CallDecided, Entry
from broker.insights.reads import CALLERS, Read, Reads

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def allowed(minutes: float, tool: str, agent: str = "bot", effect: str = "allow") -> Entry:
    at = NOON - timedelta(minutes=minutes)
    return Entry(
        1, CallDecided(at=at, caller=Caller(agent=agent), server="web", tool=tool, digest="d", effect=effect, policy="p")
    )


def test_the_last_read_from_outside_counts_if_it_was_shortly_before_and_of_the_same_caller() -> None:
    reads = Reads()
    for entry in (
        allowed(11, "fetch"), allowed(9, "fetch"), allowed(8, "search"), allowed(7, "inside"), allowed(6, "search", "other"),
        allowed(5, "search", effect="deny"), allowed(-1, "fetch"),
    ):  # fmt: skip
        reads.take(entry)

    def last(agent: str, *tools: str) -> Read | None:
        return reads.before(Caller(agent=agent).principal, NOON, lambda server, tool: tool in tools)

    assert last("bot", "fetch", "search") == Read(NOON - timedelta(minutes=8), "web", "search")
    assert last("bot", "fetch") == Read(NOON - timedelta(minutes=9), "web", "fetch")
    assert last("bot") is None
    assert last("nobody", "fetch") is None


def test_callers_without_end_are_forgotten() -> None:
    reads = Reads()
    for number in range(CALLERS + 1):
        reads.take(allowed(1, "fetch", f"bot-{number}"))
    assert reads.before(Caller(agent="bot-0").principal, NOON, lambda server, tool: True) is None
    assert reads.before(Caller(agent="bot-1").principal, NOON, lambda server, tool: True) is not None
