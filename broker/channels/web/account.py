"""A person's own sessions: see them, end one, end all."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.response import Redirect

from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest, posted, sign_in_path, visitor
from broker.domain.events import Noted


@get("/account", include_in_schema=False)
async def account(request: AnyRequest) -> Response[str]:
    web, who = Web.of(request), visitor(request)
    sessions = await web.parts.sessions.all(who.person)
    return web.page(request, "account.html", sessions=sessions, this=who.id, groups=web.groups(who))


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
