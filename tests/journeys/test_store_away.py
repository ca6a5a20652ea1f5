"""The store is away: nothing sensitive leaves, everybody is told soon, and afterwards all goes on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest

from broker.domain.events import CallDecided
from tests.fakes.ledger_server import Ledger, ledger
from tests.journeys.agents import Agent, code_of, text_of
from tests.journeys.brokers import REVIEWERS, Broker, Place, place
from tests.journeys.people import Person
from tests.journeys.stores import Store, store

SOON = 2.0
Ending = Callable[[Store], None]

stopped_and_frozen = pytest.mark.parametrize("end", [Store.kill, Store.freeze], ids=["stopped", "frozen"])


def back(store: Store, end: Ending) -> None:
    store.thaw() if end is Store.freeze else store.start()


class Scene(NamedTuple):
    """A store, the ledger behind the broker, and the tokens of an agent and of a reviewer."""

    here: Place
    store: Store
    book: Ledger
    token: str
    reviewer: str


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="j") as folder:  # a short path: the store's socket lies below it
        home = Path(folder)
        (home / "store").mkdir()
        with ledger(home / "ledger") as book, store(home / "store") as one, place(home, redis_url=one.url) as here:
            here.guard_ledger(book.url)
            yield Scene(here, one, book, here.agent(), here.person(REVIEWERS[0]))


@pytest.fixture(scope="module")
def strict(scene: Scene) -> Iterator[Broker]:
    with scene.here.broker() as broker:
        yield broker


@pytest.fixture(scope="module")
def lenient(scene: Scene) -> Iterator[Broker]:
    with scene.here.broker(on_store_down="allow") as broker:
        yield broker


@stopped_and_frozen
async def test_a_sensitive_call_is_refused_within_two_seconds_and_made_when_asked_again_later(
    end: Ending, strict: Broker, scene: Scene
) -> None:
    call = {"to": end.__name__, "amount": 9}
    with anyio.fail_after(100):
        async with Agent(strict.mcp("ledger"), scene.token) as agent, Person(strict.url, scene.reviewer) as fay:
            assert code_of(await agent.call("balance", {})) == ""
            end(scene.store)
            began = time.monotonic()
            refused = await agent.call("transfer", call)
            took = time.monotonic() - began
            assert told_of_the_store(refused)
            assert took < SOON
            await known(strict, away=True)
            await anyio.to_thread.run_sync(back, scene.store, end)
            await known(strict, away=False)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fay.approve_all, 0.0)
                answer = await agent.call("transfer", call)
                tasks.cancel_scope.cancel()
    assert text_of(answer) == f"moved 9 to {end.__name__}"
    assert scene.book.counts()[end.__name__] == 1


@stopped_and_frozen
async def test_once_the_store_is_known_to_be_away_allowed_calls_are_refused_too(
    end: Ending, strict: Broker, scene: Scene
) -> None:
    with anyio.fail_after(100):
        async with Agent(strict.mcp("ledger"), scene.token) as agent:
            end(scene.store)
            await known(strict, away=True)
            began = time.monotonic()
            refused = await agent.call("balance", {})
            assert told_of_the_store(refused)
            assert time.monotonic() - began < SOON
            await anyio.to_thread.run_sync(back, scene.store, end)
            await known(strict, away=False)
            assert code_of(await agent.call("balance", {})) == ""


@stopped_and_frozen
async def test_where_the_operator_lets_allowed_calls_pass_their_events_arrive_when_the_store_is_back(
    end: Ending, lenient: Broker, scene: Scene
) -> None:
    before = await decided(scene.here)
    with anyio.fail_after(100):
        async with Agent(lenient.mcp("ledger"), scene.token) as agent:
            assert code_of(await agent.call("balance", {})) == ""
            end(scene.store)
            assert code_of(await agent.call("balance", {"told": "before anybody knew"})) == ""
            await known(lenient, away=True)
            assert code_of(await agent.call("balance", {"told": "when it was known"})) == ""
            assert told_of_the_store(await agent.call("transfer", {"to": "nobody", "amount": 9}))
            await anyio.to_thread.run_sync(back, scene.store, end)
            await known(lenient, away=False)
            while (after := await decided(scene.here)) != [*before, *["allow"] * 3]:
                assert len(after) <= len(before) + 3
                await anyio.sleep(0.1)
    assert "nobody" not in scene.book.counts()


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
