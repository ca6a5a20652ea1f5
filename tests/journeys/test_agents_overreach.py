"""An agent that holds its own token, knows its request's id and reaches every port: it decides nothing and reads nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest

from tests.fakes.ledger_server import Ledger, ledger
from tests.gateway.wire import forged
from tests.journeys.agents import Agent, code_of, request_of, text_of
from tests.journeys.brokers import OWNER, REVIEWERS, Broker, place
from tests.journeys.people import Person

OLD = "2025-11-25"


class Town(NamedTuple):
    """A broker, the ledger behind it, and the tokens of everybody around."""

    broker: Broker
    book: Ledger
    mallory: str
    other: str
    narrow: str
    owner: str
    reviewer: str


class Scene(NamedTuple):
    """A call of `mallory` that waits for people; `moved()` says how often it was made."""

    town: Town
    call: dict[str, Any]
    pending: dict[str, Any]
    answers: list[dict[str, Any]]

    def mcp(self) -> str:
        return self.town.broker.mcp("ledger")

    def moved(self) -> int:
        return self.town.book.counts().get(self.call["to"], 0)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("t")
    with ledger(home / "ledger") as book, place(home) as here:
        here.guard_ledger(book.url)
        agents = (here.agent("mallory"), here.agent("other"), here.agent("narrow", servers=()))
        people = (here.person(OWNER), here.person(REVIEWERS[0]))
        with here.broker() as broker:
            yield Town(broker, book, *agents, *people)


@pytest.fixture
async def scene(town: Town, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    call = {"to": request.node.name, "amount": 9}
    answers: list[dict[str, Any]] = []
    with anyio.fail_after(100):
        async with (
            Agent(town.broker.mcp("ledger"), town.mallory) as agent,
            Person(town.broker.url, town.reviewer) as fay,
            anyio.create_task_group() as tasks,
        ):

            async def calling() -> None:
                answers.append(await agent.call("transfer", call))

            tasks.start_soon(calling)
            pending = await fay.titled(f"Move 9 to {call['to']}")
            yield Scene(town, call, pending, answers)
            await fay.review(pending, "reject", "the scene is over")


async def test_no_door_for_people_opens_to_an_agents_token(scene: Scene) -> None:
    request_id, digest = scene.pending["id"], scene.pending["digest"]
    form = {"verdict": "approve", "digest": digest, "reason": ""}
    posts = {
        f"/api/v1/requests/{request_id}/reviews": {"json": form},
        f"/api/v1/requests/{request_id}/record": {"json": {"ran": True, "why": "because"}},
        f"/r/{request_id}/review": {"data": form},
        f"/r/{request_id}/record": {"data": {"ran": "yes", "why": "because"}},
        "/sign-in": {"data": {"code": scene.town.mallory}},
        "/account/sessions/end": {"data": {}},
    }
    posts |= {
        path: {**body, "data": body["data"] | {"csrf": scene.town.mallory}} for path, body in posts.items() if "data" in body
    }
    gets = ("/api/v1/me", "/api/v1/requests", f"/api/v1/requests/{request_id}", "/api/v1/watch", "/", "/live", f"/r/{request_id}")
    gives = (
        {"authorization": f"Bearer {scene.town.mallory}"},
        {"cookie": f"broker={scene.town.mallory}; __Host-broker={scene.town.mallory}"},
        {},
    )
    for headers in gives:
        async with httpx2.AsyncClient(base_url=scene.town.broker.url, headers=headers) as http:
            for path, body in posts.items():
                answer = await http.post(path, **body)
                assert answer.status_code in (303, 400, 401, 403), (path, answer.status_code)
                assert request_id not in answer.text or answer.status_code == 303
            for path in gets:
                answer = await http.get(path)
                assert answer.status_code in (303, 401, 403), (path, answer.status_code)
    async with Person(scene.town.broker.url, scene.town.reviewer) as fay:
        assert [one["state"] for one in await fay.listed("pending") if one["id"] == request_id] == ["pending"]
    assert scene.moved() == 0


async def test_the_agents_owner_may_not_approve_what_it_asks_for(scene: Scene) -> None:
    async with Person(scene.town.broker.url, scene.town.owner) as sam:
        refused = await sam.review(scene.pending, "approve")
    assert (refused.status_code, refused.json()["code"]) == (403, "self_review")
    assert scene.moved() == 0


async def test_no_tool_and_no_method_decides(scene: Scene) -> None:
    async with Agent(scene.mcp(), scene.town.mallory) as agent:
        tools = await agent.ask("tools/list", {})
        assert {tool["name"] for tool in tools["tools"]} == {"balance", "transfer", "approval_wait"}
        for method in ("requests/review", "approval/approve", "tasks/approve", "broker/release"):
            answer = await agent.ask(method, {"request_id": scene.pending["id"], "verdict": "approve"})
            assert answer["error"]["code"] == -32601
        answer = await agent.ask("tasks/update", {"request_id": scene.pending["id"], "inputResponses": {"verdict": "approve"}})
        assert answer["error"]["code"] == -32021
        for tool in ("approval_approve", "approval_release"):
            assert code_of(await agent.call(tool, {"request_id": scene.pending["id"]})) == "denied"
    assert scene.moved() == 0


async def test_another_agent_reads_a_foreign_request_like_one_that_never_was(scene: Scene) -> None:
    async with Agent(scene.mcp(), scene.town.other) as other, Person(scene.town.broker.url, scene.town.reviewer) as fay:
        wait = {"request_id": scene.pending["id"], "wait_seconds": 0}
        foreign = await other.call("approval_wait", wait)
        unknown = await other.call("approval_wait", {"request_id": "apr_0_nonsense", "wait_seconds": 0})
        assert foreign == unknown
        assert text_of(foreign) == "There is no such approval request."
        await fay.approve(scene.pending)
        while not scene.moved():  # noqa: ASYNC110  another process writes it
            await anyio.sleep(0.01)
        assert await other.call("approval_wait", wait) == unknown


async def test_the_same_call_of_another_agent_is_a_request_of_its_own(scene: Scene) -> None:
    told: list[dict[str, Any]] = []

    async def calling(other: Agent) -> None:
        told.append(await other.call("transfer", scene.call))

    async with (
        Person(scene.town.broker.url, scene.town.reviewer) as fay,
        Agent(scene.mcp(), scene.town.other) as other,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(calling, other)
        both = [one for one in await fay.seen(2) if one["title"] == scene.pending["title"]]
        [theirs] = [one for one in both if one["id"] != scene.pending["id"]]
        await fay.reject(theirs, "not you")
    assert (code_of(told[0]), request_of(told[0])) == ("rejected", theirs["id"])
    assert scene.answers == []


async def test_a_session_works_for_its_own_principal_only(scene: Scene) -> None:
    async with httpx2.AsyncClient() as http:
        begun = await http.post(scene.mcp(), json=_hello(), headers=_old(scene.town.mallory))
        session = begun.headers["mcp-session-id"]
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        own = await http.post(scene.mcp(), json=ping, headers=_old(scene.town.mallory, session))
        assert own.status_code == 200
        for headers in (
            _old(scene.town.other, session),
            _old(scene.town.mallory, forged(session)),
            _old(scene.town.other, "made-up"),
        ):
            for answer in (
                await http.post(scene.mcp(), json=ping, headers=headers),
                await http.get(scene.mcp(), headers=headers),
                await http.delete(scene.mcp(), headers=headers),
            ):
                assert (answer.status_code, answer.json()["error"]["message"]) == (404, "Session not found")
        still = await http.post(scene.mcp(), json=ping, headers=_old(scene.town.mallory, session))
        assert still.status_code == 200


async def test_a_token_for_some_servers_opens_no_other(scene: Scene) -> None:
    async with (
        Agent(scene.mcp(), scene.town.narrow) as agent,
        Agent(scene.town.broker.mcp("nowhere"), scene.town.mallory) as lost,
    ):
        closed, missing = await agent.call("balance", {}), await lost.call("balance", {})
    assert closed["status"] == missing["status"] == 404
    assert closed["error"]["message"] == missing["error"]["message"]


def _hello() -> dict[str, Any]:
    params = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "journey", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


def _old(token: str, session: str = "") -> dict[str, str]:
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    return headers | ({"mcp-session-id": session, "mcp-protocol-version": OLD} if session else {})
