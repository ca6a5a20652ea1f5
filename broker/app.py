"""The wiring: the only place where clients are created and rooms are joined."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from broker.agreement import Agreement
from broker.approvals.brakes import Brakes
from broker.approvals.courier import Courier
from broker.approvals.desk import Desk
from broker.approvals.fitness import Fitness
from broker.approvals.guard import Guard, Record
from broker.approvals.janitor import Janitor
from broker.approvals.limits import Memory, Pace, Waiting
from broker.approvals.ports import Channel, StillIn
from broker.approvals.releaser import Releaser
from broker.approvals.stops import Stops
from broker.assets import shipped
from broker.audit.keys import SigningKey, published, signing_key
from broker.audit.sealer import Sealer
from broker.audit.segments import Segments
from broker.channels.push.devices import Devices
from broker.channels.web.app import web_app
from broker.channels.web.headers import secured
from broker.channels.web.parts import WebParts
from broker.checkup import examined
from broker.data_keys import data_keys
from broker.domain.requests import ApprovalRequest
from broker.doors import Identity, identity_of
from broker.entrance import Agents, agents_entrance
from broker.feedback import feedback_of
from broker.foresight import forecaster
from broker.gateway.app import Gateway
from broker.inward import OutsideGroups, inward
from broker.logs import journey
from broker.metrics import Metrics
from broker.operations import RESOURCE, Operations, readiness, scraped
from broker.outward import Outward, outward
from broker.pushing import pushing
from broker.recording import recorder
from broker.registered import Registry, registry_of
from broker.reload import PolicyFolder
from broker.serving import ASGIApp, Front
from broker.settings import Settings
from broker.signing import words
from broker.store import keys
from broker.store.open import Store, open_store
from broker.store.requests import Observe
from broker.tracing import Tracing, all_of, tracing
from broker.usage import UsageBook
from broker.versions import Versions
from broker.vitals import Vitals
from broker.widened import FileEdits

OPEN_LOOPBACK = "Any program on this machine may call the servers without a token. Unset open_loopback to end that."
OPEN_DEMO = "Any program on this machine may call the servers without a token: they are the demo's toys."
OPERATIONS = ("/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", RESOURCE)


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


def _warning(settings: Settings) -> str:
    return "" if not settings.open_loopback else OPEN_DEMO if settings.environment == "demo" else OPEN_LOOPBACK


@asynccontextmanager
async def store_of(
    settings: Settings, broker_id: str = "", observe: Observe = lambda event, request: None
) -> AsyncIterator[Store]:
    """Open the store that the settings name: for the broker, and for commands that need nothing else."""
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with open_store(
        url,
        data=settings.data.expanduser(),
        broker_id=broker_id or f"cli-{secrets.token_hex(4)}",
        keep_answers=settings.keep_answers,
        redis_bin=settings.redis_bin,
        observe=observe,
        encryption=data_keys(settings),
    ) as store:
        yield store


@asynccontextmanager
async def opened(settings: Settings, *, address: str = "") -> AsyncIterator[Broker]:
    """Open every room and run what works in the background. `address` is where it will listen, for host checks.

    Raises `ConfigInvalid` and `StoreUnavailable` when it can't be; a wrong policy is no reason: every call is refused then.
    """
    async with AsyncExitStack() as rooms:
        ground = await _ground(settings, address, rooms)
        said = words(
            ground.key, settings.public_url or f"broker:{ground.broker}", now, ground.registry.joined,
            name_people=settings.receipts_name_people,
        )  # fmt: skip
        said = said.stamped(ground.tracing.stamped) if ground.tracing else said
        out = await outward(settings, ground.registry.joined, ground.store, said, rooms)
        groups = OutsideGroups()
        cases = _use_cases(ground, out, await _record(ground), groups.still_in)
        identity = identity_of(ground.store, settings, now)
        agents = Agents(identity, cases.desk, cases.guard, cases.releaser, ground.metrics.listed, ground.metrics.failed)
        ground.usage.serving(out.servers.in_force)
        ground.metrics.calls.serving(out.knows)
        await rooms.enter_async_context(ground.usage.running(ground.store.usage))
        gateway = await agents_entrance(settings, agents, out, ground.store, now, broker=ground.broker, address=address)
        rooms.push_async_callback(gateway.close)
        devices, push = await pushing(settings, ground.store, cases.desk, ground.broker, rooms)
        web = await _web(ground, cases.desk, identity, out, said.record, devices)
        people = await inward(settings, ground.registry.joined, ground.store, cases.desk, identity.sessions, ground.broker, rooms)
        groups.slack = people.slack
        await _background(ground, cases, out, channels=(*people.channels, push))
        rooms.push_async_callback(_ended, asyncio.create_task(_drained(ground.stopping, gateway)))
        operations = _operations(ground, out)
        front = Front({"/mcp": gateway, **people.routes, **dict.fromkeys(OPERATIONS, operations)}, web)
        yield Broker(front, ground.store, ground.policies, cases.desk, identity, ground.stopping)


@dataclass(frozen=True)
class _Ground:
    """What every room stands on. `rooms` closes them, the last first."""

    settings: Settings
    address: str
    broker: str
    store: Store
    policies: PolicyFolder
    registry: Registry
    key: SigningKey
    metrics: Metrics
    usage: UsageBook
    tracing: Tracing | None
    stops: Stops
    agreement: Agreement
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
    metrics, spans = Metrics(), tracing()
    if spans is not None:
        rooms.push_async_callback(asyncio.to_thread, spans.close)
    usage = UsageBook()
    observe = all_of(metrics.observe, journey, usage.observe, spans.observe if spans else None)
    store = await rooms.enter_async_context(store_of(settings, broker, observe))
    versions = Versions(settings.data.expanduser() / "policies")
    policies = PolicyFolder(
        settings.policies or shipped("policies"), environment=settings.environment, versions=versions
    )  # fmt: skip
    await policies.load()
    rooms.push_async_callback(_ended, asyncio.create_task(policies.watch()))
    key = signing_key(settings.key_file)
    return _Ground(
        settings,
        address,
        broker,
        store,
        policies,
        await registry_of(settings, store, policies, broker, rooms),
        key,
        metrics,
        usage,
        spans,
        Stops(store.stops),
        Agreement(store.agreed, policies, store.presence, broker),
        asyncio.Event(),
        rooms,
    )


async def _record(ground: _Ground) -> Record | None:
    if ground.settings.record != "all":
        return None
    return recorder(ground.store.recordings.put, await ground.store.keys.signing_key("masks"), now)


def _use_cases(ground: _Ground, out: Outward, record: Record | None, still_in: StillIn) -> _UseCases:
    store, policies, settings = ground.store, ground.registry.joined, ground.settings
    memory = Memory(store.credentials, settings.remember_rejections)
    brakes = Brakes(ground.stops, Pace(settings.calls_per_minute), Waiting(store.requests, settings.pending_per_agent), memory)
    desk = Desk(
        store.requests, store.changes, policies, new_id=keys.new_id, release_window=settings.release_window, memory=memory,
        note=store.audit.append,
    )  # fmt: skip
    guard = Guard(
        desk, policies, out.tools, store.counters, store.audit, store.health, clock=now, new_call_id=keys.new_id,
        broker=ground.broker, allow_when_store_is_down=settings.on_store_down == "allow", brakes=brakes,
        record=record, accepted=out.tools.accepted, answered=(ground.metrics.calls.answered, ground.usage.answered),
    )  # fmt: skip
    fitness = Fitness(store.requests, policies, out.tools, store.counters, clock=now, brakes=brakes, still_in=still_in)
    ways = ground.tracing.releasing(out.ways) if ground.tracing else out.ways
    releaser = Releaser(store.requests, store.changes, ways, fitness, broker=ground.broker, lease=settings.lease)
    return _UseCases(desk, guard, releaser)


def _operations(ground: _Ground, out: Outward) -> Operations:
    return Operations(
        unready=readiness(ground.store, ground.policies, ground.agreement, ground.stopping),
        metrics=scraped(ground.metrics, ground.store, ground.policies, out.sizes),
        jwks=published(ground.settings.key_file),
        base=ground.settings.public_url,
        issuers=ground.settings.issuers,
    )


async def _background(ground: _Ground, cases: _UseCases, out: Outward, channels: Sequence[Channel]) -> None:
    """Start what works without being asked: sealing, releasing, deadlines, deliveries."""
    store = ground.store
    sealer = Sealer(
        store.audit, store.seals, store.leases, Segments(ground.data / "audit"), ground.key, broker=ground.broker,
        clock=now, keep=ground.settings.keep_events,
    )  # fmt: skip
    keep, also = ground.settings.keep_requests, (store.recordings.forget,)
    janitor = Janitor(store.requests, keep=keep, clock=now, also=also)
    for room in (
        out.tools,
        ground.stops,
        ground.agreement,
        sealer,
        cases.releaser,
        janitor,
        FileEdits(ground.registry, out, store, Versions(ground.data / "policies"), ground.settings.environment),
        Courier(store.outbox, store.requests, channels),
    ):
        await ground.rooms.enter_async_context(room.running())


async def _web(
    ground: _Ground, desk: Desk, identity: Identity, out: Outward, record: Callable[[ApprovalRequest], str], devices: Devices
) -> ASGIApp:  # fmt: skip
    store, policies, settings = ground.store, ground.registry.joined, ground.settings

    async def opening() -> Store:
        return store

    registry = ground.registry.served(settings, out.tools, out.pins, store)
    await ground.registry.tells(settings, registry, store, ground.broker, ground.rooms)
    parts = WebParts(
        desk=desk, requests=store.requests, changes=store.changes, policies=policies, health=store.health,
        sessions=identity.sessions, links=identity.links, tokens=identity.people, passkeys=identity.passkeys,
        oidc=identity.oidc, proxy=identity.proxy, devices=devices, timeline=store.audit.about, audit=store.audit,
        presence=store.presence, offers=out.tools, accepted=out.pins, vitals=Vitals(store, ground.agreement),
        usage=store.usage, feedback=feedback_of(store, out.servers.server, settings.feedback_every),
        registry=registry,
        history=settings.data.expanduser(),
        encrypted=(settings.encryption_keys or settings.encryption_key_file) is not None, note=store.audit.append,
        problems=lambda: policies.problems, checkup=lambda: examined(settings, ground.policies, opening), clock=now,
        policy_folder=settings.policies or shipped("policies"),
        recordings=store.recordings if settings.record != "none" else None,
        templates=shipped("templates"), observers=settings.observers,
        mask_key=await store.keys.signing_key("masks"), public_url=settings.public_url, closing=ground.stopping,
        forecasts=forecaster(policies, out, store, ground.stops, now), callers=identity.callers.authenticate,
        receipt=record, warning=_warning(settings), stops=ground.stops,
    )  # fmt: skip
    app = web_app(parts)
    await ground.rooms.enter_async_context(app.lifespan())
    return secured(app, https=settings.public_url.startswith("https://"))


async def _drained(stopping: asyncio.Event, gateway: Gateway) -> None:
    await stopping.wait()
    gateway.drain()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
