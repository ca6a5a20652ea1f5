"""Who did what, by the API: calls with their decision, the people who answered and what became of them. Newest first.

Observers see everybody's calls, anybody else the calls behind which they stand themselves.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromQuery, QueryParameter

from broker.channels.web.api import authenticated
from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest
from broker.domain.events import Entry
from broker.domain.people import Reviewer
from broker.domain.redaction import covered
from broker.domain.requests import RequestId
from broker.errors import Forbidden
from broker.insights.trail import Answer, Call, Wanted, calls, told

# Events that are looked at for one page, and how many later ones may say how one of its calls ended.
WINDOW = 20_000
AFTER = 1_000
PAGE = 1_000

Limit = Annotated[int, QueryParameter(ge=1, le=200)]
Before = Annotated[int, QueryParameter(ge=0, description="events with lower numbers only; 0: the newest")]


class Trail(msgspec.Struct, frozen=True):
    """`before` asks for the next page; 0 on the last one."""

    calls: list[Call]
    before: int


@get("/api/v1/audit", guards=[authenticated], opt={"anonymous": True}, tags=["audit"])
async def audit(
    request: AnyRequest, user: FromQuery[str] = "", server: FromQuery[str] = "", tool: FromQuery[str] = "",
    about: Annotated[str, QueryParameter(name="request")] = "", before: Before = 0, limit: Limit = 50,
) -> Trail:  # fmt: skip
    """List calls, the newest first. A page may hold fewer than asked for, or none, and others follow all the same."""
    web, wanted = Web.of(request), _wanted(request, Wanted(user, server, tool, about))
    last = await web.parts.audit.last()
    upto = min(before - 1, last) if before else last
    start = max(0, upto - WINDOW)
    found = [call for call in await _read(web, start, min(last, upto + AFTER)) if call.number <= upto and wanted.fits(call)]
    page = found[-limit:][::-1]
    more = page[-1].number if len(found) > limit else start + 1 if start else 0
    return Trail([await _whole(web, call) for call in page], more)


def _wanted(request: AnyRequest, asked: Wanted) -> Wanted:
    """Raises `Forbidden` for others' calls to who is no observer."""
    token, web = request.scope["state"]["token"], Web.of(request)
    token.require("read")
    if set(web.parts.desk.groups_of(Reviewer(token.person, "api"))) & set(web.parts.observers):
        return asked
    if asked.user not in ("", token.person):
        raise Forbidden("others' calls are for observers: set BROKER_OBSERVERS")
    return msgspec.structs.replace(asked, user=token.person)


async def _read(web: Web, after: int, upto: int) -> list[Call]:
    entries: list[Entry] = []
    at = after
    while at < upto and (page := await web.parts.audit.read(at, min(PAGE, upto - at))):
        entries += page
        at = page[-1].number
    return calls(entries)


async def _whole(web: Web, call: Call) -> Call:
    if not call.request:
        return call
    whole = told(call, await web.parts.timeline(RequestId(call.request)))
    return msgspec.structs.replace(whole, answers=tuple(_covered(web, answer) for answer in whole.answers))


def _covered(web: Web, answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, reason=covered(answer.reason, web.parts.mask_key))


ROUTES = (audit,)
