from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import anyio

from broker.approvals.ports import Changed
from broker.domain.requests import ApprovalRequest, RequestState
from broker.store import keys
from broker.store.changes import BACKLOG
from broker.store.connection import Commands
from broker.store.open import Store
from tests.fakes.samples import cancel, draft, review
from tests.fakes.waiting import until

Another = Callable[[str], AbstractAsyncContextManager[Store]]


async def parked(store: Store, count: int) -> list[ApprovalRequest]:
    return [(await store.requests.open(f"join-{number}", draft()))[0] for number in range(count)]


async def test_a_waiter_is_woken_by_a_commit_of_another_broker(store: Store, open_another: Another) -> None:
    [request] = await parked(store, 1)
    async with open_another("broker-2") as second:
        with store.changes.watch(request.id) as watch:
            await store.requests.get(request.id)
            await second.requests.update(request.id, review("fay"))
            with anyio.fail_after(5):
                while not await watch.wait(1):
                    pass
            assert (await store.requests.get(request.id)).state is RequestState.APPROVED


async def test_a_wait_without_a_change_ends_in_time(store: Store) -> None:
    first, second = await parked(store, 2)
    with store.changes.watch(first.id) as watch:
        while await watch.wait(0.05):
            pass  # the opening itself may still be on its way
        await store.requests.update(second.id, cancel())
        assert await watch.wait(0.05) is False


async def test_a_change_between_two_waits_is_not_missed(store: Store) -> None:
    [request] = await parked(store, 1)
    with store.changes.watch(request.id) as watch, store.changes.watch(request.id) as other:
        while await watch.wait(0.05):
            pass
        await store.requests.update(request.id, cancel())
        with anyio.fail_after(5):
            assert await other.wait(5)
        assert await watch.wait(0) is True
        assert await watch.wait(0) is False


async def test_all_callers_of_one_request_are_woken(store: Store) -> None:
    [request] = await parked(store, 1)
    woken = []

    async def caller(ready: anyio.Event) -> None:
        with store.changes.watch(request.id) as watch:
            while await watch.wait(0.05):
                pass
            ready.set()
            assert await watch.wait(5)
            woken.append(True)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            events = [anyio.Event() for _ in range(50)]
            for event in events:
                tasks.start_soon(caller, event)
            for event in events:
                await event.wait()
            await store.requests.update(request.id, cancel())
    assert len(woken) == 50


async def test_a_follower_hears_every_change_in_order(store: Store) -> None:
    async with store.changes.follow() as changes:
        requests = await parked(store, 5)
        await store.requests.update(requests[0].id, cancel())
        with anyio.fail_after(5):
            heard = [await anext(changes) for _ in range(6)]
    assert heard == [
        *(Changed(request.id, 1, RequestState.PENDING) for request in requests),
        Changed(requests[0].id, 2, RequestState.CANCELLED),
    ]


async def test_a_slow_follower_loses_the_oldest(store: Store, raw: Commands) -> None:
    total = BACKLOG + 50
    async with store.changes.follow() as changes, store.changes.follow() as quick:
        name = keys.new_id()
        for start in range(0, total, 500):
            entries = range(start, min(start + 500, total))
            await raw.run_all(*(("XADD", keys.changes(), "*", "c", f"{name} {n} pending") for n in entries))
        with anyio.fail_after(10):
            while (await anext(quick)).version != total - 1:
                pass
            kept = [(await anext(changes)).version for _ in range(BACKLOG)]
    assert kept == list(range(50, total))


async def test_a_broken_connection_loses_no_wake_up(store: Store, raw: Commands) -> None:
    """The connections are killed and all requests are moved in one go: every move falls into the reader's gap."""
    requests = await parked(store, 50)
    woken: list[str] = []

    async def caller(request: ApprovalRequest) -> None:
        with store.changes.watch(request.id) as watch:
            while await watch.wait(0.02):
                pass
            waiting.append(request.id)
            with anyio.fail_after(10):
                assert await watch.wait(10)
            woken.append(request.id)

    waiting: list[str] = []
    async with anyio.create_task_group() as tasks:
        for request in requests:
            tasks.start_soon(caller, request)
        await until(lambda: _all_wait(waiting, 50))
        gap = [("XADD", keys.changes(), "*", "c", f"{request.id} 2 cancelled") for request in requests]
        await raw.run_all(("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), *gap)
    assert sorted(woken) == sorted(request.id for request in requests)


async def _all_wait(waiting: list[str], count: int) -> bool:
    return len(waiting) == count


async def test_where_the_stream_was_trimmed_past_us_everyone_reads_again(store: Store, raw: Commands) -> None:
    [request] = await parked(store, 1)
    with store.changes.watch(request.id) as watch:
        while await watch.wait(0.05):
            pass
        await raw.run_all(
            ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
            ("XADD", keys.changes(), "*", "c", f"{request.id} 2 cancelled"),
            ("XTRIM", keys.changes(), "MAXLEN", 0),
        )
        with anyio.fail_after(10):
            assert await watch.wait(10)
        await store.requests.update(request.id, cancel())
        with anyio.fail_after(10):
            assert await watch.wait(10)


async def test_a_follower_ends_when_the_store_is_closed(open_another: Another) -> None:
    async with open_another("broker-2") as second:
        follower = second.changes.follow()
        changes = await follower.__aenter__()
    with anyio.fail_after(5):
        assert [change async for change in changes] == []
    await follower.__aexit__(None, None, None)


async def test_the_change_stream_is_trimmed(store: Store, raw: Commands) -> None:
    many = "for _ = 1, 10000 do redis.call('XADD', KEYS[1], '*', 'c', ARGV[1]) end"
    for _ in range(11):
        await raw.run("EVAL", many, 1, keys.changes(), f"{keys.new_id()} 1 pending")
    await parked(store, 1)
    assert await raw.run("XLEN", keys.changes()) < 101_000


async def test_the_deadline_of_a_watch_may_be_long(store: Store) -> None:
    [request] = await parked(store, 1)
    with store.changes.watch(request.id) as watch, anyio.move_on_after(0.05) as scope:
        while await watch.wait(timedelta(days=30).total_seconds()):
            pass
    assert scope.cancelled_caught
