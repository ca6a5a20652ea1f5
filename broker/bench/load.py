"""The load: drives targets in turn, in rounds, so that what disturbs the machine disturbs all of them.

python -m broker.bench.load < plan.json > cells.json
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from pathlib import Path
from time import perf_counter

import msgspec
import uvloop

from broker.bench.wire import Answer, Connection, connect, mcp_headers, message, request

TEXT = "hello from the bench"


class Target(msgspec.Struct, frozen=True):
    """Where to send calls. `pids` are the processes whose CPU time counts as the target's."""

    name: str
    port: int
    path: str = "/mcp"
    token: str = ""
    pids: tuple[int, ...] = ()
    host: str = "127.0.0.1"


class Plan(msgspec.Struct, frozen=True):
    targets: tuple[Target, ...]
    connections: tuple[int, ...]
    seconds: float
    rounds: int
    stateless: bool = True


class Cell(msgspec.Struct, frozen=True):
    """One target at one number of connections, over all rounds. Latencies in ms, `cpu` in us for each call."""

    target: str
    connections: int
    calls: int
    rate: float
    p50: float
    p99: float
    cpu: float
    errors: int
    error: str = ""


class Tally:
    """What one cell has gathered so far."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.seconds = 0.0
        self.cpu = 0.0
        self.errors: list[str] = []

    def cell(self, target: str, connections: int) -> Cell:
        ordered, calls = sorted(self.latencies), len(self.latencies)
        return Cell(
            target=target,
            connections=connections,
            calls=calls,
            rate=calls / self.seconds if self.seconds else 0.0,
            p50=quantile(ordered, 0.5) * 1e3,
            p99=quantile(ordered, 0.99) * 1e3,
            cpu=self.cpu / calls * 1e6 if calls else 0.0,
            errors=len(self.errors),
            error=self.errors[0] if self.errors else "",
        )


def quantile(ordered: list[float], q: float) -> float:
    """Return the value at `q` of a sorted list, 0 for an empty one."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """Return user and system time of the processes; 0 where there is no /proc."""
    spent = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


async def open_session(connection: Connection, target: Target) -> str:
    """Make the handshake of the older era; returns the session id."""
    where = f"{target.host}:{target.port}"
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    headers = mcp_headers("initialize", "", target.token, stateless=False)
    answer = await connection.send(
        request("POST", where, target.path, message("initialize", hello, stateless=False, message_id=0), headers)
    )
    session = answer.headers.get("mcp-session-id", "")
    if answer.status != 200:
        raise ConnectionError(f"initialize: {answer.status} {answer.body[:200]!r}")
    headers = mcp_headers("", "", target.token, session=session, stateless=False)
    told = msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/initialized"})
    await connection.send(request("POST", where, target.path, told, headers))
    return session


async def ready(target: Target, *, stateless: bool) -> tuple[Connection, bytes]:
    """Return an open connection and the bytes of one call on it."""
    connection = await connect(target.host, target.port)
    session = "" if stateless else await open_session(connection, target)
    headers = mcp_headers("tools/call", "echo", target.token, session=session, stateless=stateless)
    body = message("tools/call", {"name": "echo", "arguments": {"text": TEXT}}, stateless=stateless)
    return connection, request("POST", f"{target.host}:{target.port}", target.path, body, headers)


def wrong(answer: Answer) -> str:
    """Return what is wrong with an answer, or nothing."""
    if answer.status == 200 and TEXT.encode() in answer.body:
        return ""
    return f"{answer.status} {answer.body[:200].decode('utf-8', 'replace')}"


async def drive(connection: Connection, call: bytes, until: float, tally: Tally) -> None:
    while (begin := perf_counter()) < until:
        answer = await connection.send(call)
        if mistake := wrong(answer):
            tally.errors.append(mistake)
        else:
            tally.latencies.append(answer.last - begin)


async def measure(target: Target, connections: int, plan: Plan, tally: Tally) -> None:
    """Run one round of one cell. A target that breaks is an error in its cell, not the end of the bench."""
    opened: list[tuple[Connection, bytes]] = []
    try:
        for _ in range(connections):
            opened.append(await ready(target, stateless=plan.stateless))
        for connection, call in opened:  # not counted: the first call on a connection opens one behind it
            await connection.send(call)
        spent, begin = cpu_seconds(target.pids), perf_counter()
        async with asyncio.timeout(plan.seconds + 30):
            await asyncio.gather(*(drive(connection, call, begin + plan.seconds, tally) for connection, call in opened))
        tally.seconds += perf_counter() - begin
        tally.cpu += cpu_seconds(target.pids) - spent
    except (OSError, TimeoutError) as error:
        tally.errors.append(f"{type(error).__name__}: {error}")
    finally:
        for connection, _ in opened:
            connection.close()


async def run(plan: Plan) -> list[Cell]:
    tallies: dict[tuple[str, int], Tally] = defaultdict(Tally)
    for _ in range(plan.rounds):
        for connections in plan.connections:
            for target in plan.targets:
                await measure(target, connections, plan, tallies[target.name, connections])
    return [tally.cell(target, connections) for (target, connections), tally in tallies.items()]


if __name__ == "__main__":
    cells = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)))
    sys.stdout.buffer.write(msgspec.json.encode(cells))
