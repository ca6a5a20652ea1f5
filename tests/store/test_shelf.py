from __future__ import annotations

import anyio

from broker.store.open import Store


async def test_values_are_written_and_read_by_name(store: Store) -> None:
    await store.servers.put("payments", b"\x00\xff pins")
    await store.refused.put("payments", b"probe")
    assert await store.servers.get("payments") == b"\x00\xff pins"
    assert await store.servers.get("files") is None
    assert await store.servers.all() == {"payments": b"\x00\xff pins"}
    assert await store.servers.delete("payments") is True
    assert await store.servers.all() == {}


async def test_a_value_is_replaced_only_if_it_is_unchanged(store: Store) -> None:
    assert await store.servers.swap("payments", b"", b"1") is False
    assert await store.servers.swap("payments", None, b"1") is True
    assert await store.servers.swap("payments", None, b"2") is False
    assert await store.servers.swap("payments", b"1", b"2") is True
    assert await store.servers.swap("payments", b"1", b"3") is False
    assert await store.servers.get("payments") == b"2"


async def test_of_many_writers_one_is_first(store: Store) -> None:
    won: list[bool] = []

    async def write(number: int) -> None:
        won.append(await store.servers.swap("payments", None, f"{number}".encode()))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(write, number)
    assert sorted(won) == [False] * 19 + [True]


async def test_the_head_of_the_seals_moves_one_at_a_time(store: Store) -> None:
    assert await store.seals.head() is None
    assert await store.seals.advance(None, b"first") is True
    assert await store.seals.advance(None, b"other") is False
    assert await store.seals.advance(b"first", b"second") is True
    assert await store.seals.head() == b"second"
