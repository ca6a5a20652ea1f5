"""The approval request: a parked call and everything that people decide about it. Its moves are pure.

A move returns a `Change`: the request after it, and the event that says so. It raises a `RequestError` or
`NotPermitted` where the move is not allowed. `now` is the store's clock, handed in. A move may run twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from broker.domain import events
from broker.domain.calls import ToolCall, digest_of
from broker.domain.decisions import ApprovalPlan, Escalation, Reason, RequireApproval
from broker.domain.request_parts import Claim, Origin, RequestId, RequestState, Round
from broker.domain.reviews import Comment, Confirmation, Review, Verdict, met
from broker.errors import AlreadyResolved, AlreadyReviewed, NotAnApprover, SelfReview, StaleFence, StepUpNeeded, WrongMove

__all__ = ("ApprovalRequest", "Change", "Claim", "Origin", "RequestId", "RequestState", "Round", "opened")


class ApprovalRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One request. `version` counts its moves; times are aware.

    `policy` and `definition` are the digests that were in force when people were asked, `counters` the sums that asking was
    decided by; `release_by` ends the window in which an approved call may run; `note` says why it ended. `confirmation` is the
    caller's own user's answer, which meets no requirement of a group; `spent` are the single uses that were used up.
    `round` is what became of the server's own questions.
    """

    id: RequestId
    version: int
    state: RequestState
    call: ToolCall
    digest: str
    plan: ApprovalPlan
    policy: str
    definition: str
    rules: tuple[str, ...]
    reasons: tuple[Reason, ...]
    counters: dict[str, float] = {}
    opened_at: datetime
    expires_at: datetime
    origin: Origin = Origin()
    reviews: tuple[Review, ...] = ()
    comments: tuple[Comment, ...] = ()
    confirmation: Confirmation | None = None
    spent: tuple[str, ...] = ()
    round: Round = Round()
    escalated: tuple[str, ...] = ()
    release_by: datetime | None = None
    claim: Claim | None = None
    ended_at: datetime | None = None
    delivered_at: datetime | None = None
    note: str = ""
    decided_by: str = ""

    @property
    def approvals(self) -> tuple[Review, ...]:
        return tuple(review for review in self.reviews if review.verdict is Verdict.APPROVE)

    @property
    def escalations_left(self) -> tuple[Escalation, ...]:
        return tuple(step for step in self.plan.escalate if not set(step.to) <= set(self.escalated))

    @property
    def due_at(self) -> datetime | None:
        """When the janitor has to look at it: an escalation, a deadline, the end of the release window or of a lease."""
        if self.state is RequestState.PENDING:
            return min((self.expires_at, *(self.opened_at + step.after for step in self.escalations_left)))
        if self.state is RequestState.APPROVED:
            return self.release_by
        if self.state is RequestState.EXECUTING and self.claim is not None:
            return self.claim.lease_until
        return None

    # -- people decide ------------------------------------------------------------------------------------

    def reviewed(self, review: Review, now: datetime, *, release_window: timedelta) -> Change:
        """Count one review. A veto ends the request; the last missing approval approves it."""
        self._may_be_reviewed_by(review, now)
        after = self._next(reviews=(*self.reviews, review))
        if review.verdict is Verdict.REJECT:
            after = after._ended(RequestState.REJECTED, now, note=review.reason, by=review.reviewer)
        elif met(self.plan.asks, after.approvals, frozenset(self.escalated)):
            after = msgspec.structs.replace(
                after, state=RequestState.APPROVED, release_by=now + release_window, decided_by=review.reviewer
            )
        fact = events.Reviewed(
            at=now, **after._stamp(), reviewer=review.reviewer, verdict=review.verdict, channel=review.channel,
            digest=review.digest, groups=review.groups, reason=review.reason, view=review.view, evidence=review.evidence,
            batch=review.batch,
        )  # fmt: skip
        return Change(after, fact)

    def _may_be_reviewed_by(self, review: Review, now: datetime) -> None:
        self._still(RequestState.PENDING)
        if now >= self.expires_at:
            raise AlreadyResolved(self.id, RequestState.EXPIRED)
        if self.call.caller.backed_by(review.reviewer):
            raise SelfReview("you asked for this call, or your agent did: somebody else has to review it", request=self.id)
        if review.digest != self.digest:
            raise WrongMove("the review is for other arguments than the request holds", request=self.id)
        for earlier in self.reviews:
            if earlier.reviewer.casefold() == review.reviewer.casefold():
                raise AlreadyReviewed(self.id, review.reviewer, earlier.verdict)
        if not {*self.plan.groups, *self.escalated} & set(review.groups):
            raise NotAnApprover(f"only members of {', '.join(self.plan.groups)} may review this request", request=self.id)
        if self.plan.step_up and review.verdict is Verdict.APPROVE and review.evidence is None:
            raise StepUpNeeded("this request is approved with a passkey, on its page", request=self.id)

    def asked_further(self, groups: tuple[str, ...], now: datetime) -> Change:
        """Let the members of `groups` fill slots as well: an escalation."""
        self._still(RequestState.PENDING)
        after = self._next(escalated=tuple(dict.fromkeys((*self.escalated, *groups))))
        return Change(after, events.Escalated(at=now, **after._stamp(), groups=groups))

    # -- it ends without a call ---------------------------------------------------------------------------

    def expired(self, now: datetime) -> Change:
        """End it when its deadline or its release window is over. Silence is never consent."""
        self._still(RequestState.PENDING, RequestState.APPROVED)
        pending = self.state is RequestState.PENDING
        limit = self.expires_at if pending else self.release_by
        if limit is None or now < limit:
            raise WrongMove("the request is not due", request=self.id)
        late = "nobody decided in time" if pending else "it was approved, but could not be released in time"
        return self._end(RequestState.EXPIRED, now, why=late)

    def cancelled(self, now: datetime, why: str = "the agent withdrew it") -> Change:
        self._still(RequestState.PENDING, RequestState.APPROVED)
        return self._end(RequestState.CANCELLED, now, why=why, by=self.call.caller.agent)

    def voided(self, now: datetime, why: str) -> Change:
        """End it because the tool's definition or the server changed under it."""
        self._still(RequestState.PENDING, RequestState.APPROVED)
        return self._end(RequestState.VOIDED, now, why=why)

    def forbidden(self, now: datetime, why: str) -> Change:
        """End it because the policy now in force denies the call, or someone stopped it."""
        self._still(RequestState.PENDING, RequestState.APPROVED)
        return self._end(RequestState.REJECTED, now, why=why)

    def reopened(self, decision: RequireApproval, reviews: tuple[Review, ...], now: datetime) -> Change:
        """Ask for what the policy now in force needs beyond the approvals given; `reviews` carry the groups of today.

        Approvals without the passkey that is now demanded fall away, so that these people can approve again.
        """
        self._still(RequestState.APPROVED)
        if decision.plan.step_up:
            reviews = tuple(review for review in reviews if review.evidence is not None)
        after = self._next(
            state=RequestState.PENDING, plan=decision.plan, reviews=reviews, confirmation=None, policy=decision.policy,
            rules=decision.rules, reasons=decision.reasons, counters=decision.counters, release_by=None, decided_by="",
            expires_at=now + decision.plan.timeout,
        )  # fmt: skip
        return Change(after, events.Reopened(at=now, **after._stamp(), policy=decision.policy, rules=decision.rules))

    # -- the one execution --------------------------------------------------------------------------------

    def claimed(self, owner: str, nonce: str, now: datetime, *, lease: timedelta, policy: str, definition: str) -> Change:
        """Take the right to run it, before the upstream is called: a crash may lose one call, never run it twice."""
        self._still(RequestState.APPROVED)
        if self.release_by is not None and now >= self.release_by:
            raise AlreadyResolved(self.id, RequestState.EXPIRED)
        fence = self.claim.fence + 1 if self.claim else 1
        after = self._next(state=RequestState.EXECUTING, claim=Claim(fence, owner, nonce, now + lease))
        return Change(after, events.Claimed(at=now, **after._stamp(), fence=fence, policy=policy, definition=definition))

    def renewed(self, fence: int, now: datetime, *, lease: timedelta) -> Change:
        """Keep the lease while the upstream works. A lease that ran out is not revived."""
        claim = self._held(fence, RequestState.EXECUTING)
        if now >= claim.lease_until:
            raise StaleFence("the lease ran out", request=self.id, fence=fence)
        return Change(self._next(claim=msgspec.structs.replace(claim, lease_until=now + lease)), None)

    def completed(self, fence: int, now: datetime, answer: bytes, answer_digest: str, why: str = "") -> Change:
        """Close it with the upstream's answer, also late: the right fence still closes an UNKNOWN request.

        `why` tells people and the audit that the tool ran and answered with an error.
        """
        self._held(fence, RequestState.EXECUTING, RequestState.UNKNOWN)
        after = self._next()._ended(RequestState.COMPLETED, now, note=why)
        return Change(after, events.Finished(at=now, **after._stamp(), fence=fence, result=answer_digest, why=why), answer)

    def failed(self, fence: int, now: datetime, why: str, answer: bytes | None = None) -> Change:
        """Close it: the upstream was not reached, or answered with an error, and that is known."""
        self._held(fence, RequestState.EXECUTING, RequestState.UNKNOWN)
        after = self._next()._ended(RequestState.FAILED, now, note=why)
        return Change(after, events.Finished(at=now, **after._stamp(), fence=fence, why=why), answer)

    def lost(self, now: datetime, why: str = "the broker that ran it stopped answering") -> Change:
        """Say that nobody knows whether it ran: the lease is over, or its runner saw the connection break."""
        self._still(RequestState.EXECUTING)
        fence = self.claim.fence if self.claim else 0
        after = self._next()._ended(RequestState.UNKNOWN, now, note=why)
        return Change(after, events.Lost(at=now, **after._stamp(), fence=fence, why=why))

    def recorded(self, ran: bool, by: str, now: datetime, why: str) -> Change:
        """A person writes down what became of an UNKNOWN request."""
        self._still(RequestState.UNKNOWN)
        after = self._next()._ended(RequestState.COMPLETED if ran else RequestState.FAILED, now, note=why, by=by)
        return Change(after, events.Recorded(at=now, **after._stamp(), by=by, why=why))

    def delivered(self, now: datetime) -> Change:
        """The agent has its answer: the same call after this is a new request."""
        if not self.state.answered:
            raise WrongMove("there is nothing to deliver yet", request=self.id)
        if self.delivered_at is not None:
            raise AlreadyResolved(self.id, "delivered")
        after = self._next(delivered_at=now)
        return Change(after, events.Delivered(at=now, **after._stamp()))

    # -- shared -------------------------------------------------------------------------------------------

    def _still(self, *states: RequestState) -> None:
        if self.state not in states:
            raise AlreadyResolved(self.id, self.state, self.decided_by)

    def _held(self, fence: int, *states: RequestState) -> Claim:
        self._still(*states)
        if self.claim is None or self.claim.fence != fence:
            raise StaleFence("another claim has taken over", request=self.id, fence=fence)
        return self.claim

    def _next(self, **changes: Any) -> ApprovalRequest:
        return msgspec.structs.replace(self, version=self.version + 1, **changes)

    def _ended(self, state: RequestState, now: datetime, *, note: str = "", by: str | None = None) -> ApprovalRequest:
        """`by` None keeps who approved it; empty says that nobody ended it."""
        decided_by = self.decided_by if by is None else by
        return msgspec.structs.replace(self, state=state, ended_at=now, note=note, decided_by=decided_by)

    def _end(self, state: RequestState, now: datetime, *, why: str, by: str = "") -> Change:
        after = self._next()._ended(state, now, note=why, by=by)
        return Change(after, events.Ended(at=now, **after._stamp(), why=why, by=by))

    def _stamp(self) -> dict[str, Any]:
        return {"request": self.id, "version": self.version, "state": self.state.value, "trace": self.origin.trace}


class Change(msgspec.Struct, frozen=True):
    """What one move commits in one step: the request after it, its event (None: nothing to tell), an answer for the mailbox."""

    after: ApprovalRequest
    event: events.Event | None
    answer: bytes | None = None


def opened(request: ApprovalRequest, shadow: tuple[str, ...] = ()) -> Change:
    """The first commit of a request. `shadow` are the rules that would have held, in shadow."""
    call, stated = request.call, digest_of(request.origin.stated) if request.origin.stated else ""
    fact = events.Opened(
        at=request.opened_at, **request._stamp(), caller=call.caller, server=call.server, tool=call.tool, digest=request.digest,
        definition=request.definition, policy=request.policy, rules=request.rules, expires_at=request.expires_at, stated=stated,
        shadow=shadow,
    )  # fmt: skip
    return Change(request, fact)
