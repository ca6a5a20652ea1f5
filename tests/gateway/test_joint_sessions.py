"""Sessions of the older era at the address of all servers: one towards the client, one towards each server behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx2

from tests.fakes.scripted import Reply, Seen, Upstream, answer, said
from tests.gateway.rig import Rig
from tests.gateway.wire import ACCEPT, begun, events, legacy, request

META = "approval-broker/"


async def test_a_session_meets_each_server_once_and_ends_with_all(
    joint: Rig, upstream: Upstream, other: Upstream, http: httpx2.AsyncClient
) -> None:
    session = await begun(http, joint.all, {"elicitation": {}})
    assert upstream.seen == []
    for number in (1, 2):
        response = await legacy(http, joint.all, request("tools/list", id=number), session)
        names = [tool["name"] for tool in response.json()["result"]["tools"]]
        assert names == ["one__echo", "one__park_me", "two__echo", "two__park_me", "approval_wait"]
    said_of = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "by-hand", "version": "1"},
    }
    for server in (upstream, other):
        [hello] = server.of("initialize")
        assert hello.message is not None and hello.message["params"] == said_of
        assert len(server.of("notifications/initialized")) == 1
        assert {seen.headers.get("mcp-session-id") for seen in server.of("tools/list")} == {"the-servers-own-session"}
    await legacy(http, joint.all, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}, session)
    assert len(upstream.of("notifications/cancelled")) == len(other.of("notifications/cancelled")) == 1
    told = {**ACCEPT, "mcp-session-id": session}
    assert (await http.delete(joint.all, headers=told)).status_code == 200
    assert len(upstream.of("DELETE")) == len(other.of("DELETE")) == 1
    assert (await legacy(http, joint.all, request("ping"), session)).status_code == 404


async def test_a_session_is_its_principals_alone_and_has_no_stream_of_its_own(joint: Rig, http: httpx2.AsyncClient) -> None:
    session = await begun(http, joint.all)
    assert (await legacy(http, joint.all, request("ping"), session)).json()["result"] == {}
    foreign = await legacy(http, joint.all, request("ping"), session, authorization="Bearer mallory")
    assert foreign.status_code == 404
    stream = await http.get(joint.all, headers={**ACCEPT, "mcp-session-id": session})
    assert (stream.status_code, stream.headers["allow"]) == (405, "POST, DELETE")


async def test_a_server_that_lost_its_session_gets_another(joint: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    session = await begun(http, joint.all)
    await legacy(http, joint.all, request("tools/list"), session)
    lost: list[Seen] = []

    async def once(seen: Seen, reply: Reply) -> None:
        lost.append(seen)
        if len(lost) == 1:
            error = {"code": -32600, "message": "Session not found"}
            await reply.json({"jsonrpc": "2.0", "id": seen.message["id"], "error": error}, 404)  # type: ignore[index]
        else:
            await reply.json(answer(seen, {"tools": [{"name": "echo"}]}))

    upstream.on["tools/list"] = once
    response = await legacy(http, joint.all, request("tools/list", id=2), session)
    assert response.json()["result"]["tools"][0]["name"] == "one__echo"
    assert (len(lost), len(upstream.of("initialize"))) == (2, 2)


async def test_what_a_server_asks_its_client_comes_back_to_it(joint: Rig, other: Upstream, http: httpx2.AsyncClient) -> None:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def asks(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event({"jsonrpc": "2.0", "id": 0, "method": "roots/list"}, id="event-1")
        await reply.event(answer(seen, said(str((await answered)["result"]))))
        await reply.end()

    async def hears(seen: Seen, reply: Reply) -> None:
        answered.set_result(seen.message)
        await reply.raw(202)

    other.on["tools/call"], other.on["POST"] = asks, hears
    session = await begun(http, joint.all, {"roots": {}})
    message = request("tools/call", {"name": "two__echo", "arguments": {}}, id="call")
    told = {**ACCEPT, "mcp-protocol-version": "2025-11-25", "mcp-session-id": session}
    with anyio.fail_after(10):
        async with http.stream("POST", joint.all, json=message, headers=told) as response:
            lines = response.aiter_lines()
            heard: list[dict[str, Any]] = []
            async for line in lines:
                heard += events(line)
                if line.startswith("id:"):
                    assert line.startswith("id: joint.")
                if len(heard) == 1 and not answered.done():
                    assert heard[0]["method"] == "roots/list" and heard[0]["id"].startswith("joint.")
                    back = {"jsonrpc": "2.0", "id": heard[0]["id"], "result": {"roots": []}}
                    assert (await legacy(http, joint.all, back, session)).status_code == 202
    assert answered.result()["id"] == 0
    assert heard[-1]["result"]["content"] == said("{'roots': []}")["content"]
    stray = await legacy(http, joint.all, {"jsonrpc": "2.0", "id": "joint.x", "result": {}}, session)
    assert stray.status_code == 202


async def test_a_client_comes_back_by_its_event_to_a_call_that_waits(joint: Rig, http: httpx2.AsyncClient) -> None:
    session = await begun(http, joint.all)
    message = request("tools/call", {"name": "one__park_me", "arguments": {}}, id="call")
    told = {**ACCEPT, "mcp-protocol-version": "2025-11-25", "mcp-session-id": session}
    async with http.stream("POST", joint.all, json=message, headers=told) as response:
        first = await anext(line async for line in response.aiter_lines() if line.startswith("id:"))
    [asked] = await joint.asked()
    await joint.review(asked)
    back = {"mcp-session-id": session, "last-event-id": first.removeprefix("id:").strip(), "accept": "text/event-stream"}
    response = await http.get(joint.all, headers={**back, "mcp-protocol-version": "2025-11-25"})
    assert events(response.text)[-1]["result"]["_meta"][META + "code"] == "released"
