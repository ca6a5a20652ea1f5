"""What the agent gets: a value for every ending. The gateway prints it once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from broker.domain.decisions import Reason
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import UNREADABLE


class Code(StrEnum):
    """`approval-broker/code` in `_meta`. Stable: agents may act on it."""

    PENDING = "pending"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    VOIDED = "voided"
    DENIED = "denied"
    FAILED = "failed"
    UNKNOWN = "unknown"
    RELEASED = "released"


class Released(msgspec.Struct, frozen=True):
    """The call ran once. `answer` is the upstream's JSON-RPC member: `{"result": …}` or `{"error": …}`."""

    request: RequestId
    answer: bytes
    joined: bool = False


class Refused(msgspec.Struct, frozen=True):
    """The call was not made (or, `failed`, is known not to have succeeded). `why` is a person's or a rule's reason."""

    code: Code
    why: str
    reasons: tuple[Reason, ...] = ()
    request: RequestId | None = None
    joined: bool = False


class StillPending(msgspec.Struct, frozen=True):
    """People have not decided, or the release is under way (`approved`)."""

    request: RequestId
    expires: datetime
    asked: tuple[str, ...]
    joined: bool = False
    approved: bool = False


class Unknown(msgspec.Struct, frozen=True):
    """It was started and its result is not known: it must not be repeated."""

    request: RequestId
    why: str
    joined: bool = False


class Gone(msgspec.Struct, frozen=True):
    """It ran, and its result is no longer here: it was delivered before, or nobody fetched it in time."""

    request: RequestId
    why: str


Outcome = Released | Refused | StillPending | Unknown | Gone

_ENDINGS = {
    RequestState.REJECTED: Code.REJECTED,
    RequestState.EXPIRED: Code.EXPIRED,
    RequestState.CANCELLED: Code.CANCELLED,
    RequestState.VOIDED: Code.VOIDED,
    RequestState.FAILED: Code.FAILED,
}


def outcome_of(request: ApprovalRequest, answer: bytes | None, *, joined: bool = False) -> Outcome:
    """Return what the agent gets for a request as it stands; `answer` is what lies in its mailbox."""
    if request.state.open:
        approved = request.state is not RequestState.PENDING
        return StillPending(request.id, request.expires_at, request.plan.groups, joined, approved)
    if answer is not None:
        return Released(request.id, answer, joined)
    if request.state is RequestState.REJECTED and not request.decided_by:  # by no person: the policy, or a stop, at its release
        return Refused(Code.DENIED, request.note, (), request.id, joined)
    if request.state in _ENDINGS:
        return Refused(_ENDINGS[request.state], request.note, request.reasons, request.id, joined)
    if request.state is RequestState.UNKNOWN:
        return Unknown(request.id, request.note, joined)
    if request.delivered_at is not None:
        return Gone(request.id, "its result was delivered before")
    return Gone(request.id, request.note or "its result was kept for a while, and nobody fetched it")


class _Result(msgspec.Struct, rename={"is_error": "isError"}):
    is_error: bool = False


class _Answer(msgspec.Struct):
    """As much of an answer as tells whether it is an error."""

    result: _Result | None = None


_answer = msgspec.json.Decoder(_Answer).decode


def errored(answer: bytes) -> bool:
    """Does a server's answer, or its `result` or `error` alone, say that the call failed? Most hold neither word."""
    if b'"isError"' not in answer and b'"error"' not in answer:
        return False
    try:
        result = _answer(answer).result
    except UNREADABLE:
        return True
    return result is None or result.is_error
