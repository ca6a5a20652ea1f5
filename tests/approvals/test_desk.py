from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from broker.domain.calls import Caller
from broker.domain.events import Noted, Opened
from broker.domain.outcomes import Code, Refused, StillPending
from broker.domain.people import Reviewer
from broker.domain.requests import RequestId, RequestState
from broker.domain.reviews import Verdict
from broker.errors import AlreadyResolved, AlreadyReviewed, KeyReused, NotAnApprover, SelfReview, UnknownRequest
from tests.approvals.conftest import AGENT, RULES, Counter


async def test_fifty_identical_calls_make_one_request(counter: Counter) -> None:
    answers = []

    async def ask() -> None:
        answers.append(await counter.ask(40))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
    assert {answer.request.id for answer in answers} == {answers[0].request.id}
    assert sorted(answer.joined for answer in answers) == [False] + [True] * 49
    assert await counter.facts() == ["request.opened"]


async def test_the_audit_says_which_rules_would_have_held_in_shadow(counter: Counter) -> None:
    counter.policies.write(rules=f"{RULES}  - {{id: stricter, mode: shadow, match: {{server: payments}}, effect: deny}}\n")
    await counter.parked(40)
    [entry] = await counter.store.audit.read(0, 100)
    assert isinstance(entry.event, Opened)
    assert (entry.event.rules, entry.event.shadow) == (("refunds",), ("stricter",))


async def test_another_amount_another_caller_and_another_key_are_other_requests(counter: Counter) -> None:
    first = await counter.parked(40)
    others = [
        await counter.parked(41),
        await counter.parked(40, caller=Caller(agent="other-bot")),
        await counter.parked(40, key="order-1"),
    ]
    assert len({request.id for request in (first, *others)}) == 4


async def test_a_key_that_comes_back_with_another_call_is_refused(counter: Counter) -> None:
    await counter.parked(40, key="order-1")
    with pytest.raises(KeyReused):
        await counter.ask(41, key="order-1")


async def test_the_client_software_is_no_part_of_who_calls(counter: Counter) -> None:
    first = await counter.parked(40, caller=Caller(agent="support-bot", client="claude-code"))
    assert (await counter.parked(40, caller=Caller(agent="support-bot", client="cursor"))).id == first.id


async def test_a_hundred_reviews_at_once_make_one_decision(counter: Counter) -> None:
    counter.policies.write(
        people="groups: {finance: [" + ", ".join(f"p{n}@example.com" for n in range(100)) + "], leads: [lee@example.com]}"
    )
    request = await counter.parked(40)
    refused: list[str] = []

    async def review(n: int) -> None:
        verdict = Verdict.APPROVE if n % 2 else Verdict.REJECT
        try:
            await counter.desk.review(request.id, Reviewer(f"p{n}@example.com", "web"), verdict, digest=request.digest)
        except AlreadyResolved as error:
            refused.append(error.by)

    async with anyio.create_task_group() as tasks:
        for n in range(100):
            tasks.start_soon(review, n)
    after = await counter.desk.look(request.id)
    assert after.state in (RequestState.APPROVED, RequestState.REJECTED)
    assert (after.version, len(after.reviews), refused) == (2, 1, [after.decided_by] * 99)
    assert await counter.facts() == ["request.opened", "request.reviewed"]


async def test_a_waiting_caller_hears_the_rejection_and_its_reason(counter: Counter) -> None:
    request = await counter.parked(40)
    heard = []

    async def wait() -> None:
        heard.append(await counter.desk.outcome(request.id, AGENT, within=10))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await counter.reject(request, why="not without an order number")
    assert heard == [Refused(Code.REJECTED, "not without an order number", request.reasons, request.id)]


async def test_a_wait_that_is_over_says_still_pending(counter: Counter) -> None:
    request = await counter.parked(40)
    assert await counter.desk.outcome(request.id, AGENT, within=0.01) == StillPending(
        request.id, request.expires_at, ("finance",)
    )


@pytest.mark.parametrize(
    "caller",
    [Caller(agent="other-bot"), Caller(agent="support-bot", user="eve"), Caller(agent="support-bot", servers=("files",))],
)
async def test_foreign_and_unknown_ids_read_alike(counter: Counter, caller: Caller) -> None:
    request = await counter.parked(40)
    with pytest.raises(UnknownRequest) as foreign:
        await counter.desk.outcome(request.id, caller, within=0)
    with pytest.raises(UnknownRequest) as unknown:
        await counter.desk.outcome(RequestId("apr_0_" + "0" * 26), caller, within=0)
    assert str(foreign.value) == str(unknown.value)


async def test_a_late_approval_cannot_undo_a_rejection(counter: Counter) -> None:
    request = await counter.parked(40)
    await counter.reject(request, "fay@example.com")
    with pytest.raises(AlreadyResolved) as late:
        await counter.approve(request, "dana@example.com")
    assert (late.value.state, late.value.by) == ("rejected", "fay@example.com")


@pytest.mark.parametrize(
    ("person", "error"),
    [("bob@example.com", SelfReview), ("lee@example.com", NotAnApprover), ("stranger@example.com", NotAnApprover)],
)
async def test_owner_outsider_and_stranger_may_not_approve(counter: Counter, person: str, error: type[Exception]) -> None:
    request = await counter.parked(40)
    with pytest.raises(error):
        await counter.approve(request, person)
    assert (await counter.desk.look(request.id)).state is RequestState.PENDING
    tried = [entry.event for entry in await counter.store.audit.read(0, 100)][-1]
    assert isinstance(tried, Noted)
    code = getattr(error, "code", "")
    told = {"request": request.id, "verdict": "approve", "channel": "web", "code": code}
    assert (tried.what, tried.who, tried.fields) == ("review.refused", person, told)


async def test_one_person_counts_once(counter: Counter) -> None:
    counter.policies.write(rules=_two_of_finance())
    request = await counter.parked(40)
    await counter.approve(request, "dana@example.com")
    with pytest.raises(AlreadyReviewed):
        await counter.approve(request, "dana@example.com")
    assert (await counter.approve(request, "fay@example.com")).state is RequestState.APPROVED


async def test_an_answer_that_was_delivered_ends_the_joining(counter: Counter) -> None:
    request = await counter.parked(40)
    await counter.reject(request)
    assert (await counter.parked(40)).id == request.id
    await counter.desk.delivered(request.id)
    await counter.desk.delivered(request.id)
    assert (await counter.parked(40)).id != request.id


async def test_an_agent_can_withdraw_its_own_call_and_nobody_elses(counter: Counter) -> None:
    request = await counter.parked(40)
    with pytest.raises(UnknownRequest):
        await counter.desk.withdraw(request.id, Caller(agent="other-bot"))
    assert (await counter.desk.withdraw(request.id, AGENT)).state is RequestState.CANCELLED
    with pytest.raises(AlreadyResolved):
        await counter.approve(request)


def _two_of_finance() -> str:
    return """
defaults: {unmatched: deny}
rules:
  - id: refunds
    match: {server: payments, tool: refund_create}
    effect: require_approval
    approval: {all_of: [{group: finance, count: 2}], timeout: 15m}
"""


async def test_a_move_between_reading_and_waiting_is_noticed_soon(counter: Counter) -> None:
    request = await counter.parked(40)
    await counter.desk.review(request.id, Reviewer("dana@example.com", "web"), Verdict.REJECT, digest=request.digest, reason="no")
    with counter.desk.attend(request) as attending:
        await anyio.lowlevel.checkpoint()  # whatever was told before this is not told again
        with anyio.fail_after(5):
            outcome = await attending.outcome(20)
    assert isinstance(outcome, Refused) and outcome.code is Code.REJECTED
