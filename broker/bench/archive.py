"""A store that has seen much: so many requests that wait, and so many that ended, written before the broker starts.

    python -m broker.bench.archive < order.json

What waits is opened by the desk. What ended is written straight into records and search index, as the broker would have it
after months: without the audit, which no page of the history reads.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import uvloop

from broker.app import store_of
from broker.approvals.desk import Desk
from broker.bench.waking import OnePolicy, park
from broker.channels.web.projection import Projection
from broker.data_keys import data_keys
from broker.domain.calls import Caller, ToolCall
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Review, Verdict
from broker.errors import StoreUnavailable
from broker.logs import configure
from broker.policy.load import load
from broker.settings import Settings, load_settings
from broker.store import keys
from broker.store.cipher import Cipher
from broker.store.connection import Commands
from broker.store.open import Store

AT_ONCE, BATCH, TRIES = 64, 2_000, 20
WORDS = ("refund", "order", "customer", "transfer", "invoice", "account", "report", "ticket", "deploy", "region", "payment")


class Order(msgspec.Struct, frozen=True):
    data: str
    policies: str
    pending: int
    history: int


async def run(order: Order) -> None:
    settings = load_settings(data=Path(order.data), policies=Path(order.policies))
    policy = load(Path(order.policies))
    async with store_of(settings, "bench") as store:
        desk = Desk(store.requests, store.changes, OnePolicy(policy), new_id=keys.new_id, release_window=timedelta(minutes=10))
        for start in range(0, max(order.pending, 1), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, max(order.pending, 1)))
            parked = await asyncio.gather(*(park(desk, policy, number) for number in numbers))
        await _history(settings, store, parked[0].request, order.history)


async def _history(settings: Settings, store: Store, like: ApprovalRequest, count: int) -> None:
    index = Projection(settings.data, mask_key=await store.keys.signing_key("masks"))
    cipher, commands = Cipher(data_keys(settings)), Commands(store.url, "bench", lambda _: None)
    commands.start()
    try:
        for start in range(0, count, BATCH):
            ended = [_ended(like, number, count) for number in range(start, min(start + BATCH, count))]
            await _written(commands, cipher, ended)
            await index.put(ended, 0)
        await index.put((), await store.audit.last())
    finally:
        await commands.stop()
        await index.close()


async def _written(commands: Commands, cipher: Cipher, requests: Sequence[ApprovalRequest]) -> None:
    """A busy machine may take longer than a broker waits for its store: what is written twice is the same."""
    places = [(keys.record(one.id), one.version, msgspec.json.encode(one)) for one in requests]
    rows = [("HSET", key, "v", version, "b", cipher.seal(body, key)) for key, version, body in places]
    for start in range(0, len(rows), AT_ONCE):
        for patience in range(TRIES, -1, -1):
            try:
                await commands.run_all(*rows[start : start + AT_ONCE])
                break
            except StoreUnavailable:
                if not patience:
                    raise
                await asyncio.sleep(0.5)


def _ended(like: ApprovalRequest, number: int, count: int) -> ApprovalRequest:
    """One of many that were approved or rejected in the last thirty days; the higher the number, the later."""
    chance = random.Random(number)
    text = " ".join(chance.choice(WORDS) for _ in range(4)) + f" {chance.randrange(count)}"
    caller = Caller(agent=f"agent-{chance.randrange(40)}", owner="bob@example.com")
    call = ToolCall("bench", "guarded", {"name": "guarded", "arguments": {"text": text}}, caller)
    opened = like.opened_at - timedelta(days=30) * (count - number) / count - timedelta(minutes=1)
    rejected = chance.random() < 0.1
    verdict = Verdict.REJECT if rejected else Verdict.APPROVE
    review = Review("ada@example.com", verdict, opened + timedelta(seconds=30), like.digest, "web", ("reviewers",))
    return msgspec.structs.replace(
        like, id=keys.new_id(), version=4, state=RequestState.REJECTED if rejected else RequestState.COMPLETED, call=call,
        plan=msgspec.structs.replace(like.plan, title=f"Say {text}"), opened_at=opened, ended_at=opened + timedelta(seconds=31),
        expires_at=opened + timedelta(hours=2), reviews=(review,), decided_by="ada@example.com",
    )  # fmt: skip


if __name__ == "__main__":
    configure("error")
    uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
