"""The page of a batch: what one agent proposed together, decided in one form, each request by itself.

The form names every request with the digest and version that were shown: what came later is no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from broker.approvals.batches import Answered, Item
from broker.channels.web.arguments import pieces
from broker.channels.web.batch_views import BatchView, Result, batch_view
from broker.channels.web.detail import members, plain_view, seen, shown_to
from broker.channels.web.parts import Web, reviewer
from broker.channels.web.ports import SignedIn
from broker.channels.web.request_page import in_words
from broker.channels.web.together import Sight, apart, decide_together
from broker.channels.web.verdicts import Refusal
from broker.channels.web.views import RequestView
from broker.channels.web.visitors import AnyRequest, posted, visitor
from broker.domain.batches import AT_MOST, proposal
from broker.domain.redaction import covered
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.domain.reviews import Verdict
from broker.domain.text import sentence
from broker.errors import BrokerError, Malformed, UnknownRequest

VERDICT, SEEN = "verdict.", "seen."


class Draft(msgspec.Struct, frozen=True):
    """A form as it begins: verdicts by id (the empty id stands for all), what stood in its way, and the reason typed so far."""

    ticked: dict[str, str] = {}
    wrong: str = ""
    reason: str = ""


UNTOUCHED = Draft()


@get("/batch/{request_id:str}", include_in_schema=False)
async def batch_page(request: AnyRequest, request_id: FromPath[str]) -> Response[str]:
    """The batch to which a request belongs. `?tick=approve` begins with all ticked that can be decided here."""
    web, who = Web.of(request), visitor(request)
    found = await seen(web, who, request_id)
    tick = request.query_params.get("tick", "")
    return await _page(request, who, found, Draft({"": tick if tick in tuple(Verdict) else ""}))


@post("/batch/{request_id:str}", status_code=200, include_in_schema=False)
async def decide_batch(request: AnyRequest, request_id: FromPath[str]) -> Response[str]:
    """Count each verdict of the form by itself, and say what became of each."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    reason = form.get("reason", "")
    sight = Sight(reviewer(who), partial(seen, web, who), partial(shown_to, web, who))
    try:
        _, answers = await decide_together(web, sight, submitted(form), reason, caller=proposal(found).caller)
    except (Malformed, Refusal) as error:
        ticked = {str(item.request): item.verdict.value for item in submitted(form)}
        wrong = f"{sentence(error.message)} Nothing was counted."
        return await _page(request, who, found, Draft(ticked, wrong, reason))
    return await _page(request, who, found, results=[await _result(web, who, answer) for answer in answers])


@get("/batch/{request_id:str}/news", include_in_schema=False)
async def batch_news(request: AnyRequest, request_id: FromPath[str]) -> Response[str]:
    """How many requests of this batch came after what a page shows: they are no part of its form."""
    web, who = Web.of(request), visitor(request)
    rows = members(web, who, await seen(web, who, request_id))
    since = _moment(request.query_params.get("since", ""))
    return web.page(request, "_batch_news.html", batch=request_id, newer=sum(row.opened_at > since for row in rows))


def submitted(form: Mapping[str, str]) -> list[Item]:
    """Return the verdicts of a form. A version that is none never fits."""
    items = []
    for name, value in form.items():
        if name.startswith(VERDICT) and value in tuple(Verdict):
            request_id = name.removeprefix(VERDICT)
            digest, _, version = form.get(SEEN + request_id, "").partition(" ")
            known = version.isascii() and version.isdigit() and len(version) < 10
            items.append(Item(RequestId(request_id), digest, (int(version) if known else 0) or -1, Verdict(value)))
    return items


async def _page(
    request: AnyRequest, who: SignedIn, found: ApprovalRequest, draft: Draft = UNTOUCHED, results: Sequence[Result] = ()
) -> Response[str]:
    web, caller = Web.of(request), found.call.caller
    batch = await _view(web, who, found, draft.ticked)
    agent = pieces(caller.agent or caller.workload or caller.user or "unnamed")
    values: dict[str, Any] = {"batch": batch, "found": found, "agent": agent, "draft": draft, "results": results}
    return web.page(request, "batch.html", status=422 if draft.wrong else 200, **values)


async def _view(web: Web, who: SignedIn, found: ApprovalRequest, ticked: Mapping[str, str]) -> BatchView:
    rows = members(web, who, found)
    views: list[RequestView] = []
    barred: list[str] = []
    for row in rows[:AT_MOST]:
        try:
            one = await seen(web, who, row.id)
        except UnknownRequest:
            continue
        if one.state is RequestState.PENDING:
            shown = shown_to(web, who, one)
            views.append(plain_view(web, who, one, shown))
            barred.append(views[-1].standing.blocked or apart(one, shown))
    label = pieces(covered(found.origin.batch, web.parts.mask_key))
    return batch_view(views, barred, ticked, label=label, more=max(0, len(rows) - AT_MOST))


async def _result(web: Web, who: SignedIn, answer: Answered) -> Result:
    """One answer in the words of the page. A request that is no part of the batch is named by what was sent alone."""
    request_id = answer.item.request
    try:
        if isinstance(answer.error, UnknownRequest):
            raise answer.error
        current = await seen(web, who, request_id)
    except BrokerError:
        return Result("", pieces(request_id[:80]), "there is no such request", "odd")
    title = pieces(shown_to(web, who, current).title)
    if answer.error is not None:
        return Result(request_id, title, in_words(web, current, answer.error), "odd")
    if answer.item.verdict is Verdict.REJECT:
        return Result(request_id, title, "Rejected.", "bad")
    waits = answer.after is not None and answer.after.state is RequestState.PENDING
    return Result(request_id, title, "Your approval counts; it needs more." if waits else "Approved.", "good")


def _moment(micros: str) -> datetime:
    known = micros.isascii() and micros.isdigit() and len(micros) < 17
    return datetime.fromtimestamp(int(micros) / 1e6 if known else 0, UTC)


ROUTES = (batch_page, decide_batch, batch_news)
