"""Several brokers on one store, and many callers of one call."""

from __future__ import annotations

from typing import Any

import anyio

from tests.fakes.ledger_server import Ledger
from tests.journeys.agents import Agent, CutOff, code_of, request_of, text_of
from tests.journeys.brokers import Place
from tests.journeys.people import Person

CALL = {"to": "acme", "amount": 9}


async def test_a_call_parked_at_one_broker_and_approved_at_the_other_is_answered_by_the_first(
    here: Place, book: Ledger, token: str, reviewer: str
) -> None:
    with anyio.fail_after(100), here.broker() as first, here.broker() as second:
        async with Agent(first.mcp("ledger"), token) as agent, Person(second.url, reviewer) as fay:
            answers: list[dict[str, Any]] = []

            async def calling() -> None:
                answers.append(await agent.call("transfer", CALL))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(calling)
                [one] = await fay.seen(1)
                await fay.approve(one)
    assert [text_of(answer) for answer in answers] == ["moved 9 to acme"]
    assert book.counts() == {"acme": 1}


async def test_a_call_whose_broker_dies_is_answered_by_the_other(here: Place, book: Ledger, token: str, reviewer: str) -> None:
    with anyio.fail_after(100), here.broker() as first, here.broker() as second:
        async with Person(second.url, reviewer) as fay, Agent(second.mcp("ledger"), token) as agent:
            async with Agent(first.mcp("ledger"), token) as cut, anyio.create_task_group() as tasks:
                tasks.start_soon(_cut_off, cut)
                [one] = await fay.seen(1)
                first.kill()
            await fay.approve(one)
            answer = await agent.call("transfer", CALL)
    assert (text_of(answer), code_of(answer), request_of(answer)) == ("moved 9 to acme", "released", one["id"])
    assert book.counts() == {"acme": 1}


async def test_fifty_identical_calls_at_once_are_one_request_one_execution_and_fifty_answers(
    here: Place, book: Ledger, token: str, reviewer: str
) -> None:
    with anyio.fail_after(100), here.broker() as broker:
        async with Agent(broker.mcp("ledger"), token) as agent, Person(broker.url, reviewer) as fay:
            answers: list[dict[str, Any]] = []

            async def calling() -> None:
                answers.append(await agent.call("transfer", CALL))

            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(calling)
                [one] = await fay.seen(1)
                await fay.approve(one)
            listed = await fay.listed()
    assert [text_of(answer) for answer in answers] == ["moved 9 to acme"] * 50
    assert {request_of(answer) for answer in answers} == {one["id"]}
    assert [found["id"] for found in listed] == [one["id"]]
    assert book.counts() == {"acme": 1}


async def _cut_off(agent: Agent) -> None:
    try:
        await agent.call("transfer", CALL)
    except CutOff:
        return
    raise AssertionError("the broker was killed and still answered")
