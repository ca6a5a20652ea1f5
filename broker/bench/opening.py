"""Many calls open at once at a slow upstream: does each get its answer, and what does it hold in memory?

python -m broker.bench.opening < order.json > opened.json
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from time import perf_counter

import msgspec
import uvloop

from broker.bench.load import TEXT, Target, quantile, wrong
from broker.bench.processes import memory_kib, more_files
from broker.bench.wire import Connection, connect, mcp_headers, message, request

PATIENCE = 60.0
AT_ONCE = 500


class Order(msgspec.Struct, frozen=True):
    """`seconds` is how long the upstream takes for each call."""

    target: Target
    count: int
    seconds: float


class Opened(msgspec.Struct, frozen=True):
    """`took` is the time from the first call to the last answer in seconds, `p50` a call's own; memory in KiB for each call."""

    target: str
    count: int
    answered: int
    took: float
    p50: float
    kib: float
    error: str = ""


async def run(order: Order) -> Opened:
    more_files()
    target = order.target
    idle = _memory(target)
    connections: list[Connection] = []
    for start in range(0, order.count, AT_ONCE):
        batch = range(start, min(order.count, start + AT_ONCE))
        connections += await asyncio.gather(*(connect(target.host, target.port) for _ in batch))
    begin = perf_counter()
    calls = [asyncio.create_task(_call(connection, order, target)) for connection in connections]
    most = asyncio.create_task(_most_memory(target, calls))
    done, _ = await asyncio.wait(calls, timeout=PATIENCE)
    took = perf_counter() - begin
    ended = [task.exception() or task.result() for task in done]
    good = sorted(one for one in ended if isinstance(one, float))
    mistakes = [str(one) for one in ended if not isinstance(one, float)]
    for task in calls:
        task.cancel()
    for connection in connections:
        connection.close()
    return Opened(
        target=target.name,
        count=order.count,
        answered=len(good),
        took=took,
        p50=quantile(good, 0.5),
        kib=(await most - idle) / order.count,
        error=mistakes[0] if mistakes else "",
    )


async def _call(connection: Connection, order: Order, target: Target) -> float | str:
    """Return how long one call took, or what was wrong with its answer."""
    arguments = {"text": TEXT, "seconds": order.seconds}
    body = message("tools/call", {"name": "slow", "arguments": arguments}, stateless=True)
    headers = mcp_headers("tools/call", "slow", target.token)
    begin = perf_counter()
    answer = await connection.send(request("POST", f"{target.host}:{target.port}", target.path, body, headers))
    return wrong(answer) or answer.last - begin


async def _most_memory(target: Target, calls: Sequence[asyncio.Task[float | str]]) -> int:
    """Return the most memory that was seen until the first answer came."""
    most = 0
    while not any(call.done() for call in calls):
        most = max(most, _memory(target))
        await asyncio.sleep(0.1)
    return most


def _memory(target: Target) -> int:
    return sum(memory_kib(pid) for pid in target.pids)


if __name__ == "__main__":
    opened = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(opened))
