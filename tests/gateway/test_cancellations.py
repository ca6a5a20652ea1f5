"""Who gives up what, in both directions and eras: closing the stream cancels in 2026-07-28, a message does before it."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2

from tests.fakes.scripted import Reply, Seen, Upstream, answer, said
from tests.gateway.rig import Rig
from tests.gateway.wire import begun, call, events, legacy, modern, post, request

TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


class Held:
    """A server that answers a call when it is told to, and notices when its caller has gone."""

    def __init__(self, upstream: Upstream) -> None:
        self._go_on = anyio.Event()
        self.gone = anyio.Event()
        self.upstream = upstream
        upstream.on["tools/call"] = self._held

    async def _held(self, seen: Seen, reply: Reply) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, reply)
            await self._go_on.wait()
            tasks.cancel_scope.cancel()
        await reply.json(answer(seen, said("done")))

    async def _watch(self, reply: Reply) -> None:
        await reply.left()
        self.gone.set()

    async def reached(self) -> None:
        await self.upstream.until("tools/call")

    def go_on(self) -> None:
        self._go_on.set()


def cancelled(rpc_id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": rpc_id, "reason": "enough"}}


async def test_closing_the_stream_of_a_newer_call_closes_the_servers(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    held = Held(upstream)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post, http, scripted.mcp("scripted"), call())
            await held.reached()
            tasks.cancel_scope.cancel()
        await held.gone.wait()
    assert upstream.of("notifications/cancelled") == [], "the newer revision has no message for it over HTTP"


async def test_a_message_cancels_nothing_in_the_newer_revision(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    held, url, answers = Held(upstream), scripted.mcp("scripted"), list[httpx2.Response]()

    async def calling() -> None:
        answers.append(await post(http, url, call(id="seven")))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calling)
            await held.reached()
            assert (await post(http, url, cancelled("seven"))).status_code == 202
            held.go_on()
    assert answers[0].json()["result"] == said("done")
    assert upstream.of("notifications/cancelled") == []


async def test_a_message_does_not_cancel_a_task(scripted: Rig, http: httpx2.AsyncClient) -> None:
    url = scripted.mcp("scripted")
    task = (await post(http, url, modern("tools/call", {"name": "park_me", "arguments": {}}, id="one", **TASKS))).json()["result"]
    assert (await post(http, url, cancelled("one"))).status_code == 202
    await scripted.approve()
    status = "working"
    with anyio.fail_after(10):
        while status == "working":
            look = modern("tasks/get", {"taskId": task["taskId"]}, **TASKS)
            status = (await post(http, url, look)).json()["result"]["status"]
    assert status == "completed"


async def test_an_older_clients_message_goes_to_the_server_and_a_dropped_connection_is_none(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    held, url = Held(upstream), scripted.mcp("scripted")
    session = await begun(http, url)
    dropped = request("tools/call", {"name": "echo", "arguments": {}}, id="dropped")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(legacy, http, url, dropped, session)
            await held.reached()
            tasks.cancel_scope.cancel()
        await held.gone.wait()
        assert upstream.of("notifications/cancelled") == []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(legacy, http, url, {**dropped, "id": "given up"}, session)
            await upstream.until("tools/call", 2)
            await legacy(http, url, cancelled("given up"), session)
            held.go_on()
    [told] = upstream.of("notifications/cancelled")
    assert (told.message, told.headers["mcp-session-id"]) == (cancelled("given up"), "the-servers-own-session")


async def test_a_server_that_takes_its_question_back_is_heard_by_its_client(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    async def asks(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event({"jsonrpc": "2.0", "id": "theirs", "method": "roots/list"})
        await reply.event(cancelled("theirs"))
        await reply.event(answer(seen, said("done")))
        await reply.end()

    upstream.on["tools/call"] = asks
    session = await begun(http, scripted.mcp("scripted"), {"roots": {}})
    message = request("tools/call", {"name": "echo", "arguments": {}})
    heard = events((await legacy(http, scripted.mcp("scripted"), message, session)).text)
    assert heard[1] == cancelled("theirs")
