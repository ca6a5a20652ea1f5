"""Where a tracker answers reviews: `POST /api/hooks/reviews`, signed, each message once. The signature is its only credential."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from litestar import post

from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest
from broker.domain.people import Reviewer
from broker.domain.terms import Actor
from broker.errors import NotEnrolled, StoreUnavailable, Unauthenticated, UpstreamError, VersionConflict, WrongMove
from broker.registry.tracker import WINDOW, verdict_of, verified

# Longer than a signature is good for, in both directions.
REMEMBERED = timedelta(seconds=3 * WINDOW)
# Nothing came of it, so the tracker may send it again.
_AGAIN = (StoreUnavailable, UpstreamError, VersionConflict)


class Taken(msgspec.Struct, frozen=True):
    server: str
    lifecycle: str


@post("/api/hooks/reviews", status_code=200, opt={"anonymous": True}, tags=["registry"])
async def answered(request: AnyRequest) -> Taken:
    """Take a tracker's answer for one slot, in the name of the person who gave it there."""
    web = Web.of(request)
    registry, body = web.parts.registry, await request.body()
    headers = {name.lower(): value for name, value in request.headers.items()}
    message = verified(registry.secret, headers, body, web.now().timestamp())
    if not message:
        raise Unauthenticated("the signature does not hold, or is too old")
    verdict: Any = verdict_of(body)
    if registry.once is None or not await registry.once.first(f"review:{message}", REMEMBERED):
        raise WrongMove("this message was taken before")
    await registry.roster.look()
    if verdict.server not in registry.roster.enrolments:
        raise NotEnrolled(f"there is no enrolled server {verdict.server[:200]}")
    by = Actor(verdict.by, web.parts.desk.groups_of(Reviewer(person=verdict.by, channel="webhook")))
    try:
        after = await registry.reviewing.review(
            verdict.server, verdict.slot, verdict.state, by, shown=verdict.digest, reason=verdict.reason, ticket=verdict.ticket
        )
    except _AGAIN:
        await registry.once.forget(f"review:{message}")
        raise
    return Taken(after.name, after.lifecycle.value)


ROUTES = (answered,)
