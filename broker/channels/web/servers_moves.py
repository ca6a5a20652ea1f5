"""What people do with servers on their pages: enrol, submit, review, suspend, and accept or refuse a tool. Plain forms."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from broker.channels.web.parts import Web
from broker.channels.web.readers import reader_for
from broker.channels.web.servers_api import move_server
from broker.channels.web.servers_page import places
from broker.channels.web.visitors import AnyRequest, posted, visitor
from broker.domain.enrolment import Enrolment
from broker.domain.terms import Actor
from broker.errors import EnrolmentRefused, Malformed, NotEnrolled

EXAMPLE = """{
  "name": "com.example/payments",
  "description": "Refunds and payouts",
  "version": "1.0.0",
  "remotes": [{"type": "streamable-http", "url": "https://payments.example.com/mcp"}],
  "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"approval-broker": {
    "owner": "payments", "team": "Payments", "support": ["slack:#payments-help"],
    "groups": {"support": ["refund_get"]}, "sign_in": "person",
    "tools": {"refund_get": {"read_only": true, "minutes_saved": 3}}
  }}}
}"""
LONGEST = 2_000


@get("/enrol", include_in_schema=False)
async def enrol_form(request: AnyRequest) -> Response[str]:
    """The form for a server.json."""
    web = Web.of(request)
    web.member(visitor(request))
    return web.page(request, "enrol.html", text="", problems_found=(), example=EXAMPLE)


@post("/enrol", include_in_schema=False)
async def enrol(request: AnyRequest) -> Response[Any]:
    """Enrol a server or publish a version; what is wrong with the document stands beside it."""
    web, by, form = await _asked(request)
    text = form.get("document", "")
    try:
        after = await web.parts.registry.enrolling.publish(_document(text), by)
    except EnrolmentRefused as error:
        return web.page(request, "enrol.html", status=422, text=text, problems_found=error.problems, example=EXAMPLE)
    return Redirect(f"/servers/{after.local}", status_code=303)


@post("/servers/{name:str}/moves", include_in_schema=False)
async def move(request: AnyRequest, name: FromPath[str]) -> Redirect:
    """Submit, suspend, resume or retire a server."""
    web, by, form = await _asked(request)
    found = _enrolment(web, name, by)
    chosen, why = form.get("move", ""), form.get("why", "")[:LONGEST]
    if chosen == "submit":
        await web.parts.registry.enrolling.submit(found.name, by)
    else:
        await move_server(web, chosen, found.name, by, why)
    return Redirect(f"/servers/{name}", status_code=303)


@post("/servers/{name:str}/reviews", include_in_schema=False)
async def review(request: AnyRequest, name: FromPath[str]) -> Redirect:
    """Answer for one slot, on what the page showed."""
    web, by, form = await _asked(request)
    found = _enrolment(web, name, by)
    await web.parts.registry.reviewing.review(
        found.name, form.get("slot", ""), form.get("state", ""), by, shown=form.get("digest", ""),
        reason=form.get("reason", "")[:LONGEST], ticket=form.get("ticket", "")[:LONGEST].strip(),
    )  # fmt: skip
    return Redirect(f"/servers/{name}", status_code=303)


@post("/servers/{name:str}/tools", include_in_schema=False)
async def tool(request: AnyRequest, name: FromPath[str]) -> Redirect:
    """Accept or refuse a tool as the page showed it."""
    web, by, form = await _asked(request)
    accepting = web.parts.registry.accepting
    chosen, digest = form.get("tool", ""), form.get("digest", "")
    match form.get("verdict"):
        case "accept":
            await accepting.accept(name, chosen, digest, by)
        case "refuse":
            await accepting.refuse(name, chosen, digest, by, form.get("why", "")[:LONGEST])
        case _:
            raise Malformed("a tool is accepted or refused")
    return Redirect(f"/servers/{name}#tools", status_code=303)


async def _asked(request: AnyRequest) -> tuple[Web, Actor, dict[str, str]]:
    """Raises `Forbidden` for who is in no group."""
    web = Web.of(request)
    who, form = await posted(request)
    web.member(who)
    return web, Actor(who.person, web.groups(who)), form


def _enrolment(web: Web, local: str, by: Actor) -> Enrolment:
    """Raises `NotEnrolled` for one that the person may not know of as well."""
    reader = reader_for(web, by.person, by.groups)
    place = places(web, web.parts.policies.current, reader).get(local)
    if place is None or place.enrolment is None:
        raise NotEnrolled("there is no such enrolled server")
    return place.enrolment


def _document(text: str) -> Any:
    """Raises `EnrolmentRefused` for what is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise EnrolmentRefused("this is no JSON") from None


ROUTES = (enrol_form, enrol, move, review, tool)
