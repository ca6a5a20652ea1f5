from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.insights import told
from broker.domain.calls import Caller
from broker.domain.events import CallDecided, Ended, Entry, Event, Opened, Reviewed
from broker.insights.advice import advice
from broker.insights.figures import Day, Figures, Rule, Wait, figures, quantile

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BOT = Caller(agent="bot")


def opened(request: str, at: datetime = NOON, rule: str = "refunds") -> Opened:
    return Opened(
        at=at, request=request, version=1, state="pending", caller=BOT, server="payments", tool="refund", digest="d",
        definition="t", policy="p", rules=(rule,), expires_at=at + timedelta(minutes=15),
    )  # fmt: skip


def reviewed(request: str, verdict: str, state: str, seconds: float, at: datetime = NOON) -> Reviewed:
    return Reviewed(
        at=at + timedelta(seconds=seconds), request=request, version=2, state=state, reviewer="dana", verdict=verdict,
        channel="web", digest="d", groups=("finance",),
    )  # fmt: skip


def numbered(*events: Event) -> list[Entry]:
    return [Entry(number, event) for number, event in enumerate(events, 1)]


def test_a_day_counts_what_the_policy_said_and_how_requests_ended() -> None:
    found = figures(
        numbered(
            CallDecided(at=NOON, caller=BOT, server="s", tool="t", digest="d", effect="allow", policy="p", rules=("reads",)),
            CallDecided(at=NOON, caller=BOT, server="s", tool="t", digest="d", effect="deny", policy="p", rules=("never",)),
            opened("a"),
            reviewed("a", "approve", "approved", 30),
            opened("b"),
            reviewed("b", "reject", "rejected", 10),
            opened("c"),
            Ended(at=NOON + timedelta(days=1), request="c", version=2, state="expired", why="nobody decided in time"),
        )
    )
    assert found == Figures(
        days=(
            Day(date(2026, 11, 24), allowed=1, denied=1, asked=3, approved=1, rejected=1),
            Day(date(2026, 11, 25), expired=1),
        ),
        rules=(
            Rule("never", 1, 0, 0, 0, 0, NOON),
            Rule("reads", 1, 0, 0, 0, 0, NOON),
            Rule("refunds", 3, 3, 1, 1, 1, NOON),
        ),
        waits=(Wait("finance", 2, 30.0, 30.0),),
        stamps=0,
        approvals=1,
    )


def test_what_a_rule_would_have_done_in_shadow_is_counted_apart() -> None:
    fact = CallDecided(
        at=NOON, caller=BOT, server="s", tool="t", digest="d", effect="allow", policy="p", rules=("reads",), shadow=("stricter",)
    )
    asked = msgspec.structs.replace(opened("a"), shadow=("stricter",))
    found = figures(numbered(fact, fact, asked))
    assert found.rules == (
        Rule("reads", 2, 0, 0, 0, 0, NOON), Rule("refunds", 1, 1, 0, 0, 0, NOON), Rule("stricter", 0, 0, 0, 0, 0, NOON, shadow=3),
    )  # fmt: skip


def test_a_first_of_two_approvals_is_no_decision_yet() -> None:
    found = figures(numbered(opened("a"), reviewed("a", "approve", "pending", 1), reviewed("a", "approve", "approved", 60)))
    assert (found.waits, found.approvals, found.stamps) == ((Wait("finance", 1, 60.0, 60.0),), 2, 1)


def test_advice_names_the_figure_that_says_so() -> None:
    always = [e for n in range(30) for e in (opened(f"r{n}"), reviewed(f"r{n}", "approve", "approved", 1))]
    assert advice(figures(numbered(*always))) == (
        "30 of 30 requests of refunds were approved: allow the usual case",
        "30 of 30 approvals took less than 2 s: nobody reads that fast",
    )
    late = [
        e for n in range(30) for e in (opened(f"r{n}"), Ended(at=NOON, request=f"r{n}", version=2, state="expired", why="late"))
    ]
    assert advice(figures(numbered(*late))) == ("30 of 30 requests of refunds expired: ask another group, or give it more time",)


def test_little_proves_nothing() -> None:
    assert advice(figures(numbered(opened("a"), reviewed("a", "approve", "approved", 1)))) == ()


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_quantiles_lie_among_the_values_and_in_order(values: list[float]) -> None:
    p50, p95 = quantile(values, 0.5), quantile(values, 0.95)
    assert p50 in values
    assert p95 in values
    assert p50 <= p95


def test_the_lines_for_people_hide_nothing_and_run_nothing() -> None:
    lines = told(figures(numbered(opened("a", rule="r\u202e\x1b[31m"))))
    assert all(line.isprintable() for line in lines)
