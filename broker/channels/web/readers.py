"""Who reads and who moves the registry by the API: a person's token, or for reading an agent's, or, by setting, nobody known."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from broker.channels.web.parts import Web
from broker.channels.web.ports import Token
from broker.channels.web.visitors import AnyRequest
from broker.domain.calls import Caller
from broker.domain.people import Reviewer
from broker.domain.terms import Actor
from broker.errors import Unauthenticated
from broker.policy.access import standing_of
from broker.registry.official import Reader


async def reader_of(request: AnyRequest) -> Reader:
    """Return who reads. Raises `Unauthenticated` where the setting wants somebody known, and for a bad credential always."""
    parts = Web.of(request).parts
    credential, filtered = request.headers.get("authorization"), parts.registry.read == "filtered"
    if credential is None:
        if parts.registry.read != "anonymous":
            raise Unauthenticated("the registry is read with a credential: set BROKER_REGISTRY_READ to change that")
        return Reader()
    try:
        token: Token = await parts.tokens.authenticate(credential)
    except Unauthenticated:
        if parts.callers is None:
            raise
        caller = await parts.callers(credential)
        return Reader(caller, standing_of(parts.policies.current, caller), filtered=filtered)
    token.require("read")
    return reader_for(Web.of(request), token.person, _groups(request, token.person))


async def known(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard: know who reads before a body is read. Raises `Unauthenticated`."""
    await reader_of(cast("AnyRequest", connection))


def reader_for(web: Web, person: str, groups: tuple[str, ...]) -> Reader:
    """A person as a reader. Reviewers of any slot see everything."""
    asked = {group for names in web.parts.registry.enrolling.house.reviewers.values() for group in names}
    filtered = web.parts.registry.read == "filtered"
    return Reader(Caller(user=person), groups, everything=bool(asked & set(groups)), filtered=filtered)


async def actor_of(request: AnyRequest, scope: str) -> Actor:
    """Return the person who moves a server. Raises `Unauthenticated`, `Forbidden`."""
    token = await Web.of(request).parts.tokens.authenticate(request.headers.get("authorization"))
    token.require(scope)
    return Actor(token.person, _groups(request, token.person))


def _groups(request: AnyRequest, person: str) -> tuple[str, ...]:
    return Web.of(request).parts.desk.groups_of(Reviewer(person=person, channel="api"))


def base_of(request: AnyRequest) -> str:
    """The broker's address as clients know it."""
    public = Web.of(request).parts.public_url
    return public.rstrip("/") if public else f"{request.url.scheme}://{request.headers.get('host', '')}"


def namespace_of(request: AnyRequest) -> str:
    """The first part of the official names of servers of files: the setting's, or the broker's own host, reversed."""
    parts = Web.of(request).parts
    host = urlsplit(parts.public_url).hostname or ""
    turned = ".".join(reversed(host.split("."))) if host.strip("0123456789.") and ":" not in host else ""
    return parts.registry.namespace or turned or "local.servers"
