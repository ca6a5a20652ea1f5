"""Calls that wait for people, with the SDK's clients of both eras and real parts all the way to the server."""

from __future__ import annotations

import time
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation

from broker.domain.reviews import Verdict
from broker.gateway.voices import Pace
from tests.fakes.ledger_server import Ledger
from tests.gateway.rig import Rig
from tests.gateway.wire import call, events, post

ME = Implementation(name="a-client-of-its-own", version="1")
MODES = ("auto", "legacy")


def client(rig: Rig, http: httpx2.AsyncClient, mode: Any = "auto", server: str = "ledger") -> Client:
    return Client(streamable_http_client(rig.mcp(server), http_client=http), mode=mode, client_info=ME)


def told(result: Any) -> str:
    return "".join(block.text for block in result.content)


def code(result: Any) -> str:
    return str(result.meta["approval-broker/code"])


@pytest.mark.parametrize("mode", MODES)
async def test_an_allowed_call_passes_and_lists_are_the_servers_and_the_waiting_tool(
    rig: Rig, http: httpx2.AsyncClient, bank: Ledger, mode: str
) -> None:
    async with Client(bank.url, mode=mode) as direct, client(rig, http, mode) as through:
        assert await through.call_tool("balance") == await direct.call_tool("balance")
        names = [tool.name for tool in (await through.list_tools()).tools]
        assert names == [tool.name for tool in (await direct.list_tools()).tools] + ["approval_wait"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_approved_call_runs_once_and_answers_its_caller(
    rig: Rig, http: httpx2.AsyncClient, bank: Ledger, mode: str
) -> None:
    async with client(rig, http, mode) as agent, anyio.create_task_group() as people:
        people.start_soon(rig.approve)
        result = await agent.call_tool("transfer", {"to": "ada", "amount": 40})
    assert (result.is_error, told(result), code(result)) == (False, "moved 40 to ada", "released")
    assert bank.effects() == [{"to": "ada", "amount": 40}]


@pytest.mark.parametrize("mode", MODES)
async def test_a_rejection_tells_the_model_why(rig: Rig, http: httpx2.AsyncClient, bank: Ledger, mode: str) -> None:
    async def reject() -> None:
        [request] = await rig.asked()
        await rig.review(request, Verdict.REJECT, "wrong\u202e account")

    async with client(rig, http, mode) as agent, anyio.create_task_group() as people:
        people.start_soon(reject)
        result = await agent.call_tool("transfer", {"to": "ada", "amount": 40})
    assert (result.is_error, code(result)) == (True, "rejected")
    assert told(result) == (
        "A person rejected this call; it was not made. Reason: wrong\\u{202e} account. Do not repeat it unchanged."
    )
    assert bank.effects() == []


async def test_a_denied_call_is_a_result_that_names_the_rule(rig: Rig, http: httpx2.AsyncClient) -> None:
    async with client(rig, http) as agent:
        result = await agent.call_tool("burn", {})
    assert (result.is_error, code(result)) == (True, "denied")
    assert "(never)" in told(result)


@pytest.mark.parametrize("mode", MODES)
async def test_progress_grows_from_waiting_into_the_servers_own(
    store: Any, policies: Any, http: httpx2.AsyncClient, mode: str
) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def progress(now: float, total: float | None, message: str | None) -> None:
        heard.append((now, total, message))
        if len(heard) == 2:
            await rig.approve()

    async with Rig(store, policies, pace=Pace(0.05, 0.05)).running() as rig, client(rig, http, mode) as agent:
        result = await agent.call_tool("transfer", {"to": "ada", "amount": 40}, progress_callback=progress)
    assert code(result) == "released"
    assert [told for _, _, told in heard][:2] == ["waiting for approval by finance, 15 min left"] * 2
    assert heard[-1][2] == "the money has moved"
    assert [now for now, _, _ in heard] == sorted({now for now, _, _ in heard})


async def test_a_call_that_waits_too_long_is_pending_and_the_waiting_tool_gets_its_result(
    store: Any, policies: Any, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    async with Rig(store, policies, hold=0.3).running() as rig, client(rig, http) as agent:
        pending = await agent.call_tool("transfer", {"to": "ada", "amount": 40})
        assert (pending.is_error, code(pending), pending.meta["approval-broker/joined"]) == (True, "pending", False)
        request_id = pending.meta["approval-broker/request"]
        assert request_id in told(pending) and "approval_wait" in told(pending)
        still = await agent.call_tool("approval_wait", {"request_id": request_id, "wait_seconds": 0})
        assert (code(still), still.meta["approval-broker/request"]) == ("pending", request_id)
        async with anyio.create_task_group() as people:
            people.start_soon(rig.approve)
            with anyio.fail_after(20):
                while code(result := await agent.call_tool("approval_wait", {"request_id": request_id})) == "pending":
                    continue  # as agents do: each answer is held for 0.3 s
        assert (told(result), code(result)) == ("moved 40 to ada", "released")
        another = await agent.call_tool("transfer", {"to": "ada", "amount": 40})
        assert (code(another), another.meta["approval-broker/request"] != request_id) == ("pending", True)
    assert bank.effects() == [{"to": "ada", "amount": 40}]


async def test_a_caller_that_lost_its_connection_calls_again_and_gets_the_one_result(
    rig: Rig, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    async with client(rig, http) as agent:
        with anyio.move_on_after(0.5):
            await agent.call_tool("transfer", {"to": "ada", "amount": 40})
        await rig.approve()
        with anyio.fail_after(10):
            await bank.until(1)
        result = await agent.call_tool("transfer", {"to": "ada", "amount": 40})
    assert (told(result), result.meta["approval-broker/joined"]) == ("moved 40 to ada", True)
    assert bank.effects() == [{"to": "ada", "amount": 40}]


async def test_fifty_identical_calls_are_one_request_one_execution_and_fifty_answers(
    rig: Rig, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    results: list[dict[str, Any]] = []

    async def ask(number: int) -> None:
        message = call("transfer", {"to": "ada", "amount": 40}, id=number)
        response = await post(http, rig.mcp(), message)
        told = events(response.text)[-1] if response.text.startswith(("event", ":")) else response.json()
        assert told["id"] == number
        results.append(told["result"])

    async with anyio.create_task_group() as agents:
        for number in range(50):
            agents.start_soon(ask, number)
        await rig.approve()
    assert [result["content"][0]["text"] for result in results] == ["moved 40 to ada"] * 50
    assert sorted(result["_meta"]["approval-broker/joined"] for result in results) == [False] + [True] * 49
    assert bank.effects() == [{"to": "ada", "amount": 40}]


async def test_shutdown_answers_pending_to_everybody(rig: Rig, http: httpx2.AsyncClient) -> None:
    results: list[Any] = []

    async def ask(amount: int) -> None:
        async with client(rig, http) as agent:
            results.append(await agent.call_tool("transfer", {"to": "ada", "amount": amount}))

    began = time.monotonic()
    async with anyio.create_task_group() as agents:
        for amount in range(5):
            agents.start_soon(ask, amount)
        await rig.asked(5)
        rig.gateway.drain()
    assert [code(result) for result in results] == ["pending"] * 5
    assert time.monotonic() - began < 5


async def test_who_leaves_leaves_nothing_behind(rig: Rig, http: httpx2.AsyncClient) -> None:
    for amount in range(3):
        with anyio.move_on_after(0.3):
            await post(http, rig.mcp(), call("transfer", {"to": "ada", "amount": amount}))
    with anyio.fail_after(5):
        while rig.gateway._attendances._holds or rig.releaser._lines:  # noqa: ASYNC110  there is no event for it
            await anyio.sleep(0.01)
    assert len(await rig.asked(3)) == 3, "the requests stay"
