"""The caller's own user confirms: where a rule lets them, for themselves alone, once, and for no group."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker.domain import events
from broker.domain.calls import Caller
from broker.domain.confirmations import confirmed, still_confirmed
from broker.domain.decisions import RequireApproval
from broker.domain.requests import ApprovalRequest, Change, RequestState
from broker.domain.reviews import Confirmation, Verdict, Way, met
from broker.errors import AlreadyResolved, NotAnApprover, WrongMove

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SOON, LATE = NOON + timedelta(minutes=1), NOON + timedelta(hours=2)
WINDOW = timedelta(minutes=10)
Make = Callable[..., ApprovalRequest]


def left_to_the_caller(request: ApprovalRequest, **plan: Any) -> ApprovalRequest:
    return msgspec.structs.replace(request, plan=msgspec.structs.replace(request.plan, caller_confirms=True, **plan))


def given(request: ApprovalRequest, now: datetime = SOON, **changes: Any) -> Change:
    answer = Confirmation("al@x", Verdict.APPROVE, request.digest, Way.FORM, "claude-code 2", "once")
    return confirmed(request, msgspec.structs.replace(answer, **changes), now, release_window=WINDOW)


def test_a_yes_approves_and_keeps_its_evidence_and_meets_no_requirement_of_a_group(make: Make) -> None:
    request = left_to_the_caller(make())
    change = given(request)
    kept = Confirmation("al@x", Verdict.APPROVE, request.digest, Way.FORM, "claude-code 2", "once", at=SOON)
    assert change.after == msgspec.structs.replace(
        request, version=4, state=RequestState.APPROVED, release_by=SOON + WINDOW, confirmation=kept, spent=("once",),
        decided_by="al@x, the caller's own user",
    )  # fmt: skip
    assert change.event == events.Confirmed(
        at=SOON, request="r1", version=4, state="approved", trace="t1", person="al@x", verdict="approve", way="form",
        digest=request.digest, client="claude-code 2", nonce="once",
    )  # fmt: skip
    assert not change.after.approvals
    assert not met(request.plan.asks, change.after.approvals)


def test_a_no_ends_the_request(make: Make) -> None:
    after = given(left_to_the_caller(make()), verdict=Verdict.REJECT, reason="not now").after
    assert (after.state, after.note, after.ended_at, after.decided_by) == (
        RequestState.REJECTED, "not now", SOON, "al@x, the caller's own user",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "answer", "now", "told"),
    [
        ({"caller_confirms": False}, {}, SOON, NotAnApprover),
        ({"step_up": True}, {}, SOON, NotAnApprover),
        ({}, {"person": "dana@x"}, SOON, NotAnApprover),
        ({}, {"person": ""}, SOON, NotAnApprover),
        ({}, {"digest": "sha256:other"}, SOON, WrongMove),
        ({}, {}, LATE, AlreadyResolved),
    ],
)
def test_what_is_not_theirs_to_say_is_refused(make: Make, plan: Any, answer: Any, now: datetime, told: type[Exception]) -> None:
    with pytest.raises(told):
        given(left_to_the_caller(make(), **plan) if plan.get("caller_confirms", True) else make(), now, **answer)


def test_a_caller_for_whom_nobody_stands_has_no_user_who_could_confirm(make: Make) -> None:
    request = make()
    alone = msgspec.structs.replace(request, call=msgspec.structs.replace(request.call, caller=Caller(workload="cron")))
    with pytest.raises(NotAnApprover):
        given(left_to_the_caller(alone), person="")


@pytest.mark.parametrize("state", [state for state in RequestState if state is not RequestState.PENDING])
def test_only_what_is_pending_can_be_confirmed(make: Make, state: RequestState) -> None:
    with pytest.raises(AlreadyResolved):
        given(left_to_the_caller(make(state)))


def test_a_stricter_policy_takes_the_confirmation_away_and_its_single_use_stays_used(make: Make) -> None:
    approved = given(left_to_the_caller(make())).after
    decision = RequireApproval(policy="new", rules=("large",), plan=approved.plan)
    strict = RequireApproval(policy="new", rules=("large",), plan=msgspec.structs.replace(approved.plan, caller_confirms=False))
    assert (still_confirmed(approved, decision), still_confirmed(approved, strict)) == (True, False)
    asked_again = left_to_the_caller(approved.reopened(strict, (), SOON).after)
    assert (asked_again.confirmation, asked_again.state) == (None, RequestState.PENDING)
    with pytest.raises(WrongMove):
        given(asked_again)
