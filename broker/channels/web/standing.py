"""Where one person stands towards one request: may they see it, may they review it, and if not, why not.

What a review would do is asked from the request's own move, so that the page and the rule can't differ.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from broker.domain.confirmations import may_confirm
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Review, Verdict
from broker.errors import BrokerError, StepUpNeeded


class Standing(msgspec.Struct, frozen=True):
    """`blocked` says why the person may not review, empty where they may; `step_up`: approving needs a passkey.

    `records`: the request is UNKNOWN, and the person may write down what became of it. `confirms`: it is the call of their
    own agent, and the policy lets them confirm it.
    """

    blocked: str = ""
    step_up: bool = False
    records: bool = False
    confirms: bool = False

    @property
    def reviews(self) -> bool:
        return not self.blocked

    @property
    def judges(self) -> bool:
        return self.reviews or self.confirms


def sees(
    people: Collection[str], groups: Collection[str], reviewers: Collection[str], person: str, own: Collection[str],
    observers: Collection[str] = (),
) -> bool:  # fmt: skip
    """May `person`, member of the groups `own`, see a request? Those who are asked, who asked, who answered, and observers."""
    return person in people or person in reviewers or bool(set(own) & {*groups, *observers})


def may_see(request: ApprovalRequest, person: str, own: Collection[str], observers: Collection[str] = ()) -> bool:
    groups = (*request.plan.groups, *request.escalated)
    reviewers = [review.reviewer for review in request.reviews]
    return sees(request.call.caller.people, groups, reviewers, person, own, observers)


def standing(request: ApprovalRequest, person: str, own: tuple[str, ...], now: datetime) -> Standing:
    """Return what `person` may do with `request` now."""
    if request.state is RequestState.UNKNOWN:
        asked = {*request.plan.groups, *request.escalated}
        return Standing(blocked="over", records=not request.call.caller.backed_by(person) and bool(asked & set(own)))
    if request.state is not RequestState.PENDING:
        return Standing(blocked="over")
    reject = _refusal(request, Review(person, Verdict.REJECT, now, request.digest, "web", own), now)
    if reject is not None:
        own_user = request.call.caller.backed_by(person)
        return Standing(blocked=reject.message, confirms=own_user and may_confirm(request) and now < request.expires_at)
    approve = _refusal(request, Review(person, Verdict.APPROVE, now, request.digest, "web", own), now)
    return Standing(step_up=isinstance(approve, StepUpNeeded))


def _refusal(request: ApprovalRequest, review: Review, now: datetime) -> BrokerError | None:
    try:
        request.reviewed(review, now, release_window=timedelta(minutes=1))
    except BrokerError as error:
        return error
    return None
