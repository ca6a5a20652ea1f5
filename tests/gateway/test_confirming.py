"""`approval: {caller: true}`: the caller's own user is asked by their client, and nothing but their yes lets a call run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest

from broker.domain import events as facts
from broker.domain.requests import RequestState
from broker.domain.reviews import Verdict, Way
from broker.gateway.voices import Pace
from broker.store.open import Store
from tests.fakes.ledger_server import Ledger
from tests.gateway.rig import PAGE, RULES, Policies, Rig
from tests.gateway.wire import ENVELOPE, begun, events, forged, legacy, post, request

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
MOVE = {"to": "ada", "amount": 40}
FORM, BOTH, URL = ({"elicitation": ways} for ways in ({}, {"form": {}, "url": {}}, {"url": {}}))
MINE = RULES.replace("effect: require_approval", "effect: require_approval, approval: {caller: true}")
YES, NO = ({"action": "accept", "content": {"confirm": answer}} for answer in (True, False))


@pytest.fixture
async def mine(store: Store, policies: Policies) -> AsyncIterator[Rig]:
    """The gateway before the ledger, whose rule leaves transfers to the caller's own user as well."""
    policies.write(rules=MINE)
    async with Rig(store, policies, hold=5.0, pace=Pace(0.2, 0.2)).running() as running:
        yield running


class Agent:
    """A newer client that declares what it is given."""

    def __init__(self, http: httpx2.AsyncClient, url: str, capabilities: dict[str, Any] = FORM) -> None:
        self.http = http
        self.url = url
        self.meta = {**ENVELOPE, CAPABILITIES: capabilities}

    async def call(self, arguments: dict[str, Any] = MOVE, **more: Any) -> httpx2.Response:
        headers = more.pop("headers", {})
        params = {"name": "transfer", "arguments": arguments, **more, "_meta": self.meta}
        return await post(self.http, self.url, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, **headers)

    async def asked(self) -> dict[str, Any]:
        response = await self.call()
        assert response.headers["content-type"] == "application/json"
        return dict(response.json()["result"])

    async def answer(self, asked: dict[str, Any], answer: Any, **more: Any) -> httpx2.Response:
        return await self.call(**{"inputResponses": {"confirm": answer}, "requestState": asked["requestState"], **more})


def result_of(response: httpx2.Response) -> dict[str, Any]:
    told = response.json() if "json" in response.headers["content-type"] else events(response.text)[-1]
    return dict(told["result"])


async def test_a_form_asks_with_everything_that_would_run_and_a_yes_runs_it_once(
    mine: Rig, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    agent = Agent(http, mine.mcp())
    asked = await agent.asked()
    [parked] = await mine.asked()
    question = asked["inputRequests"]["confirm"]
    assert (asked["resultType"], question["method"], question["params"]["mode"]) == (
        "input_required",
        "elicitation/create",
        "form",
    )
    assert question["params"]["requestedSchema"]["required"] == ["confirm"]
    assert "default" not in str(question["params"]["requestedSchema"])
    for told in ("transfer", "ledger", "Move 40", '"to": "ada"', parked.digest[7:23]):
        assert told in question["params"]["message"]
    assert asked["_meta"]["approval-broker/request"] == parked.id
    assert bank.effects() == []
    answered = result_of(await agent.answer(asked, YES))
    assert (answered["content"][0]["text"], answered["_meta"]["approval-broker/code"]) == ("moved 40 to ada", "released")
    assert bank.effects() == [MOVE]
    kept = await mine.desk.look(parked.id)
    assert kept.confirmation is not None
    assert (kept.reviews, kept.confirmation.person, kept.confirmation.way) == ((), "alice@example.com", Way.FORM)
    [confirmed] = [one.event for one in await mine.store.audit.read(0, 100) if isinstance(one.event, facts.Confirmed)]
    assert (confirmed.person, confirmed.verdict, confirmed.state) == ("alice@example.com", "approve", "approved")


@pytest.mark.parametrize("answer", [NO, {"action": "decline"}, {"action": "cancel"}])
async def test_whatever_is_no_yes_rejects_and_nothing_runs(
    mine: Rig, http: httpx2.AsyncClient, bank: Ledger, answer: dict[str, Any]
) -> None:
    agent = Agent(http, mine.mcp())
    result = result_of(await agent.answer(await agent.asked(), answer))
    assert (result["_meta"]["approval-broker/code"], result["isError"], bank.effects()) == ("rejected", True, [])


@pytest.mark.parametrize(
    "answer",
    [None, {}, {"action": "accept"}, {"action": "accept", "content": {}}, {"action": "accept", "content": {"confirm": 1}}],
)
async def test_an_answer_that_says_nothing_decides_nothing(mine: Rig, http: httpx2.AsyncClient, answer: Any) -> None:
    agent = Agent(http, mine.mcp())
    response = await agent.answer(await agent.asked(), answer)
    [parked] = await mine.asked()
    assert (response.status_code, response.json()["error"]["code"], parked.state) == (400, -32602, RequestState.PENDING)


async def test_forged_replayed_foreign_and_misplaced_state_is_refused(mine: Rig, http: httpx2.AsyncClient, bank: Ledger) -> None:
    agent = Agent(http, mine.mcp())
    asked = await agent.asked()
    state = asked["requestState"]
    refused = [
        await agent.answer({"requestState": forged(state)}, YES),
        await agent.answer(asked, YES, headers={"authorization": "Bearer mallory"}),
        await agent.answer(asked, YES, arguments={"to": "mallory", "amount": 9_000}),
        await agent.answer(asked, YES, task={"ttl": 1}),
    ]
    assert [one.json()["error"]["code"] for one in refused] == [-32602] * 4
    assert bank.effects() == []
    assert result_of(await agent.answer(asked, YES))["content"][0]["text"] == "moved 40 to ada"
    replayed = await agent.answer(asked, YES)
    assert "used before" in replayed.json()["error"]["message"]
    assert bank.effects() == [MOVE]


async def test_state_is_good_until_the_request_expires(
    mine: Rig, http: httpx2.AsyncClient, policies: Policies, bank: Ledger
) -> None:
    policies.write(rules=MINE.replace("timeout: 15m", "timeout: 1s").replace("{caller: true}", "{caller: true, timeout: 1s}"))
    agent = Agent(http, mine.mcp())
    asked = await agent.asked()
    [parked] = await mine.asked()
    await anyio.sleep(max(0.0, (parked.expires_at - mine.store.clock()).total_seconds()) + 0.05)
    response = await agent.answer(asked, YES)
    assert ("too late" in response.json()["error"]["message"], bank.effects()) == (True, [])


async def test_people_may_be_quicker_and_the_answer_then_changes_nothing(
    mine: Rig, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    agent = Agent(http, mine.mcp())
    asked = await agent.asked()
    [parked] = await mine.asked()
    await mine.review(parked, Verdict.REJECT, "not today")
    result = result_of(await agent.answer(asked, YES))
    assert ("not today" in result["content"][0]["text"], bank.effects()) == (True, [])


@pytest.mark.parametrize("capabilities", [{}, {"sampling": {}}, {"elicitation": None}])
async def test_a_client_that_can_not_ask_is_held_and_other_people_decide(
    mine: Rig, http: httpx2.AsyncClient, bank: Ledger, capabilities: dict[str, Any]
) -> None:
    async with anyio.create_task_group() as people:
        people.start_soon(mine.approve)
        result = result_of(await Agent(http, mine.mcp(), capabilities).call())
    assert (result["content"][0]["text"], bank.effects()) == ("moved 40 to ada", [MOVE])


async def test_nobody_is_asked_where_the_rule_does_not_say_so(rig: Rig, http: httpx2.AsyncClient) -> None:
    async with anyio.create_task_group() as people:
        people.start_soon(rig.approve)
        result = result_of(await Agent(http, rig.mcp(), BOTH).call())
    assert result["content"][0]["text"] == "moved 40 to ada"


async def test_what_can_not_be_shown_whole_is_not_asked_in_a_form_but_on_the_page(mine: Rig, http: httpx2.AsyncClient) -> None:
    long = {**MOVE, "note": "x" * 5_000}
    for arguments in (long, {**MOVE, "password": "hunter2hunter2"}):
        asked = result_of(await Agent(http, mine.mcp(), BOTH).call(arguments))
        assert asked["inputRequests"]["confirm"]["params"]["mode"] == "url"


async def test_a_page_is_answered_there_and_the_client_only_says_that_it_was_opened(
    mine: Rig, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    agent = Agent(http, mine.mcp(), URL)
    asked = await agent.asked()
    [parked] = await mine.asked()
    params = asked["inputRequests"]["confirm"]["params"]
    assert (params["mode"], params["url"]) == ("url", f"{PAGE}/r/{parked.id}")
    async with anyio.create_task_group() as people:
        people.start_soon(mine.approve)
        result = result_of(await agent.answer(asked, {"action": "accept"}))
    assert (result["content"][0]["text"], bank.effects()) == ("moved 40 to ada", [MOVE])


async def elicited(http: httpx2.AsyncClient, url: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Call in a session of the older era, answer what is asked on the stream, and return the call's answer."""
    session = await begun(http, url, capabilities={"elicitation": {}})
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25", "mcp-session-id": session}
    call = request("tools/call", {"name": "transfer", "arguments": MOVE}, id=7)
    async with http.stream("POST", url, json=call, headers=headers) as stream:
        async for line in stream.aiter_lines():
            told = events(line)
            if told and told[0].get("method") == "elicitation/create":
                assert "transfer" in told[0]["params"]["message"]
                response = {"jsonrpc": "2.0", "id": told[0]["id"], **answer}
                stranger = await legacy(http, url, response, session, authorization="Bearer mallory")
                assert stranger.status_code == 404
                assert (await legacy(http, url, response, session)).status_code == 202
            elif told and told[0].get("id") == 7:
                return dict(told[0]["result"])
    raise AssertionError("the stream ended without an answer")


async def test_an_older_client_is_asked_on_its_open_stream(mine: Rig, http: httpx2.AsyncClient, bank: Ledger) -> None:
    result = await elicited(http, mine.mcp(), {"result": YES})
    assert (result["content"][0]["text"], bank.effects()) == ("moved 40 to ada", [MOVE])
    result = await elicited(http, mine.mcp(), {"result": {"action": "decline"}})
    assert (result["_meta"]["approval-broker/code"], bank.effects()) == ("rejected", [MOVE])


async def test_an_older_client_that_can_not_be_asked_or_fails_to_ask_is_held(
    mine: Rig, http: httpx2.AsyncClient, bank: Ledger
) -> None:
    session = await begun(http, mine.mcp())
    async with anyio.create_task_group() as people:
        people.start_soon(mine.approve)
        call = request("tools/call", {"name": "transfer", "arguments": MOVE}, id=7)
        response = await legacy(http, mine.mcp(), call, session)
    assert "elicitation/create" not in response.text
    async with anyio.create_task_group() as people:
        people.start_soon(mine.approve)
        await elicited(http, mine.mcp(), {"error": {"code": -1, "message": "no screen"}})
    assert bank.effects() == [MOVE, MOVE]
