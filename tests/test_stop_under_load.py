"""The stop switch while agents call and people approve through two brokers: nothing starts later than a second after it."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio
import httpx2

from broker.approvals.ports import Query
from broker.approvals.stops import EVERYBODY, Stop, Stops
from broker.domain.people import Reviewer
from broker.domain.requests import RequestState
from broker.domain.reviews import Verdict
from broker.errors import BrokerError
from broker.running import running
from broker.settings import Settings
from tests.conftest import empty
from tests.fakes.scripted import Reply, Seen, usual
from tests.fakes.wired import Wired, wired
from tests.gateway.wire import call, post

WORKERS = 8


class Load:
    """Agents at both brokers, and somebody who approves whatever is asked. `ran` is when calls reached the server, by tool."""

    def __init__(self, here: Wired, urls: tuple[str, str]) -> None:
        self.here = here
        self.urls = urls
        self.ran: dict[str, list[float]] = {"echo": [], "park_me": []}
        self.approved: list[float] = []
        here.upstream.on["tools/call"] = self._reached

    async def _reached(self, seen: Seen, reply: Reply) -> None:
        self.ran[(seen.message or {})["params"]["name"]].append(time.monotonic())
        await usual(seen, reply)

    async def calls(self, worker: int) -> None:
        tool, url = ("echo", "park_me")[worker % 2], self.urls[worker // 2 % 2]
        async with httpx2.AsyncClient(timeout=30) as http:
            for number in range(10_000):
                head = {"authorization": f"Bearer {self.here.agent}"}
                with suppress(httpx2.HTTPError):
                    await post(http, f"{url}/mcp/tools", call(tool, {"worker": worker, "number": number}), **head)

    async def approves(self) -> None:
        broker = self.here.run.broker
        while True:
            for request in (await broker.store.requests.find(Query(states=(RequestState.PENDING,)))).requests:
                with suppress(BrokerError):
                    by = Reviewer("dana@example.com", "web")
                    await broker.desk.review(request.id, by, Verdict.APPROVE, digest=request.digest)
                    self.approved.append(time.monotonic())
            await anyio.sleep(0.005)

    async def until(self, tool: str, count: int) -> None:
        while len(self.ran[tool]) < count:  # noqa: ASYNC110  both tools have to be heard
            await anyio.sleep(0.01)


async def test_no_call_and_no_release_starts_later_than_a_second_after_the_stop(store_url: str, tmp_path: Path) -> None:
    await empty(store_url)
    other = tmp_path / "other"
    async with wired(store_url, tmp_path) as here:
        settings = Settings(redis_url=store_url, policies=tmp_path / "policies", data=other, port=0)
        async with running(settings) as second, anyio.create_task_group() as tasks:
            load = Load(here, (here.url, second.url))
            for worker in range(WORKERS):
                tasks.start_soon(load.calls, worker)
            tasks.start_soon(load.approves)
            with anyio.fail_after(60):
                await load.until("park_me", 20)
                await load.until("echo", 20)
            store = here.run.broker.store
            await Stops(store.stops).stop(Stop(EVERYBODY, "dana@example.com", "enough", store.clock()))
            stopped = time.monotonic()
            await anyio.sleep(timedelta(seconds=2.5).total_seconds())  # nothing tells that nothing happens
            tasks.cancel_scope.cancel()
    late = {tool: [round(at - stopped, 2) for at in times if at > stopped + 1] for tool, times in load.ran.items()}
    assert late == {"echo": [], "park_me": []}
