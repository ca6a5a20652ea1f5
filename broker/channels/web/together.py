"""Verdicts on many requests of one caller in one submission: the same for the page and the API."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from broker.approvals.batches import Answered, Item, checked, decide
from broker.channels.web.parts import Web
from broker.channels.web.verdicts import Given, NotWhole, Refusal, give
from broker.channels.web.views import view_digest
from broker.domain.batches import proposal
from broker.domain.calls import digest_of
from broker.domain.people import Reviewer
from broker.domain.redaction import Shown
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict
from broker.errors import UnknownRequest

# What is longer than so many characters, as JSON, is read on a page of its own.
LONGEST = 8_000


@dataclass(frozen=True)
class Sight:
    """Who decides, and what they see: `look` finds a request that they may see, `shown` is how."""

    by: Reviewer
    look: Callable[[str], Awaitable[ApprovalRequest]]
    shown: Callable[[ApprovalRequest], Shown]


def apart(request: ApprovalRequest, shown: Shown) -> str:
    """Return why a request can't be decided together with others, whoever asks; empty where it can."""
    plan = request.plan
    if plan.step_up:
        return "it needs a passkey: decide it alone"
    if plan.type_to_confirm:
        return "a value has to be typed to confirm it: decide it alone"
    if plan.alone:
        return "it is critical: decide it alone"
    if not shown.whole:
        return "some of its values are hidden: uncover them on its page"
    if len(json.dumps([shown.title, shown.arguments, shown.rest], ensure_ascii=False)) > LONGEST:
        return "it is too long to be shown whole here: decide it alone"
    return ""


def row_digest(request: ApprovalRequest, shown: Shown) -> str:
    """Return the digest of what a row of a batch shows: what the request's page shows, what decides, and the agent's label."""
    fields = [[field.label, field.value] for field in shown.fields]
    return digest_of({"view": view_digest(request, shown), "fields": fields, "label": request.origin.batch})


async def decide_together(
    web: Web, sight: Sight, items: Sequence[Item], reason: str, *, caller: str = ""
) -> tuple[str, list[Answered]]:
    """Count each verdict by itself, for requests of one caller: `caller` (`Proposal.caller`), or else that of the first found.

    Those of another caller answer like unknown ones. Raises `Malformed` for what can't be taken at all, and `Refusal` where a
    rejection has no reason: then nothing was counted.
    """
    checked(items)
    if not reason.strip() and any(item.verdict is Verdict.REJECT for item in items):
        raise Refusal("say why: the agent is told the reason")

    async def one(item: Item, batch: str) -> ApprovalRequest:
        nonlocal caller
        found = await sight.look(item.request)
        caller = caller or proposal(found).caller
        if proposal(found).caller != caller:
            raise UnknownRequest(item.request)
        return await _given(web, sight, found, item, batch, reason if item.verdict is Verdict.REJECT else "")

    return await decide(items, one)


async def _given(web: Web, sight: Sight, found: ApprovalRequest, item: Item, batch: str, reason: str) -> ApprovalRequest:
    shown = sight.shown(found)
    if found.state is RequestState.PENDING and (why := apart(found, shown)):
        raise Refusal(why) if shown.whole else NotWhole(why)
    said = Given(
        item.verdict.value, item.digest, reason, version=item.version, batch=batch, view=row_digest(found, shown)
    )  # fmt: skip
    return await give(web, found, sight.by, shown, said)
