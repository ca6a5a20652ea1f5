"""Figures of what was asked and how people decided, out of audit entries: by day and rule, waits by group, rubber stamps."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

import msgspec

from broker.domain.events import CallDecided, Confirmed, Ended, Entry, Finished, Opened, Reviewed

# An approval that took less was hardly read.
STAMP = timedelta(seconds=2)
_DECIDED = ("approved", "rejected")


class Day(msgspec.Struct, frozen=True):
    """One day, in UTC: calls by what the policy said, requests by how they ended."""

    day: date
    allowed: int = 0
    denied: int = 0
    asked: int = 0
    approved: int = 0
    rejected: int = 0
    expired: int = 0
    voided: int = 0


class Rule(msgspec.Struct, frozen=True):
    """One rule: how often it decided, how people answered it, when it last did. `shadow`: how often it would have, in shadow."""

    rule: str
    hits: int
    asked: int
    approved: int
    rejected: int
    expired: int
    last: datetime
    shadow: int = 0


class Wait(msgspec.Struct, frozen=True):
    """Seconds from asking to the decision, for the reviewers' group."""

    group: str
    decisions: int
    p50: float
    p95: float


class Figures(msgspec.Struct, frozen=True):
    """Everything at once, as the page and `broker insights` show it."""

    days: tuple[Day, ...]
    rules: tuple[Rule, ...]
    waits: tuple[Wait, ...]
    stamps: int
    approvals: int

    @property
    def stamped(self) -> float:
        """The share of approvals under two seconds."""
        return self.stamps / self.approvals if self.approvals else 0.0


def figures(entries: Iterable[Entry]) -> Figures:
    """Return the figures of a run of audit entries. A request whose opening lies before the run counts by day only."""
    tally = Tally()
    for entry in entries:
        tally.take(entry)
    return tally.figures()


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of `values` lie (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Asked(msgspec.Struct, frozen=True):
    """As much of an opening as is needed until its end: there may be thousands."""

    at: datetime
    rules: tuple[str, ...]


class Tally:
    """Figures that grow entry by entry: `take` each once, in order."""

    def __init__(self) -> None:
        self._days: dict[date, Counter[str]] = defaultdict(Counter)
        self._rules: dict[str, Counter[str]] = defaultdict(Counter)
        self._last: dict[str, datetime] = {}
        self._opened: dict[str, _Asked] = {}
        self._waits: dict[str, list[float]] = defaultdict(list)
        self._approvals: list[float] = []

    def take(self, entry: Entry) -> None:
        match entry.event:
            case CallDecided() as fact:
                self._count(fact.at, {"allow": "allowed", "deny": "denied"}.get(fact.effect, "asked"), fact.rules)
                self._hit(fact.at, fact.shadow, "shadow")
            case Opened() as fact:
                self._opened[fact.request] = _Asked(fact.at, tuple(sys.intern(rule) for rule in fact.rules))
                self._count(fact.at, "asked", fact.rules)
                self._hit(fact.at, fact.shadow, "shadow")
            case Reviewed() as fact:
                self._reviewed(fact)
            case Confirmed() as fact:
                self._answered(fact.request, fact.state, fact.at)
            case Ended() as fact:
                self._answered(fact.request, fact.state, fact.at)
            case Finished() as fact:
                self._opened.pop(fact.request, None)
            case _:
                return

    def _count(self, at: datetime, what: str, rules: Iterable[str]) -> None:
        self._days[at.date()][what] += 1
        self._hit(at, rules, "hits", what)

    def _hit(self, at: datetime, rules: Iterable[str], *counts: str) -> None:
        for rule in rules:
            counter = self._rules[rule]
            for count in counts:
                counter[count] += 1
            self._last[rule] = max(at, self._last.get(rule, at))

    def _reviewed(self, fact: Reviewed) -> None:
        opened = self._opened.get(fact.request)
        if opened is not None:
            seconds = (fact.at - opened.at).total_seconds()
            if fact.verdict == "approve":
                self._approvals.append(seconds)
            if fact.state in _DECIDED:
                for group in fact.groups:
                    self._waits[group].append(seconds)
        if fact.state in _DECIDED:
            self._answered(fact.request, fact.state, fact.at)

    def _answered(self, request: str, state: str, at: datetime) -> None:
        self._days[at.date()][state] += 1
        opened = self._opened.get(request)
        for rule in opened.rules if opened else ():
            self._rules[rule][state] += 1

    def figures(self) -> Figures:
        days = tuple(_day(day, counts) for day, counts in sorted(self._days.items()))
        rules = tuple(self._rule(name, counts) for name, counts in sorted(self._rules.items()))
        waits = tuple(
            Wait(group, len(values), quantile(values, 0.5), quantile(values, 0.95))
            for group, values in sorted(self._waits.items())
        )
        stamps = sum(seconds < STAMP.total_seconds() for seconds in self._approvals)
        return Figures(days, rules, waits, stamps, len(self._approvals))

    def _rule(self, name: str, counts: Counter[str]) -> Rule:
        told = {what: counts[what] for what in ("hits", "asked", "approved", "rejected", "expired", "shadow")}
        return Rule(rule=name, last=self._last[name], **told)


def _day(day: date, counts: Counter[str]) -> Day:
    names = [field for field in Day.__struct_fields__ if field != "day"]
    return Day(day, **{name: counts[name] for name in names})
