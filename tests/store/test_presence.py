from __future__ import annotations

from datetime import timedelta

from broker.store.open import Store
from tests.fakes.waiting import until

LONG = timedelta(minutes=1)


async def test_everybody_who_is_there_is_told_of_everybody_else(store: Store) -> None:
    assert await store.presence.here("request:r1", "bo", LONG) == ["bo"]
    assert await store.presence.here("request:r1", "ann", LONG) == ["ann", "bo"]
    assert await store.presence.here("request:r1", "bo", LONG) == ["ann", "bo"]
    assert await store.presence.here("request:r2", "cy", LONG) == ["cy"]
    assert await store.presence.at("request:r1") == ["ann", "bo"]


async def test_who_says_nothing_any_more_is_gone(store: Store) -> None:
    await store.presence.here("request:r1", "ann", timedelta(milliseconds=30))
    await store.presence.here("request:r1", "bo", LONG)

    async def alone() -> bool:
        return await store.presence.at("request:r1") == ["bo"]

    await until(alone)


async def test_who_leaves_is_gone_at_once(store: Store) -> None:
    await store.presence.here("brokers", "a", LONG)
    await store.presence.gone("brokers", "a")
    await store.presence.gone("brokers", "never there")
    assert await store.presence.at("brokers") == []
