"""Several brokers on one store, and many callers of one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import anyio
import pytest

from tests.fakes.ledger_server import Ledger, ledger
from tests.journeys.agents import Agent, CutOff, code_of, request_of, text_of
from tests.journeys.brokers import REVIEWERS, Broker, Place, place
from tests.journeys.people import Person


class Pair(NamedTuple):
    """Two brokers on one store, the ledger behind both, and the tokens of an agent and of a reviewer."""

    here: Place
    first: Broker
    second: Broker
    book: Ledger
    token: str
    reviewer: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp("p")
    with ledger(home / "ledger") as book, place(home) as here:
        here.guard_ledger(book.url)
        token, reviewer = here.agent(), here.person(REVIEWERS[0])
        with here.broker() as first, here.broker() as second:
            yield Pair(here, first, second, book, token, reviewer)


async def test_a_call_parked_at_one_broker_and_approved_at_the_other_is_answered_by_the_first(pair: Pair) -> None:
    answers: list[dict[str, Any]] = []
    with anyio.fail_after(60):
        async with (
            Agent(pair.first.mcp("ledger"), pair.token) as agent,
            Person(pair.second.url, pair.reviewer) as fay,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_calling, agent, "acme", answers)
            await fay.approve(await fay.titled("Move 9 to acme"))
    assert [text_of(answer) for answer in answers] == ["moved 9 to acme"]
    assert pair.book.counts()["acme"] == 1


async def test_fifty_identical_calls_at_once_are_one_request_one_execution_and_fifty_answers(pair: Pair) -> None:
    answers: list[dict[str, Any]] = []
    with anyio.fail_after(60):
        async with Agent(pair.first.mcp("ledger"), pair.token) as agent, Person(pair.first.url, pair.reviewer) as fay:
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(_calling, agent, "fifty", answers)
                one = await fay.titled("Move 9 to fifty")
                await fay.approve(one)
            same = [found["id"] for found in await fay.listed() if found["title"] == one["title"]]
    assert [text_of(answer) for answer in answers] == ["moved 9 to fifty"] * 50
    assert {request_of(answer) for answer in answers} == {one["id"]}
    assert same == [one["id"]]
    assert pair.book.counts()["fifty"] == 1


async def test_a_call_whose_broker_dies_is_answered_by_the_other(pair: Pair) -> None:
    with anyio.fail_after(100), pair.here.broker() as third:
        async with Person(pair.second.url, pair.reviewer) as fay, Agent(pair.second.mcp("ledger"), pair.token) as agent:
            async with Agent(third.mcp("ledger"), pair.token) as cut, anyio.create_task_group() as tasks:
                tasks.start_soon(_cut_off, cut, "late")
                one = await fay.titled("Move 9 to late")
                third.kill()
            await fay.approve(one)
            answer = await agent.call("transfer", {"to": "late", "amount": 9})
    assert (text_of(answer), code_of(answer), request_of(answer)) == ("moved 9 to late", "released", one["id"])
    assert pair.book.counts()["late"] == 1


async def _calling(agent: Agent, to: str, answers: list[dict[str, Any]]) -> None:
    answers.append(await agent.call("transfer", {"to": to, "amount": 9}))


async def _cut_off(agent: Agent, to: str) -> None:
    try:
        await agent.call("transfer", {"to": to, "amount": 9})
    except CutOff:
        return
    raise AssertionError("the broker was killed and still answered")
