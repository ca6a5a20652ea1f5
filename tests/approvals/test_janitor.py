from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from broker.approvals.janitor import Janitor
from broker.domain.outcomes import Code, Refused
from broker.domain.requests import RequestState
from broker.store import keys
from broker.store.connection import Commands
from tests.approvals.conftest import AGENT, RULES, Counter

SOON = RULES.replace("timeout: 15m", "timeout: 1s")


def janitor(counter: Counter) -> Janitor:
    return Janitor(counter.store.requests, keep=timedelta(days=1), clock=lambda: datetime.now(UTC))


async def test_silence_is_never_consent(counter: Counter) -> None:
    counter.policies.write(rules=SOON)
    request = await counter.parked(40)
    async with janitor(counter).running(), counter.releaser.running():
        after = await counter.ended(request)
    outcome = await counter.desk.outcome(request.id, AGENT, within=0)
    assert (after.state, counter.ledger.rows) == (RequestState.EXPIRED, [])
    assert isinstance(outcome, Refused)
    assert outcome.code is Code.EXPIRED


async def test_an_approval_that_could_not_be_released_in_time_expires(store: object, policies: object) -> None:
    counter = Counter(store, policies, release_window=timedelta(0))  # type: ignore[arg-type]
    request = await counter.parked(40)
    await counter.approve(request)
    await janitor(counter).sweep()
    assert (await counter.desk.look(request.id)).state is RequestState.EXPIRED
    await counter.releaser.release(request.id)
    assert counter.ledger.rows == []


async def test_an_escalation_lets_a_second_group_answer(counter: Counter) -> None:
    escalates = RULES.replace("timeout: 15m", "timeout: 15m, escalate: [{after: 1s, to: [{group: leads}]}]")
    counter.policies.write(rules=escalates)
    request = await counter.parked(40)
    with anyio.fail_after(10):
        while (await counter.desk.look(request.id)).escalated != ("leads",):
            await janitor(counter).sweep()
    assert (await counter.approve(request, "lee@example.com")).state is RequestState.APPROVED


async def test_records_that_cannot_be_read_keep_no_other_from_its_end(
    counter: Counter, raw: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.approvals.janitor.AT_ONCE", 1)
    counter.policies.write(rules=SOON)
    spoilt, whole = [await counter.parked(amount) for amount in (40, 41)], await counter.parked(42)
    for request in spoilt:
        await raw.run("HSET", keys.record(request.id), "b", b"{}")
    sweeper = janitor(counter)
    with anyio.fail_after(10):
        while (await counter.desk.look(whole.id)).state is not RequestState.EXPIRED:
            await sweeper.sweep()


async def test_what_is_not_due_is_left_alone(counter: Counter) -> None:
    request = await counter.parked(40)
    await janitor(counter).sweep()
    assert await counter.desk.look(request.id) == request


async def test_retention_reaches_whatever_else_is_kept_of_calls(counter: Counter) -> None:
    told: list[datetime] = []

    async def forget(before: datetime) -> None:
        told.append(before)

    now = datetime.now(UTC)
    await Janitor(counter.store.requests, keep=timedelta(days=1), clock=lambda: now, also=(forget,)).tidy()
    assert told == [now - timedelta(days=1)]
