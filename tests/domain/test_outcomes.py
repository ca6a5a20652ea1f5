"""What the agent gets, for every state a request can be in."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.domain.decisions import Reason
from broker.domain.outcomes import Code, Gone, Outcome, Refused, Released, StillPending, Unknown, errored, outcome_of
from broker.domain.requests import ApprovalRequest, RequestId, RequestState

S = RequestState
R1 = RequestId("r1")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EXPIRES = NOON + timedelta(hours=2)
WHY = (Reason("large", "more than 5"),)
ASKED = ("finance", "leads")

CASES: list[tuple[RequestState, dict[str, Any], bytes | None, Outcome]] = [
    (S.PENDING, {}, None, StillPending(R1, EXPIRES, ASKED)),
    (S.APPROVED, {}, None, StillPending(R1, EXPIRES, ASKED, approved=True)),
    (S.EXECUTING, {}, None, StillPending(R1, EXPIRES, ASKED, approved=True)),
    (S.COMPLETED, {}, b'{"result":1}', Released(R1, b'{"result":1}')),
    (S.COMPLETED, {"delivered_at": NOON}, None, Gone(R1, "its result was delivered before")),
    (S.COMPLETED, {}, None, Gone(R1, "its result was kept for a while, and nobody fetched it")),
    (S.COMPLETED, {"note": "the ledger has it"}, None, Gone(R1, "the ledger has it")),
    (S.FAILED, {}, b'{"error":1}', Released(R1, b'{"error":1}')),
    (S.FAILED, {}, None, Refused(Code.FAILED, "it said no", WHY, R1)),
    (S.UNKNOWN, {}, None, Unknown(R1, "lost")),
    (S.REJECTED, {}, None, Refused(Code.REJECTED, "no", WHY, R1)),
    (S.REJECTED, {"decided_by": ""}, None, Refused(Code.DENIED, "no", (), R1)),
    (S.EXPIRED, {}, None, Refused(Code.EXPIRED, "late", WHY, R1)),
    (S.CANCELLED, {}, None, Refused(Code.CANCELLED, "withdrawn", WHY, R1)),
    (S.VOIDED, {}, None, Refused(Code.VOIDED, "changed", WHY, R1)),
]


@pytest.mark.parametrize(("state", "changes", "answer", "outcome"), CASES)
def test_what_the_agent_gets(
    make: Callable[..., ApprovalRequest], state: RequestState, changes: dict[str, Any], answer: bytes | None, outcome: Outcome
) -> None:
    assert outcome_of(make(state, **changes), answer) == outcome


def test_every_state_has_an_outcome() -> None:
    assert {state for state, *_ in CASES} == set(S)


def test_who_joined_is_told_so(make: Callable[..., ApprovalRequest]) -> None:
    for state, changes, answer, _ in CASES:
        outcome = outcome_of(make(state, **changes), answer, joined=True)
        assert isinstance(outcome, Gone) or outcome.joined


@pytest.mark.parametrize("state", [s for s in S if s.open])
def test_an_answer_that_lies_there_too_early_is_not_given(make: Callable[..., ApprovalRequest], state: RequestState) -> None:
    assert isinstance(outcome_of(make(state), b"{}"), StillPending)


@pytest.mark.parametrize("spoilt", [b"{", b'{"a":"\xff"}', b'{"a":' + b"[" * 5_000], ids=["half", "no text", "deep"])
def test_an_answer_that_can_not_be_read_is_no_result(spoilt: bytes) -> None:
    assert errored(spoilt + b'"isError"')
