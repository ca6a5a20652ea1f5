"""An allowed call's event is durable whoever still waits for it: in the store, or on disk while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.approvals.writing import Writing
from broker.domain.events import Entry, Noted
from broker.store.open import Store, open_store
from tests.fakes.samples import noted
from tests.fakes.waiting import until
from tests.store.conftest import Victim, victim

__all__ = ["victim"]


@pytest.fixture
async def store(victim: Victim, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(victim.url, data=tmp_path / "data", broker_id="broker-1") as opened:
        yield opened


async def test_who_waits_hears_when_the_event_is_in_the_store_and_leaving_does_not_stop_it(store: Store) -> None:
    kept, left = Writing(store.audit, noted("kept", store.clock())), Writing(store.audit, noted("left", store.clock()))
    leaving = asyncio.create_task(left.durable())
    await asyncio.sleep(0)
    leaving.cancel()
    await kept.durable()
    await left.durable()
    assert whats(await store.audit.read(0, 10)) == ["kept", "left"]


@pytest.mark.parametrize("waited", [True, False])
async def test_when_the_store_dies_in_between_the_event_is_spooled_also_if_nobody_waits(
    store: Store, victim: Victim, waited: bool
) -> None:
    victim.kill()
    writing = Writing(store.audit, noted("fact", store.clock()))
    if waited:
        await writing.durable()
    else:
        await until(lambda: is_down(store))
    await victim.ensure(5)
    await until(lambda: has(store, ["fact"]), within=10)


async def is_down(store: Store) -> bool:
    return not store.health.up


async def has(store: Store, wanted: list[str]) -> bool:
    return store.health.up and whats(await store.audit.read(0, 10)) == wanted


def whats(entries: object) -> list[str]:
    return [one.event.what for one in entries if isinstance(one, Entry) and isinstance(one.event, Noted)]  # type: ignore[attr-defined]
