"""The store dies, freezes, fills up or loses replies: nothing is lost, nothing happens twice, and it is said in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from broker.approvals.ports import Delivery, Query
from broker.domain.events import Entry, Noted, Opened, Reviewed
from broker.domain.requests import ApprovalRequest, RequestState
from broker.errors import StoreUnavailable
from broker.policy.model import CounterUse
from broker.store.connection import Commands
from broker.store.open import Store, open_store
from tests.fakes.samples import cancel, draft, noted, review
from tests.fakes.waiting import until
from tests.fakes.wires import Wire, wired
from tests.store.conftest import Victim

HOUR = timedelta(hours=1)


@pytest.fixture
async def store(victim: Victim, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(victim.url, data=tmp_path / "data", broker_id="broker-1") as opened:
        yield opened


@pytest.fixture
async def wire(victim: Victim, tmp_path: Path) -> AsyncIterator[Wire]:
    async with wired(victim.socket, tmp_path / "wire.sock") as opened:
        yield opened


@pytest.fixture
async def wired_store(wire: Wire, tmp_path: Path) -> AsyncIterator[Store]:
    """A store whose replies can be swallowed."""
    async with open_store(wire.url, data=tmp_path / "data", broker_id="broker-1") as opened:
        yield opened


async def parked(store: Store, join: str = "join") -> ApprovalRequest:
    return (await store.requests.open(join, draft()))[0]


async def up(store: Store) -> bool:
    return store.health.up


def errands(store: Store, request: ApprovalRequest) -> dict[str, Callable[[], Awaitable[object]]]:
    """One call of every method of every port."""
    uses = [CounterUse("refunds", "refunds:bot", HOUR, 1.0)]
    delivery = Delivery("1-0", request.id, 0)
    event = noted("fact", request.opened_at)
    return {
        "requests.open": lambda: store.requests.open("other", draft()),
        "requests.get": lambda: store.requests.get(request.id),
        "requests.update": lambda: store.requests.update(request.id, cancel()),
        "requests.answer": lambda: store.requests.answer(request.id),
        "requests.due": lambda: store.requests.due(10),
        "requests.approved": lambda: store.requests.approved(10),
        "requests.find": lambda: store.requests.find(Query()),
        "requests.forget": lambda: store.requests.forget(request.opened_at, 10),
        "outbox.take": lambda: store.outbox.take(10, 60),
        "outbox.done": lambda: store.outbox.done(delivery),
        "outbox.later": lambda: store.outbox.later(delivery, HOUR, "why"),
        "outbox.dead": lambda: store.outbox.dead(10),
        "audit.append": lambda: store.audit.append(event),
        "audit.read": lambda: store.audit.read(0, 10),
        "audit.last": store.audit.last,
        "audit.trim": lambda: store.audit.trim(0),
        "counters.reserve": lambda: store.counters.reserve("call", uses),
        "counters.commit": lambda: store.counters.commit("call", uses),
        "counters.give_back": lambda: store.counters.give_back("call", uses),
        "credentials.put": lambda: store.credentials.put("agent", "aa", b"", holder="bob", ttl=HOUR),
        "credentials.renew": lambda: store.credentials.renew("agent", "aa", b"", holder="bob", ttl=HOUR),
        "credentials.get": lambda: store.credentials.get("agent", "aa"),
        "credentials.take": lambda: store.credentials.take("agent", "aa"),
        "credentials.delete": lambda: store.credentials.delete("agent", "aa"),
        "credentials.list": lambda: store.credentials.list("agent"),
        "keys.signing_key": lambda: store.keys.signing_key("new"),
        "servers.swap": lambda: store.servers.swap("payments", None, b"1"),
        "leases.lease": lambda: store.leases.lease("sealer", "broker-1", HOUR),
    }


async def refusals(store: Store, request: ApprovalRequest) -> dict[str, float]:
    """Run all errands at once; return how long each took to raise `StoreUnavailable`."""
    took: dict[str, float] = {}

    async def run(name: str, errand: Callable[[], Awaitable[object]]) -> None:
        started = anyio.current_time()
        with pytest.raises(StoreUnavailable):
            await errand()
        took[name] = anyio.current_time() - started

    async with anyio.create_task_group() as tasks:
        for name, errand in errands(store, request).items():
            tasks.start_soon(run, name, errand)
    return took


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_every_method_says_within_two_seconds_that_the_store_is_away(store: Store, victim: Victim, how: str) -> None:
    request = await parked(store)
    assert store.health.up
    victim.kill() if how == "killed" else victim.freeze()
    took = await refusals(store, request)
    assert took.keys() == errands(store, request).keys()
    assert {name: seconds for name, seconds in took.items() if seconds > 2} == {}
    assert not store.health.up


async def test_a_store_known_to_be_away_is_not_waited_for(store: Store, victim: Victim) -> None:
    request = await parked(store)
    victim.kill()
    await refusals(store, request)
    assert max((await refusals(store, request)).values()) < 0.5


async def test_a_store_that_is_full_is_unavailable_and_not_up(store: Store, commands: Commands) -> None:
    request = await parked(store)
    await commands.run("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(StoreUnavailable):
        await store.requests.open("other", draft())
    await until(lambda: down(store))
    assert await store.requests.get(request.id) == request
    await commands.run("CONFIG", "SET", "maxmemory", "0")
    await until(lambda: up(store))
    await store.requests.open("other", draft())
    assert await store.audit.last() == 2


@pytest.fixture
async def commands(victim: Victim) -> AsyncIterator[Commands]:
    commands = Commands(victim.url, "tests", lambda _: None)
    commands.start()
    yield commands
    await commands.stop()


async def down(store: Store) -> bool:
    return not store.health.up


async def test_after_a_kill_of_the_server_all_is_there_and_all_are_woken(store: Store, victim: Victim) -> None:
    requests = [await parked(store, f"join-{number}") for number in range(100)]
    for request in requests[:10]:
        await store.requests.update(request.id, review("fay"))
    ended: list[RequestState] = []

    async def caller(request: ApprovalRequest) -> None:
        with store.changes.watch(request.id) as watch, anyio.fail_after(20):
            while (now := await store.requests.get(request.id)).state is RequestState.PENDING:
                await watch.wait(10)
        ended.append(now.state)

    async with anyio.create_task_group() as tasks:
        for request in requests:
            tasks.start_soon(caller, request)
        await until(lambda: has_length(ended, 10))
        victim.kill()
        await victim.ensure(5)
        await until(lambda: up(store))
        for request in requests[10:]:  # the scripts are gone from the new server's cache
            await store.requests.update(request.id, review("fay"))
    assert Counter(ended) == {RequestState.APPROVED: 100}
    entries = await store.audit.read(0, 1_000)
    assert [entry.number for entry in entries] == list(range(1, 201))
    assert Counter(type(entry.event) for entry in entries) == {Opened: 100, Reviewed: 100}


async def has_length(things: list[RequestState], count: int) -> bool:
    return len(things) == count


async def test_a_short_outage_is_not_noticed_by_callers(store: Store, victim: Victim) -> None:
    """A server that restarts at once costs patience, no error."""
    request = await parked(store)
    victim.kill()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.requests.update, request.id, review("fay"))
        tasks.start_soon(store.audit.append, noted("meanwhile", request.opened_at))
        await victim.ensure(5)
    assert (await store.requests.get(request.id)).state is RequestState.APPROVED
    assert [entry.number for entry in await store.audit.read(0, 10)] == [1, 2, 3]


# -- replies that get lost ------------------------------------------------------------------------------------


async def test_a_commit_whose_reply_was_lost_is_done_once_and_is_no_conflict(wired_store: Store, wire: Wire) -> None:
    store, request = wired_store, await parked(wired_store)
    wire.swallow_reply_to(b"EVALSHA")
    approved = await store.requests.update(request.id, review("fay"))
    assert (approved.version, approved.state, wire.swallowed) == (2, RequestState.APPROVED, 1)
    assert await store.requests.get(request.id) == approved
    assert [type(entry.event) for entry in await store.audit.read(0, 10)] == [Opened, Reviewed]


async def test_an_opening_whose_reply_was_lost_is_no_join_with_itself(wired_store: Store, wire: Wire) -> None:
    store = wired_store
    await parked(store, "warm")
    wire.swallow_reply_to(b"EVALSHA")
    request, joined = await store.requests.open("join", draft())
    assert (joined, wire.swallowed) == (False, 1)
    assert await store.requests.open("join", draft()) == (request, True)
    assert await store.audit.last() == 2


async def test_an_append_whose_reply_was_lost_is_written_once(wired_store: Store, wire: Wire) -> None:
    store = wired_store
    await store.audit.append(noted("warm", store.clock()))
    wire.swallow_reply_to(b"EVALSHA")
    await store.audit.append(noted("fact", store.clock()))
    assert wire.swallowed == 1
    assert [entry.event.what for entry in await store.audit.read(0, 10)] == ["warm", "fact"]  # type: ignore[union-attr]


async def test_a_reservation_whose_reply_was_lost_counts_once(wired_store: Store, wire: Wire) -> None:
    store, uses = wired_store, [CounterUse("refunds", "refunds:bot", HOUR, 400.0)]
    await store.counters.reserve("warm", uses)
    wire.swallow_reply_to(b"EVALSHA")
    assert await store.counters.reserve("call", uses) == {"refunds": 400}
    assert (await store.counters.reserve("next", uses), wire.swallowed) == ({"refunds": 800}, 1)


# -- the audit while the store is away ------------------------------------------------------------------------


async def record(store: Store, event: Noted) -> None:
    """Append, or spool when the store is away: what the guard does."""
    try:
        await store.audit.append(event)
    except StoreUnavailable:
        await store.audit.spool(event)


async def test_events_spooled_while_the_store_was_away_arrive_in_order_and_once(store: Store, victim: Victim) -> None:
    await record(store, noted("before", store.clock()))
    victim.kill()
    for number in range(50):
        await record(store, noted(f"fact.{number}", store.clock()))
    await victim.ensure(5)
    await until(lambda: has_number(store, 51), within=10)
    entries = await store.audit.read(0, 1_000)
    assert [entry.number for entry in entries] == list(range(1, 52))
    assert whats(entries) == ["before", *(f"fact.{number}" for number in range(50))]


@pytest.mark.parametrize("spooled", ["while frozen", "after the thaw"])
async def test_an_event_whose_write_may_have_come_through_is_not_doubled(store: Store, victim: Victim, spooled: str) -> None:
    """The frozen server has the write in its socket and carries it out when it wakes up: before or after the drain."""
    await record(store, noted("before", store.clock()))
    events = [noted(f"fact.{number}", store.clock()) for number in range(20)]
    victim.freeze()

    async def fail(event: Noted) -> None:
        with pytest.raises(StoreUnavailable):
            await store.audit.append(event)

    async with anyio.create_task_group() as tasks:
        for event in events:
            tasks.start_soon(fail, event)
    if spooled == "after the thaw":
        victim.thaw()
        await until(lambda: up(store))
    for event in reversed(events):
        await store.audit.spool(event)
    victim.thaw()
    await until(lambda: up(store))
    await store.audit.append(noted("after", store.clock()))
    await until(lambda: is_drained(store), within=10)
    entries = await store.audit.read(0, 1_000)
    assert Counter(whats(entries)) == dict.fromkeys(["before", "after", *(event.what for event in events)], 1)
    assert [entry.number for entry in entries] == list(range(1, 23))


async def has_number(store: Store, number: int) -> bool:
    try:
        return await store.audit.last() >= number
    except StoreUnavailable:
        return False


async def is_drained(store: Store) -> bool:
    return await store.audit.drain() == 0


def whats(entries: object) -> list[str]:
    return [entry.event.what for entry in entries if isinstance(entry, Entry) and isinstance(entry.event, Noted)]  # type: ignore[attr-defined]
