"""A request's page: look, approve, reject, record, uncover. Every action is a plain form; htmx only saves the reload."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from broker.channels.web.detail import detail_values, seen, shown_to, view_of
from broker.channels.web.inbox import list_values
from broker.channels.web.parts import Web, partial, reviewer
from broker.channels.web.ports import SignedIn
from broker.channels.web.times import ago
from broker.channels.web.verdicts import Given, Refusal, confirm, give, write_down
from broker.channels.web.views import STATES, is_cut
from broker.channels.web.visitors import AnyRequest, origin_of, posted
from broker.domain.events import Noted
from broker.domain.redaction import Shown
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict
from broker.domain.text import sentence
from broker.errors import AlreadyResolved, AlreadyReviewed, BrokerError, NotAnApprover, NotPermitted, Outdated, WrongMove


@get("/r/{request_id:str}", include_in_schema=False)
async def request_page(request: AnyRequest, request_id: FromPath[str]) -> Response[str]:
    """The request, with the list beside it where there is room."""
    web = Web.of(request)
    values = await detail_values(request, web, request_id)
    if partial(request):
        return web.page(request, "_detail.html", **values)
    return web.page(request, "inbox.html", **values, **list_values(request, web, request_id), chosen=True)


@post("/r/{request_id:str}/review", status_code=200, include_in_schema=False)
async def review(request: AnyRequest, request_id: FromPath[str]) -> Response[str] | Redirect:
    """Count this person's verdict. What can't be done comes back as the page with the reason on it."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    try:
        shown = shown_to(web, who, found)
        await give(web, found, reviewer(who), shown, await _given(request, web, who, found, shown, form))
    except BrokerError as error:
        return await again(request, web, who, found, error, form.get("reason", ""))
    return await done(request, web, who, found)


async def _given(
    request: AnyRequest, web: Web, who: SignedIn, found: ApprovalRequest, shown: Shown, form: dict[str, str]
) -> Given:  # fmt: skip
    """Read the form; where a passkey was used, check what it signed. Raises `Outdated` for a form that an older policy made."""
    if form.get("policy", found.policy) != found.policy:
        raise Outdated("the policy asks for something else since you opened this page: look again", request=found.id)
    given = Given(form.get("verdict", ""), form.get("digest", ""), form.get("reason", ""), form.get("typed", ""))
    _was_read(shown, given.verdict, form)
    if not form.get("answer"):
        return given
    decision = {"request": found.id, "digest": given.digest, "verdict": given.verdict}
    reply, origin = (form.get("nonce", ""), form["answer"]), origin_of(request, web.parts.public_url)
    evidence = await web.parts.passkeys.finish_approving(who.person, who.id, origin, reply, decision)
    return msgspec.structs.replace(given, evidence=evidence)


def _was_read(shown: Shown, verdict: str, form: dict[str, str]) -> None:
    """Raises `Refusal` for an approval of what the page cuts, unless the person says that they have read it."""
    if verdict == Verdict.APPROVE and form.get("read") != "yes" and is_cut(shown):
        raise Refusal("the page shows only heads and tails: download the whole call, read it, and say so")


@post("/r/{request_id:str}/passkey", status_code=200, include_in_schema=False)
async def begin_passkey(request: AnyRequest, request_id: FromPath[str]) -> Response[dict[str, Any]]:
    """Hand the browser a challenge over one verdict on this request, for its passkey to sign."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    decision = {"request": found.id, "digest": form.get("digest", ""), "verdict": form.get("verdict", "")}
    begun = await web.parts.passkeys.begin_approving(who.person, who.id, origin_of(request, web.parts.public_url), decision)
    return Response({"nonce": begun.nonce, "options": begun.options})


@post("/r/{request_id:str}/record", status_code=200, include_in_schema=False)
async def record(request: AnyRequest, request_id: FromPath[str]) -> Response[str] | Redirect:
    """Write down what became of a request whose result nobody knows."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    why = form.get("why", "").strip()
    try:
        if form.get("ran") not in ("yes", "no"):
            raise Refusal("say whether it ran")
        await write_down(web, found, reviewer(who), ran=form["ran"] == "yes", why=why)
    except BrokerError as error:
        return await again(request, web, who, found, error, why)
    return await done(request, web, who, found)


@post("/r/{request_id:str}/confirm", status_code=200, include_in_schema=False)
async def confirm_own(request: AnyRequest, request_id: FromPath[str]) -> Response[str] | Redirect:
    """Count the answer of the caller's own user, where the policy leaves it to them."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    given = Given(form.get("verdict", ""), form.get("digest", ""), typed=form.get("typed", ""))
    try:
        shown = shown_to(web, who, found)
        _was_read(shown, given.verdict, form)
        await confirm(web, found, who.person, shown, given)
    except BrokerError as error:
        return await again(request, web, who, found, error, "")
    return await done(request, web, who, found)


@post("/r/{request_id:str}/uncover", status_code=200, include_in_schema=False)
async def uncover(request: AnyRequest, request_id: FromPath[str]) -> Response[str] | Redirect:
    """Show one value that looked like a secret, to somebody who has to judge it. The audit says who saw it."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    path = form.get("path", "")
    try:
        if not (await view_of(web, who, found)).standing.judges:
            raise NotAnApprover("only those who may review the request can uncover its values")
        if path not in {item.path for item in shown_to(web, who, found).secrets}:
            raise Refusal("there is nothing to uncover at this place")
    except BrokerError as error:
        return await again(request, web, who, found, error, "")
    fields = {"request": found.id, "path": path}
    await web.parts.note(Noted(at=web.now(), what="request.uncovered", who=who.person, fields=fields))
    web.uncovered.add(who.id, found.id, path)
    return await done(request, web, who, found)


async def done(request: AnyRequest, web: Web, who: SignedIn, found: ApprovalRequest) -> Response[str] | Redirect:
    if not partial(request):
        return Redirect(f"/r/{found.id}", status_code=303)
    return web.page(request, "_detail.html", **await detail_values(request, web, found.id))


async def again(
    request: AnyRequest, web: Web, who: SignedIn, found: ApprovalRequest, error: BrokerError, draft: str, *, of: str = "draft"
) -> Response[str]:
    """The page as it stands now, with what stood in the way and what the person had typed: the `of` is the field's."""
    values = await detail_values(request, web, found.id)
    current: ApprovalRequest = values["detail"].request
    values |= {"wrong": in_words(web, current, error), of: draft}
    status = _status(error)
    if partial(request):
        return web.page(request, "_detail.html", status=status, **values)
    return web.page(request, "inbox.html", status=status, **values, **list_values(request, web, found.id), chosen=True)


def _status(error: BrokerError) -> int:
    match error:
        case Refusal():
            return 422
        case AlreadyResolved() | AlreadyReviewed() | WrongMove() | Outdated():
            return 409
        case NotPermitted():
            return 403
        case _:
            raise error


# What a request that was approved became since: who comes too late is told of the decision.
_WENT_ON = (RequestState.EXECUTING, RequestState.COMPLETED, RequestState.FAILED, RequestState.UNKNOWN)


def in_words(web: Web, current: ApprovalRequest, error: BrokerError) -> str:
    """What stood in the way, in the words of the page: who was first, and when."""
    if not isinstance(error, AlreadyResolved):
        return sentence(error.message)
    last = current.reviews[-1] if current.reviews else None
    when = current.ended_at or (last.at if last else current.opened_at)
    by = web.people().person(current.decided_by).shown if current.decided_by else ""
    state = "approved" if current.state in _WENT_ON else STATES[current.state].lower()
    who = f" by {by}" if by else ""
    return f"This was decided {ago(when, web.now())}: {state}{who}. Your answer was not counted."


ROUTES = (request_page, review, begin_passkey, record, confirm_own, uncover)
