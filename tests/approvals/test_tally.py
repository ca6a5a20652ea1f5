from __future__ import annotations

from collections import Counter as Count

import anyio

from broker.approvals.desk import Parked
from broker.approvals.guard import Admitted
from broker.domain.outcomes import Refused
from broker.domain.requests import RequestState
from broker.errors import UpstreamUntouched
from tests.approvals.conftest import Counter

LIMIT = """
defaults: {unmatched: deny}
counters:
  refunds_24h: {window: 24h, key: [caller], match: {server: payments, tool: refund_create}, sum: args.amount}
rules:
  - {id: small, match: {server: payments, tool: refund_create}, effect: allow}
  - id: many
    match: {server: payments, tool: refund_create}
    when: counters.refunds_24h + double(args.amount) > 5000.0
    effect: require_approval
    approval: {all_of: [{group: finance}], timeout: 15m}
"""
ASKS = """
defaults: {unmatched: deny}
counters:
  asks: {window: 24h, key: [caller], match: {server: payments}, of: asked}
rules:
  - id: refunds
    match: {server: payments, tool: refund_create}
    effect: require_approval
    approval: {all_of: [{group: finance}], timeout: 15m}
  - {id: too-many, match: {server: payments}, effect: limit, limit: {counter: asks, max: 2, then: deny}}
"""


async def test_split_refunds_through_two_brokers_pass_up_to_the_limit_and_no_further(counter: Counter) -> None:
    counter.policies.write(rules=LIMIT)
    brokers = [counter, Counter(counter.store, counter.policies, broker="broker-2")]
    answers = []

    async def refund(n: int) -> None:
        answers.append(type(await brokers[n % 2].ask(400, key=f"order-{n}")))

    async with anyio.create_task_group() as tasks:
        for n in range(50):
            tasks.start_soon(refund, n)
    assert Count(answers) == {Admitted: 12, Parked: 38}


async def test_a_call_that_met_a_mistake_is_not_counted(counter: Counter) -> None:
    counter.policies.write(rules=LIMIT)
    counter.tools.away = True
    for n in range(3):
        try:
            await counter.ask(6000, key=f"order-{n}")
        except UpstreamUntouched:
            continue
    counter.tools.away = False
    assert isinstance(await counter.ask(5000), Admitted)


async def test_an_approved_refund_counts_when_it_is_sent(running: Counter) -> None:
    running.policies.write(rules=LIMIT)
    request = await running.parked(6000)
    assert request.counters == {"refunds_24h": 0.0}
    assert isinstance(await running.ask(100), Admitted)
    await running.approve(request)
    assert (await running.ended(request)).state is RequestState.COMPLETED
    asked = await running.ask(200)
    assert isinstance(asked, Parked)
    assert asked.request.counters == {"refunds_24h": 6100.0}


async def test_asking_is_counted_once_for_a_request_and_not_for_those_who_join(counter: Counter) -> None:
    counter.policies.write(rules=ASKS)
    for _ in range(4):
        assert isinstance(await counter.ask(1), Parked)
    assert isinstance(await counter.ask(2), Parked)
    answer = await counter.ask(3)
    assert isinstance(answer, Refused)
    assert [reason.rule for reason in answer.reasons] == ["too-many"]
