"""Review to woken: how long a waiter of this process sleeps on after a review, among as many waiters as asked for.

    echo 10000 | python -m broker.bench.waking > woken.json

The desk and the store are the broker's own, on an embedded store; nobody speaks HTTP here.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec
import uvloop

from broker.approvals.desk import Desk, Parked
from broker.approvals.ports import SeenTool
from broker.bench.load import quantile
from broker.bench.rules import write_policy
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import RequireApproval
from broker.domain.people import Reviewer
from broker.domain.requests import Origin
from broker.domain.reviews import Verdict
from broker.domain.servers import ToolDefinition
from broker.logs import configure
from broker.policy.evaluate import evaluate
from broker.policy.load import load
from broker.policy.model import Facts, Policy
from broker.store import keys
from broker.store.open import Store, open_store

TIMED = 500
TOOL = SeenTool(known=True, definition=ToolDefinition("bench", "guarded", {"name": "guarded", "inputSchema": {"type": "object"}}))
ADA = Reviewer("ada@example.com", "api")


class Woken(msgspec.Struct, frozen=True):
    """Times in ms, from the moment that the review was handed in: until it was committed and returned, until the waiter ran."""

    waiting: int
    committed_p50: float
    committed_p99: float
    woken_p50: float
    woken_p99: float
    opened_per_second: float


class OnePolicy:
    """The policy that was loaded once."""

    def __init__(self, policy: Policy) -> None:
        self.current = policy


async def run(count: int) -> Woken:
    """Park `count` requests with a waiter each, review some of them one by one, and see when each waiter runs."""
    with TemporaryDirectory(prefix="broker-bench-") as folder:
        policy = load(write_policy(Path(folder) / "policies", "http://127.0.0.1:1/mcp", 100))
        async with open_store(data=Path(folder) / "data", broker_id="bench") as store:
            desk = Desk(
                store.requests, store.changes, OnePolicy(policy), new_id=keys.new_id, release_window=timedelta(minutes=10)
            )
            begin = perf_counter()
            parked = [await park(desk, policy, number) for number in range(count)]
            return await _reviewed(store, desk, parked, count / (perf_counter() - begin))


async def park(desk: Desk, policy: Policy, number: int) -> Parked:
    """Park one call of the bench's tool."""
    caller = Caller(agent="bench", owner="bob@example.com")
    call = ToolCall("bench", "guarded", {"name": "guarded", "arguments": {"text": f"number {number}"}}, caller)
    decision = evaluate(policy, call, Facts(now=datetime.now(UTC), known=True, definition=TOOL.definition))
    assert isinstance(decision, RequireApproval)
    return await desk.open(call, decision, TOOL, Origin())


async def _reviewed(store: Store, desk: Desk, parked: list[Parked], rate: float) -> Woken:
    woken: asyncio.Queue[float] = asyncio.Queue()

    async def waiter(one: Parked) -> None:
        with store.changes.watch(one.request.id) as watch:
            while not await watch.wait(60):
                pass
            woken.put_nowait(perf_counter())

    waiters = [asyncio.create_task(waiter(one)) for one in parked]
    await asyncio.sleep(0)
    committed, slept = [], []
    for one in parked[:: max(1, len(parked) // TIMED)]:
        begin = perf_counter()
        await desk.review(one.request.id, ADA, Verdict.APPROVE, digest=one.request.digest)
        committed.append(perf_counter() - begin)
        slept.append(await woken.get() - begin)
    for task in waiters:
        task.cancel()
    await asyncio.wait(waiters)
    committed.sort()
    slept.sort()
    return Woken(
        waiting=len(parked),
        committed_p50=quantile(committed, 0.5) * 1e3,
        committed_p99=quantile(committed, 0.99) * 1e3,
        woken_p50=quantile(slept, 0.5) * 1e3,
        woken_p99=quantile(slept, 0.99) * 1e3,
        opened_per_second=rate,
    )


if __name__ == "__main__":
    configure("error")
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(int(sys.stdin.read())))))
