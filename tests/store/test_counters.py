from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import anyio

from broker.policy.model import CounterUse
from broker.store import keys
from broker.store.connection import Commands
from broker.store.open import Store
from tests.fakes.waiting import until

Another = Callable[[str], AbstractAsyncContextManager[Store]]
DAY = timedelta(hours=24)


def use(amount: float | None, *, name: str = "refunds", window: timedelta = DAY) -> CounterUse:
    return CounterUse(name, f"{name}:bot", window, amount)


async def test_a_counter_holds_earlier_calls_and_not_this_one(store: Store) -> None:
    assert await store.counters.reserve("call-1", [use(400)]) == {"refunds": 0}
    assert await store.counters.reserve("call-2", [use(50.5)]) == {"refunds": 400}
    assert await store.counters.reserve("call-3", [use(1)]) == {"refunds": 450.5}


async def test_the_same_call_counts_once(store: Store) -> None:
    for _ in range(3):
        assert await store.counters.reserve("call-1", [use(400)]) == {"refunds": 0}
    await store.counters.commit("call-1", [use(400)])
    assert await store.counters.reserve("call-2", [use(1)]) == {"refunds": 400}


async def test_what_is_given_back_no_longer_counts(store: Store) -> None:
    await store.counters.reserve("call-1", [use(400)])
    await store.counters.reserve("call-2", [use(30)])
    for _ in range(2):
        await store.counters.give_back("call-1", [use(400)])
    assert await store.counters.reserve("call-3", [use(1)]) == {"refunds": 30}


async def test_what_was_reserved_and_never_settled_stays_counted(store: Store, open_another: Another) -> None:
    async with open_another("broker-2") as dies:
        await dies.counters.reserve("call-1", [use(400)])
    assert await store.counters.reserve("call-2", [use(1)]) == {"refunds": 400}


async def test_several_counters_are_counted_in_one_step(store: Store) -> None:
    uses = [use(400), use(1, name="calls"), use(None, name="untold")]
    assert await store.counters.reserve("call-1", uses) == {"refunds": 0, "calls": 0}
    assert await store.counters.reserve("call-2", uses) == {"refunds": 400, "calls": 1}
    await store.counters.give_back("call-2", uses)
    assert await store.counters.reserve("call-3", uses) == {"refunds": 400, "calls": 1}


async def test_no_counters_cost_no_round_trip(store: Store) -> None:
    assert await store.counters.reserve("call-1", []) == {}


async def test_a_call_falls_out_of_its_window_by_the_stores_clock(store: Store) -> None:
    window = timedelta(milliseconds=30)
    await store.counters.reserve("call-1", [use(400, window=window)])
    number = iter(range(2, 1_000))

    async def forgotten() -> bool:
        call = f"call-{next(number)}"
        earlier = await store.counters.reserve(call, [use(1, window=window)])
        await store.counters.give_back(call, [use(1, window=window)])
        return earlier == {"refunds": 0}

    await until(forgotten)


async def test_parallel_calls_through_two_brokers_see_each_other(store: Store, open_another: Another) -> None:
    """50 x 400 against 5,000: twelve fit, as many as there would be one after the other."""
    passed: list[int] = []
    async with open_another("broker-2") as second, anyio.create_task_group() as tasks:

        async def call(number: int) -> None:
            counters = (store, second)[number % 2].counters
            earlier = await counters.reserve(f"call-{number}", [use(400)])
            if earlier["refunds"] + 400 <= 5_000:
                passed.append(number)
                await counters.commit(f"call-{number}", [use(400)])

        for number in range(50):
            tasks.start_soon(call, number)
    assert len(passed) == 12


async def test_a_huge_amount_that_is_given_back_does_not_wipe_out_the_small_ones(store: Store) -> None:
    await store.counters.reserve("call-1", [use(4_999.99)])
    await store.counters.reserve("call-2", [use(1e300)])
    await store.counters.give_back("call-2", [use(1e300)])
    assert await store.counters.reserve("call-3", [use(1)]) == {"refunds": 4_999.99}


async def test_fractions_do_not_drift(store: Store) -> None:
    await store.counters.reserve("kept", [use(0.1)])
    for number in range(200):
        await store.counters.reserve(f"call-{number}", [use(0.3)])
        await store.counters.give_back(f"call-{number}", [use(0.3)])
    assert await store.counters.reserve("last", [use(1)]) == {"refunds": 0.1}


async def test_a_counter_that_is_no_longer_used_goes_away(store: Store, raw: Commands) -> None:
    await store.counters.reserve("call-1", [use(1)])
    for key in (keys.counter("refunds:bot"), keys.counter_amounts("refunds:bot")):
        assert DAY.total_seconds() < await raw.run("TTL", key) <= DAY.total_seconds() + 60
