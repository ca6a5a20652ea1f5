from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.domain.reviews import Review, Verdict
from broker.insights.reads import Read
from broker.insights.signals import Past, Signal, past, signals

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
FIRST = Signal("The first time that this agent asks for this tool.", odd=True)


def request(
    days: float, state: RequestState = RequestState.COMPLETED, definition: str = "sha256:d", tool: str = "refund", **args: Any
) -> ApprovalRequest:
    call = ToolCall("payments", tool, {"name": tool, "arguments": args}, Caller(agent="bot"))
    plan = ApprovalPlan("Refund", (RuleApproval("r", (Requirement("finance"),)),), timedelta(hours=1), show=("args.customer",))
    at = NOW - timedelta(days=days)
    verdict = Verdict.REJECT if state is RequestState.REJECTED else Verdict.APPROVE
    return ApprovalRequest(
        id=RequestId(f"r{days}"),
        version=1,
        state=state,
        call=call,
        digest=call.digest(),
        plan=plan,
        policy="p",
        definition=definition,
        rules=("r",),
        reasons=(),
        opened_at=at,
        expires_at=at + timedelta(hours=1),
        reviews=(Review("ann", verdict, at, "d", "web"),),
    )


def told(found: list[ApprovalRequest], now: ApprovalRequest, *, all: bool = True) -> list[tuple[str, bool]]:
    return [(signal.text, signal.odd) for signal in signals(now, past(now, found, all=all), NOW)]


def test_a_first_time_is_odd() -> None:
    now = request(0, RequestState.PENDING)
    assert signals(now, past(now, [now, request(1, tool="other")], all=True), NOW) == (FIRST,)


@pytest.mark.parametrize("earlier", [0, 1])
@pytest.mark.parametrize(("seconds", "told"), [(12, "12 s"), (130, "2 min")])
def test_what_was_read_from_outside_shortly_before_is_odd_and_comes_first(earlier: int, seconds: int, told: str) -> None:
    now = request(0, RequestState.PENDING)
    read = Read(NOW - timedelta(seconds=seconds), "web", "fetch\u202e")
    found = signals(now, past(now, [request(1)] * earlier, all=True), NOW, read)
    assert found[0] == Signal(f"{told} before it asked, the agent read from outside: web → fetch\\u{{202e}}.", odd=True)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("found", "all", "counts"),
    [
        ([request(1), request(2)], True, "2 approved, 0 rejected"),
        ([request(1), request(2, RequestState.EXPIRED)], True, "1 approved, 0 rejected, 1 without an answer"),
        ([request(1)], False, "at least 1 approved, 0 rejected"),
        ([request(1), request(31)], True, "1 approved, 0 rejected"),
    ],
)
def test_what_became_of_earlier_calls_is_counted_over_30_days(found: list[ApprovalRequest], all: bool, counts: str) -> None:
    assert told(found, request(0, RequestState.PENDING, x=1), all=all) == [
        (f"In the last 30 days, of this agent and tool: {counts}.", False)
    ]


def test_a_value_that_no_approved_call_had_is_odd_and_comes_first() -> None:
    found = [request(day, customer="Acme") for day in (1, 2, 3)]
    assert told(found, request(0, RequestState.PENDING, customer="Zed"))[0] == (
        "Never seen before in 3 approved calls: customer.",
        True,
    )
    assert all(not odd for _, odd in told(found, request(0, RequestState.PENDING, customer="Acme")))


def test_a_number_is_odd_only_where_it_is_higher_than_all_before() -> None:
    found = [request(day, customer=amount) for day, amount in ((1, 100), (2, 250.5), (3, 40))]
    assert told(found, request(0, RequestState.PENDING, customer=900))[0] == (
        "Higher than in any of 3 approved calls: customer.",
        True,
    )
    assert all(not odd for _, odd in told(found, request(0, RequestState.PENDING, customer=7)))


def test_the_same_call_after_its_rejection_is_odd() -> None:
    assert ("Exactly this call was rejected before.", True) in told(
        [request(1, RequestState.REJECTED, customer="Zed")], request(0, RequestState.PENDING, customer="Zed")
    )


def test_a_tool_that_is_described_differently_now_is_odd() -> None:
    found = [request(1, definition="sha256:old")]
    assert ("The server describes the tool differently than when it was last approved.", True) in told(
        found, request(0, RequestState.PENDING)
    )


def test_the_last_approved_call_is_the_newest_that_was_let_through() -> None:
    found = [request(1, RequestState.REJECTED), request(2), request(3)]
    assert past(request(0, RequestState.PENDING), found, all=True).last_approved == found[1]
    assert Past(()).last_approved is None
