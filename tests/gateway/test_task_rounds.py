"""A task whose server asks back: one task over all rounds, whose client answers by updates, and people review each round."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.outcomes import Code
from broker.domain.requests import RequestId, RequestState
from broker.domain.reviews import Verdict
from broker.domain.rounds import continued, continuing
from tests.fakes.asking import ANSWERS, CALL, FORM, QUESTION
from tests.fakes.scripted import Reply, Seen, Upstream, answer
from tests.gateway.rig import RULES, Rig
from tests.gateway.wire import ENVELOPE, post

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


class Agent:
    """A client that takes tasks and, when it calls, says that it can be asked."""

    def __init__(self, http: httpx2.AsyncClient, rig: Rig) -> None:
        self.http = http
        self.rig = rig

    async def ask(self, method: str, params: dict[str, Any], capabilities: dict[str, Any] = TASKS, **headers: str) -> Any:
        meta = {**ENVELOPE, CAPABILITIES: capabilities}
        message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}
        with anyio.fail_after(20):
            return (await post(self.http, self.rig.mcp("scripted"), message, **headers)).json()

    async def get(self, task: str) -> dict[str, Any]:
        return dict((await self.ask("tasks/get", {"taskId": task}))["result"])

    async def update(self, task: str, answers: Any, **headers: str) -> Any:
        return await self.ask("tasks/update", {"taskId": task, "inputResponses": answers}, **headers)

    async def until(self, task: str, status: str) -> dict[str, Any]:
        with anyio.fail_after(20):
            while (told := await self.get(task))["status"] != status:  # noqa: ASYNC110  as clients do
                await anyio.sleep(0.02)
        return told

    async def asked(self) -> str:
        """Call, have it approved, and return the task once its server asks."""
        task: str = (await self.ask("tools/call", CALL, {**TASKS, **FORM}))["result"]["taskId"]
        await self.rig.approve()
        await self.until(task, "input_required")
        return task


@pytest.fixture
def agent(asking: Rig, http: httpx2.AsyncClient) -> Agent:
    return Agent(http, asking)


async def test_one_task_goes_through_all_rounds_and_each_is_reviewed(agent: Agent, asking: Rig, upstream: Upstream) -> None:
    task = await agent.asked()
    told = await agent.get(task)
    assert (told["inputRequests"], "result" in told) == ({"which": QUESTION}, False)
    assert await agent.update(task, ANSWERS) == {"jsonrpc": "2.0", "id": 7, "result": {"resultType": "complete"}}
    assert (await agent.get(task))["status"] == "working"
    [parked] = await asking.approve()
    assert (parked.origin.continues, parked.origin.asked) == (task, {"which": "Which?"})
    assert parked.call.params["inputResponses"] == ANSWERS
    told = await agent.until(task, "input_required")
    assert told["inputRequests"] == {"1.which": QUESTION}, "no name comes twice"
    await agent.update(task, ANSWERS)
    assert (await agent.get(task))["status"] == "input_required", "an answer of an earlier round is none"
    await agent.update(task, {"1.which": {"action": "decline"}})
    await asking.approve()
    told = await agent.until(task, "completed")
    assert (told["taskId"], told["result"]["_meta"]["approval-broker/code"]) == (task, "released")
    sent = [seen.message["params"] for seen in upstream.of("tools/call") if seen.message]
    assert [params.get("inputResponses") for params in sent] == [None, ANSWERS, {"which": {"action": "decline"}}]
    assert [params["_meta"][CAPABILITIES] for params in sent] == [FORM] * 3


async def test_some_answers_are_kept_until_all_are_there(agent: Agent, asking: Rig, upstream: Upstream) -> None:
    async def two(seen: Seen, reply: Reply) -> None:
        assert seen.message is not None
        done = "inputResponses" in seen.message["params"]
        await reply.json(answer(seen, {"content": []} if done else {"resultType": "input_required", "inputRequests": both}))

    both = {"a": QUESTION, "b": QUESTION}
    upstream.on["tools/call"] = two
    task = await agent.asked()
    first, second = {"action": "accept", "content": {"n": 1}}, {"action": "accept", "content": {"n": 2}}
    await agent.update(task, {"a": first, "c": first})
    assert (await agent.get(task))["inputRequests"] == {"b": QUESTION}
    await agent.update(task, {"a": second, "b": second})
    [parked] = await asking.approve()
    assert parked.call.params == {**CALL, "inputResponses": {"a": first, "b": second}}
    assert (await agent.until(task, "completed"))["result"]["content"] == []
    for unfit in ("yes", {"n": 2**60}, {"n": "\ud800"}):
        assert (await agent.update(task, {"a": unfit}))["error"]["code"] == -32602


async def test_answers_that_people_or_rules_refuse_complete_the_task_with_an_error(agent: Agent, asking: Rig) -> None:
    task = await agent.asked()
    await agent.update(task, ANSWERS)
    await asking.review((await asking.asked())[0], Verdict.REJECT, "not her")
    told = await agent.get(task)
    assert (told["status"], told["result"]["isError"]) == ("completed", True)
    assert "not her" in told["result"]["content"][0]["text"]
    task = await agent.asked()
    asking.policies.write(rules=RULES.replace("effect: require_approval", "effect: deny"))
    assert "result" in await agent.update(task, ANSWERS)
    told = await agent.get(task)
    assert (told["status"], told["result"]["_meta"]["approval-broker/code"]) == ("completed", "denied")
    asking.policies.write(rules=RULES)
    assert await agent.get(task) == told, "an end stays one"


async def test_a_task_that_asks_may_be_withdrawn(agent: Agent, upstream: Upstream) -> None:
    task = await agent.asked()
    assert (await agent.ask("tasks/cancel", {"taskId": task}))["result"] == {"resultType": "complete"}
    await agent.update(task, ANSWERS)
    assert (await agent.get(task))["status"] == "cancelled"
    assert len(upstream.of("tools/call")) == 1


async def test_nobody_else_answers_for_a_task(agent: Agent, asking: Rig) -> None:
    task = await agent.asked()
    foreign = await agent.update(task, ANSWERS, authorization="Bearer mallory")
    assert foreign["error"] == {"code": -32602, "message": "there is no such task"}
    assert (await agent.get(task))["inputRequests"] == {"which": QUESTION}


@pytest.mark.parametrize("taken", [False, True])
async def test_what_a_broker_did_not_get_to_is_done_at_the_next_look(agent: Agent, asking: Rig, taken: bool) -> None:
    task = RequestId(await agent.asked())
    held = await asking.desk.answer(task, ANSWERS)
    if taken:
        digest = continuing(held, held.call.caller, ANSWERS, "first").digest()
        await asking.store.requests.update(task, lambda request, now: continued(request, digest, asking.guard._new_call_id()))
    assert (await agent.get(task))["status"] == "working"
    [parked] = await asking.asked()
    assert (parked.state, parked.origin.continues) == (RequestState.PENDING, task)
    assert (await asking.desk.look(task)).round.next == parked.id
    assert (await agent.get(task))["_meta"]["approval-broker/code"] == Code.PENDING
    assert len(await asking.asked()) == 1
