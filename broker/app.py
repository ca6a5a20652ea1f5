"""The wiring: the only place where clients are created and rooms are joined."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from broker.approvals.courier import Courier
from broker.approvals.desk import Desk
from broker.approvals.fitness import Fitness
from broker.approvals.guard import Guard
from broker.approvals.janitor import Janitor
from broker.approvals.ports import Channel, SeenTool
from broker.approvals.releaser import Releaser
from broker.assets import shipped
from broker.audit.keys import signing_key
from broker.audit.sealer import Sealer
from broker.audit.segments import Segments
from broker.channels.web.app import web_app
from broker.channels.web.headers import secured
from broker.channels.web.parts import WebParts
from broker.domain.servers import Server, ToolDefinition
from broker.errors import PolicyInvalid, UpstreamUntouched
from broker.gateway.app import Gateway
from broker.identity.agents import AgentTokens
from broker.identity.people import PersonTokens, SignInLinks
from broker.identity.sessions import Sessions
from broker.reload import PolicyFolder
from broker.serving import ASGIApp, Front
from broker.settings import Settings
from broker.store import keys
from broker.store.open import Store, open_store
from broker.upstream.http import HttpServers
from broker.upstream.http_release import HttpReleases
from broker.upstream.stdio import StdioForwarder
from broker.upstream.targets import Directory
from broker.upstream.ways import Ways


@dataclass(frozen=True)
class Identity:
    """Who is it: agents, people, and their browsers."""

    agents: AgentTokens
    people: PersonTokens
    links: SignInLinks
    sessions: Sessions


@dataclass(frozen=True)
class Broker:
    """A broker whose rooms are open. `app` serves everything; set `stopping` before they close."""

    app: ASGIApp
    store: Store
    policies: PolicyFolder
    desk: Desk
    identity: Identity
    stopping: asyncio.Event


def now() -> datetime:
    return datetime.now(UTC)


def identity_of(store: Store) -> Identity:
    """Return the doors of identity on an open store."""
    return Identity(
        AgentTokens(store.credentials, clock=now),
        PersonTokens(store.credentials, clock=now),
        SignInLinks(store.credentials, clock=now),
        Sessions(store.credentials, clock=now),
    )


@asynccontextmanager
async def store_of(settings: Settings, broker_id: str = "") -> AsyncIterator[Store]:
    """Open the store that the settings name: for the broker, and for commands that need nothing else."""
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with open_store(
        url,
        data=settings.data.expanduser(),
        broker_id=broker_id or f"cli-{secrets.token_hex(4)}",
        keep_answers=settings.keep_answers,
        redis_bin=settings.redis_bin,
    ) as store:
        yield store


@asynccontextmanager
async def opened(settings: Settings, *, address: str = "") -> AsyncIterator[Broker]:
    """Open every room and run what works in the background. `address` is where it will listen, for host checks.

    Raises `ConfigInvalid` and `StoreUnavailable` when it can't be; a wrong policy is no reason: every call is refused then.
    """
    async with AsyncExitStack() as rooms:
        ground = await _ground(settings, address, rooms)
        catalogue = _Servers(ground.policies)
        tools = _Listed(catalogue)
        ways = await _ways(ground, catalogue, tools)
        cases = _use_cases(ground, tools, ways)
        identity = identity_of(ground.store)
        gateway = await _gateway(ground, cases, identity, catalogue, tools, ways)
        web = await _web(ground, cases.desk, identity)
        await _background(ground, cases, channels=())
        rooms.push_async_callback(_ended, asyncio.create_task(_drained(ground.stopping, gateway)))
        front = Front({"/mcp": gateway}, web)
        yield Broker(front, ground.store, ground.policies, cases.desk, identity, ground.stopping)


@dataclass(frozen=True)
class _Ground:
    """What every room stands on. `rooms` closes them, the last first."""

    settings: Settings
    address: str
    broker: str
    store: Store
    policies: PolicyFolder
    stopping: asyncio.Event
    rooms: AsyncExitStack

    @property
    def data(self) -> Path:
        return self.settings.data.expanduser()


@dataclass(frozen=True)
class _UseCases:
    desk: Desk
    guard: Guard
    releaser: Releaser


async def _ground(settings: Settings, address: str, rooms: AsyncExitStack) -> _Ground:
    broker = f"broker-{secrets.token_hex(6)}"
    store = await rooms.enter_async_context(store_of(settings, broker))
    policies = PolicyFolder(settings.policies or shipped("policies"), environment=settings.environment)
    await policies.load()
    rooms.push_async_callback(_ended, asyncio.create_task(policies.watch()))
    return _Ground(settings, address, broker, store, policies, asyncio.Event(), rooms)


def _use_cases(ground: _Ground, tools: _Listed, ways: Ways) -> _UseCases:
    store, policies, settings = ground.store, ground.policies, ground.settings
    desk = Desk(store.requests, store.changes, policies, new_id=keys.new_id, release_window=settings.release_window)
    guard = Guard(
        desk, policies, tools, store.counters, store.audit, store.health, clock=now, new_call_id=keys.new_id,
        broker=ground.broker, allow_when_store_is_down=settings.on_store_down == "allow",
    )  # fmt: skip
    fitness = Fitness(store.requests, policies, tools, store.counters, clock=now)
    return _UseCases(
        desk, guard, Releaser(store.requests, store.changes, ways, fitness, broker=ground.broker, lease=settings.lease)
    )


async def _gateway(
    ground: _Ground, cases: _UseCases, identity: Identity, catalogue: _Servers, tools: _Listed, ways: Ways
) -> Gateway:  # fmt: skip
    gateway = Gateway(
        authenticate=identity.agents.authenticate, catalogue=catalogue.server, judge=cases.guard, desk=cases.desk,
        lines=cases.releaser, forwarder=ways, schemas=tools.schema, clock=now,
        key=await ground.store.keys.signing_key("sessions"), broker=ground.broker,
        hosts=_hosts(ground.settings, ground.address), hold=ground.settings.hold.total_seconds(),
        body_limit=ground.settings.body_limit,
    )  # fmt: skip
    ground.rooms.push_async_callback(gateway.close)
    return gateway


async def _background(ground: _Ground, cases: _UseCases, channels: Sequence[Channel]) -> None:
    """Start what works without being asked: sealing, releasing, deadlines, deliveries."""
    store = ground.store
    sealer = Sealer(
        store.audit, store.seals, store.leases, Segments(ground.data / "audit"), signing_key(ground.data / "keys"),
        broker=ground.broker, clock=now,
    )  # fmt: skip
    janitor = Janitor(store.requests, keep=ground.settings.keep_requests, clock=now)
    for room in (sealer, cases.releaser, janitor, Courier(store.outbox, store.requests, channels)):
        await ground.rooms.enter_async_context(room.running())


class _Servers:
    """The catalogue, as far as the policy folder holds it."""

    def __init__(self, policies: PolicyFolder) -> None:
        self._policies = policies

    def server(self, name: str) -> Server | None:
        try:
            return self._policies.current.servers.get(name)
        except PolicyInvalid:
            return None


class _Listed:
    """Tools as the operator lists them, defined as their server says now."""

    def __init__(self, servers: _Servers) -> None:
        self._servers = servers
        self._directory = Directory(servers.server)
        self._seen: dict[tuple[str, str], SeenTool] = {}

    async def look(self, server: str, tool: str, *, fresh: bool = False) -> SeenTool:
        entry = self._servers.server(server)
        if entry is None:
            return SeenTool(False, None)
        if fresh or (server, tool) not in self._seen:
            self._seen[server, tool] = SeenTool(tool in entry.tools, await self._definition(entry, tool))
        return self._seen[server, tool]

    async def _definition(self, entry: Server, tool: str) -> ToolDefinition | None:
        if not entry.url:
            return None
        target = self._directory.target(entry.name)
        try:
            async with (
                httpx2.AsyncClient(headers=dict(target.headers), timeout=10) as http,
                Client(streamable_http_client(entry.url, http_client=http), mode="auto") as client,
            ):
                tools = (await client.list_tools()).tools
        except Exception as error:
            raise UpstreamUntouched(f"the tools of {entry.name} can't be listed: {type(error).__name__}") from None
        found = [one for one in tools if one.name == tool]
        raw = found[0].model_dump(mode="json", by_alias=True, exclude_none=True) if found else None
        return ToolDefinition(entry.name, tool, raw) if raw else None

    async def schema(self, server: str, tool: str) -> Mapping[str, Any] | None:
        seen = await self.look(server, tool)
        return seen.definition.input_schema if seen.definition else None


async def _ways(ground: _Ground, catalogue: _Servers, tools: _Listed) -> Ways:
    target, settings = Directory(catalogue.server).target, ground.settings
    connect, silence = settings.connect_timeout.total_seconds(), settings.upstream_timeout.total_seconds()
    passing = HttpServers(target, connect_within=connect, silence=silence)
    releasing = HttpServers(target, connect_within=connect, silence=silence, pooled=False)
    ground.rooms.push_async_callback(passing.close)
    ground.rooms.push_async_callback(releasing.close)
    stdio = StdioForwarder(catalogue.server, silence=settings.upstream_timeout)
    await ground.rooms.enter_async_context(stdio.running())
    return Ways(catalogue.server, passing, HttpReleases(releasing, target, tools.schema), stdio)


async def _web(ground: _Ground, desk: Desk, identity: Identity) -> ASGIApp:
    store, policies, settings = ground.store, ground.policies, ground.settings
    parts = WebParts(
        desk=desk, requests=store.requests, changes=store.changes, policies=policies, health=store.health,
        sessions=identity.sessions, links=identity.links, tokens=identity.people, timeline=store.audit.about,
        note=store.audit.append, problems=lambda: policies.problems, clock=now, templates=shipped("templates"),
        mask_key=await store.keys.signing_key("masks"), public_url=settings.public_url, closing=ground.stopping,
    )  # fmt: skip
    app = web_app(parts)
    await ground.rooms.enter_async_context(app.lifespan())
    return secured(app, https=settings.public_url.startswith("https://"))


def _hosts(settings: Settings, address: str) -> set[str]:
    """The names by which the gateway may be spoken to: DNS rebinding ends here."""
    public = urlsplit(settings.public_url).hostname or ""
    own = {settings.host, address} - {"", "0.0.0.0", "::"}
    return own | {"127.0.0.1", "localhost", "::1"} | ({public} - {""})


async def _drained(stopping: asyncio.Event, gateway: Gateway) -> None:
    await stopping.wait()
    gateway.drain()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
