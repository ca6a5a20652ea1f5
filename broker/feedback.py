"""Feedback, wired: what people say of results, beside the minutes that the tool's owner says now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from broker.approvals.feedback import Feedback
from broker.domain.servers import Server
from broker.store.open import Store


def feedback_of(store: Store, server: Callable[[str], Server | None], every: timedelta) -> Feedback:
    """Return the use case. `server` is the catalogue, `every` how often a person is sent a question about a tool."""

    def estimate(name: str, tool: str) -> float:
        entry = server(name)
        facts = entry.tools.get(tool) if entry is not None else None
        return facts.minutes_saved if facts is not None else 0.0

    return Feedback(store.feedback, store.audit.append, store.clock, estimate, every)
