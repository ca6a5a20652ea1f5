"""Many watchers: so many open streams of live updates, a decision that has to reach them all, and a stop with them open.

python -m broker.bench.watching < order.json > watched.json
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

import msgspec
import uvloop

from broker.bench import parking
from broker.bench.load import quantile
from broker.bench.pages import signed_in
from broker.bench.processes import more_files
from broker.bench.wire import connect, request

PATIENCE = 30.0


class Order(msgspec.Struct, frozen=True):
    """`link` signs the watchers in; `parked` is who calls and reviews, and how many decisions there are."""

    parked: parking.Order
    link: str
    watchers: int


class Watched(msgspec.Struct, frozen=True):
    """Times in ms from the start of the reviewer's POST: until half of the watchers, and until all of them, had heard of it.

    `median` is of all decisions, `worst` the slowest one. `stopping`: the seconds from SIGTERM to the broker's end, streams open.
    """

    watchers: int
    decisions: int
    half_median: float
    all_median: float
    all_worst: float
    stopping: float


class Watcher:
    """One open stream."""

    def __init__(self) -> None:
        self.heard: dict[str, float] = {}
        self._news = asyncio.Event()

    async def follow(self, port: int, cookie: str, ready: asyncio.Semaphore) -> None:
        """Read until the stream ends; `ready` is released at the first event."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("GET", f"127.0.0.1:{port}", "/live", b"", {"cookie": cookie}))
        name, first = b"", True
        try:
            while line := await reader.readline():
                if line.startswith(b"event: "):
                    name = line[7:].strip()
                    if first:
                        first = False
                        ready.release()
                elif line.startswith(b"data: ") and name == b"request":
                    self.heard.setdefault(line[6:].strip().decode(), perf_counter())
                    self._news.set()
        finally:
            writer.close()

    async def hears(self, request_id: str) -> float:
        """Wait until it has heard of a request; return when that was."""
        while request_id not in self.heard:
            self._news.clear()
            await self._news.wait()
        return self.heard[request_id]


async def run(order: Order) -> Watched:
    more_files()
    callers, reviewers = parking.Callers(order.parked), parking.Reviewers(order.parked)
    await callers.open()
    waiting = await reviewers.pending()
    connection = await connect("127.0.0.1", order.parked.port)
    cookie = await signed_in(connection, order.parked.port, order.link)
    watchers, ready = [Watcher() for _ in range(order.watchers)], asyncio.Semaphore(0)
    streams = [asyncio.create_task(one.follow(order.parked.port, cookie, ready)) for one in watchers]
    async with asyncio.timeout(PATIENCE):
        for _ in watchers:
            await ready.acquire()
    half, every = [], []
    for one in waiting:
        for watcher in watchers:
            watcher.heard.pop(one.id, None)  # that it was opened is no news of its decision
        begin = perf_counter()
        await reviewers.approve(connection, one)
        async with asyncio.timeout(PATIENCE):
            heard = sorted(await asyncio.gather(*(watcher.hears(one.id) for watcher in watchers)))
        half.append((quantile(heard, 0.5) - begin) * 1e3)
        every.append((heard[-1] - begin) * 1e3)
        await callers.next()
    callers.close()
    stopping = await stopped(order.parked.pid)
    await asyncio.wait(streams, timeout=PATIENCE)
    return Watched(order.watchers, len(every), _median(half), _median(every), max(every), stopping)


async def stopped(pid: int) -> float:
    """Ask a process to stop and return the seconds until it has."""
    begin = perf_counter()
    os.kill(pid, signal.SIGTERM)
    while _runs(pid) and perf_counter() - begin < PATIENCE:  # noqa: ASYNC110 - it is no child of ours, which could be waited for
        await asyncio.sleep(0.01)
    return perf_counter() - begin


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _median(values: Iterable[float]) -> float:
    return quantile(sorted(values), 0.5)


if __name__ == "__main__":
    watched = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(watched))
