"""Tasks of the extension, message by message: real store, desk and releaser behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpx2
import pytest
import redis.asyncio as redis

from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Verdict
from broker.gateway.voices import Pace
from broker.store import keys
from broker.store.open import Store
from tests.fakes.ledger_server import Ledger
from tests.fakes.scripted import Reply, Seen, Upstream
from tests.gateway.rig import Policies, Rig
from tests.gateway.wire import ENVELOPE, call, post

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
MOVE = {"to": "ada", "amount": 40}
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")


class Agent:
    """A client that declares tasks with each request."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url

    async def ask(self, method: str, params: dict[str, Any], **headers: str) -> httpx2.Response:
        meta = {**ENVELOPE, CAPABILITIES: TASKS}
        message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}
        with anyio.fail_after(20):
            return await post(self.http, self.url, message, **headers)

    async def told(self, method: str, task: str, **params: Any) -> dict[str, Any]:
        response = await self.ask(method, {"taskId": task, **params})
        assert response.status_code == 200, response.text
        return dict(response.json()["result"])

    async def call(self, tool: str = "transfer", arguments: dict[str, Any] = MOVE) -> dict[str, Any]:
        response = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert response.headers["content-type"] == "application/json"
        return dict(response.json()["result"])

    async def ended(self, task: str) -> dict[str, Any]:
        """Come back to a task until it works no more."""
        with anyio.fail_after(20):
            while (told := await self.told("tasks/get", task))["status"] == "working":  # noqa: ASYNC110  as clients do
                await anyio.sleep(0.02)
        return told


@pytest.fixture
async def quick(store: Store, policies: Policies) -> AsyncIterator[Rig]:
    """The gateway before the ledger; a call becomes a task after 50 ms."""
    async with Rig(store, policies, pace=Pace(commit_after=0.05, beat=1)).running() as running:
        yield running


@pytest.fixture
def agent(quick: Rig, http: httpx2.AsyncClient) -> Agent:
    return Agent(http, quick.mcp())


def expected(request: ApprovalRequest, told: dict[str, Any]) -> dict[str, Any]:
    """A working task, whole."""
    return {
        "taskId": request.id,
        "status": "working",
        "statusMessage": "waiting for approval by finance, 15 min left",
        "createdAt": request.opened_at.isoformat(),
        "lastUpdatedAt": request.opened_at.isoformat(),
        "ttlMs": 1_800_000,
        "pollIntervalMs": 2_000,
        "_meta": {
            "approval-broker/code": "pending",
            "approval-broker/request": request.id,
            "approval-broker/joined": told["_meta"]["approval-broker/joined"],
            "approval-broker/expires": request.expires_at.isoformat(),
        },
    }


async def test_a_call_that_waits_becomes_a_task_and_its_result_is_fetched(agent: Agent, quick: Rig, bank: Ledger) -> None:
    begun = await agent.call()
    [request] = await quick.asked()
    assert begun == {"resultType": "task", **expected(request, begun)}
    looked = await agent.told("tasks/get", begun["taskId"])
    assert looked == {"resultType": "complete", **expected(request, looked)}
    await quick.approve()
    ended = await agent.ended(begun["taskId"])
    assert (ended["status"], ended["result"]["content"][0]["text"]) == ("completed", "moved 40 to ada")
    assert ended["result"]["_meta"]["approval-broker/code"] == "released"
    assert datetime.fromisoformat(ended["lastUpdatedAt"]) > datetime.fromisoformat(ended["createdAt"])
    assert bank.effects() == [MOVE]


async def test_an_answer_that_comes_soon_needs_no_task(rig: Rig, http: httpx2.AsyncClient) -> None:
    async with anyio.create_task_group() as people:
        people.start_soon(rig.approve)
        result = await Agent(http, rig.mcp()).call()
    assert (result["content"][0]["text"], "taskId" in result) == ("moved 40 to ada", False)


async def test_allowed_and_denied_calls_never_become_tasks(agent: Agent) -> None:
    assert "taskId" not in await agent.call("balance", {})
    denied = await agent.call("burn", {})
    assert (denied["_meta"]["approval-broker/code"], denied["isError"]) == ("denied", True)


async def test_a_client_that_declares_no_tasks_gets_none(store: Store, policies: Policies, http: httpx2.AsyncClient) -> None:
    async with Rig(store, policies, hold=0.2, pace=Pace(0.05, 1)).running() as rig:
        response = await post(http, rig.mcp(), call("transfer", MOVE), accept="application/json")
        assert response.json()["result"]["_meta"]["approval-broker/code"] == "pending"
        assert response.json()["result"]["resultType"] == "complete"
        request_id = (await rig.asked())[0].id
        for method in METHODS:
            message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {"taskId": request_id, "_meta": ENVELOPE}}
            refused = await post(http, rig.mcp(), message)
            error = refused.json()["error"]
            assert (refused.status_code, refused.json()["id"], error["code"]) == (400, 7, -32021)
            assert error["data"] == {"requiredCapabilities": TASKS}


async def test_a_rejection_is_completed_with_an_error_that_the_model_reads(agent: Agent, quick: Rig, bank: Ledger) -> None:
    task = (await agent.call())["taskId"]
    [request] = await quick.asked()
    await quick.review(request, Verdict.REJECT, "wrong account")
    told = await agent.told("tasks/get", task)
    assert told["status"] == "completed" and "error" not in told
    assert told["result"] == {
        "resultType": "complete",
        "content": [
            {
                "type": "text",
                "text": "A person rejected this call; it was not made. Reason: wrong account. Do not repeat it unchanged.",
            }
        ],
        "isError": True,
        "_meta": {"approval-broker/code": "rejected", "approval-broker/request": task, "approval-broker/joined": False},
    }
    assert bank.effects() == []


async def test_expired_voided_forbidden_and_lost_are_completed_and_say_so(agent: Agent, quick: Rig) -> None:
    late = timedelta(hours=1)
    moves: dict[str, Any] = {
        "expired": lambda request, now: request.expired(now + late),
        "voided": lambda request, now: request.voided(now, "the tool changed"),
        "denied": lambda request, now: request.forbidden(now, "the policy denies it now"),
    }
    for code, move in moves.items():
        task = (await agent.call(arguments={**MOVE, "amount": len(code)}))["taskId"]
        await quick.store.requests.update(task, move)
        told = await agent.told("tasks/get", task)
        assert (told["status"], told["result"]["isError"]) == ("completed", True)
        assert told["result"]["_meta"]["approval-broker/code"] == code


async def test_an_unknown_outcome_is_completed_and_must_not_be_repeated(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    async def breaks_off(seen: Seen, reply: Reply) -> None:
        await reply.raw(500, b"half", content_type="text/plain")

    upstream.on["tools/call"] = breaks_off
    agent = Agent(http, scripted.mcp("scripted"))
    task = (await agent.call("park_me", {}))["taskId"]
    await scripted.approve()
    told = await agent.ended(task)
    assert (told["status"], told["result"]["isError"]) == ("completed", True)
    assert told["result"]["_meta"]["approval-broker/code"] == "unknown"
    assert "Do not repeat it" in told["result"]["content"][0]["text"]


async def test_only_a_json_rpc_error_fails_a_task(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    broken = {"code": -32603, "message": "the job broke down", "data": {"why": 1}}

    async def breaks(seen: Seen, reply: Reply) -> None:
        assert seen.message is not None
        await reply.json({"jsonrpc": "2.0", "id": seen.message["id"], "error": broken})

    upstream.on["tools/call"] = breaks
    agent = Agent(http, scripted.mcp("scripted"))
    task = (await agent.call("park_me", {}))["taskId"]
    await scripted.approve()
    told = await agent.ended(task)
    assert (told["status"], told["error"], "result" in told) == ("failed", broken, False)


async def test_a_withdrawn_task_is_cancelled_and_cancelling_again_is_harmless(agent: Agent, quick: Rig, bank: Ledger) -> None:
    task = (await agent.call())["taskId"]
    for _ in range(2):
        assert await agent.told("tasks/cancel", task) == {"resultType": "complete"}
    told = await agent.told("tasks/get", task)
    assert (told["status"], "result" in told, "error" in told) == ("cancelled", False, False)
    assert told["_meta"]["approval-broker/code"] == "cancelled"
    again = await agent.call()
    assert (again["resultType"], again["taskId"] != task) == ("task", True), "the same call is a new request"
    assert bank.effects() == []


async def test_cancelling_what_runs_is_acknowledged_and_changes_nothing(agent: Agent, quick: Rig, bank: Ledger) -> None:
    task = (await agent.call(arguments={**MOVE, "seconds": 0.5}))["taskId"]
    await quick.approve()
    with anyio.fail_after(10):
        await bank.until(1)
    assert await agent.told("tasks/cancel", task) == {"resultType": "complete"}
    assert (await agent.ended(task))["result"]["content"][0]["text"] == "moved 40 to ada"
    assert len(bank.effects()) == 1


async def test_what_was_fetched_may_be_fetched_again_while_it_is_kept_and_then_says_that_it_is_gone(
    agent: Agent, quick: Rig, bank: Ledger
) -> None:
    task = (await agent.call())["taskId"]
    await quick.approve()
    first = await agent.ended(task)
    assert await agent.told("tasks/get", task) == first
    with anyio.fail_after(10):
        while (await quick.store.requests.get(task)).delivered_at is None:  # noqa: ASYNC110  as above
            await anyio.sleep(0.01)
    async with redis.Redis.from_url(quick.store.url) as mailbox:
        assert await mailbox.delete(keys.answer(task)) == 1, "its time is over"
    gone = await agent.told("tasks/get", task)
    assert (gone["status"], gone["result"]["isError"]) == ("completed", True)
    assert gone["result"]["content"][0]["text"] == (
        "The call ran once, but its result is no longer here: its result was delivered before. "
        "Do not repeat it unless it should run again."
    )
    assert (await agent.call())["taskId"] != task, "a delivered answer is joined by nobody"
    assert bank.effects() == [MOVE]


async def test_a_repeated_call_joins_its_task(agent: Agent, quick: Rig) -> None:
    first, second = await agent.call(), await agent.call()
    assert first["taskId"] == second["taskId"]
    assert [told["_meta"]["approval-broker/joined"] for told in (first, second)] == [False, True]
    assert len(await quick.asked()) == 1


async def test_an_update_answers_nothing_and_approves_nothing(agent: Agent, quick: Rig) -> None:
    task = (await agent.call())["taskId"]
    answers = {"approve": {"action": "accept", "content": {"approve": True}}}
    assert await agent.told("tasks/update", task, inputResponses=answers) == {"resultType": "complete"}
    assert (await agent.told("tasks/get", task))["status"] == "working"
    refused = await agent.ask("tasks/update", {"taskId": task, "inputResponses": "yes"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("method", METHODS)
async def test_unknown_foreign_and_mistaken_tasks_read_alike(
    store: Store, policies: Policies, bank: Ledger, http: httpx2.AsyncClient, method: str
) -> None:
    policies.write(servers=f"servers: {{ledger: {{url: '{bank.url}'}}, other: {{url: '{bank.url}'}}}}")
    async with Rig(store, policies, pace=Pace(0.05, 1)).running() as rig:
        agent, elsewhere = Agent(http, rig.mcp()), Agent(http, rig.mcp("other"))
        task = (await agent.call())["taskId"]
        about: dict[str, Any] = {"inputResponses": {}}
        unknown = await agent.ask(method, {"taskId": task[:-1] + ("x" if task[-1] != "x" else "y"), **about})
        nonsense = await agent.ask(method, {"taskId": "x", **about})
        foreign = await agent.ask(method, {"taskId": task, **about}, authorization="Bearer mallory")
        astray = await elsewhere.ask(method, {"taskId": task, **about})
        assert unknown.text == nonsense.text == foreign.text == astray.text
        assert unknown.json() == {"jsonrpc": "2.0", "id": 7, "error": {"code": -32602, "message": "there is no such task"}}
        assert unknown.status_code == 400
        missing = await agent.ask(method, about)
        assert missing.json()["error"]["code"] == -32602
        assert len(await rig.asked()) == 1, "nobody else's call was withdrawn"


@pytest.mark.parametrize("method", METHODS)
async def test_the_header_has_to_name_the_task(agent: Agent, method: str) -> None:
    task = (await agent.call())["taskId"]
    refused = await agent.ask(method, {"taskId": task, "inputResponses": {}}, mcp_name="another")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32020)


async def test_another_broker_answers_for_a_task_and_after_the_first_is_gone(
    store: Store, policies: Policies, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    async with Rig(store, policies, pace=Pace(0.05, 1)).running() as first:
        task = (await Agent(http, first.mcp()).call())["taskId"]
    async with Rig(store, policies, broker="broker-2").running() as second:
        await second.approve()
        told = await Agent(http, second.mcp()).ended(task)
    assert (told["status"], bank.effects()) == ("completed", [MOVE])
