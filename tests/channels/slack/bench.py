"""The bench: the use cases and the channel on a real store, before a workspace of the emulator.

A call is parked by the desk, as the guard does it; everything after that is real: outbox, courier, delivery, clicks, release.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec

from broker.approvals.courier import Courier
from broker.approvals.desk import Desk
from broker.approvals.feedback import Feedback
from broker.approvals.fitness import Fitness
from broker.approvals.janitor import Janitor
from broker.approvals.releaser import Releaser
from broker.channels.slack.channel import Outside, SlackChannel, SlackConfig, slack_channel
from broker.channels.slack.postman import Tempo
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import RequireApproval
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, Origin, RequestState
from broker.domain.reviews import Verdict
from broker.inward import OutsideGroups
from broker.policy.evaluate import evaluate
from broker.policy.model import Facts
from broker.serving import listening, server
from broker.store import keys
from broker.store.open import Store
from tests.channels.slack.policies import Policies
from tests.channels.slack.samples import KEY
from tests.fakes.ledger import REFUND, Ledger, Tools
from tests.fakes.slack_front import APP, BOT_USER, SlackFront

SCOPES = ["chat:write", "commands", "im:write", "users:read", "users:read.email", "usergroups:read", "metadata.message:read"]
ADMIN = [f"{kind}:{verb}" for kind in ("channels", "groups", "im", "mpim") for verb in ("history", "read", "write")]
ADMIN += ["users:read", "users:read.email", "chat:write"]
SEED: dict[str, Any] = {
    "slack": {
        "team": {"name": "Acme", "domain": "acme"},
        "users": [
            {"name": "dana", "real_name": "Dana", "email": "dana@example.com"},
            {"name": "fay", "real_name": "Fay", "email": "fay@example.com"},
            {"name": "alice", "real_name": "Alice", "email": "alice@example.com"},
            {"name": "mallory", "real_name": "Mallory", "email": "mallory@example.com"},
        ],
        "channels": [{"name": name} for name in ("approvals", "refunds", "ops", "c1", "c2", "c3", "c4", "c5")],
        "oauth_apps": [
            {
                "client_id": "c", "client_secret": "s", "name": "Approvals", "redirect_uris": [], "app_id": APP,
                "bot_id": "B0APPROVALS", "bot_user_id": BOT_USER, "bot_name": "approvals", "scopes": SCOPES,
            }
        ],
        "tokens": [
            {
                "token": "xoxb-test", "user_id": BOT_USER, "bot_id": "B0APPROVALS", "app_id": APP, "type": "bot",
                "bot_user_id": BOT_USER, "scopes": SCOPES,
            },
            {"token": "test-admin", "user_id": BOT_USER, "type": "bot", "scopes": ADMIN},
            {"token": "test-dana", "user": "dana", "type": "test", "scopes": [*ADMIN, "channels:manage"]},
        ],
        "strict_scopes": True,
    }
}  # fmt: skip

# Slack's limits a hundred times faster, so that tests don't wait.
FAST = Tempo(
    post=0.01, update=0.0125, gap=0.02, together=20, crowd_window=0.6, digest_gap=0.05, home_gap=0.03, look=0.02, retry=0.05,
    retry_most=0.2, publish=0.006, fallback_after=0.3, lease=1.5,
)  # fmt: skip
ALICE = Caller(agent="billing-bot", user="alice@example.com", owner="owen@example.com")


@dataclass
class Bench:
    """One broker with its channel. `slack` is what people do in the workspace."""

    store: Store
    slack: SlackFront
    policies: Policies
    config: SlackConfig
    broker: str = "broker-1"
    ledger: Ledger = field(default_factory=Ledger)
    tools: Tools = field(default_factory=lambda: Tools(REFUND))
    channel: SlackChannel | None = None

    def __post_init__(self) -> None:
        window = timedelta(minutes=10)
        requests, changes = self.store.requests, self.store.changes
        self.desk = Desk(requests, changes, self.policies, new_id=keys.new_id, release_window=window)
        self.asks_about_results(timedelta())
        self.groups = OutsideGroups()
        fitness = Fitness(
            requests, self.policies, self.tools, self.store.counters, clock=self.store.clock, still_in=self.groups.still_in
        )
        self.releaser = Releaser(
            requests, changes, self.ledger, fitness, broker=self.broker, lease=timedelta(seconds=30), grace=0.1
        )
        self.janitor = Janitor(requests, keep=timedelta(days=1), clock=self.store.clock)

    def asks_about_results(self, every: timedelta) -> None:
        """Ask people in Slack what results saved them, as often as the operator says; zero is never."""
        store = self.store
        self.feedback = Feedback(store.feedback, store.audit.append, store.clock, lambda server, tool: 6.0, every)

    @asynccontextmanager
    async def running(self, *, serve: bool = True, release: bool = True) -> AsyncIterator[Bench]:
        """Run the channel and what it hangs on; `serve`: over HTTP as well, `release`: what is approved runs by itself."""
        outside = Outside(
            desk=self.desk, requests=self.store.requests, feedback=self.feedback, kept=self.store.slack, leases=self.store.leases,
            codes=self.store.credentials, directory=lambda: self.policies.current.people, clock=self.store.clock,
            mask_key=KEY, public_url="https://approvals.example.com", broker=self.broker,
        )  # fmt: skip
        async with AsyncExitStack() as rooms:
            self.channel = self.groups.slack = await rooms.enter_async_context(slack_channel(self.config, outside))
            courier = Courier(self.store.outbox, self.store.requests, [self.channel])
            await rooms.enter_async_context(courier.running())
            if release:
                await rooms.enter_async_context(self.releaser.running())
            if serve and self.channel.http is not None:
                self.slack.deliver = await rooms.enter_async_context(served(self.channel.http))
            yield self

    async def parked(self, caller: Caller = ALICE, **arguments: Any) -> ApprovalRequest:
        """Park one call, as the guard does it."""
        held = {"customer": "A-1", "amount": 40, **arguments}
        call = ToolCall("payments", "refund_create", {"name": "refund_create", "arguments": held}, caller)
        seen = await self.tools.look("payments", "refund_create")
        decision = evaluate(self.policies.current, call, Facts(datetime.now(UTC), seen.known, seen.definition))
        assert isinstance(decision, RequireApproval), decision
        parked = await self.desk.open(call, decision, seen, Origin(stated="the customer asked"))
        return parked.request

    async def review(self, request: ApprovalRequest, person: str, verdict: Verdict = Verdict.APPROVE, **said: Any) -> Any:
        """Somebody decides on the web."""
        return await self.desk.review(request.id, Reviewer(person, "web"), verdict, digest=request.digest, **said)

    async def reached(self, request: ApprovalRequest, *states: RequestState) -> ApprovalRequest:
        """Wait until a request is in one of `states`."""
        with anyio.fail_after(10), self.store.changes.watch(request.id) as watch:
            while (now := await self.desk.look(request.id)).state not in states:
                await watch.wait(1.0)
        return now

    async def card(self, channel: str = "refunds", *, says: str = "", at: int = -1) -> dict[str, Any]:
        """Wait for a card in a conversation, until it says something; the latest one by default."""

        def look(cards: list[dict[str, Any]]) -> Any:
            there = len(cards) >= max(abs(at), at + 1)
            return cards[at] if there and says in text(cards[at]) else None

        found: dict[str, Any] = await self.seen(look, channel)
        return found

    async def seen(self, look: Callable[[list[dict[str, Any]]], Any], channel: str = "refunds") -> Any:
        """Wait until what `look` makes of a conversation's messages holds."""
        with anyio.fail_after(15):
            while not (found := look(await self.slack.messages(channel))):
                await self.slack.next_call()
        return found

    async def thread(self, card: dict[str, Any], says: str, channel: str = "refunds") -> str:
        """Wait until a card's thread says something. Returns all of it."""
        with anyio.fail_after(15):
            while says not in (said := " | ".join(map(text, await self.slack.thread(channel, card["ts"])))):
                await self.slack.next_call()
        return said

    async def told(self) -> str:
        """Wait for the next answer that one person alone sees."""
        with anyio.fail_after(10):
            said = await self.slack.until(lambda: self.slack.answers_said and self.slack.answers_said.pop(0))
        return str(said["text"])


def text(message: dict[str, Any]) -> str:
    """Everything that a message says."""
    parts: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            parts.extend(
                item for name, item in value.items() if name in ("text", "fallback", "user_id") and isinstance(item, str)
            )
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(message.get("blocks") or {"text": message.get("text", "")})
    return " ".join(" ".join(parts).split())


def buttons(message: dict[str, Any]) -> list[str]:
    return [one["action_id"] for block in message["blocks"] if block["type"] == "actions" for one in block["elements"]]


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port."""
    listener = listening("127.0.0.1", 0)
    running = server(app, asyncio.Event())
    task = asyncio.create_task(running._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.stop()
        await task


async def bench_on(store: Store, front: SlackFront, folder: Path, **config: Any) -> Bench:
    """Make a bench; `config` overrides the channel's."""
    ids = {name: await front.user(name) for name in ("dana", "fay", "alice")}
    given = SlackConfig("xoxb-test", signing_secret=front.secret, url=front.url, answers=front.answers, tempo=FAST)
    return Bench(store, front, Policies(folder, ids), msgspec.structs.replace(given, **config))
