"""Policies: the rules in force, what they did, what their tests reach, and one call tried against them."""

from __future__ import annotations

from litestar import Response, get

from broker.channels.web.parts import Web
from broker.channels.web.policy_views import Trial, rows, tried
from broker.channels.web.visitors import AnyRequest, visitor
from broker.errors import Malformed, PolicyInvalid
from broker.policy.explain import Explanation
from broker.policy.model import Policy

LONGEST = 16 << 10


@get("/policies", include_in_schema=False)
async def policies(request: AnyRequest) -> Response[str]:
    """The page; with a call in the address, what would come of it."""
    web = Web.of(request)
    web.member(visitor(request))
    given = request.query_params
    trial = Trial(**{name: given[name][:LONGEST] for name in Trial.__struct_fields__ if given.get(name)})
    try:
        policy = web.parts.policies.current
    except PolicyInvalid:
        return web.page(
            request, "policies.html", policy=None, rules=(), report=None, trial=trial, told=None, wrong="", servers={}
        )
    told, wrong = _outcome(policy, trial, web)
    return web.page(
        request, "policies.html", policy=policy, rules=rows(policy, web.bookkeeper.figures().rules),
        report=await web.tests.report(policy, web.parts.policy_folder), trial=trial, told=told, wrong=wrong,
        servers={name: sorted(server.tools) for name, server in sorted(policy.servers.items())},
    )  # fmt: skip


def _outcome(policy: Policy, trial: Trial, web: Web) -> tuple[Explanation | None, str]:
    """What would come of the call, or what is wrong with it."""
    if not trial.asked:
        return None, ""
    try:
        return tried(policy, trial, web.now()), ""
    except Malformed as error:
        return None, f"{error.message[:1].upper()}{error.message[1:]}."


ROUTES = (policies,)
