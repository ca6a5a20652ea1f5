"""Policies: the rules in force, what they did, what their tests reach, and one call tried against them."""

from __future__ import annotations

from typing import Any

from litestar import Response, get

from broker.channels.web.parts import Web
from broker.channels.web.policy_views import rows
from broker.channels.web.trial import Trial, fields, trial_of, tried
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.servers import ToolDefinition
from broker.domain.text import sentence
from broker.errors import Malformed, PolicyInvalid
from broker.policy.explain import Explanation
from broker.policy.model import Policy
from broker.registry.ports import Listing
from broker.registry.standing import stands


@get("/policies", include_in_schema=False)
async def policies(request: AnyRequest) -> Response[str]:
    """The page; with a tool in the address its form, with a call what would come of it."""
    web = Web.of(request)
    web.member(visitor(request))
    try:
        policy = web.parts.policies.current
    except PolicyInvalid:
        return web.page(request, "policies.html", policy=None)
    report = await web.tests.report(policy, web.parts.policy_folder)
    return web.page(
        request, "policies.html", policy=policy, rules=rows(policy, web.bookkeeper.figures().rules, report), report=report,
        **await trial_values(web, policy, trial_of(request.query_params)),
    )  # fmt: skip


async def trial_values(web: Web, policy: Policy, trial: Trial) -> dict[str, Any]:
    """Return what the form of a trial and its outcome need."""
    known, definition = await _tool(web, policy, trial)
    form = fields(definition, trial)
    told: Explanation | None = None
    wrong = ""
    try:
        if trial.asked or (trial.named and not form):
            told = tried(policy, trial, web.now(), form=form, known=known, definition=definition)
    except Malformed as error:
        wrong = sentence(error.message)
    return {
        "trial": trial,
        "form": form,
        "told": told,
        "wrong": wrong,
        "servers": {name: sorted({*server.tools, *_offered(web, name)}) for name, server in sorted(policy.servers.items())},
        "people": sorted(policy.people.persons),
    }


async def _tool(web: Web, policy: Policy, trial: Trial) -> tuple[bool | None, ToolDefinition | None]:
    """Is the tool known, and how does its server describe it? None where the registry can't tell."""
    server, last = policy.servers.get(trial.server), web.parts.offers.last(trial.server)
    if server is None or last is None:
        return None, None
    found = stands(last[0], await web.parts.accepted.of(trial.server), server.tools)
    stand = next((one for one in found if one.tool == trial.tool), None)
    return (stand.standing.known, stand.definition) if stand is not None else (None, None)


def _offered(web: Web, server: str) -> tuple[str, ...]:
    last: tuple[Listing, float] | None = web.parts.offers.last(server)
    return tuple(tool.name for tool in last[0].tools) if last is not None else ()


ROUTES = (policies,)
