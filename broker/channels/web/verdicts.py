"""What a person's answer has to be, before the desk hears it: the same for the pages and the API."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from broker.channels.web.parts import Web
from broker.channels.web.views import label_of, view_digest
from broker.domain.people import Reviewer
from broker.domain.redaction import Shown
from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Confirmation, Verdict, Way
from broker.errors import BrokerError

REASON_LIMIT = 2_000


class Refusal(BrokerError):
    """What was asked can't be done as it is; the message says what is missing."""

    code = "incomplete"


class NotWhole(Refusal):
    """Something is hidden that the person would have to see first."""

    code = "not_whole"


class Given(msgspec.Struct, frozen=True):
    """What a person sends: the verdict, on which digest, why; what they typed to confirm; and the evidence of their passkey.

    In a submission of many: its id, the `version` that was shown, and the digest of the row, where that is no page.
    """

    verdict: str
    digest: str
    reason: str = ""
    typed: str = ""
    evidence: dict[str, Any] | None = None
    version: int = 0
    batch: str = ""
    view: str = ""


async def give(web: Web, found: ApprovalRequest, by: Reviewer, shown: Shown, given: Given) -> ApprovalRequest:
    """Count one verdict on what was `shown`. Raises `Refusal`, and what `desk.review` raises."""
    reason = given.reason.strip()
    if given.verdict not in tuple(Verdict):
        raise Refusal("choose approve or reject")
    if len(reason) > REASON_LIMIT:
        raise Refusal(f"the reason is longer than {REASON_LIMIT:,} characters")
    if given.verdict == Verdict.REJECT and not reason:
        raise Refusal("say why: the agent is told the reason")
    if given.verdict == Verdict.APPROVE:
        _may_be_approved(found, shown, given)
    return await web.parts.desk.review(
        found.id, by, Verdict(given.verdict), digest=given.digest, reason=reason,
        view=given.view or view_digest(found, shown), evidence=given.evidence, version=given.version, batch=given.batch,
    )  # fmt: skip


async def confirm(web: Web, found: ApprovalRequest, person: str, shown: Shown, given: Given) -> ApprovalRequest:
    """Count the answer of the caller's own user, signed in here. Raises `Refusal`, and what `desk.confirm` raises."""
    if given.verdict not in tuple(Verdict):
        raise Refusal("choose to confirm or to decline")
    if given.verdict == Verdict.APPROVE:
        _may_be_approved(found, shown, given)
    own = Confirmation(person, Verdict(given.verdict), given.digest, Way.PAGE, view=view_digest(found, shown))
    return await web.parts.desk.confirm(found.id, own)


def _may_be_approved(found: ApprovalRequest, shown: Shown, given: Given) -> None:
    if not shown.whole:
        raise NotWhole("uncover the hidden values on its page first: what has not been seen can't be approved")
    if found.plan.type_to_confirm and given.typed.strip() != to_type(found):
        raise Refusal(f"type the value of {label_of(found.plan.type_to_confirm)} to confirm, exactly as it is")


def to_type(found: ApprovalRequest) -> str:
    """Return what has to be typed to confirm; a path that leads nowhere asks for the name of the tool."""
    value: Any = found.call.arguments
    for name in found.plan.type_to_confirm.removeprefix("$.").removeprefix("args.").split("."):
        if not isinstance(value, dict) or name not in value:
            return found.call.tool
        value = value[name]
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def comment(web: Web, found: ApprovalRequest, by: Reviewer, text: str) -> ApprovalRequest:
    """Add a comment. Raises `Refusal`, and what `desk.comment` raises."""
    text = text.strip()
    if not text:
        raise Refusal("write something first")
    if len(text) > REASON_LIMIT:
        raise Refusal(f"the comment is longer than {REASON_LIMIT:,} characters")
    return await web.parts.desk.comment(found.id, by, text)


async def write_down(web: Web, found: ApprovalRequest, by: Reviewer, *, ran: bool, why: str) -> ApprovalRequest:
    """Record what became of a request whose result nobody knows. Raises `Refusal`, and what `desk.record` raises."""
    why = why.strip()
    if not why or len(why) > REASON_LIMIT:
        raise Refusal("say how you know, in a sentence or two")
    return await web.parts.desk.record(found.id, by, ran=ran, why=why)
