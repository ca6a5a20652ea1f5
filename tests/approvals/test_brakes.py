from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from broker.approvals.brakes import Brakes
from broker.approvals.desk import Parked
from broker.approvals.guard import Admitted
from broker.approvals.limits import Memory, Pace, Seldom, Waiting
from broker.approvals.stops import EVERYBODY, LOOK, Stop, Stops
from broker.domain.calls import Caller
from broker.domain.outcomes import Code, Refused
from broker.domain.requests import RequestState
from broker.errors import TooMany
from broker.store.open import Store
from tests.approvals.conftest import Counter, Policies

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.fixture
async def stopped(store: Store, policies: Policies) -> AsyncIterator[Counter]:
    stops = Stops(store.stops)
    counter = Counter(store, policies, brakes=Brakes(stops=stops))
    async with stops.running():
        yield counter


def stop(agent: str = EVERYBODY) -> Stop:
    return Stop(agent, "dana@example.com", "strange refunds", NOW)


async def test_a_stopped_agent_gets_no_call_through_and_is_told_why(stopped: Counter) -> None:
    await stopped.brakes.stops.stop(stop("support-bot"))  # type: ignore[union-attr]
    for tool in ("refund_get", "refund_create"):
        answer = await stopped.ask(tool=tool)
        assert isinstance(answer, Refused)
        assert (answer.code, answer.why) == (Code.DENIED, "all calls of this agent are stopped: strange refunds")
    assert isinstance(await stopped.ask(tool="refund_get", caller=Caller(agent="other-bot")), Admitted)


async def test_a_stop_set_at_one_broker_holds_at_the_other_within_a_second(stopped: Counter) -> None:
    await Stops(stopped.store.stops).stop(stop())
    await reached(stopped, lambda: stopped.brakes.stop(Caller(agent="support-bot")) is not None)
    await Stops(stopped.store.stops).lift(EVERYBODY)
    await reached(stopped, lambda: stopped.brakes.stop(Caller(agent="support-bot")) is None)


@pytest.mark.parametrize(
    ("caller", "name"),
    [
        (Caller(agent="bot", user="ann@example.com", workload="spiffe://example.com/web"), "bot"),
        (Caller(agent="bot", user="ann@example.com", workload="spiffe://example.com/web"), "spiffe://example.com/web"),
        (Caller(workload="spiffe://example.com/web"), "spiffe://example.com/web"),
        (Caller(user="ann@example.com"), "ann@example.com"),
    ],
)
async def test_whoever_calls_has_a_name_to_be_stopped_by(stopped: Counter, caller: Caller, name: str) -> None:
    assert stopped.brakes.stop(caller) is None
    await stopped.brakes.stops.stop(stop(name))  # type: ignore[union-attr]
    assert stopped.brakes.stop(caller) == stop(name)
    assert stopped.brakes.stop(Caller(agent="other", user="ann@example.com")) is None


@pytest.mark.parametrize("spoilt", [b"{", b'{"agent":"\xff"}', b'{"more":' + b"[" * 5_000], ids=["half", "no text", "deep"])
async def test_a_stop_that_can_not_be_read_still_stops_and_hides_no_other(stopped: Counter, spoilt: bytes) -> None:
    await stopped.store.stops.put("support-bot", spoilt)
    await stopped.brakes.stops.stop(stop("other"))  # type: ignore[union-attr]
    assert stopped.brakes.stop(Caller(agent="other")) == stop("other")
    found = stopped.brakes.stop(Caller(agent="support-bot"))
    assert found is not None
    assert found.why == "what was written about it can't be read"


async def reached(counter: Counter, there: Callable[[], bool]) -> None:
    """Wait with round trips to the store: the other broker polls it, and tells nobody."""
    with anyio.fail_after(LOOK + 0.6):
        while not there():
            await counter.store.requests.due(1)


async def test_a_stop_also_ends_what_was_approved(stopped: Counter) -> None:
    request = await stopped.parked(40)
    await stopped.brakes.stops.stop(stop())  # type: ignore[union-attr]
    await stopped.approve(request)
    await stopped.releaser.release(request.id)
    after = await stopped.desk.look(request.id)
    assert (after.state, after.note) == (RequestState.REJECTED, "all calls of this agent are stopped: strange refunds")
    assert stopped.ledger.rows == []


def test_a_fast_agent_is_slowed_and_told_when_to_come_back() -> None:
    now = 0.0
    pace = Pace(60, lambda: now)
    for _ in range(60):
        pace.take("a")
    with pytest.raises(TooMany, match=r"try again in 1.0 s"):
        pace.take("a")
    pace.take("b")
    now = 1.0
    pace.take("a")


async def test_a_stopped_agent_that_calls_without_an_end_fills_no_audit(store: Store, policies: Policies) -> None:
    counter = Counter(store, policies, brakes=Brakes(Stops(store.stops), Pace(2)))
    await counter.brakes.stops.stop(stop("support-bot"))  # type: ignore[union-attr]
    answers = await asyncio.gather(*(counter.ask(amount) for amount in range(20)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Refused] * 2 + [TooMany] * 18
    assert await counter.facts() == ["call.decided"] * 2


async def test_an_agent_that_has_left_too_much_with_people_waits(store: Store, policies: Policies) -> None:
    counter = Counter(store, policies, brakes=Brakes(waiting=Waiting(store.requests, 2)))
    first = await counter.parked(1)
    await counter.parked(2)
    with pytest.raises(TooMany):
        await counter.ask(3)
    joined = await counter.ask(1)
    assert isinstance(joined, Parked)
    assert (joined.request.id, joined.joined) == (first.id, True)
    await counter.reject(first)
    assert isinstance(await counter.ask(3), Parked)


async def test_calls_that_come_at_once_leave_no_more_with_people_than_those_that_come_one_by_one(
    store: Store, policies: Policies
) -> None:
    counter = Counter(store, policies, brakes=Brakes(waiting=Waiting(store.requests, 5)))
    answers = await asyncio.gather(*(counter.ask(amount) for amount in range(40)), return_exceptions=True)
    assert sum(isinstance(answer, TooMany) for answer in answers) >= 35
    assert 1 <= sum(isinstance(answer, Parked) for answer in answers) <= 5


async def test_the_same_call_after_a_rejection_is_refused_without_asking(store: Store, policies: Policies) -> None:
    counter = Counter(store, policies, brakes=Brakes(memory=Memory(store.credentials, timedelta(minutes=5))))
    request = await counter.parked(40)
    await counter.reject(request, why="ask the customer first")
    await counter.desk.delivered(request.id)
    again = await counter.ask(40)
    assert isinstance(again, Refused)
    assert (again.code, again.why) == (Code.REJECTED, "the same call was rejected a short while ago: ask the customer first")
    assert isinstance(await counter.ask(41), Parked)
    assert isinstance(await counter.ask(40, caller=Caller(agent="other-bot")), Parked)


async def test_another_idempotency_key_does_not_make_a_rejected_call_another(store: Store, policies: Policies) -> None:
    counter = Counter(store, policies, brakes=Brakes(memory=Memory(store.credentials, timedelta(minutes=5))))
    request = await counter.parked(40, key="first")
    await counter.reject(request)
    await counter.desk.delivered(request.id)
    assert [isinstance(await counter.ask(40, key=key), Refused) for key in ("first", "second", "")] == [True, True, True]
    assert isinstance(await counter.ask(41, key="first"), Parked)


async def test_a_memory_of_no_time_remembers_nothing(store: Store, policies: Policies) -> None:
    counter = Counter(store, policies, brakes=Brakes(memory=Memory(store.credentials, timedelta(0))))
    request = await counter.parked(40)
    await counter.reject(request)
    await counter.desk.delivered(request.id)
    assert isinstance(await counter.ask(40), Parked)


def test_what_one_agent_tries_is_written_down_once_a_minute_and_not_without_an_end() -> None:
    seldom = Seldom(most=2)
    tries = [("a", "x", 0), ("a", "x", 59), ("a", "y", 1), ("a", "z", 2), ("b", "z", 2), ("a", "x", 60), ("a", "z", 60)]
    counted = [(who, what, after) for who, what, after in tries if seldom.counts(who, what, NOW + timedelta(seconds=after))]
    assert counted == [("a", "x", 0), ("a", "y", 1), ("b", "z", 2), ("a", "x", 60)]
