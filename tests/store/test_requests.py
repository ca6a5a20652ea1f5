from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta

import anyio
import pytest

from broker.approvals.ports import Page, Query
from broker.domain.decisions import Escalation
from broker.domain.events import Claimed, Delivered, Finished, Opened, Reviewed
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.domain.reviews import Verdict
from broker.errors import AlreadyResolved, Malformed, UnknownRequest
from broker.store import keys
from broker.store.connection import Commands
from broker.store.open import Store
from tests.fakes.samples import cancel, claim, complete, deliver, draft, expire, lose, renew, review
from tests.fakes.waiting import until

Another = Callable[[str], AbstractAsyncContextManager[Store]]


async def parked(store: Store, join: str = "join", **fields: object) -> ApprovalRequest:
    request, joined = await store.requests.open(join, draft(**fields))  # type: ignore[arg-type]
    assert not joined
    return request


async def ended(store: Store, join: str = "join") -> ApprovalRequest:
    """A request that ran, with its answer in the mailbox."""
    request = await parked(store, join)
    for move in (review("fay"), claim(), complete(b'{"result":1}')):
        request = await store.requests.update(request.id, move)
    return request


async def test_a_request_is_read_as_it_was_opened(store: Store) -> None:
    arguments = {"amount": 40.0, "big": 2**53 - 1, "small": -0.0, "text": "a\u202eb \U0001f600", "nested": [{"x": None}, True]}
    request = await parked(store, arguments=arguments)
    assert await store.requests.get(request.id) == request
    assert (await store.requests.get(request.id)).call.digest() == request.digest


@pytest.mark.parametrize(
    "name", ["", "apr_0_x", "apr_7_" + "a" * 26, "apr_0_" + "a" * 26, "apr_0_" + "a" * 25 + "\n", "ab:{0}:due"]
)
async def test_an_id_that_never_was_is_unknown(store: Store, name: str) -> None:
    for errand in (
        store.requests.get(RequestId(name)),
        store.requests.update(RequestId(name), cancel()),
    ):
        with pytest.raises(UnknownRequest):
            await errand


async def test_fifty_identical_calls_at_once_are_one_request(store: Store) -> None:
    opened: list[tuple[ApprovalRequest, bool]] = []

    async def call() -> None:
        opened.append(await store.requests.open("same", draft()))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call)
    assert Counter(joined for _, joined in opened) == {False: 1, True: 49}
    assert len({request.id for request, _ in opened}) == 1
    assert [type(entry.event) for entry in await store.audit.read(0, 100)] == [Opened]
    assert len(await store.outbox.take(100, 0)) == 1


async def test_the_join_is_held_until_the_answer_was_delivered(store: Store) -> None:
    request = await ended(store)
    assert await store.requests.open("join", draft()) == (request, True)
    await store.requests.update(request.id, deliver())
    again, joined = await store.requests.open("join", draft())
    assert (again.id != request.id, joined) == (True, False)


async def test_a_late_delivery_does_not_release_the_join_of_a_newer_request(store: Store, raw: Commands) -> None:
    request = await ended(store)
    await raw.run("DEL", keys.join("join"))  # its keeping time is over
    newer = await parked(store)
    await store.requests.update(request.id, deliver())
    assert await store.requests.open("join", draft()) == (newer, True)


async def test_an_ended_request_holds_its_join_for_the_keeping_time_only(store: Store, raw: Commands) -> None:
    request = await parked(store)
    assert await raw.run("PTTL", keys.join("join")) == -1
    await store.requests.update(request.id, cancel())
    assert 890_000 < await raw.run("PTTL", keys.join("join")) <= 900_000


async def test_the_answer_lies_in_the_mailbox_and_goes_soon_after_its_delivery(store: Store, raw: Commands) -> None:
    request = await ended(store)
    assert await store.requests.answer(request.id) == b'{"result":1}'
    assert 890_000 < await raw.run("PTTL", keys.answer(request.id)) <= 900_000
    await store.requests.update(request.id, deliver())
    assert await store.requests.answer(request.id) == b'{"result":1}'
    assert 50_000 < await raw.run("PTTL", keys.answer(request.id)) <= 60_000


async def test_a_request_without_answer_has_an_empty_mailbox(store: Store) -> None:
    assert await store.requests.answer((await parked(store)).id) is None


async def test_a_hundred_reviews_at_once_make_one_decision_told_once(store: Store, open_another: Another) -> None:
    request = await parked(store)
    results: list[object] = []
    async with open_another("broker-2") as second, store.changes.follow() as changes, anyio.create_task_group() as tasks:

        async def decide(number: int) -> None:
            requests = (store, second)[number % 2].requests
            verdict = (Verdict.APPROVE, Verdict.REJECT)[number % 3 == 0]
            try:
                results.append((await requests.update(request.id, review(f"person-{number}", verdict))).state)
            except AlreadyResolved as late:
                results.append(late.state)

        for number in range(100):
            tasks.start_soon(decide, number)
        with anyio.fail_after(5):
            told = [await anext(changes)]
    decided = await store.requests.get(request.id)
    assert set(results) == {decided.state.value}
    assert [(change.request, change.version, change.state) for change in told] == [(request.id, 2, decided.state)]
    assert [type(entry.event) for entry in await store.audit.read(0, 10)] == [Opened, Reviewed]
    assert len(await store.outbox.take(100, 0)) == 2
    assert decided.version == 2
    assert len(decided.reviews) == 1


async def test_a_hundred_approvals_that_are_all_needed_are_all_counted(store: Store, open_another: Another) -> None:
    request = await parked(store, count=100)
    async with open_another("broker-2") as second, anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon((store, second)[number % 2].requests.update, request.id, review(f"person-{number}"))
    after = await store.requests.get(request.id)
    assert (after.state, after.version, len(after.reviews)) == (RequestState.APPROVED, 101, 100)


async def test_a_late_approval_cannot_undo_a_rejection(store: Store) -> None:
    request = await parked(store)
    rejected = await store.requests.update(request.id, review("fay", Verdict.REJECT))
    with pytest.raises(AlreadyResolved) as late:
        await store.requests.update(request.id, review("dana"))
    assert (late.value.state, late.value.by) == ("rejected", "fay")
    assert await store.requests.get(request.id) == rejected


async def test_a_move_without_an_event_tells_nobody(store: Store) -> None:
    request = await parked(store)
    for move in (review("fay"), claim()):
        await store.requests.update(request.id, move)
    before = await store.audit.last()
    with store.changes.watch(request.id) as watch:
        await store.requests.update(request.id, renew())
        assert await watch.wait(0.05) is False
    assert await store.audit.last() == before


async def test_one_request_leaves_one_numbered_entry_for_each_move(store: Store) -> None:
    request = await ended(store)
    await store.requests.update(request.id, deliver())
    entries = await store.audit.read(0, 100)
    assert [(entry.number, type(entry.event)) for entry in entries] == [
        (1, Opened), (2, Reviewed), (3, Claimed), (4, Finished), (5, Delivered),
    ]  # fmt: skip
    assert {entry.event.broker for entry in entries} == {"broker-1"}
    assert [entry.event.version for entry in entries] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]


async def due_are(store: Store, *ids: RequestId) -> bool:
    return await store.requests.due(10) == list(ids)


async def test_what_is_due_is_told_by_the_stores_clock(store: Store, raw: Commands) -> None:
    soon = await parked(store, "soon", timeout=timedelta(milliseconds=1))
    later = await parked(store, "later", timeout=timedelta(hours=1))
    escalation = (Escalation(timedelta(milliseconds=1), ("leads",)),)
    escalates = await parked(store, "escalates", timeout=timedelta(hours=1), escalate=escalation)
    await until(lambda: due_are(store, soon.id, escalates.id))
    await store.requests.update(soon.id, expire())
    escalated = await store.requests.update(escalates.id, lambda request, now: request.asked_further(("leads",), now))
    assert escalated.due_at == escalated.expires_at
    assert await store.requests.due(10) == []
    assert await raw.run("ZRANGE", keys.due(), 0, -1) == [later.id.encode(), escalates.id.encode()]


async def test_an_executing_request_is_due_when_its_lease_runs_out(store: Store) -> None:
    request = await parked(store)
    await store.requests.update(request.id, review("fay"))
    await store.requests.update(request.id, claim(lease=timedelta(milliseconds=1)))
    await until(lambda: due_are(store, request.id))
    unknown = await store.requests.update(request.id, lose())
    assert unknown.state is RequestState.UNKNOWN
    assert await store.requests.due(10) == []


async def test_approved_requests_are_listed_oldest_first_until_they_are_claimed(store: Store) -> None:
    requests = [await parked(store, f"join-{number}") for number in range(3)]
    for request in reversed(requests):
        await store.requests.update(request.id, review("fay"))
    assert await store.requests.approved(10) == [request.id for request in requests]
    assert await store.requests.approved(1) == [requests[0].id]
    await store.requests.update(requests[0].id, claim())
    assert await store.requests.approved(10) == [requests[1].id, requests[2].id]


async def every(store: Store, query: Query, limit: int) -> list[RequestId]:
    """All pages of a query."""
    found: list[RequestId] = []
    page = await store.requests.find(query, limit=limit)
    found += [request.id for request in page.requests]
    while page.cursor:
        page = await store.requests.find(query, limit=limit, cursor=page.cursor)
        found += [request.id for request in page.requests]
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_lists_are_complete_and_newest_first_whatever_the_size_of_a_page(store: Store, limit: int) -> None:
    requests = [
        await parked(
            store, f"join-{n}", agent=f"bot-{n % 2}", server=f"s{n % 3}", group=("finance", "leads")[n % 2], tool=f"t{n % 4}"
        )
        for n in range(7)
    ]
    await store.requests.update(requests[0].id, review("fay"))
    await store.requests.update(requests[2].id, review("fay", Verdict.REJECT))
    state = {request.id: (await store.requests.get(request.id)).state for request in requests}
    newest = list(reversed(requests))
    for query, wanted in (
        (Query(), newest),
        (Query(states=(RequestState.PENDING,)), [r for r in newest if state[r.id] is RequestState.PENDING]),
        (Query(states=(RequestState.APPROVED, RequestState.REJECTED)), [requests[2], requests[0]]),
        (Query(states=(RequestState.PENDING,), group="leads"), [requests[5], requests[3], requests[1]]),
        (Query(states=(RequestState.PENDING,), group="finance"), [requests[6], requests[4]]),
        (Query(group="finance"), [requests[6], requests[4], requests[2], requests[0]]),
        (Query(principal=requests[1].call.caller.principal), [requests[5], requests[3], requests[1]]),
        (Query(server="s1"), [requests[4], requests[1]]),
        (Query(server="s1", tool="t1"), [requests[1]]),
        (Query(server="none"), []),
    ):
        assert await every(store, query, limit) == [request.id for request in wanted], query


async def test_requests_of_the_same_microsecond_are_all_listed(store: Store) -> None:
    now = store.clock()
    opened = [await store.requests.open(f"join-{number}", lambda _: draft()(now)) for number in range(40)]
    assert await every(store, Query(), 3) == sorted((request.id for request, _ in opened), reverse=True)


async def test_the_last_page_has_no_cursor(store: Store) -> None:
    for number in range(4):
        await parked(store, f"join-{number}")
    first = await store.requests.find(Query(), limit=2)
    second = await store.requests.find(Query(), limit=2, cursor=first.cursor)
    assert (len(first.requests), bool(first.cursor), len(second.requests), second.cursor) == (2, True, 2, "")
    assert await store.requests.find(Query(server="none")) == Page(())


@pytest.mark.parametrize("cursor", ["x", "-", "1e9-a", "٣-a", "9" * 40 + "-a"])
async def test_a_forged_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(Malformed):
        await store.requests.find(Query(), cursor=cursor)


async def test_a_caller_that_goes_away_does_not_disturb_the_others(store: Store) -> None:
    """A command that was cancelled in flight must not put its connection out of step."""
    requests = [await parked(store, f"join-{number}") for number in range(20)]

    async def impatient(request_id: RequestId) -> None:
        with anyio.move_on_after(0):
            await store.requests.get(request_id)

    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for request in requests:
                tasks.start_soon(impatient, request.id)
        with suppress(TimeoutError):
            assert [await store.requests.get(request.id) for request in requests] == requests
