from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from broker.approvals.ports import Delivery
from broker.store import keys
from broker.store.connection import Commands
from broker.store.open import Store, open_store
from broker.store.outbox import TRIES
from tests.fakes.samples import cancel, draft

Another = Callable[[str], AbstractAsyncContextManager[Store]]
AT_ONCE = timedelta(0)


async def parked(store: Store, join: str = "join") -> str:
    return (await store.requests.open(join, draft()))[0].id


async def test_every_commit_leaves_a_delivery_until_it_is_done(store: Store, raw: Commands) -> None:
    request = await parked(store)
    await store.requests.update(request, cancel())
    first, second = await store.outbox.take(10, 0)
    assert [(d.request, d.attempts) for d in (first, second)] == [(request, 0), (request, 0)]
    assert await store.outbox.take(10, 0) == []
    for delivery in (first, second, second):
        await store.outbox.done(delivery)
    assert await raw.run("XLEN", keys.outbox()) == 0


async def test_take_waits_for_the_first_delivery(store: Store) -> None:
    taken: list[Delivery] = []

    async def courier() -> None:
        taken.extend(await store.outbox.take(10, 5))

    with anyio.fail_after(4):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(courier)
            await anyio.lowlevel.checkpoint()
            request = await parked(store)
    assert [delivery.request for delivery in taken] == [request]


async def test_take_gives_up_when_nothing_comes(store: Store) -> None:
    with anyio.fail_after(5):
        assert await store.outbox.take(10, 0.05) == []


async def test_two_brokers_never_hold_the_same_delivery(store: Store, open_another: Another) -> None:
    for number in range(20):
        await parked(store, f"join-{number}")
    async with open_another("broker-2") as second:
        taken = [*await store.outbox.take(5, 0), *await second.outbox.take(5, 0), *await store.outbox.take(20, 0)]
        assert len({delivery.entry for delivery in taken}) == len(taken) == 20


async def test_what_a_dead_broker_held_is_taken_over(store: Store, store_url: str, tmp_path: Path) -> None:
    request = await parked(store)
    [lost] = await store.outbox.take(10, 0)  # and this broker is never heard of again
    async with open_store(store_url, data=tmp_path / "2", broker_id="broker-2", takeover=timedelta(milliseconds=1)) as second:
        with anyio.fail_after(5):
            [taken] = await second.outbox.take(10, 5)
        assert (taken.entry, taken.request, taken.attempts) == (lost.entry, request, 1)
        await second.outbox.done(taken)
    await store.outbox.later(lost, AT_ONCE, "it comes too late")
    assert await store.outbox.take(10, 0) == []


async def test_a_delivery_comes_back_after_its_time(store: Store) -> None:
    request = await parked(store)
    [delivery] = await store.outbox.take(10, 0)
    await store.outbox.later(delivery, timedelta(seconds=60), "the channel failed")
    assert await store.outbox.take(10, 0) == []
    [delivery] = [await put_off(store, await parked(store, "other"), AT_ONCE)]
    assert (delivery.request != request, delivery.attempts) == (True, 1)


async def put_off(store: Store, request: str, after: timedelta) -> Delivery:
    [delivery] = await store.outbox.take(10, 0)
    assert delivery.request == request
    await store.outbox.later(delivery, after, "the channel failed")
    with anyio.fail_after(5):
        [again] = await store.outbox.take(10, 5)
    return again


async def test_after_too_many_tries_it_is_a_dead_letter(store: Store, raw: Commands) -> None:
    request = await parked(store)
    for attempt in range(TRIES):
        [delivery] = await store.outbox.take(10, 0)
        assert (delivery.request, delivery.attempts) == (request, attempt)
        await store.outbox.later(delivery, AT_ONCE, f"try {attempt}")
        await store.outbox.later(delivery, AT_ONCE, "said twice")
    assert await store.outbox.take(10, 0) == []
    [(dead, why)] = await store.outbox.dead(10)
    assert await store.outbox.depth() == (0, 0, 1)
    assert (dead.request, dead.attempts, why) == (request, TRIES, "try 7")
    assert await raw.run("XLEN", keys.outbox()) == 0


@pytest.mark.parametrize("count", [3])
async def test_dead_letters_are_read_newest_first(store: Store, raw: Commands, count: int) -> None:
    names = [keys.new_id() for _ in range(count)]
    for name in names:
        await raw.run("XADD", keys.outbox_dead(), "*", "r", name, "a", 8, "w", "why")
    assert [delivery.request for delivery, _ in await store.outbox.dead(2)] == names[:0:-1]
