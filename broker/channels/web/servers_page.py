"""Servers: how each one is, what it offers, what has changed since somebody accepted it, and what a caller may do with it."""

from __future__ import annotations

from litestar import Response, get

from broker.channels.web.parts import Web
from broker.channels.web.server_views import ServerView, Whose, server_view
from broker.channels.web.visitors import AnyRequest, visitor
from broker.errors import PolicyInvalid
from broker.policy.model import Policy

LONGEST = 400


@get("/servers", include_in_schema=False)
async def servers(request: AnyRequest) -> Response[str]:
    """Every server of the catalogue. The address may name a caller: `user`, and `groups` in place of the person's own."""
    web = Web.of(request)
    web.member(visitor(request))
    whose = _whose(request)
    try:
        policy = web.parts.policies.current
    except PolicyInvalid:
        return web.page(request, "servers.html", policy=None, servers=(), whose=whose, people=())
    views = [await _view(web, policy, name, whose) for name in sorted(policy.servers)]
    return web.page(
        request, "servers.html", policy=policy, servers=views, whose=whose, people=sorted(policy.people.persons)
    )  # fmt: skip


def _whose(request: AnyRequest) -> Whose:
    asked = request.query_params
    groups = tuple(name.strip() for name in asked.get("groups", "")[:LONGEST].split(",") if name.strip())
    return Whose(asked.get("user", "")[:LONGEST].strip(), groups or None)


async def _view(web: Web, policy: Policy, name: str, whose: Whose) -> ServerView:
    offers = web.parts.offers
    pins = await web.parts.accepted.of(name)
    return server_view(policy, policy.servers[name], offers.last(name), offers.problem(name), pins, whose, web.now())


ROUTES = (servers,)
