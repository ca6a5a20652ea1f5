"""Signing in by a link, and out again. A link is looked at by GET and used up by POST only, so that previews can't."""

from __future__ import annotations

from urllib.parse import quote

from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath
from litestar.response import Redirect

from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.visitors import (
    PROXY,
    AnyRequest,
    address_of,
    fields,
    on_loopback,
    posted,
    safe_path,
    sign_in_path,
    vouched,
)
from broker.domain.events import Noted
from broker.domain.text import sentence
from broker.errors import Unauthenticated


@get("/sign-in", include_in_schema=False)
async def sign_in_page(request: AnyRequest) -> Response[str]:
    """Where a visitor without a session ends up: a place to paste the code of a link."""
    web = Web.of(request)
    after = safe_path(request.query_params.get("after", "/"))
    return _page(request, web, after)


@get("/sign-in/{secret:str}", include_in_schema=False)
async def link_page(request: AnyRequest, secret: FromPath[str]) -> Response[str] | Redirect:
    """Say whom the link signs in, and offer the button that does it."""
    web = Web.of(request)
    try:
        link = await web.parts.links.look(secret)
    except Unauthenticated as error:
        await web.intruders.keep_out((secret,), "/sign-in")
        return refused(request, web, error, "/")
    return web.page(request, "link.html", secret=secret, whom=web.people().person(link.person))


@post("/sign-in", status_code=200, include_in_schema=False)
async def sign_in(request: AnyRequest) -> Response[str] | Redirect:
    """Use a link up and begin a session under a fresh id. A cookie that came along is ended, never adopted."""
    web = Web.of(request)
    form = await fields(request)
    after = safe_path(form.get("after", "/"))
    secret = form.get("code", "").strip().rsplit("/", 1)[-1]
    try:
        link = await web.parts.links.use(secret, loopback=on_loopback(request))
    except Unauthenticated as error:
        await web.intruders.keep_out((secret,), request.url.path)
        return refused(request, web, error, after)
    begun = await web.parts.sessions.start(
        link.person, how="link", software=request.headers.get("user-agent", ""), address=address_of(request),
        instead=web.jar.read(request),
    )  # fmt: skip
    return await welcome(request, web, begun, "link", after)


@get("/sign-in/proxy", include_in_schema=False)
async def sign_in_by_proxy(request: AnyRequest) -> Response[str] | Redirect:
    """Begin a session for whom a trusted proxy names, under a fresh id."""
    web, named = Web.of(request), vouched(request)
    after = safe_path(request.query_params.get("after", "/"))
    if named is None:
        return refused(request, web, Unauthenticated("no proxy in front says who you are"), after)
    begun = await web.parts.sessions.start(
        named.person, how=PROXY, groups=named.groups, software=request.headers.get("user-agent", ""),
        address=address_of(request), instead=web.jar.read(request),
    )  # fmt: skip
    return await welcome(request, web, begun, PROXY, after)


@post("/sign-out", status_code=200, include_in_schema=False)
async def sign_out(request: AnyRequest) -> Redirect:
    web = Web.of(request)
    who, _ = await posted(request)
    await web.parts.sessions.end(who.secret)
    await web.parts.note(Noted(at=web.now(), what="person.signed_out", who=who.person, fields={"session": who.id}))
    return Redirect(sign_in_path("/"), status_code=303, cookies=[web.jar.clear()])


async def welcome(request: AnyRequest, web: Web, begun: SignedIn, how: str, after: str, *cookies: Cookie) -> Redirect:
    """Hand the session's cookie to the browser, and note who came."""
    fact = {"how": how, "session": begun.id, "address": address_of(request)}
    await web.parts.note(Noted(at=web.now(), what="person.signed_in", who=begun.person, fields=fact))
    return Redirect(after, status_code=303, cookies=[web.jar.set(begun.secret), *cookies])


def refused(request: AnyRequest, web: Web, error: Unauthenticated, after: str) -> Response[str]:
    """The sign-in page, with what stood in the way."""
    return _page(request, web, after, sentence(error.message), 401)


def _page(request: AnyRequest, web: Web, after: str, wrong: str = "", status: int = 200) -> Response[str]:
    providers = [(name, label, f"/sign-in/with/{quote(name)}?after={quote(after)}") for name, label in web.parts.oidc.providers]
    named = vouched(request)
    known = (web.people().person(named.person).shown, sign_in_path(after, proxied=True)) if named is not None else None
    return web.page(request, "sign_in.html", status=status, after=after, wrong=wrong, providers=providers, known=known)


ROUTES = (sign_in_page, sign_in_by_proxy, link_page, sign_in, sign_out)
