"""The waiting tool: for one's own calls, at this server, and not too often at once."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2

from broker.domain.calls import digest_of
from broker.domain.events import Opened
from tests.fakes.scripted import Upstream
from tests.gateway.rig import Rig
from tests.gateway.wire import call, events, post


def result_of(response: httpx2.Response) -> dict[str, Any]:
    told = events(response.text)[-1] if "event-stream" in response.headers["content-type"] else response.json()
    return dict(told["result"])


async def parked(rig: Rig, http: httpx2.AsyncClient, number: int = 1) -> str:
    """Park a call and leave; return its id."""
    with anyio.move_on_after(0.3):
        await post(http, rig.mcp("scripted"), call("park_me", {"n": number}))
    return (await rig.asked(number))[-1].id


async def test_unknown_and_foreign_requests_read_alike(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    request_id, url = await parked(scripted, http), scripted.mcp("scripted")
    unknown = await post(
        http, url, call("approval_wait", {"request_id": request_id[:-1] + ("x" if request_id[-1] != "x" else "y")})
    )
    foreign = await post(http, url, call("approval_wait", {"request_id": request_id}), authorization="Bearer mallory")
    assert unknown.text == foreign.text
    assert result_of(foreign)["content"][0]["text"] == "There is no such approval request."
    [still] = await scripted.asked()
    await scripted.review(still)
    with anyio.fail_after(10):
        await upstream.until("tools/call")
    late = await post(http, url, call("approval_wait", {"request_id": request_id}), authorization="Bearer mallory")
    assert late.text == foreign.text, "nor is a finished result for anybody else"


async def test_a_request_of_another_server_is_not_known_here(scripted: Rig, http: httpx2.AsyncClient) -> None:
    request_id = await parked(scripted, http)
    lines = scripted.policies.folder.joinpath("servers.yaml").read_text().splitlines()
    scripted.policies.write(servers="\n".join([*lines, lines[-1].replace("scripted:", "other:")]))
    response = await post(http, scripted.mcp("other"), call("approval_wait", {"request_id": request_id, "wait_seconds": 0}))
    assert result_of(response)["content"][0]["text"] == "There is no such approval request."


async def test_a_right_that_was_taken_away_is_gone_at_pick_up(scripted: Rig, http: httpx2.AsyncClient) -> None:
    request_id = await parked(scripted, http)
    response = await post(
        http, scripted.mcp("scripted"), call("approval_wait", {"request_id": request_id}), authorization="Bearer narrow"
    )
    assert response.status_code == 404


async def test_arguments_of_the_waiting_tool_are_checked(scripted: Rig, http: httpx2.AsyncClient) -> None:
    odd: list[dict[str, Any]] = [{}, {"request_id": 1}, {"request_id": "a", "wait_seconds": "45"}]
    odd += [{"request_id": "a", "wait_seconds": True}, {"request_id": "a", "wait_seconds": None}]
    for arguments in odd:
        response = await post(http, scripted.mcp("scripted"), call("approval_wait", arguments))
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32602), arguments


async def test_a_caller_waits_at_most_eight_times_at_once(scripted: Rig, http: httpx2.AsyncClient) -> None:
    request_id, url = await parked(scripted, http), scripted.mcp("scripted")
    results: list[dict[str, Any]] = []

    async def wait(number: int, seconds: float) -> None:
        message = call("approval_wait", {"request_id": request_id, "wait_seconds": seconds}, id=number)
        results.append(result_of(await post(http, url, message)))

    async with anyio.create_task_group() as waits:
        for number in range(8):
            waits.start_soon(wait, number, 45)
        with anyio.fail_after(10):
            while scripted.gateway._calls._waits["alice-bot|alice@example.com|"] < 8:  # noqa: ASYNC110  there is no event
                await anyio.sleep(0.01)
        await wait(9, 45)
        assert "already waits 8 times" in results.pop()["content"][0]["text"]
        await scripted.approve()
    assert [result["_meta"]["approval-broker/code"] for result in results] == ["released"] * 8
    await wait(10, 0)
    assert results[-1]["_meta"]["approval-broker/code"] == "released", "the waits were given back"


async def test_an_upstreams_tool_of_that_name_is_never_called(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    await post(http, scripted.mcp("scripted"), call("approval_wait", {"request_id": "x"}))
    assert upstream.of("tools/call") == []


async def test_an_agent_has_no_way_to_decide(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    request_id, url = await parked(scripted, http), scripted.mcp("scripted")
    told = [tool["name"] for tool in result_of(await post(http, url, {**call(), "method": "tools/list", "id": 2}))["tools"]]
    assert told == ["echo", "park_me", "approval_wait"]
    for tool in ("approval_approve", "approve", "desk.review", "approval_wait/approve"):
        await post(http, url, call(tool, {"request_id": request_id, "verdict": "approve"}))
    for path in ("approve", "requests", f"requests/{request_id}/approve", "scripted/approve"):
        assert (await http.post(f"{scripted.url}/mcp/{path}", json=call())).status_code == 404
    assert [request.id for request in await scripted.asked()] == [request_id]
    assert [seen.message and seen.message["params"]["name"] for seen in upstream.of("tools/call")] == []


async def test_what_the_agent_says_for_itself_is_kept_with_the_request_and_decides_nothing(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    message = call("park_me", {"amount": 1})
    message["params"]["_meta"]["approval-broker/reason"] = "the customer asked"
    message["params"]["_meta"]["approval-broker/batch"] = "refunds of May"
    async with anyio.create_task_group() as agents:
        agents.start_soon(post, http, scripted.mcp("scripted"), message)
        (request,) = await scripted.asked()
        await scripted.approve()
    told = [entry.event for entry in await scripted.store.audit.read(0, 10)]
    assert (request.origin.stated, request.origin.batch) == ("the customer asked", "refunds of May")
    assert (request.digest, request.call.params) == (request.call.digest(), {"name": "park_me", "arguments": {"amount": 1}})
    assert [event.stated for event in told if isinstance(event, Opened)] == [digest_of("the customer asked")]
    (sent,) = upstream.of("tools/call")
    assert "the customer asked" not in str(sent.message)
    assert "refunds of May" not in str(sent.message)


async def test_an_idempotency_key_separates_intents_and_refuses_another_call(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url, results = scripted.mcp("scripted"), {}

    async def ask(name: str, key: str, amount: int) -> None:
        message = call("park_me", {"amount": amount}, id=name)
        message["params"]["_meta"]["approval-broker/idempotency-key"] = key
        results[name] = result_of(await post(http, url, message))

    async with anyio.create_task_group() as agents:
        agents.start_soon(ask, "first", "k-1", 1)
        agents.start_soon(ask, "second", "k-2", 1)
        await scripted.asked(2)
        await ask("other", "k-1", 2)
        await scripted.approve(2)
    assert "this idempotency key stands for another call" in results["other"]["content"][0]["text"]
    assert {results[name]["_meta"]["approval-broker/code"] for name in ("first", "second")} == {"released"}
    assert len(upstream.of("tools/call")) == 2
