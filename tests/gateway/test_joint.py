"""One address for all servers: the same lists, judgement and answers as at each server's own, under joint names."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation

from broker.gateway import joint_lists
from broker.gateway.envelope import parsed
from broker.gateway.eras import check_headers, wrapped
from broker.gateway.heads import Head
from broker.store.open import Store
from tests.fakes.ledger_server import Ledger
from tests.fakes.scripted import Reply, Seen, Upstream, answer, said
from tests.gateway.rig import Policies, Rig
from tests.gateway.wire import begun, call, legacy, modern, post, request

ME = Implementation(name="a-client-of-its-own", version="1")
META = "approval-broker/"
TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


async def test_a_list_holds_every_servers_tools_under_joint_names_and_says_who_is_missing(
    joint: Rig, http: httpx2.AsyncClient
) -> None:
    result = (await post(http, joint.all, modern("tools/list"))).json()["result"]
    tools = result.pop("tools")
    assert [(tool["name"], tool.get("_meta", {}).get(META + "approval")) for tool in tools] == [
        ("one__echo", "never"), ("one__park_me", "always"), ("two__echo", "never"), ("two__park_me", "always"),
        ("approval_wait", None),
    ]  # fmt: skip
    away = {"gone": "the server gone can't be reached (ConnectionRefusedError)"}
    assert result == {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": {META + "unavailable": away}}


async def test_a_server_that_hangs_holds_up_no_list_for_long(
    joint: Rig, upstream: Upstream, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(seen: Seen, reply: Reply) -> None:
        await reply.left()

    upstream.on["tools/list"] = hang
    monkeypatch.setattr(joint_lists, "WITHIN", 0.3)
    with anyio.fail_after(5):
        result = (await post(http, joint.all, modern("tools/list"))).json()["result"]
    assert [tool["name"] for tool in result["tools"]] == ["two__echo", "two__park_me", "approval_wait"]
    assert set(result["_meta"][META + "unavailable"]) == {"one", "gone"}


async def test_a_list_is_paged_by_names_and_offers_the_waiting_tool_once(
    joint: Rig, upstream: Upstream, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def paged(seen: Seen, reply: Reply) -> None:
        assert seen.message is not None
        page = int(seen.message["params"].get("cursor", 0))
        more = {"nextCursor": str(page + 1)} if page < 2 else {}
        await reply.json(answer(seen, {"tools": [{"name": f"echo{page}", "inputSchema": {}}], **more}))

    upstream.on["tools/list"] = paged
    monkeypatch.setattr(joint_lists, "ON_A_PAGE", 2)
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while not pages or cursor:
        result = (await post(http, joint.all, modern("tools/list", cursor))).json()["result"]
        pages.append([tool["name"] for tool in result["tools"]])
        cursor = {"cursor": result["nextCursor"]} if "nextCursor" in result else {}
    assert pages == [["one__echo0", "one__echo1"], ["one__echo2", "two__echo"], ["two__park_me", "approval_wait"]]
    assert (await post(http, joint.all, modern("tools/list", {"cursor": 7}))).json()["error"]["code"] == -32602


async def test_a_call_reaches_its_server_under_the_names_that_it_gave(
    joint: Rig, upstream: Upstream, other: Upstream, http: httpx2.AsyncClient
) -> None:
    response = await post(http, joint.all, call("two__echo", {"a": 1}))
    assert response.json()["result"] == said('{"a": 1}')
    [seen] = other.of("tools/call")
    assert seen.message == call("echo", {"a": 1})
    assert seen.headers["mcp-name"] == "echo"
    assert upstream.of("tools/call") == []


@pytest.mark.parametrize("name", ["echo", "a b", "héllo", " padded", "=?base64?aGk=?=", ""])
def test_a_name_goes_into_its_header_and_comes_out_as_it_was(name: str) -> None:
    head = wrapped(name)
    assert head.isascii() and head.strip() == head
    check_headers(Head(version="2026-07-28", method="tools/call", name=head), parsed(json.dumps(call(name)).encode()))


async def test_a_parked_call_is_the_one_that_its_servers_own_address_parks(joint: Rig, http: httpx2.AsyncClient) -> None:
    tasks = []
    for url, tool in ((joint.mcp("one"), "park_me"), (joint.all, "one__park_me")):
        parked = modern("tools/call", {"name": tool, "arguments": {"n": 1}}, **TASKS)
        tasks.append((await post(http, url, parked)).json()["result"])
    [asked] = await joint.asked()
    assert [(task["taskId"], task["_meta"][META + "joined"]) for task in tasks] == [(asked.id, False), (asked.id, True)]
    assert (asked.call.server, asked.call.tool) == ("one", "park_me")
    await joint.review(asked)
    mailed = (await post(http, joint.all, call("one__park_me", {"n": 1}), accept="application/json")).json()
    result = mailed["result"]
    assert result["content"] == said('{"n": 1}')["content"]


@pytest.mark.parametrize(
    ("who", "tool"), [("alice", "nowhere__echo"), ("alice", "echo"), ("alice", "one__"), ("narrow", "one__echo")]
)
async def test_a_name_that_leads_nowhere_for_this_caller_is_an_error_that_says_how_names_are(
    joint: Rig, http: httpx2.AsyncClient, who: str, tool: str
) -> None:
    response = await post(http, joint.all, call(tool), authorization=f"Bearer {who}")
    told = "there is nothing of this name: names here are SERVER__NAME"
    assert (response.status_code, response.json()["error"]) == (400, {"code": -32602, "message": told})


async def test_a_caller_without_servers_gets_a_list_of_nothing_but_waiting(joint: Rig, http: httpx2.AsyncClient) -> None:
    response = await post(http, joint.all, modern("tools/list"), authorization="Bearer narrow")
    result = response.json()["result"]
    assert [tool["name"] for tool in result["tools"]] == ["approval_wait"]
    assert "_meta" not in result
    unknown = await post(http, joint.all, modern("tools/list"), authorization="Bearer nobody")
    assert (unknown.status_code, unknown.headers["www-authenticate"]) == (401, "Bearer")


async def test_what_is_denied_is_denied_here_too(joint: Rig, http: httpx2.AsyncClient) -> None:
    result = (await post(http, joint.all, call("one__burn"))).json()["result"]
    assert result["_meta"][META + "code"] == "denied"


async def test_the_waiting_tool_and_tasks_find_their_request(joint: Rig, http: httpx2.AsyncClient) -> None:
    parked = modern("tools/call", {"name": "two__park_me", "arguments": {}}, **TASKS)
    task = (await post(http, joint.all, parked)).json()["result"]
    assert task["resultType"] == "task"
    get = modern("tasks/get", {"taskId": task["taskId"]}, **TASKS)
    assert (await post(http, joint.all, get)).json()["result"]["status"] == "working"
    wait = call("approval_wait", {"request_id": task["taskId"], "wait_seconds": 0})
    assert (await post(http, joint.all, wait)).json()["result"]["_meta"][META + "code"] == "pending"
    foreign = await post(http, joint.all, get, authorization="Bearer mallory")
    unknown = await post(http, joint.all, modern("tasks/get", {"taskId": "apr_0_nothing"}, **TASKS))
    assert foreign.json()["error"] == unknown.json()["error"] == {"code": -32602, "message": "there is no such task"}
    stray = await post(http, joint.all, wait, authorization="Bearer mallory")
    assert stray.json()["result"]["content"][0]["text"] == "There is no such approval request."


def listing(*uris: str) -> Any:
    async def listed(seen: Seen, reply: Reply) -> None:
        await reply.json(answer(seen, {"resources": [{"uri": uri, "name": uri} for uri in uris]}))

    return listed


async def test_resources_are_merged_and_read_where_one_server_alone_lists_them(
    joint: Rig, upstream: Upstream, other: Upstream, http: httpx2.AsyncClient
) -> None:
    upstream.on["resources/list"], other.on["resources/list"] = (
        listing("memo://a", "memo://both"),
        listing("memo://both", "memo://b"),
    )
    result = (await post(http, joint.all, modern("resources/list"))).json()["result"]
    assert [entry["uri"] for entry in result["resources"]] == ["memo://a", "memo://b"]
    assert result["_meta"][META + "ambiguous"] == ["memo://both"]
    for uri, owners in (("memo://b", [other]), ("memo://both", []), ("memo://none", [])):
        before = {id(server): len(server.of("resources/read")) for server in (upstream, other)}
        response = await post(http, joint.all, modern("resources/read", {"uri": uri}), mcp_name=uri)
        read = [server for server in (upstream, other) if len(server.of("resources/read")) > before[id(server)]]
        assert read == owners
        if not owners:
            error = response.json()["error"]
            assert (error["code"], error["message"].endswith("read it at the server's own address, /mcp/SERVER")) == (
                -32601,
                True,
            )


async def test_prompts_and_their_completions_go_by_joint_names(joint: Rig, other: Upstream, http: httpx2.AsyncClient) -> None:
    async def listed(seen: Seen, reply: Reply) -> None:
        await reply.json(answer(seen, {"prompts": [{"name": "greet"}]}))

    other.on["prompts/list"] = listed
    result = (await post(http, joint.all, modern("prompts/list"))).json()["result"]
    assert [prompt["name"] for prompt in result["prompts"]] == ["two__greet"]
    await post(http, joint.all, modern("prompts/get", {"name": "two__greet"}))
    ref = {"ref": {"type": "ref/prompt", "name": "two__greet"}, "argument": {"name": "who", "value": "a"}}
    await post(http, joint.all, modern("completion/complete", ref))
    [got], [completed] = other.of("prompts/get"), other.of("completion/complete")
    assert (got.message["params"]["name"], completed.message["params"]["ref"]["name"]) == ("greet", "greet")  # type: ignore[index]


@pytest.mark.parametrize("method", ["subscriptions/listen", "logging/setLevel", "resources/subscribe"])
async def test_what_needs_one_server_says_where_it_is(joint: Rig, http: httpx2.AsyncClient, method: str) -> None:
    if method == "subscriptions/listen":
        response = await post(http, joint.all, modern(method))
    else:
        response = await legacy(http, joint.all, request(method), await begun(http, joint.all))
    text = f"`{method}` is not offered at this address: use the server's own, /mcp/SERVER"
    assert response.json()["error"] == {"code": -32601, "message": text}


async def test_discovery_asks_no_server(joint: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    result = (await post(http, joint.all, modern("server/discover"))).json()["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["capabilities"] == {
        "tools": {}, "prompts": {}, "resources": {}, "completions": {}, "extensions": {"io.modelcontextprotocol/tasks": {}},
    }  # fmt: skip
    assert upstream.seen == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_lists_and_calls(store: Store, policies: Policies, bank: Ledger, mode: Any) -> None:
    async with (
        Rig(store, policies).running() as rig,
        httpx2.AsyncClient(headers={"authorization": "Bearer alice"}, timeout=20) as http,
        Client(streamable_http_client(rig.all, http_client=http), mode=mode, client_info=ME) as client,
    ):
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert [name for name in names if "__" not in name] == ["approval_wait"]
        assert {"ledger__balance", "ledger__transfer"} <= set(names)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rig.approve)
            result = await client.call_tool("ledger__transfer", {"to": f"ada-{mode}", "amount": 4})
        assert (result.is_error, result.content[0].text) == (False, f"moved 4 to ada-{mode}")  # type: ignore[union-attr]
    assert bank.counts() == {f"ada-{mode}": 1}
