from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from broker.domain.events import Entry, Noted
from broker.errors import StoreUnavailable
from broker.store import keys
from broker.store.audit import APPEND
from broker.store.connection import Commands
from broker.store.open import Store
from tests.fakes.samples import cancel, draft, noted

Another = Callable[[str], AbstractAsyncContextManager[Store]]


async def test_events_are_read_as_they_were_appended(store: Store) -> None:
    events = [noted(f"fact.{number}", store.clock()) for number in range(5)]
    for event in events:
        await store.audit.append(event)
    assert await store.audit.read(0, 100) == [Entry(number, event) for number, event in enumerate(events, 1)]
    assert await store.audit.read(3, 1) == [Entry(4, events[3])]
    assert await store.audit.read(5, 100) == []
    assert await store.audit.last() == 5


async def test_an_event_carries_the_broker_that_wrote_it(store: Store) -> None:
    await store.audit.append(Noted(at=store.clock(), what="fact"))
    [entry] = await store.audit.read(0, 1)
    assert entry.event.broker == "broker-1"


async def test_an_empty_log_has_no_last_number(store: Store) -> None:
    assert (await store.audit.last(), await store.audit.read(0, 10)) == (0, [])


async def test_numbers_have_no_gap_however_many_brokers_write_at_once(store: Store, open_another: Another) -> None:
    async with open_another("broker-2") as second, anyio.create_task_group() as tasks:

        async def write(number: int) -> None:
            writer = (store, second)[number % 2]
            await writer.audit.append(noted(f"fact.{number}", writer.clock()))
            request, _ = await writer.requests.open(f"join-{number}", draft())
            await writer.requests.update(request.id, cancel())

        for number in range(200):
            tasks.start_soon(write, number)
    entries = await store.audit.read(0, 1_000)
    assert [entry.number for entry in entries] == list(range(1, 601))
    assert sum(isinstance(entry.event, Noted) for entry in entries) == 200


async def test_the_raw_bytes_are_those_that_were_written(store: Store) -> None:
    event = noted("fact", store.clock())
    await store.audit.append(event)
    [(number, written)] = await store.audit.raw(0, 10)
    assert (number, Entry(number, event)) == (1, (await store.audit.read(0, 1))[0])
    assert written.startswith(b'{"type":"noted"')


async def test_trimming_keeps_the_numbers_going(store: Store) -> None:
    for number in range(5):
        await store.audit.append(noted(f"fact.{number}", store.clock()))
    await store.audit.trim(3)
    assert [entry.number for entry in await store.audit.read(0, 10)] == [4, 5]
    await store.audit.trim(5)
    await store.audit.append(noted("next", store.clock()))
    assert [entry.number for entry in await store.audit.read(0, 10)] == [6]


async def test_an_event_that_somebody_spoilt_keeps_nobody_from_the_others(store: Store, raw: Commands) -> None:
    await store.audit.append(noted("before", store.clock()))
    await raw.run("XADD", keys.audit(), "2-0", "e", b"{")
    await raw.run("XADD", keys.audit(), "3-0", "e", b'{"type": "of another version"}')
    found = [(entry.number, entry.event.what) for entry in await store.audit.read(0, 10) if isinstance(entry.event, Noted)]
    assert found == [(1, "before"), (2, "event.unreadable"), (3, "event.unreadable")]


async def test_the_entries_of_one_request_are_found(store: Store) -> None:
    first, _ = await store.requests.open("first", draft())
    second, _ = await store.requests.open("second", draft())
    await store.audit.append(noted("fact", store.clock()))
    await store.requests.update(first.id, cancel())
    assert [entry.number for entry in await store.audit.about(first.id)] == [1, 4]
    assert [entry.number for entry in await store.audit.about(second.id)] == [2]
    await store.audit.trim(1)
    assert [entry.number for entry in await store.audit.about(first.id)] == [4]
    assert list(await store.audit.about(keys.new_id())) == []


async def test_an_event_that_is_spooled_while_the_store_is_up_arrives_as_well(store: Store) -> None:
    event = noted("spooled", store.clock())
    await store.audit.spool(event)
    assert await store.audit.drain() == 1
    assert await store.audit.read(0, 10) == [Entry(1, event)]
    assert await store.audit.drain() == 0


async def test_what_is_being_written_when_a_broker_stops_is_written(store: Store, open_another: Another) -> None:
    heard: list[StoreUnavailable | None] = []
    async with open_another("broker-2") as second:
        events = [noted(f"fact.{number}", second.clock()) for number in range(5)]
        for event in events:
            second.audit.begin(event, heard.append)
    assert heard == [None] * 5
    assert [entry.event.what for entry in await store.audit.read(0, 10) if isinstance(entry.event, Noted)] == [
        event.what for event in events
    ]


async def test_a_writer_that_the_store_forgot_goes_on(store: Store, raw: Commands) -> None:
    await store.audit.append(noted("before", store.clock()))
    for lane in await raw.run("KEYS", keys.audit_lane("*")):
        await raw.run("DEL", lane)
    await store.audit.append(noted("after", store.clock()))
    assert [entry.number for entry in await store.audit.read(0, 10)] == [1, 2]


async def test_a_lost_write_that_comes_after_its_events_were_drained_changes_nothing(store: Store, raw: Commands) -> None:
    """The order in which a server wakes up to its sockets is its own: the write may be the last to be carried out."""
    names = [keys.audit(), keys.audit_number(), keys.audit_lane("file"), keys.audit_lane("lost")]
    assert await raw.script(APPEND, names, [0, 1, 60, 1, b"drained"]) == b"done"
    assert await raw.script(APPEND, [*names[:2], names[3]], [0, 1, 60, "", b"lost"]) == b"conflict"
    assert await store.audit.raw(0, 10) == [(1, b"drained")]


@pytest.mark.parametrize("count", [1_000])
async def test_appends_of_one_moment_go_together(store: Store, raw: Commands, count: int) -> None:
    event = noted("fact", store.clock())
    before = await commands_processed(raw)
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(store.audit.append, event)
    assert await commands_processed(raw) - before < count / 10
    assert await store.audit.last() == count


async def commands_processed(raw: Commands) -> int:
    told = (await raw.run("INFO", "commandstats")).decode()
    line = next((line for line in told.splitlines() if line.startswith("cmdstat_evalsha:")), "calls=0,")
    return int(line.split("calls=")[1].split(",")[0])
