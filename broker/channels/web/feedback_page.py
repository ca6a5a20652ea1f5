"""What a result saved: the people behind a call are asked once on its page, and may ask not to be."""

from __future__ import annotations

import re

from litestar import Response, post
from litestar.params import FromPath
from litestar.response import Redirect

from broker.channels.web.detail import seen
from broker.channels.web.parts import Web
from broker.channels.web.request_page import again, done
from broker.channels.web.verdicts import Refusal
from broker.channels.web.visitors import AnyRequest, posted
from broker.errors import BrokerError, Malformed, UnknownRequest
from broker.insights.feedback import MOST

_MINUTES = re.compile(r"[0-9]{1,4}", re.ASCII)


@post("/r/{request_id:str}/feedback", status_code=200, include_in_schema=False)
async def feedback(request: AnyRequest, request_id: FromPath[str]) -> Response[str] | Redirect:
    """Count what one of the people behind a call says that its result saved them."""
    web = Web.of(request)
    who, form = await posted(request)
    found = await seen(web, who, request_id)
    if who.person not in found.call.caller.people:
        raise UnknownRequest(request_id)
    try:
        await web.parts.feedback.give(found, who.person, minutes_of(form.get("minutes", "")), "web")
    except BrokerError as error:
        return await again(request, web, who, found, error, "")
    return await done(request, web, who, found)


def minutes_of(said: str) -> int | None:
    """Return the minutes of a form, None for `skip`. Raises `Refusal`."""
    if said == "skip":
        return None
    if not _MINUTES.fullmatch(said) or int(said) > MOST:
        raise Refusal(f"say how many minutes, from 0 to {MOST}")
    return int(said)


@post("/account/feedback", status_code=200, include_in_schema=False)
async def ask_me(request: AnyRequest) -> Redirect:
    """Ask this person about results, or never again."""
    web = Web.of(request)
    who, form = await posted(request)
    if form.get("ask") not in ("yes", "no"):
        raise Malformed("say yes or no")
    await web.parts.feedback.hush(who.person, form["ask"] == "no")
    return Redirect("/account", status_code=303)


@post("/account/results", status_code=200, include_in_schema=False)
async def of_tool(request: AnyRequest) -> Redirect:
    """Count what a person says that an allowed call of a tool saves them."""
    web = Web.of(request)
    who, form = await posted(request)
    minutes = minutes_of(form.get("minutes", ""))
    await web.parts.feedback.give_of(form.get("server", ""), form.get("tool", ""), who.person, minutes, "web")
    return Redirect("/account#feedback", status_code=303)


ROUTES = (feedback, ask_me, of_tool)
