"""Requests, moves and events as tests of the store need them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Escalation, Requirement, RuleApproval
from broker.domain.events import Noted
from broker.domain.requests import ApprovalRequest, Change, RequestState, opened
from broker.domain.reviews import Review, Verdict
from broker.store import keys

Draft = Callable[[datetime], Change]
Move = Callable[[ApprovalRequest, datetime], Change]


def draft(
    *,
    agent: str = "bot",
    server: str = "payments",
    tool: str = "refund_create",
    group: str = "finance",
    count: int = 1,
    timeout: timedelta = timedelta(minutes=15),
    escalate: tuple[Escalation, ...] = (),
    arguments: dict[str, Any] | None = None,
) -> Draft:
    """Return what opens a request for a refund."""
    call = ToolCall(server, tool, {"name": tool, "arguments": arguments or {"amount": 40}}, Caller(agent=agent, owner="bob"))
    asks = (RuleApproval("refunds", (Requirement(group, count),)),)
    plan = ApprovalPlan("Refund 40", asks, timeout, escalate=escalate)

    def make(now: datetime) -> Change:
        return opened(
            ApprovalRequest(
                id=keys.new_id(),
                version=1,
                state=RequestState.PENDING,
                call=call,
                digest=call.digest(),
                plan=plan,
                policy="sha256:policy",
                definition="sha256:definition",
                rules=("refunds",),
                reasons=(),
                opened_at=now,
                expires_at=now + timeout,
            )
        )

    return make


def review(who: str, verdict: Verdict = Verdict.APPROVE, *, groups: tuple[str, ...] = ("finance",)) -> Move:
    def move(request: ApprovalRequest, now: datetime) -> Change:
        return request.reviewed(
            Review(who, verdict, now, request.digest, "web", groups), now, release_window=timedelta(minutes=10)
        )

    return move


def claim(owner: str = "broker-1", *, lease: timedelta = timedelta(seconds=30)) -> Move:
    return lambda request, now: request.claimed(owner, "nonce", now, lease=lease, policy="p", definition="d")


def renew(*, lease: timedelta = timedelta(seconds=30)) -> Move:
    return lambda request, now: request.renewed(1, now, lease=lease)


def complete(answer: bytes = b'{"result":{}}') -> Move:
    return lambda request, now: request.completed(1, now, answer, "sha256:answer")


def lose() -> Move:
    return lambda request, now: request.lost(now)


def deliver() -> Move:
    return lambda request, now: request.delivered(now)


def expire() -> Move:
    return lambda request, now: request.expired(now)


def cancel() -> Move:
    return lambda request, now: request.cancelled(now)


def noted(what: str, now: datetime) -> Noted:
    return Noted(at=now, what=what, broker="broker-1")
