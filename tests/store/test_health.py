from __future__ import annotations

from datetime import UTC, datetime, timedelta

from broker.store import keys
from broker.store.clock import Clock, micros, told
from broker.store.connection import Commands
from broker.store.open import Store


def test_scores_are_exact_to_the_microsecond() -> None:
    moment = told([b"1764000000", b"7"])
    assert moment == datetime(2025, 11, 24, 16, 0, 0, 7, tzinfo=UTC)
    assert micros(moment) == 1_764_000_000_000_007
    assert micros(datetime(2200, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)) < 2**53


def test_a_clock_carries_on_from_what_the_store_told() -> None:
    clock, long_ago = Clock(), datetime(2001, 1, 1, tzinfo=UTC)
    clock.set(long_ago)
    first, second = clock(), clock()
    assert long_ago <= first <= second < long_ago + timedelta(seconds=10)


async def test_the_stores_clock_is_known_without_a_round_trip(store: Store, raw: Commands) -> None:
    before = told(await raw.run("TIME"))
    now = store.clock()
    after = told(await raw.run("TIME"))
    assert before - timedelta(milliseconds=50) < now < after + timedelta(milliseconds=50)


async def test_a_broker_that_lives_says_so(store: Store, raw: Commands) -> None:
    assert store.health.up
    assert 0 < await raw.run("TTL", keys.broker("broker-1")) <= 10
