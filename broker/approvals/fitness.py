"""May an approved request run now? Policy, tool definition, groups and counters are asked again at the release."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from broker.approvals.brakes import Brakes, told
from broker.approvals.ports import Counters, PolicySource, RequestStore, SeenTool, StillIn, Tools
from broker.approvals.tally import NOTHING, RELEASED, Tally
from broker.domain.confirmations import still_confirmed
from broker.domain.decisions import Decision, Deny, RequireApproval
from broker.domain.people import Group, People
from broker.domain.requests import ApprovalRequest, Change
from broker.domain.reviews import Review, met
from broker.errors import UpstreamError
from broker.policy.evaluate import counters_for, evaluate
from broker.policy.model import Facts, Policy


class Fit(msgspec.Struct, frozen=True):
    """What was in force when the request was found fit. `unreachable`: the server could not be asked, so nothing is sent."""

    policy: str
    definition: str
    unreachable: str = ""


async def _vouched(_: Review, group: Group) -> bool:
    """An identity provider tells of groups at sign-in alone: what it said then stays."""
    return bool(group.idp)


class Fitness:
    """Judges approved requests; where one does not fit, the request is moved and nothing runs."""

    def __init__(
        self,
        requests: RequestStore,
        policies: PolicySource,
        tools: Tools,
        counters: Counters,
        *,
        clock: Callable[[], datetime],
        brakes: Brakes = Brakes(),  # noqa: B008 - frozen, and brakes nothing
        still_in: StillIn = _vouched,
    ) -> None:
        self._requests = requests
        self._policies = policies
        self._tools = tools
        self._counters = counters
        self._clock = clock
        self._brakes = brakes
        self._still_in = still_in

    async def judge(self, request: ApprovalRequest) -> Fit | None:
        """Return what it was judged by, or None: then it was rejected, voided or reopened, and its audit says why.

        Raises `StoreUnavailable`, `ChannelError` where an outside directory can't say who is in a group, and
        `RequestError` where somebody else moved first.
        """
        policy, call = self._policies.current, request.call
        stop = self._brakes.stop(call.caller)
        if stop is not None:
            await self._move(request, lambda held, now: held.forbidden(now, told(stop)))
            return None
        try:
            seen = await self._tools.look(call.server, call.tool, fresh=True)
        except UpstreamError as error:
            return Fit(policy.digest, request.definition, f"the server could not be reached, nothing was sent: {error.message}")
        if call.server in policy.servers and seen.digest != request.definition:
            await self._move(request, lambda held, now: held.voided(now, "the tool's definition changed after it was asked"))
            return None
        reviews = await self._todays(request, policy.people)
        decision = await self._decided(request, policy, seen)
        return await self._settled(request, decision, reviews)

    async def unspent(self, request: ApprovalRequest) -> None:
        """The call was not sent: what it had taken from its counters goes back."""
        await self._tally(request).settle(NOTHING)

    def _tally(self, request: ApprovalRequest) -> Tally:
        return Tally(self._counters, f"{request.id}.release", counters_for(self._policies.current, request.call))

    async def _decided(self, request: ApprovalRequest, policy: Policy, seen: SeenTool) -> Decision:
        sums = await self._tally(request).reserve()
        return evaluate(policy, request.call, Facts(self._clock(), seen.known, seen.definition, sums))

    async def _settled(self, request: ApprovalRequest, decision: Decision, reviews: tuple[Review, ...]) -> Fit | None:
        if isinstance(decision, Deny):
            await self.unspent(request)
            why = ", ".join(decision.rules) or "no rule allows it any more"
            await self._move(request, lambda held, now: held.forbidden(now, f"the policy now denies it: {why}"))
            return None
        if isinstance(decision, RequireApproval) and not self._approved(request, decision, reviews):
            await self.unspent(request)
            await self._move(request, lambda held, now: held.reopened(decision, reviews, now))
            return None
        await self._tally(request).settle(RELEASED)
        return Fit(decision.policy, request.definition)

    def _approved(self, request: ApprovalRequest, decision: RequireApproval, reviews: tuple[Review, ...]) -> bool:
        if still_confirmed(request, decision):
            return True
        asks = decision.plan.asks
        if decision.plan.step_up and any(review.evidence is None for review in request.approvals):
            return False
        approvals = [review for review in reviews if review.verdict == "approve"]
        return met(asks, approvals, frozenset(request.escalated))

    async def _todays(self, request: ApprovalRequest, people: People) -> tuple[Review, ...]:
        """Return the reviews with the groups that their people are still in."""
        found = []
        for review in request.reviews:
            groups = [name for name in review.groups if await self._holds(review, people, name)]
            found.append(msgspec.structs.replace(review, groups=tuple(groups)))
        return tuple(found)

    async def _holds(self, review: Review, people: People, name: str) -> bool:
        if review.reviewer in people.members(name):
            return True
        return name in people.groups and await self._still_in(review, people.groups[name])

    async def _move(self, request: ApprovalRequest, change: Callable[[ApprovalRequest, datetime], Change]) -> None:
        await self._requests.update(request.id, change)
