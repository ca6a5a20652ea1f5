"""Requests in every state, made as the moves make them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Escalation, Reason, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, Claim, Origin, RequestId, RequestState

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CALL = ToolCall(
    "payments", "refund", {"name": "refund", "arguments": {"amount": 9}}, Caller(agent="bot", user="al@x", owner="ow@x")
)
PLAN = ApprovalPlan(
    title="Refund 9",
    asks=(RuleApproval("large", (Requirement("finance", 2), Requirement("leads"))),),
    timeout=timedelta(hours=2),
    escalate=(Escalation(timedelta(minutes=30), ("managers",)),),
)

_CLAIM = Claim(1, "broker-a", "n1", NOON + timedelta(minutes=5))
_WHERE: dict[RequestState, dict[str, Any]] = {
    RequestState.PENDING: {},
    RequestState.APPROVED: {"release_by": NOON + timedelta(minutes=10), "decided_by": "dana@x"},
    RequestState.EXECUTING: {"claim": _CLAIM, "decided_by": "dana@x"},
    RequestState.COMPLETED: {"claim": _CLAIM, "decided_by": "dana@x", "ended_at": NOON},
    RequestState.FAILED: {"claim": _CLAIM, "decided_by": "dana@x", "ended_at": NOON, "note": "it said no"},
    RequestState.UNKNOWN: {"claim": _CLAIM, "decided_by": "dana@x", "ended_at": NOON, "note": "lost"},
    RequestState.REJECTED: {"decided_by": "dana@x", "ended_at": NOON, "note": "no"},
    RequestState.EXPIRED: {"ended_at": NOON, "note": "late"},
    RequestState.CANCELLED: {"decided_by": "bot", "ended_at": NOON, "note": "withdrawn"},
    RequestState.VOIDED: {"ended_at": NOON, "note": "changed"},
}

Make = Callable[..., ApprovalRequest]


def a_request(state: RequestState = RequestState.PENDING, **changes: Any) -> ApprovalRequest:
    request = ApprovalRequest(
        id=RequestId("r1"),
        version=3,
        state=state,
        call=CALL,
        digest=CALL.digest(),
        plan=PLAN,
        policy="sha256:policy",
        definition="sha256:tool",
        rules=("large",),
        reasons=(Reason("large", "more than 5"),),
        opened_at=NOON,
        expires_at=NOON + timedelta(hours=2),
        origin=Origin(trace="t1"),
        **_WHERE[state],
    )
    return msgspec.structs.replace(request, **changes)


@pytest.fixture
def make() -> Make:
    """Make a request in a state, with changes."""
    return a_request
