"""Why people are asked about one call: what every rule says about it, and how its tool describes itself."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from broker.channels.web.detail import seen, shown_to
from broker.channels.web.parts import Web
from broker.channels.web.server_views import STANDINGS
from broker.channels.web.views import laid
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.redaction import Shown
from broker.domain.requests import ApprovalRequest
from broker.policy.explain import Explanation, explain
from broker.policy.model import Facts, Policy
from broker.policy.ruleset import ruleset
from broker.registry.standing import Stand, stands


@get("/r/{request_id:str}/why", include_in_schema=False)
async def why(request: AnyRequest, request_id: FromPath[str]) -> Response[str]:
    """The trace by the policy in force, as of when people were asked. Raises `UnknownRequest`, `Forbidden`, `PolicyInvalid`."""
    web, who = Web.of(request), visitor(request)
    found = await seen(web, who, request_id)
    web.member(who)
    policy = web.parts.policies.current
    stand = await _stand(web, policy, found)
    told = _explained(policy, found, shown_to(web, who, found), stand)
    return web.page(request, "why.html", found=found, told=told, same=policy.digest == found.policy, **_definition(stand))


def _explained(policy: Policy, found: ApprovalRequest, shown: Shown, stand: Stand | None) -> Explanation:
    """What is covered for this person is covered for the rules as well: their values are shown."""
    call = msgspec.structs.replace(found.call, params={**found.call.params, "arguments": shown.arguments})
    counters = {**dict.fromkeys(ruleset(policy).counters, 0.0), **found.counters}
    definition = stand.definition if stand is not None else None
    known = "unknown_tool" not in found.rules
    return explain(policy, call, Facts(found.opened_at.astimezone(UTC), known, definition, counters))


async def _stand(web: Web, policy: Policy, found: ApprovalRequest) -> Stand | None:
    server, last = policy.servers.get(found.call.server), web.parts.offers.last(found.call.server)
    if server is None or last is None:
        return None
    every = stands(last[0], await web.parts.accepted.of(server.name), server.tools)
    return next((one for one in every if one.tool == found.call.tool), None)


def _definition(stand: Stand | None) -> dict[str, Any]:
    raw = stand.definition.raw if stand is not None and stand.definition is not None else {}
    return {
        "stand": stand,
        "stands": STANDINGS[stand.standing] if stand is not None else "",
        "description": laid({name: value for name, value in raw.items() if name != "name"}, (), "rest"),
    }


ROUTES = (why,)
