"""One request, as one person may see it."""

from __future__ import annotations

from typing import Any

import structlog

from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.standing import may_see, standing
from broker.channels.web.timeline import Moment, from_record, timeline
from broker.channels.web.views import RequestView, request_view
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.redaction import Shown, shown_call
from broker.domain.requests import ApprovalRequest, RequestId
from broker.errors import StoreUnavailable, UnknownRequest

log = structlog.get_logger()


async def seen(web: Web, who: SignedIn, request_id: str) -> ApprovalRequest:
    """Return a request that `who` may see. Unknown ids and other people's requests read alike: `UnknownRequest`."""
    request = await web.parts.desk.look(RequestId(request_id))
    if not may_see(request, who.person, web.groups(who), web.parts.observers):
        raise UnknownRequest(request_id)
    return request


def shown_to(web: Web, who: SignedIn, request: ApprovalRequest) -> Shown:
    """Return the call as this person sees it now: redacted, but for what they uncovered."""
    uncovered = web.uncovered.of(who.id, request.id)
    return shown_call(request.call, request.plan, web.parts.mask_key, uncovered=uncovered)


async def view_of(web: Web, who: SignedIn, request: ApprovalRequest) -> RequestView:
    people, now = web.people(), web.now()
    return request_view(
        request,
        shown_to(web, who, request),
        people=people,
        standing=standing(request, who.person, web.groups(who), now),
        moments=await moments(web, request),
        now=now,
    )


async def moments(web: Web, request: ApprovalRequest) -> tuple[Moment, ...]:
    """The request's story from the audit; from the record alone where the audit can't be read."""

    def name(person: str) -> str:
        return web.people().person(person).shown

    try:
        entries = await web.parts.timeline(request.id)
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("web.timeline_failed", request=request.id)
        entries = ()
    return timeline(entries, name) if entries else from_record(request, name)


async def detail_values(request: AnyRequest, web: Web, request_id: str) -> dict[str, Any]:
    """Return what the detail's template needs. Raises `UnknownRequest`."""
    who = visitor(request)
    found = await seen(web, who, request_id)
    return {"detail": await view_of(web, who, found), "notice": "", "wrong": "", "draft": ""}
