"""A server that asks back during a release (`asks_back`): its caller is asked, and the answers are reviewed like any call."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from broker.approvals.ports import Query
from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Verdict
from tests.fakes.asking import ANSWERS, CALL, FORM, QUESTION
from tests.fakes.scripted import Upstream
from tests.gateway.rig import RULES, Rig
from tests.gateway.wire import ENVELOPE, begun, events, legacy, post, request

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


class Agent:
    def __init__(self, http: httpx2.AsyncClient, rig: Rig, capabilities: dict[str, Any] = FORM) -> None:
        self.http = http
        self.rig = rig
        self.meta = {**ENVELOPE, CAPABILITIES: capabilities}

    async def send(self, params: dict[str, Any], server: str = "scripted", **headers: str) -> httpx2.Response:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**params, "_meta": self.meta}}
        with anyio.fail_after(20):
            return await post(self.http, self.rig.mcp(server), message, **headers)

    async def call(self, params: dict[str, Any] = CALL, verdict: Verdict = Verdict.APPROVE) -> dict[str, Any]:
        """Call, have it reviewed, and return the result."""
        told: list[dict[str, Any]] = []

        async def calling() -> None:
            told.append(result_of(await self.send(params)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calling)
            await self.rig.review((await self.rig.asked())[0], verdict, "no" if verdict is Verdict.REJECT else "")
        return told[0]

    async def refused(self, params: dict[str, Any], **headers: str) -> str:
        response = await self.send(params, **headers)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, -32602)
        return str(error["message"])


def answer_of(response: httpx2.Response) -> dict[str, Any]:
    return dict(response.json() if "json" in response.headers["content-type"] else events(response.text)[-1])


def result_of(response: httpx2.Response) -> dict[str, Any]:
    return dict(answer_of(response)["result"])


def brought(asked: dict[str, Any], answers: Any = ANSWERS, **more: Any) -> dict[str, Any]:
    return {**CALL, "inputResponses": answers, "requestState": asked["requestState"], **more}


@pytest.fixture
def agent(asking: Rig, http: httpx2.AsyncClient) -> Agent:
    return Agent(http, asking)


async def test_each_round_is_asked_reviewed_and_sent_once(agent: Agent, asking: Rig, upstream: Upstream) -> None:
    first = await agent.call()
    assert (first["resultType"], first["inputRequests"]) == ("input_required", {"which": QUESTION})
    assert first["requestState"].startswith("broker.back.") and first["_meta"]["approval-broker/code"] == "released"
    second = await agent.call(brought(first))
    assert second["resultType"] == "input_required" and second["requestState"] != first["requestState"]
    other = {"which": {"action": "decline"}}
    last = await agent.call(brought(second, other))
    assert last["resultType"] == "complete"
    sent = [seen.message["params"] for seen in upstream.of("tools/call") if seen.message]
    assert [{name: value for name, value in params.items() if name != "_meta"} for params in sent] == [
        CALL,
        {**CALL, "inputResponses": ANSWERS, "requestState": "first"},
        {**CALL, "inputResponses": other, "requestState": "second"},
    ]
    assert [params["_meta"][CAPABILITIES] for params in sent] == [FORM] * 3


async def test_people_see_the_answers_and_may_reject_them(agent: Agent, asking: Rig, upstream: Upstream) -> None:
    first = await agent.call()
    rejected = await agent.call(brought(first), Verdict.REJECT)
    assert (rejected["_meta"]["approval-broker/code"], rejected["isError"]) == ("rejected", True)
    parked = await asking.desk.look(rejected["_meta"]["approval-broker/request"])
    assert parked.call.params == {**CALL, "inputResponses": ANSWERS, "requestState": "first"}
    assert (parked.origin.continues, parked.origin.asked) == (first["_meta"]["approval-broker/request"], {"which": "Which?"})
    assert len(upstream.of("tools/call")) == 1


async def test_forged_foreign_altered_and_repeated_answers_are_refused(agent: Agent, asking: Rig, upstream: Upstream) -> None:
    first = await agent.call()
    state = first["requestState"]
    assert "not handed out" in await agent.refused(brought({"requestState": state + "x"}))
    assert "not handed out" in await agent.refused(brought(first), authorization="Bearer mallory")
    for altered in ({"arguments": {"amount": 9_000}}, {"name": "echo"}, {"more": 1}, {"task": {"ttl": 1}}):
        assert "another call" in await agent.refused(brought(first, **altered))
    assert "an object" in await agent.refused(brought(first, [1]))
    assert "can't bring" in await agent.refused({**CALL, "inputResponses": ANSWERS})
    assert "can't bring" in await agent.refused(brought({"requestState": "first"}))
    assert (await asking.store.requests.find(Query())).requests[0].id == first["_meta"]["approval-broker/request"]
    await agent.call(brought(first))
    assert "answered before" in await agent.refused(brought(first, {"which": {"action": "cancel"}}))
    assert len(upstream.of("tools/call")) == 2


async def test_the_same_answers_join(agent: Agent, asking: Rig, upstream: Upstream) -> None:
    first = await agent.call()
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(agent.send, brought(first))
        [parked] = await asking.asked()
        await asking.review(parked)
    assert len(upstream.of("tools/call")) == 2
    again = result_of(await agent.send(brought(first)))
    assert again["_meta"]["approval-broker/request"] == parked.id
    assert len(upstream.of("tools/call")) == 2


async def test_rules_that_would_let_the_answers_pass_by_now_still_ask(agent: Agent, asking: Rig) -> None:
    first = await agent.call()
    asking.policies.write(rules=RULES.replace("effect: require_approval", "effect: allow"))
    second = await agent.call(brought(first))
    assert second["resultType"] == "input_required"
    asking.policies.write(rules=RULES.replace("effect: require_approval", "effect: deny"))
    denied = result_of(await agent.send(brought(second)))
    assert denied["_meta"]["approval-broker/code"] == "denied"


async def test_a_question_that_was_waited_for_is_answered_through_the_waiting_tool(
    agent: Agent, asking: Rig, upstream: Upstream
) -> None:
    [parked] = await parked_by(agent, asking)
    await asking.review(parked)
    wait = {"name": "approval_wait", "arguments": {"request_id": parked.id, "wait_seconds": 10}}
    asked = result_of(await agent.send(wait))
    assert asked["inputRequests"] == {"which": QUESTION}
    second = await agent.call({**wait, "inputResponses": ANSWERS, "requestState": asked["requestState"]})
    assert second["resultType"] == "input_required"
    sent = upstream.of("tools/call")[1].message
    assert sent is not None and sent["params"]["name"] == "park_me" and sent["params"]["arguments"] == CALL["arguments"]


async def test_a_server_that_may_not_ask_and_a_client_that_can_not_be_asked_finish_nothing(
    asking: Rig, http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    for server, capabilities in (("silent", FORM), ("scripted", {}), ("scripted", {"sampling": {}})):
        agent = Agent(http, asking, capabilities)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asking.approve)
            response = await agent.send(CALL, server)
        assert "was not finished" in answer_of(response)["error"]["message"]
        sent = upstream.of("tools/call")[-1].message
        assert sent is not None
        assert sent["params"]["_meta"][CAPABILITIES] == (capabilities if server == "scripted" else {})


async def test_who_joins_without_being_able_to_be_asked_reads_that_it_was_not_finished(
    agent: Agent, asking: Rig, http: httpx2.AsyncClient
) -> None:
    [parked] = await parked_by(agent, asking)
    await asking.review(parked)
    session = await begun(http, asking.mcp("scripted"))
    joined = await legacy(http, asking.mcp("scripted"), request("tools/call", CALL), session)
    result = result_of(joined)
    assert (result["isError"], result["_meta"]["approval-broker/code"]) == (True, "failed")
    assert "can't be asked" in result["content"][0]["text"]


async def test_a_question_is_good_for_a_while(agent: Agent, asking: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await agent.call()
    rounds = asking.gateway._calls._rounds
    now = rounds._clock()
    monkeypatch.setattr(rounds, "_clock", lambda: now + rounds._kept)
    assert "too late" in await agent.refused(brought(first))


async def parked_by(agent: Agent, asking: Rig) -> list[ApprovalRequest]:
    """Have a call parked whose caller then leaves."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.send, CALL)
        found = await asking.asked()
        tasks.cancel_scope.cancel()
    return found
