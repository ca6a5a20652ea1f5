"""How large the ecosystem is, by the API: servers and tools that are registered, as the page of servers shows them."""

from __future__ import annotations

from collections import Counter

import msgspec
from litestar import get

from broker.channels.web.api import authenticated
from broker.channels.web.parts import Web
from broker.channels.web.readers import reader_for
from broker.channels.web.servers_page import entries_for
from broker.channels.web.visitors import AnyRequest
from broker.domain.people import Reviewer
from broker.errors import Forbidden


class Stats(msgspec.Struct, frozen=True):
    """`lifecycles` are servers by state. Who is no reviewer is told of what they may know of."""

    servers: int
    tools: int
    lifecycles: dict[str, int]


@get("/api/v1/stats", guards=[authenticated], opt={"anonymous": True}, tags=["registry"])
async def stats(request: AnyRequest) -> Stats:
    """Count what is registered now."""
    web, token = Web.of(request), request.scope["state"]["token"]
    token.require("read")
    groups = web.parts.desk.groups_of(Reviewer(token.person, "api"))
    if not groups:
        raise Forbidden("the figures are for members of the groups that people.yaml names")
    await web.parts.registry.roster.look()
    found = await entries_for(web, web.parts.policies.current, reader_for(web, token.person, groups))
    states = Counter(entry.lifecycle for entry in found)
    return Stats(len(found), sum(entry.tools for entry in found), dict(sorted(states.items())))


ROUTES = (stats,)
