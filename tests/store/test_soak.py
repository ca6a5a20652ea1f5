"""Kills and freezes at random while two brokers work: what was promised is there, and nothing is there twice."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from pathlib import Path

import anyio
import pytest

from broker.domain.events import RequestEvent
from broker.domain.requests import RequestId
from broker.errors import AlreadyResolved, StoreUnavailable
from broker.store.connection import Commands
from broker.store.open import Store, open_store
from tests.fakes.samples import Move, claim, complete, deliver, draft, noted, review
from tests.fakes.waiting import until
from tests.store.conftest import Victim

MOVES: tuple[Move, ...] = (review("fay"), claim(), complete(), deliver())


class Books:
    """What the store has acknowledged."""

    def __init__(self) -> None:
        self.versions: dict[RequestId, int] = {}
        self.facts: list[str] = []
        self.refused = 0
        self.closed = False


async def work(store: Store, name: str, books: Books) -> None:
    """Walk requests from their opening to their delivery, and note facts, until the books are closed."""
    number = 0
    while not books.closed:
        number += 1
        try:
            request, _ = await store.requests.open(f"{name}-{number}", draft())
            books.versions[request.id] = request.version
            for move in MOVES:
                with suppress(AlreadyResolved):  # this move was carried out before, and its reply lost for good
                    books.versions[request.id] = (await store.requests.update(request.id, move)).version
        except StoreUnavailable:
            books.refused += 1
        fact = noted(f"{name}.{number}", store.clock())
        try:
            await store.audit.append(fact)
        except StoreUnavailable:
            await store.audit.spool(fact)
        books.facts.append(fact.what)


async def break_things(victim: Victim, ends: float) -> Counter[str]:
    """Kill, freeze and disconnect until the time is over; leave it running."""
    dice, done, harms = random.Random(7), Counter[str](), cycle(["kill", "freeze", "disconnect"])
    commands = Commands(victim.url, "soak", lambda _: None)
    commands.start()
    while anyio.current_time() < ends:
        await anyio.sleep(dice.uniform(0.05, 0.3))
        harm = next(harms)
        if harm == "kill":
            victim.kill()
            await victim.ensure(10)
        elif harm == "freeze":
            victim.freeze()
            await anyio.sleep(dice.uniform(0.05, 2.0))
            victim.thaw()
        else:
            with suppress(StoreUnavailable):
                await commands.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        done[harm] += 1
    await commands.stop()
    return done


async def check(store: Store, books: Books) -> None:
    entries = await store.audit.read(0, 10_000_000)
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    moves: dict[str, list[int]] = defaultdict(list)
    facts: Counter[str] = Counter()
    for entry in entries:
        if isinstance(entry.event, RequestEvent):
            moves[entry.event.request].append(entry.event.version)
        else:
            facts[entry.event.what] += 1  # type: ignore[union-attr]
    assert facts == Counter(books.facts)
    for request_id, acknowledged in books.versions.items():
        request = await store.requests.get(request_id)
        assert request.version >= acknowledged
        assert moves[request_id] == list(range(1, request.version + 1))


async def drained(store: Store) -> bool:
    try:
        return store.health.up and await store.audit.drain() == 0
    except StoreUnavailable:
        return False


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(200)])])
async def test_what_was_acknowledged_survives_kills_and_freezes(victim: Victim, tmp_path: Path, seconds: float) -> None:
    books = Books()
    async with AsyncExitStack() as opened:
        stores = [
            await opened.enter_async_context(open_store(victim.url, data=tmp_path / name, broker_id=name))
            for name in ("broker-1", "broker-2")
        ]
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(work, stores[number % 2], f"worker-{number}", books)
            harm = await break_things(victim, anyio.current_time() + seconds)
            books.closed = True
        for store in stores:
            await until(lambda store=store: drained(store), within=20)  # type: ignore[misc]
        await check(stores[0], books)
    print(f"{len(books.versions)} requests, {len(books.facts)} facts, {books.refused} refusals, {dict(harm)}")
    assert books.versions
