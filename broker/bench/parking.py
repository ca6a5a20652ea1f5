"""The load of parked calls: opens them, lets a reviewer approve each, and sees how long the agent waits for the last byte.

    python -m broker.bench.parking < order.json > parked.json

The reviewer's POST and the agent's stream end in this process, so both are on one clock. Callers are real connections.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import perf_counter

import msgspec
import uvloop

from broker.bench.load import quantile
from broker.bench.processes import memory_kib, more_files
from broker.bench.wire import Answer, Connection, connect, mcp_headers, message, request

OPENING = 1_000
TIMED = 300
REVIEWERS = 16
PATIENCE = 600.0


class Order(msgspec.Struct, frozen=True):
    """`cookie` is a reviewer's session; `pid` the broker's process, whose memory is read."""

    port: int
    agent: str
    cookie: str
    count: int
    pid: int
    store_pids: tuple[int, ...] = ()


class Parked(msgspec.Struct, frozen=True):
    """Times in ms, memory in KiB for each parked call: of the broker (its connection included) and of the store.

    `to_last_byte`: from the start of the reviewer's POST to the last byte of the agent's answer, one review at a time.
    `draining`: the seconds that all others took, reviewed by 16 at once.
    """

    count: int
    answered: int
    parking: float
    broker_kib: float
    store_kib: float
    post_p50: float
    to_last_byte_p50: float
    to_last_byte_p99: float
    draining: float
    error: str = ""


class Callers:
    """Agents that wait, each on its own connection."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._where = f"127.0.0.1:{order.port}"
        self.connections: list[Connection] = []
        self.ended: asyncio.Queue[Answer | BaseException] = asyncio.Queue()

    async def open(self) -> None:
        gate = asyncio.Semaphore(OPENING)
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._order.count):
                tasks.create_task(self._call(number, gate))

    async def _call(self, number: int, gate: asyncio.Semaphore) -> None:
        async with gate:
            connection = await connect("127.0.0.1", self._order.port)
            self.connections.append(connection)
            body = message("tools/call", {"name": "guarded", "arguments": {"text": f"number {number}"}}, stateless=True)
            headers = mcp_headers("tools/call", "guarded", self._order.agent)
            answer = connection.send(request("POST", self._where, "/mcp/bench", body, headers))
            answer.add_done_callback(lambda done: self.ended.put_nowait(done.exception() or done.result()))
            # Parked is who hears something: the broker commits to a stream after a while of holding.
            await connection.heard.wait()

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
