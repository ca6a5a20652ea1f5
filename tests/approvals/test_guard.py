from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from broker.approvals.desk import Parked
from broker.approvals.guard import Admitted
from broker.domain.events import CallDecided
from broker.domain.outcomes import Code, Refused
from broker.domain.requests import Origin
from broker.errors import Malformed, StoreUnavailable, UpstreamUntouched
from tests.approvals.conftest import RULES, Counter, refund
from tests.journeys.stores import Store as KillableStore


async def test_an_allowed_call_is_recorded_before_its_answer_may_leave(counter: Counter) -> None:
    answer = await counter.ask(tool="refund_get")
    assert isinstance(answer, Admitted)
    await answer.recorded()
    (entry,) = await counter.store.audit.read(0, 10)
    assert isinstance(entry.event, CallDecided)
    assert (entry.number, entry.event.effect, entry.event.rules, entry.event.digest) == (1, "allow", ("reads",), answer.digest)


async def test_a_denied_call_is_refused_with_its_rule_and_recorded(counter: Counter) -> None:
    denied = "\n  - {id: frozen, title: Refunds are frozen, match: {server: payments, tool: refund_create}, effect: deny}\n"
    counter.policies.write(rules=RULES + denied)
    answer = await counter.ask()
    assert isinstance(answer, Refused)
    assert (answer.code, [reason.rule for reason in answer.reasons]) == (Code.DENIED, ["frozen"])
    assert await counter.facts() == ["call.decided"]


async def test_a_sensitive_call_is_parked(counter: Counter) -> None:
    answer = await counter.ask()
    assert isinstance(answer, Parked)
    assert (answer.request.plan.title, answer.request.rules, answer.joined) == ("Refund 40", ("refunds",), False)


async def test_an_unknown_server_is_denied(counter: Counter) -> None:
    call = refund(1)
    answer = await counter.guard.admit(type(call)("nowhere", call.tool, call.params, call.caller), Origin())
    assert isinstance(answer, Refused)
    assert [reason.rule for reason in answer.reasons] == ["unknown_server"]


async def test_a_server_that_can_not_be_probed_parks_nothing(counter: Counter) -> None:
    counter.tools.away = True
    with pytest.raises(UpstreamUntouched):
        await counter.ask()
    assert await counter.facts() == []


@pytest.mark.parametrize("number", [float("nan"), 2**70])
async def test_a_call_without_a_canonical_form_is_refused(counter: Counter, number: float) -> None:
    try:
        answer = await counter.ask(number)
    except Malformed:
        return
    assert isinstance(answer, Refused)


async def test_an_exception_in_the_judgement_is_no_pass(counter: Counter) -> None:
    def broken_clock() -> object:
        raise RuntimeError("no time")

    guard = counter.make_guard(clock=broken_clock)
    with pytest.raises(RuntimeError):
        await guard.admit(refund(1, tool="refund_get"), Origin())


async def test_without_a_store_an_allowed_call_is_refused_unless_the_operator_says_otherwise(
    mortal: tuple[Counter, KillableStore], tmp_path: Path
) -> None:
    counter, server = mortal
    server.kill()
    with anyio.fail_after(5):
        while counter.store.health.up:
            with suppress(StoreUnavailable):
                await counter.store.requests.due(1)
    with pytest.raises(StoreUnavailable):
        await counter.ask(tool="refund_get")
    lenient = counter.make_guard(allow_when_store_is_down=True)
    answer = await lenient.admit(refund(1, tool="refund_get"), Origin())
    assert isinstance(answer, Admitted)
    await answer.recorded()
    with pytest.raises(StoreUnavailable):
        await lenient.admit(refund(1), Origin())
    server.start()
    with anyio.fail_after(10):
        while not await _facts(counter):
            pass
    assert await counter.facts() == ["call.decided"]


async def _facts(counter: Counter) -> list[str]:
    try:
        return await counter.facts()
    except StoreUnavailable:
        return []
