"""The caller's own user confirms a call: a move beside the reviews, open only where every asking rule says `caller: true`.

It meets no requirement of a group, and never replaces a passkey.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from broker.domain import events
from broker.domain.decisions import RequireApproval
from broker.domain.requests import ApprovalRequest, Change, RequestState
from broker.domain.reviews import Confirmation, Verdict
from broker.errors import AlreadyResolved, NotAnApprover, WrongMove


def may_confirm(request: ApprovalRequest) -> bool:
    """Does the policy leave it to the caller's own user, and is there one behind the credential?"""
    return request.plan.caller_confirms and not request.plan.step_up and bool(request.call.caller.people)


def confirmed(request: ApprovalRequest, confirmation: Confirmation, now: datetime, *, release_window: timedelta) -> Change:
    """Count the answer of the caller's own user: yes approves, no ends the request."""
    _may_count(request, confirmation, now)
    confirmation = msgspec.structs.replace(confirmation, at=now)
    after = msgspec.structs.replace(
        request, version=request.version + 1, confirmation=confirmation, decided_by=told(confirmation),
        spent=(*request.spent, confirmation.nonce),
    )  # fmt: skip
    if confirmation.verdict is Verdict.REJECT:
        note = confirmation.reason or "the caller's own user declined"
        after = msgspec.structs.replace(after, state=RequestState.REJECTED, ended_at=now, note=note)
    else:
        after = msgspec.structs.replace(after, state=RequestState.APPROVED, release_by=now + release_window)
    fact = events.Confirmed(
        at=now, request=after.id, version=after.version, state=after.state.value, trace=after.origin.trace,
        person=confirmation.person, verdict=confirmation.verdict, way=confirmation.way, digest=confirmation.digest,
        client=confirmation.client, nonce=confirmation.nonce, reason=confirmation.reason, view=confirmation.view,
    )  # fmt: skip
    return Change(after, fact)


def still_confirmed(request: ApprovalRequest, decision: RequireApproval) -> bool:
    """Does the confirmation that was given satisfy the policy now in force?"""
    plan = decision.plan
    given = request.confirmation is not None and request.confirmation.verdict is Verdict.APPROVE
    return given and plan.caller_confirms and not plan.step_up


def told(confirmation: Confirmation) -> str:
    """Who decided, in words that can't be taken for an approver's."""
    return f"{confirmation.person}, the caller's own user"


def _may_count(request: ApprovalRequest, confirmation: Confirmation, now: datetime) -> None:
    if request.state is not RequestState.PENDING:
        raise AlreadyResolved(request.id, request.state, request.decided_by)
    if now >= request.expires_at:
        raise AlreadyResolved(request.id, RequestState.EXPIRED)
    if confirmation.nonce and confirmation.nonce in request.spent:
        raise WrongMove("this confirmation was used before", request=request.id)
    if not may_confirm(request):
        raise NotAnApprover("no rule lets the caller's own user confirm this request", request=request.id)
    if not request.call.caller.backed_by(confirmation.person):
        raise NotAnApprover("only the person whom the caller acts for may confirm this request", request=request.id)
    if confirmation.digest != request.digest:
        raise WrongMove("the confirmation is for another call than the request holds", request=request.id)
