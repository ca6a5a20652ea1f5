"""The gateway on real parts: store, policy, guard, desk, releaser and HTTP upstreams, served on a free port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import uvicorn

from broker.approvals.desk import Desk
from broker.approvals.fitness import Fitness
from broker.approvals.guard import Guard
from broker.approvals.ports import Query
from broker.approvals.releaser import Releaser
from broker.domain.calls import Caller
from broker.domain.peers import NOBODY, Peer
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict
from broker.domain.servers import Server as GuardedServer
from broker.errors import Unauthenticated
from broker.gateway.app import Gateway
from broker.gateway.listener import bounded
from broker.gateway.voices import USUAL_PACE, Pace
from broker.policy.load import load
from broker.policy.model import Policy
from broker.registered import barred
from broker.serving import Server
from broker.store import keys
from broker.store.open import Store
from broker.upstream.http import HttpServers, Target
from broker.upstream.http_release import HttpReleases
from tests.fakes.known_tools import ProbedTools

TOOLS = ("balance", "transfer", "burn", "echo", "park_me")
PEOPLE = "people: {dana@example.com: {name: Dana}}\ngroups: {finance: [dana@example.com]}\n"
RULES = """
defaults: {unmatched: allow, approval: {all_of: [{group: finance}], timeout: 15m}}
rules:
  - {id: moves, title: "Move {args.amount}", match: {tool: [transfer, "park_*"]}, effect: require_approval}
  - {id: never, title: "No burning", match: {tool: burn}, effect: deny}
"""
PAGE = "https://approvals.example.com"
_OPEN = Query(states=(RequestState.PENDING,))
CALLERS = {
    "alice": Caller(agent="alice-bot", user="alice@example.com"),
    "mallory": Caller(agent="mallory-bot", user="mallory@example.com"),
    "narrow": Caller(agent="narrow-bot", servers=("elsewhere",)),
}


class Policies:
    """A policy folder that tests rewrite. Every server is said to have all of `TOOLS`."""

    def __init__(self, folder: Path, servers: dict[str, str]) -> None:
        self.folder = folder
        tools = ", ".join(f"{tool}: {{}}" for tool in TOOLS)
        lines = [f'  {name}: {{url: "{url}", tools: {{{tools}}}}}' for name, url in servers.items()]
        self.write(servers="servers:\n" + "\n".join(lines), people=PEOPLE, rules=RULES)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.yaml").write_text(text)
        self.current: Policy = load(self.folder)


@dataclass
class Rig:
    """One broker around the gateway. `url` is its address; `hold` is in seconds."""

    store: Store
    policies: Policies
    hold: float = 20.0
    pace: Pace = USUAL_PACE
    broker: str = "broker-1"
    key: bytes = b"one key for all brokers of this test"
    url: str = ""
    methods: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stateless: set[str] = field(default_factory=set)
    secrets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counters: Any = getattr(self.store, "counters", None)
        self.tools = ProbedTools(lambda name: self.policies.current.servers[name].url)
        self.desk = Desk(
            self.store.requests, self.store.changes, self.policies, new_id=keys.new_id, release_window=timedelta(minutes=10)
        )
        self.guard = Guard(
            self.desk, self.policies, self.tools, counters, self.store.audit, self.store.health, clock=clock,
            new_call_id=keys.new_id, broker=self.broker,
        )  # fmt: skip
        self.through, self.once = HttpServers(self.target), HttpServers(self.target, pooled=False)
        fitness = Fitness(self.store.requests, self.policies, self.tools, counters, clock=clock)
        releases = HttpReleases(self.once, self.target, self.tools.schema)
        self.releaser = Releaser(
            self.store.requests, self.store.changes, releases, fitness, broker=self.broker, lease=timedelta(seconds=30), grace=0.1
        )
        self.gateway = Gateway(
            authenticate=authenticate, catalogue=self.server, names=lambda: self.policies.current.servers, judge=self.guard,
            desk=self.desk, lines=self.releaser, forwarder=self.through, schemas=self.tools.schema, clock=clock,
            key=self.key, broker=self.broker, page=PAGE, hosts=("127.0.0.1", "localhost", "::1"), hold=self.hold, pace=self.pace,
            barred=barred(self.policies, clock),
        )  # fmt: skip

    def target(self, name: str) -> Target:
        return Target(self.policies.current.servers[name].url, self.secrets, name in self.stateless)

    def server(self, name: str) -> GuardedServer | None:
        server = self.policies.current.servers.get(name)
        return server and msgspec.structs.replace(server, methods=self.methods.get(name, ()))

    def mcp(self, server: str = "ledger") -> str:
        return f"{self.url}/mcp/{server}"

    @property
    def all(self) -> str:
        """The address of all servers."""
        return f"{self.url}/mcp"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        async with self.releaser.running(), serving(self.gateway) as self.url:
            try:
                yield self
            finally:
                self.gateway.drain()
                await self.gateway.close()
                await self.through.close()
                await self.once.close()

    async def asked(self, count: int = 1) -> list[ApprovalRequest]:
        """Wait until so many requests are open, oldest first."""
        with anyio.fail_after(10):
            while len(found := (await self.store.requests.find(_OPEN)).requests) < count:  # noqa: ASYNC110  any may come
                await anyio.sleep(0.01)
        return sorted(found, key=lambda request: request.opened_at)

    async def review(self, request: ApprovalRequest, verdict: Verdict = Verdict.APPROVE, why: str = "") -> ApprovalRequest:
        by = Reviewer("dana@example.com", "web")
        return await self.desk.review(request.id, by, verdict, digest=request.digest, reason=why)

    async def approve(self, count: int = 1) -> list[ApprovalRequest]:
        """Wait for so many open requests and approve them."""
        return [await self.review(request) for request in await self.asked(count)]


def clock() -> datetime:
    return datetime.now(UTC)


async def authenticate(authorization: str | None, peer: Peer = NOBODY) -> Caller:
    caller = CALLERS.get((authorization or "").removeprefix("Bearer "))
    if caller is None:
        raise Unauthenticated("a bearer token is needed")
    return caller


BOUNDED = bounded(32 << 10)


@asynccontextmanager
async def serving(app: Any, http: Any = BOUNDED) -> AsyncIterator[str]:
    """Serve an ASGI app on a free port, as the broker does: with a bounded head."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:  # see broker.serving.listening
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=http, lifespan="off", log_level="error", access_log=False, timeout_graceful_shutdown=1)
        server = Server(config, asyncio.Event())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [listener])
            with anyio.fail_after(10):
                while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
                    await anyio.sleep(0.005)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.stop()
