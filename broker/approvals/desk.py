"""The desk: open a request, review it, wait for its end. The gateway and every channel come here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec

from broker.approvals.limits import Memory
from broker.approvals.ports import Changes, PolicySource, RequestStore, SeenTool, Watch
from broker.domain.calls import Caller, ToolCall, join_of, repeat_of
from broker.domain.comments import commented
from broker.domain.confirmations import confirmed
from broker.domain.decisions import RequireApproval
from broker.domain.events import Noted
from broker.domain.outcomes import Code, Outcome, outcome_of
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, Change, Origin, RequestId, RequestState, opened
from broker.domain.reviews import Comment, Confirmation, Review, Verdict
from broker.domain.rounds import answered, continued, given_up
from broker.errors import (
    AlreadyResolved,
    KeyReused,
    NotAnApprover,
    NotPermitted,
    Outdated,
    SelfReview,
    StoreUnavailable,
    UnknownRequest,
    WrongMove,
)

# A wake-up that got lost costs at most this many seconds: the record is read again. The first time sooner, since it may have
# changed between its reading and the watch.
RECONCILE = 30.0
FIRST_LOOK = 0.5


Note = Callable[[Noted], Awaitable[None]]


class Parked(msgspec.Struct, frozen=True):
    """A call that waits for people. `joined`: it was open before, so no second card and one execution."""

    request: ApprovalRequest
    joined: bool


class Attendance:
    """One caller that waits for one request. The record is read on a wake-up, not on every heartbeat."""

    def __init__(self, requests: RequestStore, watch: Watch, request: ApprovalRequest) -> None:
        self._requests = requests
        self._watch = watch
        self._request = request
        self._look_at = anyio.current_time() + FIRST_LOOK

    async def outcome(self, within: float) -> Outcome:
        """Wait up to `within` seconds for the end; StillPending when it has not come."""
        deadline = anyio.current_time() + within
        while self._request.state.open:
            left = deadline - anyio.current_time()
            if left <= 0:
                return outcome_of(self._request, None)
            woken = await self._watch.wait(min(left, max(0.0, self._look_at - anyio.current_time())))
            if woken or anyio.current_time() >= self._look_at:
                await self._look()
                self._look_at = anyio.current_time() + RECONCILE
        return outcome_of(self._request, await self._requests.answer(self._request.id))

    async def _look(self) -> None:
        """Read the record. A second copy of what is known would be kept as long as the call waits."""
        found = await self._requests.get(self._request.id)
        if found.version != self._request.version:
            self._request = found


class Desk:
    """The use cases around one request. Knows no channel: they are told through the outbox and the change stream."""

    def __init__(
        self,
        requests: RequestStore,
        changes: Changes,
        policies: PolicySource,
        *,
        new_id: Callable[[], RequestId],
        release_window: timedelta,
        memory: Memory | None = None,
        note: Note | None = None,
    ) -> None:
        """`note` keeps in the audit who tried what they may not."""
        self._note = note
        self._requests = requests
        self._changes = changes
        self._policies = policies
        self._new_id = new_id
        self._release_window = release_window
        self._memory = memory

    # -- the agent's side ---------------------------------------------------------------------------------

    async def open(
        self,
        call: ToolCall,
        decision: RequireApproval,
        tool: SeenTool,
        origin: Origin,
        *,
        before_asking: Callable[[], None] = lambda: None,
    ) -> Parked:
        """Park a call, or join the open request for the same call (or the finished one whose answer still waits).

        A call that answers what a server asked back takes the one right to that first. `before_asking` may raise where people
        would be asked anew. Raises `KeyReused` when the idempotency key stands for another call, `WrongMove` when the
        question was answered otherwise.
        """
        digest, request_id = call.digest(), self._new_id()
        if origin.continues:
            request_id = await self._taken(origin.continues, digest, request_id)
            with suppress(UnknownRequest):
                return Parked(await self._requests.get(request_id), True)

        def draft(now: datetime) -> Change:
            before_asking()
            return opened(_drafted(request_id, call, decision, tool, origin, digest=digest, now=now), decision.shadow)

        request, joined = await self._requests.open(join_of(call, digest), draft)
        if joined and request.digest != digest:
            raise KeyReused("this idempotency key stands for another call", request=request.id)
        return Parked(request, joined)

    async def _taken(self, earlier: RequestId, digest: str, next_id: RequestId) -> RequestId:
        """Take the right to answer, before anybody is asked. Returns the id for this answer: the earlier one if it came twice."""
        try:
            return (await self._requests.update(earlier, lambda held, now: continued(held, digest, next_id))).round.next
        except AlreadyResolved:
            raise WrongMove("what the server asked was answered before, and is answered once", request=earlier) from None

    @contextmanager
    def attend(self, request: ApprovalRequest) -> Iterator[Attendance]:
        """Wait for a request that `open` or `fetched` returned, over many heartbeats."""
        with self._changes.watch(request.id) as watch:
            yield Attendance(self._requests, watch, request)

    async def fetched(self, request_id: RequestId, caller: Caller) -> ApprovalRequest:
        """Return a caller's own request. Unknown ids, other principals' and lost rights read alike: `UnknownRequest`."""
        request = await self._requests.get(request_id)
        server = request.call.server
        mine = request.call.caller.principal == caller.principal and caller.may_use(server)
        if not mine or server not in self._policies.current.servers:
            raise UnknownRequest(request_id)
        return request

    async def outcome(self, request_id: RequestId, caller: Caller, *, within: float) -> Outcome:
        """Wait up to `within` seconds for the end; StillPending when it has not come. Raises `UnknownRequest` as `fetched`."""
        with self._changes.watch(request_id) as watch:
            request = await self.fetched(request_id, caller)
            return await Attendance(self._requests, watch, request).outcome(within)

    async def delivered(self, request_id: RequestId) -> None:
        """The agent has its answer: the same call after this is a new request. Harmless when said twice."""
        with suppress(AlreadyResolved):
            await self._requests.update(request_id, lambda request, now: request.delivered(now))

    async def answer(self, request_id: RequestId, answers: dict[str, Any]) -> ApprovalRequest:
        """Keep answers to some of what the server asked back. Raises `AlreadyResolved`."""
        return await self._requests.update(request_id, lambda request, now: answered(request, answers))

    async def give_up(self, request_id: RequestId, code: Code, why: str) -> ApprovalRequest:
        """What the server asked back is answered by nobody any more. Raises `AlreadyResolved`."""
        return await self._requests.update(request_id, lambda request, now: given_up(request, code, why))

    async def confirm(self, request_id: RequestId, given: Confirmation) -> ApprovalRequest:
        """Count the answer of the caller's own user, where every asking rule says `caller: true`. Nobody else's groups move.

        Whoever calls this has made sure that it comes from the request's own caller, or from that person themselves.
        Raises `UnknownRequest`, `AlreadyResolved`, `NotAnApprover`, `WrongMove`.
        """

        def change(request: ApprovalRequest, now: datetime) -> Change:
            return confirmed(request, given, now, release_window=self._release_window)

        return await self._remembered(await self._requests.update(request_id, change))

    async def withdraw(self, request_id: RequestId, caller: Caller) -> ApprovalRequest:
        """The agent takes its call back. Raises `AlreadyResolved` once it runs or has ended, `UnknownRequest` as `fetched`."""
        await self.fetched(request_id, caller)
        return await self._requests.update(request_id, lambda request, now: request.cancelled(now))

    # -- the people's side --------------------------------------------------------------------------------

    async def look(self, request_id: RequestId) -> ApprovalRequest:
        """Return the request as it stands, for people. Raises `UnknownRequest`."""
        return await self._requests.get(request_id)

    def groups_of(self, by: Reviewer) -> tuple[str, ...]:
        """The groups of a person now: the directory's and those that the sign-in vouches for."""
        people = self._policies.current.people
        return tuple(sorted({*people.groups_of(by.person), *people.vouched(by.groups)}))

    async def review(  # noqa: PLR0913 - all that is kept with one person's answer
        self,
        request_id: RequestId,
        by: Reviewer,
        verdict: Verdict,
        *,
        digest: str,
        reason: str = "",
        view: str = "",
        evidence: dict[str, Any] | None = None,
        version: int = 0,
        batch: str = "",
    ) -> ApprovalRequest:
        """Count one person's answer: the one verb inward of every channel. Groups are looked up now.

        `digest` is the request's, as it was shown, and `version` too, 0 where that does not matter. Raises `UnknownRequest`,
        `AlreadyResolved`, `AlreadyReviewed`, `SelfReview`, `NotAnApprover`, `StepUpNeeded`, and `Outdated` for another version.
        """
        groups, at = self.groups_of(by), datetime.min.replace(tzinfo=UTC)

        def change(request: ApprovalRequest, now: datetime) -> Change:
            nonlocal at
            at, review = now, Review(by.person, verdict, now, digest, by.channel, groups, reason, view, evidence, batch)
            after = request.reviewed(review, now, release_window=self._release_window)
            if version and version != request.version:
                raise Outdated("the request has changed since it was shown: look again", request=request_id)
            return after

        try:
            return await self._remembered(await self._requests.update(request_id, change))
        except NotPermitted as error:
            if self._note is not None:
                fields = {"request": request_id, "verdict": verdict.value, "channel": by.channel, "code": error.code}
                await self._note(Noted(at=at, what="review.refused", who=by.person, fields=fields))
            raise

    async def _remembered(self, after: ApprovalRequest) -> ApprovalRequest:
        if self._memory is not None and after.state is RequestState.REJECTED:
            with suppress(StoreUnavailable):
                await self._memory.keep(repeat_of(after.call, after.digest), after.note)
        return after

    async def comment(self, request_id: RequestId, by: Reviewer, text: str) -> ApprovalRequest:
        """Write something beside a request, in any of its states. No agent is told, and nothing is decided.

        Raises `UnknownRequest`, `NotAnApprover`, `WrongMove`.
        """
        groups = self.groups_of(by)

        def change(request: ApprovalRequest, now: datetime) -> Change:
            return commented(request, Comment(by.person, now, by.channel, text), groups, now)

        return await self._requests.update(request_id, change)

    async def record(self, request_id: RequestId, by: Reviewer, *, ran: bool, why: str) -> ApprovalRequest:
        """Write down what became of an UNKNOWN request. The same people as for a review."""
        groups = set(self.groups_of(by))

        def change(request: ApprovalRequest, now: datetime) -> Change:
            if request.call.caller.backed_by(by.person):
                raise SelfReview("somebody else than the requester has to record this", request=request.id)
            if not groups & {*request.plan.groups, *request.escalated}:
                raise NotAnApprover(f"only members of {', '.join(request.plan.groups)} may record this", request=request.id)
            return request.recorded(ran, by.person, now, why)

        return await self._requests.update(request_id, change)


def _drafted(
    request_id: RequestId,
    call: ToolCall,
    decision: RequireApproval,
    tool: SeenTool,
    origin: Origin,
    *,
    digest: str,
    now: datetime,
) -> ApprovalRequest:
    return ApprovalRequest(
        id=request_id,
        version=1,
        state=RequestState.PENDING,
        call=call,
        digest=digest,
        plan=decision.plan,
        policy=decision.policy,
        definition=tool.digest,
        rules=decision.rules,
        reasons=decision.reasons,
        counters=decision.counters,
        opened_at=now,
        expires_at=now + decision.plan.timeout,
        origin=origin,
    )
