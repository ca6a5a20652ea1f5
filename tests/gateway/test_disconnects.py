"""A client that leaves, at every point of a call's life and in each shape of waiting: the call runs once at most, and the same
call made again brings its result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import pytest

from broker.approvals.ports import Query
from broker.domain.requests import RequestState
from tests.fakes.scripted import Reply, Seen, Upstream, said, usual
from tests.gateway.rig import Rig
from tests.gateway.wire import begun, call, events, legacy, modern, post, request

TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
CALL: dict[str, Any] = {"name": "park_me", "arguments": {"n": 1}}
WANTED = said('{"n": 1}')["content"]


class Gate:
    """Holds a server's answers to one method back until it is opened."""

    def __init__(self, upstream: Upstream, method: str) -> None:
        self._upstream = upstream
        self._method = method
        self._open = anyio.Event()
        self._before = len(upstream.of(method))
        upstream.on[method] = self._held

    async def _held(self, seen: Seen, reply: Reply) -> None:
        await self._open.wait()
        await usual(seen, reply)

    async def reached(self) -> None:
        await self._upstream.until(self._method, self._before + 1)

    def open(self) -> None:
        self._open.set()


def answer_of(response: httpx2.Response) -> dict[str, Any]:
    streamed = "event-stream" in response.headers["content-type"]
    return dict((events(response.text)[-1] if streamed else response.json())["result"])


class Client:
    """One agent that waits in one shape."""

    def __init__(self, rig: Rig, http: httpx2.AsyncClient, shape: str) -> None:
        self._url = rig.mcp("scripted")
        self._http = http
        self._shape = shape
        self._session = ""

    async def begin(self) -> None:
        if self._shape == "older":
            self._session = await begun(self._http, self._url)

    async def call(self) -> list[Any]:
        """Make the call and return its content: where it became a task, what that has become."""
        match self._shape:
            case "older":
                return list(answer_of(await legacy(self._http, self._url, request("tools/call", CALL), self._session))["content"])
            case "newer":
                return list(answer_of(await post(self._http, self._url, call(CALL["name"], CALL["arguments"])))["content"])
        result = answer_of(await post(self._http, self._url, modern("tools/call", CALL, **TASKS)))
        while result["resultType"] == "task" or result.get("status") == "working":
            get = modern("tasks/get", {"taskId": result["taskId"]}, **TASKS)
            result = answer_of(await post(self._http, self._url, get))
            await anyio.sleep(0.02)
        return list(result.get("result", result)["content"])


Point = Callable[[Rig, Upstream], AsyncIterator[None]]
"""Works up to the first yield, where the client leaves; the rest happens while it is away."""


async def before_it_is_parked(rig: Rig, upstream: Upstream) -> AsyncIterator[None]:
    gate = Gate(upstream, "tools/list")
    await gate.reached()
    yield
    gate.open()


async def parked(rig: Rig, upstream: Upstream) -> AsyncIterator[None]:
    await rig.asked()
    yield


async def approved(rig: Rig, upstream: Upstream) -> AsyncIterator[None]:
    [asked] = await rig.asked()
    gate = Gate(upstream, "tools/list")
    await rig.review(asked)
    await gate.reached()
    yield
    gate.open()


async def executing(rig: Rig, upstream: Upstream) -> AsyncIterator[None]:
    gate = Gate(upstream, "tools/call")
    await rig.approve()
    await gate.reached()
    yield
    gate.open()


async def finished(rig: Rig, upstream: Upstream) -> AsyncIterator[None]:
    [asked] = await rig.asked()
    yield
    await rig.review(asked)
    while not (await rig.store.requests.find(Query(states=(RequestState.COMPLETED,)))).requests:  # noqa: ASYNC110  see rig.asked
        await anyio.sleep(0.01)


@pytest.mark.parametrize("shape", ["task", "newer", "older"])
@pytest.mark.parametrize("point", [before_it_is_parked, parked, approved, executing, finished])
async def test_one_execution_at_most_and_the_result_is_still_to_be_had(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient, shape: str, point: Point
) -> None:
    agent, course, got = Client(scripted, http, shape), point(scripted, upstream), list[Any]()
    await agent.begin()

    async def again() -> None:
        got.extend(await agent.call())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as first:
            first.start_soon(agent.call)
            await anext(course)
            first.cancel_scope.cancel()
        await anext(course, None)
        async with anyio.create_task_group() as second:
            second.start_soon(again)
            if point in (before_it_is_parked, parked):
                await scripted.approve()
    assert got == WANTED
    assert len(upstream.of("tools/call")) == 1
