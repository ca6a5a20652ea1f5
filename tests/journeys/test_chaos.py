"""Brokers and store die at random while agents call and people approve: nothing runs twice, nobody is left without an answer."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import anyio
import httpx2
import pytest

from tests.fakes.ledger_server import Ledger
from tests.journeys.agents import Agent, CutOff, code_of
from tests.journeys.brokers import REVIEWERS, Broker, Place
from tests.journeys.people import Person
from tests.journeys.stores import Store

AGENTS = 8
RAGE = 60.0
FINAL = {"released", "unknown"}


class Chaos:
    """Two brokers on one store, each behind the same port whenever it lives."""

    def __init__(self, place: Place, store: Store, seed: int) -> None:
        self._place = place
        self._store = store
        self._random = random.Random(seed)
        self._lives: dict[int, contextlib.ExitStack] = {}
        self._brokers: dict[int, Broker] = {}
        self.urls: list[str] = []
        self.done: list[str] = []

    def start(self, number: int) -> None:
        """Run in a thread: starting takes a while."""
        port = int(self.urls[number].rsplit(":", 1)[1]) if number < len(self.urls) else 0
        self._lives[number] = contextlib.ExitStack()
        self._brokers[number] = self._lives[number].enter_context(self._place.broker(port))
        if number == len(self.urls):
            self.urls.append(self._brokers[number].url)

    def stop(self) -> None:
        for life in self._lives.values():
            life.close()

    async def rage(self, seconds: float) -> None:
        """Kill and freeze for so long, and leave everything running."""
        until = anyio.current_time() + seconds
        while anyio.current_time() < until:
            await anyio.sleep(self._random.uniform(0.2, 1.5))
            what = self._random.choice(["broker 0", "broker 1", "kill the store", "freeze the store"])
            self.done.append(what)
            await anyio.to_thread.run_sync(self._strike, what)
            if what == "freeze the store":
                await anyio.sleep(self._random.uniform(0.3, 3))
                self._store.thaw()

    def _strike(self, what: str) -> None:
        match what:
            case "kill the store":
                self._store.kill()
                self._store.start()
            case "freeze the store":
                self._store.freeze()
            case broker:
                number = int(broker[-1])
                self._brokers[number].kill()
                self._lives[number].close()
                self.start(number)


async def finished(urls: list[str], token: str, call: dict[str, Any], luck: random.Random) -> str:
    """Make a call, and again at any broker, until it has ended; return its code."""
    while True:
        with contextlib.suppress(CutOff):
            async with Agent(f"{luck.choice(urls)}/mcp/ledger", token) as agent:
                answer = await agent.call("transfer", call)
                if code_of(answer) in FINAL:
                    return code_of(answer)
        await anyio.sleep(0.1)


async def approving(url: str, token: str) -> None:
    while True:
        with contextlib.suppress(httpx2.HTTPError):
            async with Person(url, token) as person:
                await person.approve_all(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_call_runs_twice_and_every_caller_is_answered(
    seed: int, shared: Place, shared_store: Store, book: Ledger
) -> None:
    token, reviewer = await anyio.to_thread.run_sync(lambda: (shared.agent(), shared.person(REVIEWERS[0])))
    chaos, luck, codes = Chaos(shared, shared_store, seed), random.Random(seed), dict[str, str]()

    async def busy(agent: int) -> None:
        number = 0
        while not calm.is_set():
            call = {"to": f"{agent}-{number}", "amount": 1, "seconds": luck.choice([0, 0.5, 1.5])}
            codes[call["to"]] = await finished(chaos.urls, token, call, luck)
            number += 1

    calm = anyio.Event()
    try:
        with anyio.fail_after(RAGE + 100):
            for number in (0, 1):
                await anyio.to_thread.run_sync(chaos.start, number)
            async with anyio.create_task_group() as people:
                for url in chaos.urls:
                    people.start_soon(approving, url, reviewer)
                async with anyio.create_task_group() as agents:
                    for agent in range(AGENTS):
                        agents.start_soon(busy, agent)
                    await chaos.rage(RAGE)
                    calm.set()
                people.cancel_scope.cancel()
    finally:
        chaos.stop()
    counts = book.counts()
    assert {to: count for to, count in counts.items() if count > 1} == {}
    assert [to for to, code in codes.items() if code == "released" and to not in counts] == []
    assert set(counts) <= set(codes)
    assert chaos.done
