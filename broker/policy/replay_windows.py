"""Counters for a replay: the same windows that the store keeps, counted from the calls that go by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from broker.domain.decisions import Effect
from broker.policy.model import CounterUse

_RAN = frozenset(("approved", "executing", "completed", "failed", "unknown"))


class Windows:
    """Sums by bucket. Calls have to come in the order of their times."""

    def __init__(self) -> None:
        self._entries: dict[str, deque[tuple[datetime, float]]] = {}
        self._sums: dict[str, float] = {}

    def sums(self, uses: Iterable[CounterUse], now: datetime) -> dict[str, float]:
        """Return what each counter holds before this call."""
        return {use.name: self._sum(use, now) for use in uses if use.amount is not None}

    def _sum(self, use: CounterUse, now: datetime) -> float:
        entries = self._entries.get(use.key)
        while entries and entries[0][0] <= now - use.window:
            self._sums[use.key] -= entries.popleft()[1]
        return self._sums.get(use.key, 0.0) if entries else 0.0

    def enter(self, uses: Iterable[CounterUse], now: datetime, effect: Effect, ending: str) -> None:
        """Count a call as decided: denied ones never count, asked ones count as sent if they once ran."""
        ran = effect is Effect.ALLOW or (effect is Effect.REQUIRE_APPROVAL and ending in _RAN)
        for use in uses:
            counts = effect is Effect.REQUIRE_APPROVAL if use.of == "asked" else ran
            if counts and use.amount:
                self._entries.setdefault(use.key, deque()).append((now, use.amount))
                self._sums[use.key] = self._sums.get(use.key, 0.0) + use.amount
