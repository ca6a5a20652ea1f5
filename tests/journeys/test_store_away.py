"""The store is away: nothing sensitive leaves, everybody is told soon, and afterwards all goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.events import CallDecided
from tests.fakes.ledger_server import Ledger
from tests.journeys.agents import Agent, code_of, text_of
from tests.journeys.brokers import REVIEWERS, Broker, Place
from tests.journeys.people import Person
from tests.journeys.stores import Store

CALL = {"to": "acme", "amount": 9}
SOON = 2.0
Ending = Callable[[Store], None]

stopped_and_frozen = pytest.mark.parametrize("end", [Store.kill, Store.freeze], ids=["stopped", "frozen"])


def back(store: Store, end: Ending) -> None:
    store.thaw() if end is Store.freeze else store.start()


@pytest.fixture
def tokens(shared: Place) -> tuple[str, str]:
    return shared.agent(), shared.person(REVIEWERS[0])


@stopped_and_frozen
async def test_a_sensitive_call_is_refused_within_two_seconds_and_made_when_asked_again_later(
    end: Ending, shared: Place, shared_store: Store, book: Ledger, tokens: tuple[str, str]
) -> None:
    token, reviewer = tokens
    with anyio.fail_after(100), shared.broker() as broker:
        async with Agent(broker.mcp("ledger"), token) as agent, Person(broker.url, reviewer) as fay:
            assert text_of(await agent.call("balance", {})) == "0"
            end(shared_store)
            began = time.monotonic()
            refused = await agent.call("transfer", CALL)
            took = time.monotonic() - began
            assert told_of_the_store(refused)
            assert took < SOON
            assert await page_says(broker)
            await anyio.to_thread.run_sync(back, shared_store, end)
            await known(broker, away=False)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fay.approve_all, 0.0)
                answer = await agent.call("transfer", CALL)
                tasks.cancel_scope.cancel()
    assert text_of(answer) == "moved 9 to acme"
    assert book.counts() == {"acme": 1}


@stopped_and_frozen
async def test_once_the_store_is_known_to_be_away_allowed_calls_are_refused_too(
    end: Ending, shared: Place, shared_store: Store, tokens: tuple[str, str]
) -> None:
    with anyio.fail_after(100), shared.broker() as broker:
        async with Agent(broker.mcp("ledger"), tokens[0]) as agent:
            end(shared_store)
            await known(broker, away=True)
            began = time.monotonic()
            refused = await agent.call("balance", {})
            assert told_of_the_store(refused)
            assert time.monotonic() - began < SOON
            await anyio.to_thread.run_sync(back, shared_store, end)
            await known(broker, away=False)
            assert text_of(await agent.call("balance", {})) == "0"


@stopped_and_frozen
async def test_where_the_operator_lets_allowed_calls_pass_their_events_arrive_when_the_store_is_back(
    end: Ending, shared: Place, shared_store: Store, tokens: tuple[str, str]
) -> None:
    with anyio.fail_after(100), shared.broker(on_store_down="allow") as broker:
        async with Agent(broker.mcp("ledger"), tokens[0]) as agent:
            assert text_of(await agent.call("balance", {})) == "0"
            end(shared_store)
            assert text_of(await agent.call("balance", {"told": "before anybody knew"})) == "0"
            await known(broker, away=True)
            assert text_of(await agent.call("balance", {"told": "when it was known"})) == "0"
            assert told_of_the_store(await agent.call("transfer", CALL))
            await anyio.to_thread.run_sync(back, shared_store, end)
            await known(broker, away=False)
            while (found := await decided(shared)) != ["allow"] * 3:
                assert len(found) <= 3
                await anyio.sleep(0.1)


async def decided(here: Place) -> list[str]:
    """The effects of all calls that the audit knows of."""
    return [entry.event.effect for entry in await here.audit() if isinstance(entry.event, CallDecided)]


def told_of_the_store(answer: dict[str, Any]) -> bool:
    """As a tool result, or, where the caller itself can't be known, as an error of the protocol."""
    return "can't reach its store" in (text_of(answer) if code_of(answer) == "failed" else answer["error"]["message"])


async def page_says(broker: Broker) -> bool:
    """Is the banner of every open page about the store?"""
    async with httpx2.AsyncClient(base_url=broker.url) as http:
        banner: Any = await http.get("/health/banner")
        return banner.status_code == 200 and "store" in banner.text.lower()


async def known(broker: Broker, *, away: bool) -> None:
    """Return once the broker knows whether its store is away."""
    while await page_says(broker) != away:  # noqa: ASYNC110  it is looked at from outside
        await anyio.sleep(0.05)
