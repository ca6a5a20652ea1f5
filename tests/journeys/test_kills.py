"""`kill -9` of the broker and of its store: no effect twice, nothing approved is lost, whoever asks again is told."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.fakes.ledger_server import Ledger
from tests.journeys.agents import Agent, CutOff, code_of, text_of
from tests.journeys.brokers import REVIEWERS, Place
from tests.journeys.people import Person
from tests.journeys.stores import Store

few_and_many = pytest.mark.parametrize("number", [12, pytest.param(100, marks=pytest.mark.slow)])


def transfer(number: int, seconds: float = 0) -> dict[str, Any]:
    return {"to": f"account-{number}", "amount": number, "seconds": seconds}


async def all_called(url: str, token: str, calls: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """Make all calls at once, each on a connection of its own; None where the connection broke."""
    answers: list[dict[str, Any] | None] = [None] * len(calls)

    async def one(index: int) -> None:
        try:
            answers[index] = await agent.call("transfer", calls[index])
        except CutOff:
            answers[index] = None

    async with Agent(url, token) as agent, anyio.create_task_group() as tasks:
        for index in range(len(calls)):
            tasks.start_soon(one, index)
    return answers


@few_and_many
async def test_calls_that_are_parked_when_the_broker_is_killed_are_decided_after_it(
    number: int, here: Place, book: Ledger, token: str, reviewer: str
) -> None:
    calls = [transfer(index) for index in range(number)]
    with anyio.fail_after(110):
        with here.broker() as broker:
            async with Person(broker.url, reviewer) as fay, anyio.create_task_group() as tasks:
                tasks.start_soon(all_called, broker.mcp("ledger"), token, calls)
                await fay.seen(number)
                broker.kill()
        with here.broker() as broker:
            async with Person(broker.url, reviewer) as fay, anyio.create_task_group() as tasks:
                before = await fay.seen(number)
                tasks.start_soon(fay.approve_all, 0.0)
                answers = await all_called(broker.mcp("ledger"), token, calls)
                tasks.cancel_scope.cancel()
            async with Person(broker.url, reviewer) as fay:
                assert {one["id"] for one in await fay.listed()} == {one["id"] for one in before}
    assert [text_of(answer or {}) for answer in answers] == [f"moved {n} to account-{n}" for n in range(number)]
    assert book.counts() == {f"account-{n}": 1 for n in range(number)}


@pytest.mark.parametrize("number", [5, pytest.param(20, marks=pytest.mark.slow)])
async def test_calls_that_run_when_the_broker_is_killed_end_unknown_and_are_not_run_again(
    number: int, here: Place, book: Ledger, token: str, reviewer: str
) -> None:
    calls = [transfer(index, seconds=60) for index in range(number)]
    with anyio.fail_after(110):
        with here.broker() as broker:
            async with Person(broker.url, reviewer) as fay, anyio.create_task_group() as tasks:
                tasks.start_soon(all_called, broker.mcp("ledger"), token, calls)
                for one in await fay.seen(number):
                    await fay.approve(one)
                await book.until(number)
                broker.kill()
        with here.broker() as broker:
            async with Person(broker.url, reviewer) as fay:
                await fay.seen(number, "unknown")
                answers = await all_called(broker.mcp("ledger"), token, calls)
                assert await fay.states() == {"unknown": number}
    assert [code_of(answer or {}) for answer in answers] == ["unknown"] * number
    assert book.counts() == {f"account-{n}": 1 for n in range(number)}


@few_and_many
async def test_calls_whose_releases_are_cut_off_at_any_moment_run_at_most_once_and_are_answered(
    number: int, here: Place, book: Ledger, token: str, reviewer: str
) -> None:
    calls = [transfer(index) for index in range(number)]
    first: list[dict[str, Any] | None] = []
    with anyio.fail_after(110):
        with here.broker() as broker:
            async with Person(broker.url, reviewer) as fay, anyio.create_task_group() as tasks:

                async def calling() -> None:
                    first.extend(await all_called(broker.mcp("ledger"), token, calls))

                tasks.start_soon(calling)
                for one in (await fay.seen(number))[: number // 2]:
                    await fay.approve(one)
                broker.kill()
        # Who has an answer does not ask again: the same call after it would be a new one.
        cut_off = [index for index, answer in enumerate(first) if answer is None]
        with here.broker() as broker:
            async with Person(broker.url, reviewer) as fay, anyio.create_task_group() as tasks:
                tasks.start_soon(fay.approve_all, 0.0)
                again = await all_called(broker.mcp("ledger"), token, [calls[index] for index in cut_off])
                tasks.cancel_scope.cancel()
    answers = {index: answer for index, answer in enumerate(first) if answer is not None} | dict(zip(cut_off, again, strict=True))
    codes = {index: code_of(answer or {}) for index, answer in answers.items()}
    counts = book.counts()
    assert len(cut_off) >= number // 2
    assert set(codes.values()) <= {"released", "unknown"}
    assert set(counts.values()) == {1}
    assert [index for index, code in codes.items() if code == "released" and f"account-{index}" not in counts] == []


@few_and_many
async def test_a_store_that_is_killed_under_parked_calls_loses_none(
    number: int, shared: Place, shared_store: Store, book: Ledger
) -> None:
    token, reviewer = await anyio.to_thread.run_sync(lambda: (shared.agent(), shared.person(REVIEWERS[0])))
    calls = [transfer(index) for index in range(number)]
    with anyio.fail_after(110), shared.broker() as broker:
        async with Person(broker.url, reviewer) as fay, anyio.create_task_group() as tasks:
            answers: list[dict[str, Any] | None] = []

            async def calling() -> None:
                answers.extend(await all_called(broker.mcp("ledger"), token, calls))
                tasks.cancel_scope.cancel()

            tasks.start_soon(calling)
            await fay.seen(number)
            shared_store.kill()
            await anyio.sleep(0.5)
            await anyio.to_thread.run_sync(shared_store.start)
            tasks.start_soon(fay.approve_all, 0.0)
    assert [text_of(answer or {}) for answer in answers] == [f"moved {n} to account-{n}" for n in range(number)]
    assert book.counts() == {f"account-{n}": 1 for n in range(number)}


@few_and_many
async def test_an_embedded_store_that_is_killed_is_started_again_and_nothing_is_lost(
    number: int, here: Place, book: Ledger, token: str, reviewer: str
) -> None:
    calls = [transfer(index) for index in range(number)]
    with anyio.fail_after(110), here.broker() as broker:
        async with Person(broker.url, reviewer) as fay, anyio.create_task_group() as tasks:
            answers: list[dict[str, Any] | None] = []

            async def calling() -> None:
                answers.extend(await all_called(broker.mcp("ledger"), token, calls))
                tasks.cancel_scope.cancel()

            tasks.start_soon(calling)
            await fay.seen(number)
            await anyio.to_thread.run_sync(here.kill_store)
            tasks.start_soon(fay.approve_all, 0.0)
    assert [text_of(answer or {}) for answer in answers] == [f"moved {n} to account-{n}" for n in range(number)]
    assert book.counts() == {f"account-{n}": 1 for n in range(number)}
