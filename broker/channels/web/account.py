"""A person's own account: sessions, passkeys, and the devices that are told when something waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Response, get, post
from litestar.response import Redirect

from broker.channels.web.devices import Device
from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.visitors import AnyRequest, named_address, origin_of, posted, sign_in_path, visitor
from broker.domain.events import Noted
from broker.domain.text import sentence
from broker.errors import Forbidden, UnknownRequest
from broker.insights.feedback import CHOICES as MINUTES
from broker.insights.feedback import words

CHOICES = tuple((minutes, words(minutes)) for minutes in MINUTES)
# In this order: each names the ones before it as well.
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


@get("/account", include_in_schema=False)
async def account(request: AnyRequest) -> Response[str]:
    web, who = Web.of(request), visitor(request)
    return await _account(request, web, who)


async def _account(request: AnyRequest, web: Web, who: SignedIn, wrong: str = "", status: int = 200) -> Response[str]:
    origin = origin_of(request, web.parts.public_url)
    sessions = [(id, session, browser_of(session.software)) for id, session in await web.parts.sessions.all(who.person)]
    return web.page(
        request, "account.html", status=status, sessions=sessions, this=who.id,
        devices=await _devices(web, who), push_key=web.parts.devices.key if web.parts.devices else "",
        groups=web.groups(who), passkeys=await web.parts.passkeys.of(who.person), named=named_address(origin), wrong=wrong,
        quiet=await web.parts.feedback.quiet(who.person), used=await web.parts.feedback.recent(who.person), choices=CHOICES,
    )  # fmt: skip


async def _devices(web: Web, who: SignedIn) -> Sequence[Device]:
    return await web.parts.devices.of(who.person) if web.parts.devices else ()


def browser_of(software: str) -> str:
    """Return a User-Agent as people say it: `Firefox on Linux`; the agent's own words where it is none that we know."""
    browser = next((name for mark, name in _BROWSERS if mark in software), "")
    system = next((name for mark, name in _SYSTEMS if mark in software), "")
    return " on ".join(part for part in (browser, system) if part) or software[:60] or "Unknown software"


@post("/account/passkeys/begin", status_code=200, include_in_schema=False)
async def begin_passkey(request: AnyRequest) -> Response[dict[str, Any]]:
    """Hand the browser what it needs to make a passkey."""
    web = Web.of(request)
    who, _ = await posted(request)
    origin = origin_of(request, web.parts.public_url)
    begun = await web.parts.passkeys.begin_adding(who.person, who.id, who.started_at, origin)
    return Response({"nonce": begun.nonce, "options": begun.options})


@post("/account/passkeys", status_code=200, include_in_schema=False)
async def add_passkey(request: AnyRequest) -> Response[str] | Redirect:
    """Keep the passkey that the browser made."""
    web = Web.of(request)
    who, form = await posted(request)
    reply = (form.get("nonce", ""), form.get("answer", ""))
    origin = origin_of(request, web.parts.public_url)
    try:
        made = await web.parts.passkeys.finish_adding(who.person, who.id, origin, reply, form.get("name", "").strip())
    except Forbidden as error:
        return await _account(request, web, who, sentence(error.message), 403)
    await web.parts.note(Noted(at=web.now(), what="person.passkey_added", who=who.person, fields={"passkey": made.id}))
    return Redirect("/account", status_code=303)


@post("/account/passkeys/remove", status_code=200, include_in_schema=False)
async def remove_passkey(request: AnyRequest) -> Redirect:
    web = Web.of(request)
    who, form = await posted(request)
    if await web.parts.passkeys.remove(who.person, form.get("passkey", "") or "none"):
        fact = {"passkey": form.get("passkey", "")}
        await web.parts.note(Noted(at=web.now(), what="person.passkey_removed", who=who.person, fields=fact))
    return Redirect("/account", status_code=303)


@post("/account/devices", status_code=200, include_in_schema=False)
async def add_device(request: AnyRequest) -> Redirect:
    """Tell the browser that subscribed when something waits for its person."""
    web = Web.of(request)
    who, form = await posted(request)
    if web.parts.devices is None:
        raise UnknownRequest("push")
    browser = browser_of(request.headers.get("user-agent", ""))
    made = await web.parts.devices.add(who.person, who.groups, form.get("subscription", ""), browser)
    await web.parts.note(Noted(at=web.now(), what="person.device_added", who=who.person, fields={"device": made.id}))
    return Redirect("/account", status_code=303)


@post("/account/devices/remove", status_code=200, include_in_schema=False)
async def remove_device(request: AnyRequest) -> Redirect:
    web = Web.of(request)
    who, form = await posted(request)
    device = form.get("device", "")
    if web.parts.devices is not None and await web.parts.devices.remove(who.person, device):
        await web.parts.note(Noted(at=web.now(), what="person.device_removed", who=who.person, fields={"device": device}))
    return Redirect("/account", status_code=303)


@post("/account/sessions/end", status_code=200, include_in_schema=False)
async def end_sessions(request: AnyRequest) -> Redirect:
    """End one session of this person, or all of them."""
    web = Web.of(request)
    who, form = await posted(request)
    session = form.get("session", "")
    ended = await web.parts.sessions.end_all(who.person, session)
    fact = {"session": session or "all", "ended": str(ended)}
    await web.parts.note(Noted(at=web.now(), what="person.sessions_ended", who=who.person, fields=fact))
    if session in ("", who.id):
        return Redirect(sign_in_path("/"), status_code=303, cookies=[web.jar.clear()])
    return Redirect("/account", status_code=303)


ROUTES = (account, end_sessions, begin_passkey, add_passkey, remove_passkey, add_device, remove_device)
