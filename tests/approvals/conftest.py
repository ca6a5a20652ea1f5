"""The use cases on a real store: `counter` holds a desk and everything around it, with a policy of two groups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.approvals.brakes import Brakes
from broker.approvals.desk import Desk, Parked
from broker.approvals.fitness import Fitness
from broker.approvals.guard import Admitted, Guard
from broker.approvals.releaser import Releaser
from broker.domain.calls import Caller, ToolCall
from broker.domain.outcomes import Refused
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, Origin, RequestState
from broker.domain.reviews import Verdict
from broker.policy.load import load
from broker.policy.model import Policy
from broker.store import keys
from broker.store.open import open_store
from tests.fakes.ledger import Ledger, Tools
from tests.journeys.stores import Store as KillableStore

SERVERS = """
servers:
  payments: {url: "http://127.0.0.1:9/mcp", tools: {refund_create: {destructive: true}, refund_get: {read_only: true}}}
"""
PEOPLE = """
people: {dana@example.com: {name: Dana}, fay@example.com: {name: Fay}, lee@example.com: {name: Lee}, bob@example.com: {name: Bob}}
groups: {finance: [dana@example.com, fay@example.com, bob@example.com], leads: [lee@example.com, dana@example.com]}
"""
RULES = """
defaults: {unmatched: deny}
rules:
  - {id: reads, match: {server: payments, tool: refund_get}, effect: allow}
  - id: refunds
    title: "Refund {args.amount}"
    match: {server: payments, tool: refund_create}
    effect: require_approval
    approval: {all_of: [{group: finance}], timeout: 15m}
"""
AGENT = Caller(agent="support-bot", owner="bob@example.com")


class Policies:
    """A policy folder that tests rewrite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(servers=SERVERS, people=PEOPLE, rules=RULES)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.yaml").write_text(text)
        self.current: Policy = load(self.folder)


@dataclass
class Counter:
    """One broker's use cases. `second` makes another broker on the same store."""

    store: Any
    policies: Policies
    broker: str = "broker-1"
    tools: Tools = field(default_factory=Tools)
    ledger: Ledger = field(default_factory=Ledger)
    release_window: timedelta = timedelta(minutes=10)
    lease: timedelta = timedelta(seconds=30)
    brakes: Brakes = field(default_factory=Brakes)

    def __post_init__(self) -> None:
        self.desk = Desk(
            self.store.requests, self.store.changes, self.policies, new_id=keys.new_id, release_window=self.release_window,
            memory=self.brakes.memory, note=self.store.audit.append,
        )  # fmt: skip
        self.guard = self.make_guard()
        fitness = Fitness(
            self.store.requests, self.policies, self.tools, self.store.counters, clock=lambda: datetime.now(UTC),
            brakes=self.brakes,
        )  # fmt: skip
        self.releaser = Releaser(
            self.store.requests, self.store.changes, self.ledger, fitness, broker=self.broker, lease=self.lease, grace=0.1
        )

    def make_guard(self, **options: Any) -> Guard:
        options.setdefault("clock", lambda: datetime.now(UTC))
        store = self.store
        return Guard(
            self.desk, self.policies, self.tools, store.counters, store.audit, store.health, new_call_id=keys.new_id,
            broker=self.broker, brakes=self.brakes, **options,
        )  # fmt: skip

    async def ask(self, amount: float = 40, *, caller: Caller = AGENT, key: str = "", tool: str = "refund_create") -> Any:
        """Send one call through the guard."""
        return await self.guard.admit(refund(amount, caller=caller, key=key, tool=tool), Origin(broker=self.broker))

    async def parked(self, amount: float = 40, **options: Any) -> ApprovalRequest:
        answer: Parked | Refused | Admitted = await self.ask(amount, **options)
        assert isinstance(answer, Parked)
        return answer.request

    async def approve(self, request: ApprovalRequest, person: str = "dana@example.com") -> ApprovalRequest:
        return await self.desk.review(request.id, Reviewer(person, "web"), Verdict.APPROVE, digest=request.digest)

    async def reject(self, request: ApprovalRequest, person: str = "dana@example.com", why: str = "no") -> ApprovalRequest:
        return await self.desk.review(request.id, Reviewer(person, "web"), Verdict.REJECT, digest=request.digest, reason=why)

    async def ended(self, request: ApprovalRequest, *states: RequestState) -> ApprovalRequest:
        """Wait until the request is in one of `states`, or has ended."""
        with anyio.fail_after(10), self.store.changes.watch(request.id) as watch:
            while True:
                now = await self.desk.look(request.id)
                if now.state in states or (not states and not now.state.open):
                    return now
                await watch.wait(5)

    async def moved(self, request: ApprovalRequest, version: int) -> ApprovalRequest:
        """Wait until the record has had so many commits."""
        with anyio.fail_after(10), self.store.changes.watch(request.id) as watch:
            while (now := await self.desk.look(request.id)).version < version:
                await watch.wait(5)
            return now

    async def facts(self) -> list[str]:
        """What the audit holds, by the events' tags."""
        return [type(entry.event).__struct_config__.tag for entry in await self.store.audit.read(0, 1000)]


def refund(amount: float, *, caller: Caller = AGENT, key: str = "", tool: str = "refund_create") -> ToolCall:
    return ToolCall("payments", tool, {"name": tool, "arguments": {"amount": amount}}, caller, key)


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    return Policies(tmp_path)


@pytest.fixture
async def counter(store: Any, policies: Policies) -> Counter:
    return Counter(store, policies)


@pytest.fixture
async def running(counter: Counter) -> AsyncIterator[Counter]:
    async with counter.releaser.running():
        yield counter


@pytest.fixture
async def mortal(policies: Policies, tmp_path: Path) -> AsyncIterator[tuple[Counter, KillableStore]]:
    """A counter on a store of its own, which a test may kill."""
    server = KillableStore(tmp_path)
    server.start()
    try:
        async with open_store(server.url, data=tmp_path / "data", broker_id="broker-1") as store:
            yield Counter(store, policies), server
    finally:
        server.kill()
