"""What passes through, and what of an upstream never gets to a client."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx2
import pytest

from tests.fakes.scripted import SESSION, Reply, Seen, Upstream, answer, said
from tests.gateway.rig import Rig
from tests.gateway.wire import begun, call, events, legacy, modern, post, request

FAILED = {"approval-broker/code": "failed"}
UNKNOWN = {"approval-broker/code": "unknown"}


async def test_nothing_of_the_caller_but_mcp_goes_upstream_and_the_servers_own_headers_do(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    scripted.secrets["authorization"] = "Bearer the-upstreams-own"
    headers = {
        "cookie": "a=b",
        "x_forwarded_for": "1.2.3.4",
        "x_forwarded_user": "u",
        "x_api_key": "k",
        "mcp_session_id": "",
        "user_agent": "me",
    }
    headers.pop("mcp_session_id")
    response = await post(http, scripted.mcp("scripted"), call("echo", {"a": 1}), **headers)
    assert response.json()["result"] == said('{"a": 1}')
    [seen] = upstream.of("tools/call")
    host = upstream.url.removeprefix("http://")
    assert {name: value for name, value in seen.headers.items() if name != "content-length"} == {
        "host": host,
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "approval-broker/0.1.0",
        "authorization": "Bearer the-upstreams-own",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "echo",
    }


async def test_what_was_understood_is_what_is_sent(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    message = call("echo", {"n": 1.0, "t": "\\u00e9 \u202e", "deep": [[{"x": None}]], "big": 2**53 - 1})
    spaced = json.dumps(message, indent=3).encode()
    await post(http, scripted.mcp("scripted"), spaced, mcp_name="echo")
    assert upstream.of("tools/call")[0].message == message


@pytest.mark.parametrize("status", [401, 403, 407, 302, 418])
async def test_an_upstreams_refusal_is_a_result_of_ours(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient, status: int
) -> None:
    async def refuse(seen: Seen, reply: Reply) -> None:
        await reply.raw(
            status,
            b"<h1>no</h1>",
            www_authenticate='Bearer realm="theirs"',
            location="http://127.0.0.1:1/",
            content_type="text/html",
        )

    upstream.on["tools/call"] = upstream.on["prompts/list"] = refuse
    response = await post(http, scripted.mcp("scripted"), call())
    assert response.status_code == 200
    assert (response.json()["result"]["isError"], response.json()["result"]["_meta"]) == (True, FAILED)
    other = await post(http, scripted.mcp("scripted"), modern("prompts/list"))
    assert (other.status_code, other.json()["error"]["code"]) == (418 if status == 418 else 502, -32603)
    for told in (response, other):
        assert not {"www-authenticate", "location"} & set(told.headers)
    assert len(upstream.of("tools/call")) == 1, "a redirect is not followed"


async def test_an_upstream_that_is_not_there_was_not_called(scripted: Rig, http: httpx2.AsyncClient) -> None:
    await post(http, scripted.mcp("scripted"), call())
    scripted.policies.write(servers='servers: {scripted: {url: "http://127.0.0.1:1/mcp", tools: {echo: {}}}}')
    result = (await post(http, scripted.mcp("scripted"), call())).json()["result"]
    assert (result["isError"], result["_meta"]) == (True, FAILED)
    assert "The call was not made" in result["content"][0]["text"]


@pytest.mark.parametrize(
    "does",
    [
        pytest.param(lambda reply: reply.raw(200, b"<h1>hello</h1>", content_type="text/html"), id="a page"),
        pytest.param(lambda reply: reply.raw(500, b"oops", content_type="text/plain"), id="a 500"),
        pytest.param(
            lambda reply: reply.raw(200, b"\x1f\x8b", content_type="application/json", content_encoding="gzip"), id="gzip"
        ),
        pytest.param(lambda reply: reply.raw(200, b"{", content_type="application/json", content_length="99"), id="half a body"),
    ],
)
async def test_a_sent_call_without_an_answer_is_told_as_unknown(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient, does: Any
) -> None:
    async def broken(seen: Seen, reply: Reply) -> None:
        await does(reply)

    upstream.on["tools/call"] = broken
    result = (await post(http, scripted.mcp("scripted"), call())).json()["result"]
    assert (result["isError"], result["_meta"]) == (True, UNKNOWN)
    assert "Do not repeat it" in result["content"][0]["text"]


async def test_a_stream_passes_event_by_event(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    go_on = anyio.Event()

    async def slow(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": 1}})
        await reply.part(b"data: {half")
        await go_on.wait()
        await reply.part(b"}\n\n")
        await reply.event(answer(seen, said("done")))
        await reply.end()

    upstream.on["tools/call"] = slow
    headers = {"accept": "text/event-stream, application/json", "content-type": "application/json"}
    message = call()
    with anyio.fail_after(10):
        async with http.stream(
            "POST", scripted.mcp("scripted"), json=message,
            headers={**headers, "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "echo"},
        ) as response:  # fmt: skip
            chunks = response.aiter_raw()
            first = await anext(chunks)
            assert (b'"data": 1' in first, b"half" in first) == (True, False)
            go_on.set()
            rest = b"".join([chunk async for chunk in chunks])
    assert b"data: {half}\n\n" in rest and b"done" in rest


async def test_a_stream_that_ends_early_ends_with_an_error_for_the_caller(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    async def early(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        await reply.part(b'data: {"half an')
        await reply.end()

    upstream.on["tools/call"] = early
    response = await post(http, scripted.mcp("scripted"), call(id="seven"))
    last = events(response.text)[-1]
    assert (last["id"], last["error"]["code"]) == ("seven", -32603)
    assert "unknown" in last["error"]["message"]


async def test_an_event_without_end_ends_no_stream(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    async def deep(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event(answer(seen, said("done")))
        await reply.part(b'data: {"more":' + b"[" * 5_000 + b"]" * 5_000 + b"}\n\n")
        await reply.end()

    upstream.on["tools/call"] = deep
    response = await post(http, scripted.mcp("scripted"), call(id="seven"))
    assert b"[" * 5_000 in response.content
    assert events(response.text[-200:])[-1]["id"] == "seven"  # what came last answered nothing: that is said


async def test_ten_megabytes_pass(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    async def large(seen: Seen, reply: Reply) -> None:
        await reply.json(answer(seen, said("x" * 10_000_000)))

    upstream.on["tools/call"] = large
    response = await post(http, scripted.mcp("scripted"), call())
    assert len(response.json()["result"]["content"][0]["text"]) == 10_000_000


async def test_a_caller_that_hangs_up_hangs_up_on_the_upstream(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    left = anyio.Event()

    async def long(seen: Seen, reply: Reply) -> None:
        await reply.left()
        left.set()

    upstream.on["tools/call"] = long
    with anyio.move_on_after(0.5):
        await post(http, scripted.mcp("scripted"), call())
    with anyio.fail_after(5):
        await left.wait()


async def test_a_list_shows_what_may_be_called_and_is_private(scripted: Rig, http: httpx2.AsyncClient) -> None:
    scripted.policies.write(
        rules="defaults: {unmatched: deny}\nrules:\n  - {id: only, title: Only, match: {tool: echo}, effect: allow}\n"
    )
    result = (await post(http, scripted.mcp("scripted"), modern("tools/list"))).json()["result"]
    assert [tool["name"] for tool in result.pop("tools")] == ["echo", "approval_wait"]
    assert result == {"resultType": "complete", "ttlMs": 30_000, "cacheScope": "private"}


async def test_a_list_says_of_each_tool_whether_people_are_asked(scripted: Rig, http: httpx2.AsyncClient) -> None:
    scripted.policies.write(
        rules="defaults: {unmatched: allow, approval: {all_of: [{group: finance}]}}\nrules:\n"
        "  - {id: asks, match: {tool: park_me}, effect: require_approval}\n"
        "  - {id: large, match: {tool: echo}, when: args.amount > 3, effect: require_approval}\n"
        "  - {id: free, match: {tool: balance}, effect: allow}\n"
    )
    result = (await post(http, scripted.mcp("scripted"), modern("tools/list"))).json()["result"]
    said = {tool["name"]: tool.get("_meta", {}).get("approval-broker/approval") for tool in result["tools"]}
    assert said == {"echo": "sometimes", "park_me": "always", "approval_wait": None}


async def test_a_list_in_a_stream_carries_no_event_id(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    async def streamed(seen: Seen, reply: Reply) -> None:
        await reply.stream()
        await reply.event(b"data: \n\n", id="prime")
        await reply.event(answer(seen, {"tools": [{"name": "echo"}, {"name": "burn"}], "nextCursor": "2"}), id="e-1")
        await reply.end()

    upstream.on["tools/list"] = streamed
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    response = await legacy(http, url, request("tools/list"), session)
    assert [tool["name"] for tool in events(response.text)[0]["result"]["tools"]] == ["echo"]
    assert "id:" not in response.text


async def test_tasks_that_are_offered_are_the_brokers_and_an_upstream_hears_of_none(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url = scripted.mcp("scripted")
    declared = {"extensions": {"io.modelcontextprotocol/tasks": {}, "com.example/other": {}}}
    message = modern("server/discover", **{"io.modelcontextprotocol/clientCapabilities": declared})
    result = (await post(http, url, message)).json()["result"]
    assert result["capabilities"] == {
        "tools": {},
        "extensions": {"com.example/other": {}, "io.modelcontextprotocol/tasks": {}},
    }
    [seen] = upstream.of("server/discover")
    assert seen.message is not None
    told = seen.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
    assert told == {"extensions": {"com.example/other": {}}}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
    response = await legacy(http, url, request("initialize", hello))
    assert response.json()["result"]["capabilities"] == {"tools": {}}
    assert response.headers["mcp-session-id"] != SESSION
