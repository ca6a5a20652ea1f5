"""Deciding on a batch from Slack: the form is opened for those who are asked, and each choice becomes a review of its own."""

from __future__ import annotations

from broker.approvals.batches import Answered, Item, decide
from broker.approvals.ports import Query
from broker.channels.slack.arrivals import Form
from broker.channels.slack.batch import Choice, answers, choices
from broker.channels.slack.blocks import Block
from broker.channels.slack.card import may_approve_here, view_of
from broker.channels.slack.identities import Known, signed
from broker.channels.slack.parts import SlackParts
from broker.channels.slack.status import may_see
from broker.domain.batches import batch_of, proposal
from broker.domain.people import Reviewer
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict
from broker.errors import BrokerError, Outdated, UnknownRequest, WrongMove

LOOKED_AT = 200


class Together:
    """One submission at a time; doing one twice does no harm."""

    def __init__(self, parts: SlackParts) -> None:
        self._parts = parts

    async def batch(self, anchor: ApprovalRequest, known: Known) -> list[ApprovalRequest]:
        """Return what waits of the batch of `anchor`, as far as this person is asked, the oldest first."""
        query = Query(states=(RequestState.PENDING,), principal=anchor.call.caller.principal)
        page = await self._parts.requests.find(query, limit=LOOKED_AT)
        found = {request.id: request for request in page.requests}
        ids = batch_of(proposal(anchor), [proposal(request) for request in page.requests])
        return [found[request_id] for request_id in ids if self._sees(found[request_id], known)]

    async def decide(self, form: Form, anchor: ApprovalRequest, known: Known) -> list[Block]:
        """Count each choice of a form by itself. Raises `Malformed` for a form that can't be taken at all."""
        chosen = {choice.request: choice for choice in choices(form.choices)}
        caller = proposal(anchor).caller

        async def give(item: Item, batch: str) -> ApprovalRequest:
            request = await self._parts.desk.look(item.request)
            if proposal(request).caller != caller or not self._sees(request, known):
                raise UnknownRequest(item.request)
            return await self._given(form, known, request, chosen[item.request], batch)

        _, told = await decide([choice.item for choice in choices(form.choices)], give)
        return answers([(answer, await self._title(answer)) for answer in told])

    async def _given(self, form: Form, known: Known, request: ApprovalRequest, choice: Choice, batch: str) -> ApprovalRequest:
        shown = shown_call(request.call, request.plan, self._parts.mask_key)
        if request.state is RequestState.PENDING and (choice.digest, choice.view) != (request.digest, view_of(request, shown)):
            raise Outdated("it has changed since it was shown: look again", request=request.id)
        if request.state is RequestState.PENDING and not may_approve_here(request, shown):
            raise WrongMove("it is decided alone, on its page", request=request.id)
        by = Reviewer(known.person, "slack", known.groups)
        view = signed(choice.view, form.team, form.user, known.how)
        reason = form.reason if choice.verdict is Verdict.REJECT else ""
        return await self._parts.desk.review(
            request.id, by, choice.verdict, digest=choice.digest, reason=reason, view=view, version=choice.version, batch=batch
        )  # fmt: skip

    async def _title(self, answer: Answered) -> str:
        """Name a request; one that is no part of the batch by what was sent alone."""
        try:
            if isinstance(answer.error, UnknownRequest):
                return answer.item.request[:80]
            request = answer.after or await self._parts.desk.look(answer.item.request)
        except BrokerError:
            return answer.item.request[:80]
        return shown_call(request.call, request.plan, self._parts.mask_key).title

    def _sees(self, request: ApprovalRequest, known: Known) -> bool:
        return may_see(request, known.person, self._parts.desk.groups_of(Reviewer(known.person, "slack", known.groups)))
