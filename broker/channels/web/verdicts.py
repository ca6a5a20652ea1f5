"""What a person's answer has to be, before the desk hears it: the same for the pages and the API."""

from __future__ import annotations

from broker.channels.web.parts import Web
from broker.channels.web.views import view_digest
from broker.domain.people import Reviewer
from broker.domain.redaction import Shown
from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Verdict
from broker.errors import BrokerError

REASON_LIMIT = 2_000


class Refusal(BrokerError):
    """What was asked can't be done as it is; the message says what is missing."""

    code = "incomplete"


class NotWhole(Refusal):
    """Something is hidden that the person would have to see first."""

    code = "not_whole"


async def give(
    web: Web, found: ApprovalRequest, by: Reviewer, shown: Shown, *, verdict: str, digest: str, reason: str
) -> ApprovalRequest:
    """Count one verdict on what was `shown`. Raises `Refusal`, and what `desk.review` raises."""
    reason = reason.strip()
    if verdict not in tuple(Verdict):
        raise Refusal("choose approve or reject")
    if len(reason) > REASON_LIMIT:
        raise Refusal(f"the reason is longer than {REASON_LIMIT:,} characters")
    if verdict == Verdict.REJECT and not reason:
        raise Refusal("say why: the agent is told the reason")
    if verdict == Verdict.APPROVE and not shown.whole:
        raise NotWhole("uncover the hidden values on its page first: what has not been seen can't be approved")
    view = view_digest(found, shown)
    return await web.parts.desk.review(found.id, by, Verdict(verdict), digest=digest, reason=reason, view=view)


async def write_down(web: Web, found: ApprovalRequest, by: Reviewer, *, ran: bool, why: str) -> ApprovalRequest:
    """Record what became of a request whose result nobody knows. Raises `Refusal`, and what `desk.record` raises."""
    why = why.strip()
    if not why or len(why) > REASON_LIMIT:
        raise Refusal("say how you know, in a sentence or two")
    return await web.parts.desk.record(found.id, by, ran=ran, why=why)
