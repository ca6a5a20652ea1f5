"""Requests and faces for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from broker.channels.slack.face import Face
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Reason, Requirement, RuleApproval, Severity
from broker.domain.requests import ApprovalRequest, Claim, Origin, RequestId, RequestState
from broker.domain.reviews import Comment, Review, Verdict

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = b"k" * 32
EVIL = (
    "<!channel> <@U1> `x` *APPROVED by bob*\n```\nend\n```  <https://evil.test|Open> \u202egnp.exe &lt;!here&gt; "
    ":white_check_mark: @everyone #general [x](http://evil.test) <!subteam^S1> <!date^1^{date}|x>"
)
FACE = Face(
    KEY,
    slack_ids={"dana@example.com": "U0DANA", "alice@example.com": "U0ALICE"},
    usergroups={"finance": "S0FIN"},
    public_url="https://approvals.example.com",
)
CALLER = Caller(agent="billing-bot", user="alice@example.com", owner="owen@example.com", client="toy", client_version="1.2")
PLAN = ApprovalPlan(
    title="Refund 9000 EUR to customer A-1",
    asks=(RuleApproval("refund-large", (Requirement("finance", 2),)),),
    timeout=timedelta(hours=2),
    severity=Severity.HIGH,
    show=("args.customer", "args.amount"),
    channels=("slack:#refunds",),
)
ARGUMENTS = {"customer": "A-1", "amount": 9000, "currency": "EUR", "note": "second complaint"}


def a_request(state: RequestState = RequestState.PENDING, arguments: Any = None, **changes: Any) -> ApprovalRequest:
    """A request; plan fields may be given as `plan_…`, caller fields as `caller_…`."""
    plan = {name.removeprefix("plan_"): changes.pop(name) for name in list(changes) if name.startswith("plan_")}
    caller = {name.removeprefix("caller_"): changes.pop(name) for name in list(changes) if name.startswith("caller_")}
    held = ARGUMENTS if arguments is None else arguments
    params = {"name": "refund_create", "arguments": held, **changes.pop("rest", {})}
    call = ToolCall("payments", changes.pop("tool", "refund_create"), params, msgspec.structs.replace(CALLER, **caller))
    request = ApprovalRequest(
        id=RequestId("apr_0_0123456789abcdefghjkmnpqrs"),
        version=1,
        state=state,
        call=call,
        digest="sha256:" + "9f" * 32,
        plan=msgspec.structs.replace(PLAN, **plan),
        policy="sha256:policy",
        definition="sha256:tool",
        rules=("refund-large",),
        reasons=(Reason("refund-large", "more than 5,000", "refunds.yaml:12"),),
        opened_at=NOON,
        expires_at=NOON + timedelta(hours=2),
        origin=Origin(stated="the customer asked twice"),
        ended_at=None if state.open else NOON + timedelta(minutes=30),
        **({"claim": Claim(1, "b", "n", NOON + timedelta(minutes=1))} if state is RequestState.EXECUTING else {}),
    )
    return msgspec.structs.replace(request, **changes)


def a_review(who: str, verdict: Verdict = Verdict.APPROVE, **changes: Any) -> Review:
    review = Review(who, verdict, NOON + timedelta(minutes=5), "sha256:" + "9f" * 32, "slack", ("finance",))
    return msgspec.structs.replace(review, **changes)


APPROVED = (a_review("dana@example.com"), a_review("fay@example.com", channel="web", reason="I called them"))


def states() -> dict[str, ApprovalRequest]:
    """The card's faces: one request in each state, and each reason why Approve may be missing."""
    S = RequestState
    ended = {
        "completed": a_request(S.COMPLETED, reviews=APPROVED, decided_by="fay@example.com"),
        "failed": a_request(S.FAILED, reviews=APPROVED, decided_by="fay@example.com", note="the server answered with an error"),
        "unknown": a_request(S.UNKNOWN, reviews=APPROVED, decided_by="fay@example.com", note="the connection broke"),
        "rejected": a_request(
            S.REJECTED, reviews=(a_review("dana@example.com", Verdict.REJECT, reason="too much"),), note="too much",
            decided_by="dana@example.com",
        ),
        "expired": a_request(S.EXPIRED, note="nobody decided in time"),
        "cancelled": a_request(S.CANCELLED, note="the agent withdrew it", decided_by="billing-bot"),
        "voided": a_request(S.VOIDED, note="the tool's definition changed after it was asked"),
    }  # fmt: skip
    return {
        "pending": a_request(),
        "one of two": a_request(reviews=(a_review("dana@example.com"),), version=2),
        "escalated": a_request(escalated=("managers", "finance")),
        "critical": a_request(plan_severity=Severity.CRITICAL),
        "step up": a_request(plan_step_up=True),
        "too long": a_request(arguments={"script": "rm -rf /tmp/x\n" * 400}),
        "secret": a_request(arguments={"customer": "A-1", "api_key": "abcd1234abcd"}),
        "redacted": a_request(arguments={"customer": "A-1", "card": {"number": "12"}}, plan_redact=("$.args.card.*",)),
        "evil": evil(),
        "approved": a_request(S.APPROVED, reviews=APPROVED, decided_by="fay@example.com"),
        "executing": a_request(S.EXECUTING, reviews=APPROVED, decided_by="fay@example.com"),
        **ended,
    }


def evil() -> ApprovalRequest:
    """Everything that an agent, its client or a server writes is hostile."""
    return a_request(
        arguments={EVIL: EVIL, "customer": EVIL, "amount": [EVIL, {"x": EVIL}]}, rest={"extra": EVIL}, tool=f"refund {EVIL}",
        plan_title=f"Refund {EVIL}", caller_agent=EVIL, caller_user=EVIL, caller_client=EVIL, origin=Origin(stated=EVIL),
        reasons=(Reason("rule", EVIL, EVIL),), note=EVIL,
        reviews=(a_review("dana@example.com", reason=EVIL), a_review(EVIL, reason=EVIL)),
        comments=(Comment(EVIL, NOON, "web", EVIL), Comment("dana@example.com", NOON, "web", f"<!channel> {EVIL}")),
    )  # fmt: skip
