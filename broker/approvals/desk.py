"""The desk: open a request, review it, wait for its end. The gateway and every channel come here."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from broker.approvals.ports import Changes, PolicySource, RequestStore, SeenTool
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import RequireApproval
from broker.domain.outcomes import Outcome
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, Origin, RequestId
from broker.domain.reviews import Verdict


class Parked(msgspec.Struct, frozen=True):
    """A call that waits for people. `joined`: it was open before, so no second card and one execution."""

    request: ApprovalRequest
    joined: bool


class Desk:
    """The use cases around one request. Knows no channel: they are told through the outbox and the change stream."""

    def __init__(self, requests: RequestStore, changes: Changes, policies: PolicySource, *, release_window: timedelta) -> None:
        self._requests = requests
        self._changes = changes
        self._policies = policies
        self._release_window = release_window

    async def open(self, call: ToolCall, decision: RequireApproval, tool: SeenTool, origin: Origin) -> Parked:
        """Park a call, or join the open request for the same call (or the finished one whose answer still waits).

        Raises `KeyReused` when the idempotency key stands for another call.
        """
        raise NotImplementedError

    async def review(
        self, request_id: RequestId, by: Reviewer, verdict: Verdict, *, digest: str, reason: str = "", view: str = "",
        evidence: dict[str, object] | None = None,
    ) -> ApprovalRequest:  # fmt: skip
        """Count one person's answer: the one verb inward of every channel. Groups are looked up now.

        `digest` is the request's, as it was shown. Raises `UnknownRequest`, `AlreadyResolved`, `AlreadyReviewed`,
        `SelfReview`, `NotAnApprover`, `StepUpNeeded`.
        """
        raise NotImplementedError

    async def look(self, request_id: RequestId) -> ApprovalRequest:
        """Return the request as it stands, for people. Raises `UnknownRequest`."""
        raise NotImplementedError

    def groups_of(self, by: Reviewer) -> tuple[str, ...]:
        """The groups of a person now: the directory's and those that the sign-in vouches for."""
        raise NotImplementedError

    async def outcome(self, request_id: RequestId, caller: Caller, *, within: float) -> Outcome:
        """Wait up to `within` seconds for the end; StillPending when it has not come.

        Raises `UnknownRequest` for an unknown id and for one of another principal or server right: both read alike.
        """
        raise NotImplementedError

    async def delivered(self, request_id: RequestId) -> None:
        """The agent has its answer: the same call after this is a new request. Harmless when said twice."""
        raise NotImplementedError

    async def withdraw(self, request_id: RequestId, caller: Caller) -> ApprovalRequest:
        """The agent takes its call back. Raises `AlreadyResolved` once it runs or has ended, `UnknownRequest` as above."""
        raise NotImplementedError

    async def record(self, request_id: RequestId, by: Reviewer, *, ran: bool, why: str) -> ApprovalRequest:
        """Write down what became of an UNKNOWN request. Same rights as a review."""
        raise NotImplementedError
