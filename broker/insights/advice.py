"""Advice from figures: what a security team may want to change, each with the figure that says so."""

from __future__ import annotations

from collections.abc import Iterator

from broker.insights.figures import Figures

# Fewer answers than this prove nothing.
ENOUGH = 20
ALWAYS = 0.98
OFTEN_LATE = 0.2
STAMPED = 0.5


def advice(figures: Figures) -> tuple[str, ...]:
    """Return plain sentences, the most pressing first."""
    return tuple(_advice(figures))


def _advice(figures: Figures) -> Iterator[str]:
    for rule in figures.rules:
        answered = rule.approved + rule.rejected
        if rule.asked >= ENOUGH and rule.expired / rule.asked > OFTEN_LATE:
            yield f"{rule.expired} of {rule.asked} requests of {rule.rule} expired: ask another group, or give it more time"
        if answered >= ENOUGH and rule.approved / answered > ALWAYS:
            yield f"{rule.approved} of {answered} requests of {rule.rule} were approved: allow the usual case"
    if figures.approvals >= ENOUGH and figures.stamped > STAMPED:
        yield f"{figures.stamps} of {figures.approvals} approvals took less than 2 s: nobody reads that fast"
