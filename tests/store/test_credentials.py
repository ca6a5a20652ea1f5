from __future__ import annotations

from datetime import timedelta

import anyio

from broker.store import keys
from broker.store.connection import Commands
from broker.store.credentials import KeptRecord
from broker.store.open import Store
from tests.fakes.waiting import until

HOUR = timedelta(hours=1)


async def test_a_credential_is_kept_under_its_kind_and_hash(store: Store) -> None:
    await store.credentials.put("agent", "aa", b"record", holder="bob", ttl=HOUR)
    assert await store.credentials.get("agent", "aa") == b"record"
    assert await store.credentials.get("person", "aa") is None
    assert await store.credentials.delete("agent", "aa") is True
    assert await store.credentials.delete("agent", "aa") is False
    assert await store.credentials.get("agent", "aa") is None


async def test_of_many_takers_one_gets_it(store: Store) -> None:
    await store.credentials.put("link", "aa", b"record", holder="dana", ttl=HOUR)
    taken: list[bytes | None] = []

    async def take() -> None:
        taken.append(await store.credentials.take("link", "aa"))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(take)
    assert sorted(taken, key=bool) == [None] * 19 + [b"record"]


async def test_a_deleted_credential_does_not_come_back_by_renewal(store: Store) -> None:
    await store.credentials.put("session", "aa", b"1", holder="dana", ttl=HOUR)
    assert await store.credentials.renew("session", "aa", b"2", holder="dana", ttl=HOUR) is True
    assert await store.credentials.get("session", "aa") == b"2"
    await store.credentials.delete("session", "aa")
    assert await store.credentials.renew("session", "aa", b"3", holder="dana", ttl=HOUR) is False
    assert await store.credentials.get("session", "aa") is None


async def test_credentials_are_listed_by_kind_and_holder(store: Store) -> None:
    for number, holder in enumerate(["bob", "dana d", "bob"]):
        await store.credentials.put("agent", f"{number}", b"record", holder=holder, ttl=HOUR * (number + 1))
    assert await store.credentials.list("agent") == [KeptRecord(name, b"record") for name in "012"]
    assert await store.credentials.list("agent", "bob") == [KeptRecord("0", b"record"), KeptRecord("2", b"record")]
    assert await store.credentials.list("agent", "dana d") == [KeptRecord("1", b"record")]
    await store.credentials.take("agent", "2")
    assert await store.credentials.list("agent", "bob") == [KeptRecord("0", b"record")]
    assert await store.credentials.list("person") == []


async def test_an_expired_credential_is_gone_and_its_listing_with_it(store: Store, raw: Commands) -> None:
    await store.credentials.put("link", "old", b"record", holder="dana", ttl=timedelta(milliseconds=5))

    async def gone() -> bool:
        return await store.credentials.get("link", "old") is None

    await until(gone)
    assert await store.credentials.list("link") == []
    await store.credentials.put("link", "new", b"record", holder="dana", ttl=HOUR)
    assert await raw.run("ZRANGE", keys.credentials("link"), 0, -1) == [b"new dana"]
