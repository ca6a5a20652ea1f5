"""`subscriptions/listen`: what moves in a task is pushed to who asked for it, beside the server's own changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.reviews import Verdict
from tests.fakes.asking import ANSWERS, CALL, FORM
from tests.fakes.scripted import Reply, Seen, Upstream
from tests.gateway.rig import CALLERS, Rig
from tests.gateway.wire import ENVELOPE, head, post

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


def listen(filter: dict[str, Any], capabilities: dict[str, Any] = TASKS) -> dict[str, Any]:
    params = {"notifications": filter, "_meta": {**ENVELOPE, CAPABILITIES: capabilities}}
    return {"jsonrpc": "2.0", "id": "sub", "method": "subscriptions/listen", "params": params}


async def ask(http: httpx2.AsyncClient, rig: Rig, method: str, params: dict[str, Any], **headers: str) -> dict[str, Any]:
    message = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": method,
        "params": {**params, "_meta": {**ENVELOPE, CAPABILITIES: TASKS | FORM}},
    }
    return dict((await post(http, rig.mcp("scripted"), message, **headers)).json()["result"])


@asynccontextmanager
async def listening(http: httpx2.AsyncClient, rig: Rig, filter: dict[str, Any], **headers: str) -> AsyncIterator[Any]:
    """Messages of one stream, each awaited for at most 15 s."""
    told = {**head("subscriptions/listen"), **headers}
    async with http.stream("POST", rig.mcp("scripted"), json=listen(filter), headers=told) as stream:
        lines = stream.aiter_lines()

        async def next_one() -> dict[str, Any]:
            with anyio.fail_after(15):
                async for line in lines:
                    if line.startswith("data:"):
                        return dict(json.loads(line.removeprefix("data:")))
            raise AssertionError("the stream ended")

        yield next_one


async def test_a_client_hears_of_each_move_of_its_task(asking: Rig, http: httpx2.AsyncClient) -> None:
    task = (await ask(http, asking, "tools/call", CALL))["taskId"]
    async with listening(http, asking, {"taskIds": [task, "apr_0_unknown"]}) as heard:
        acknowledged = await heard()
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert acknowledged["params"] == {"notifications": {"taskIds": [task]}, "_meta": {SUBSCRIPTION: "sub"}}
        told = await heard()
        assert (told["method"], told["params"]["status"]) == ("notifications/tasks", "working")
        await asking.approve()
        told = (await heard())["params"]
        assert (told["status"], told["_meta"][SUBSCRIPTION]) == ("input_required", "sub")
        assert told["inputRequests"].keys() == {"which"}
        await ask(http, asking, "tasks/update", {"taskId": task, "inputResponses": ANSWERS})
        assert (await heard())["params"]["status"] == "working"
        await asking.review((await asking.asked())[0], Verdict.REJECT, "not her")
        told = (await heard())["params"]
    looked = await ask(http, asking, "tasks/get", {"taskId": task})
    assert {**told, "resultType": "complete"} == {**looked, "_meta": {SUBSCRIPTION: "sub"}}
    assert (told["status"], told["taskId"]) == ("completed", task)


async def test_foreign_tasks_and_those_of_who_takes_none_are_not_told(asking: Rig, http: httpx2.AsyncClient) -> None:
    task = (await ask(http, asking, "tools/call", CALL))["taskId"]
    async with listening(http, asking, {"taskIds": [task]}, authorization="Bearer mallory") as heard:
        assert (await heard())["params"]["notifications"] == {"taskIds": []}
        await asking.review((await asking.asked())[0], Verdict.REJECT, "no")
        with anyio.move_on_after(0.5) as waited:
            await heard()
        assert waited.cancelled_caught
    for message, code in (
        (listen({"taskIds": [task]}, {}), -32021),
        (listen({"taskIds": task}), -32602),
        (listen({"taskIds": ["t"] * 101}), -32602),
    ):
        refused = await post(http, asking.mcp("scripted"), message)
        assert (refused.status_code, refused.json()["error"]["code"], refused.json()["id"]) == (400, code, "sub")


async def test_tasks_and_the_servers_own_changes_come_on_one_stream(
    asking: Rig, http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    changed = anyio.Event()

    async def listens(seen: Seen, reply: Reply) -> None:
        mark = {"_meta": {SUBSCRIPTION: "sub"}}
        await reply.stream()
        honoured = {"notifications": {"toolsListChanged": True}, **mark}
        await reply.event({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": honoured})
        await changed.wait()
        await reply.event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": mark})
        await reply.left()

    upstream.on["subscriptions/listen"] = listens
    task = (await ask(http, asking, "tools/call", CALL))["taskId"]
    async with listening(http, asking, {"toolsListChanged": True, "taskIds": [task]}) as heard:
        assert (await heard())["params"]["notifications"] == {"toolsListChanged": True, "taskIds": [task]}
        assert (await heard())["params"]["taskId"] == task
        changed.set()
        assert (await heard())["method"] == "notifications/tools/list_changed"
        await asking.approve()
        assert (await heard())["params"]["status"] == "input_required"
    [seen] = upstream.of("subscriptions/listen")
    assert seen.message is not None
    assert seen.message["params"]["notifications"] == {"toolsListChanged": True}, "no server hears of the broker's tasks"


async def test_a_server_that_fails_is_told_as_ever(asking: Rig, http: httpx2.AsyncClient, upstream: Upstream) -> None:
    async def breaks(seen: Seen, reply: Reply) -> None:
        await reply.raw(500, b"<html>", content_type="text/html")

    upstream.on["subscriptions/listen"] = breaks
    refused = await post(http, asking.mcp("scripted"), listen({"toolsListChanged": True, "taskIds": []}))
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, -32603)


async def test_a_stream_of_tasks_ends_with_the_broker(asking: Rig, http: httpx2.AsyncClient) -> None:
    told = head("subscriptions/listen")
    with anyio.fail_after(15):
        async with http.stream("POST", asking.mcp("scripted"), json=listen({"taskIds": []}), headers=told) as stream:
            lines = stream.aiter_lines()
            assert "message" in await anext(lines)
            asking.gateway.drain()
            assert [line async for line in lines if "error" in line] == []


async def test_who_would_not_be_let_in_any_more_is_told_nothing_more(
    asking: Rig, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = (await ask(http, asking, "tools/call", CALL))["taskId"]
    async with listening(http, asking, {"taskIds": [task]}) as heard:
        await heard()
        assert (await heard())["params"]["status"] == "working"
        monkeypatch.delitem(CALLERS, "alice")
        await asking.review((await asking.asked())[0], Verdict.REJECT, "no")
        with anyio.move_on_after(0.5) as waited:
            await heard()
        assert waited.cancelled_caught
