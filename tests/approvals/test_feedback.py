"""Whose turn it is to be asked about a result, by the clock; and that two brokers ask once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from broker.approvals.feedback import Feedback
from broker.domain.calls import Caller
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import Malformed, UnknownRequest, WrongMove
from broker.store.open import Store
from tests.channels.slack.samples import a_request

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALICE = "alice@example.com"


def result(
    number: int, at: datetime, tool: str = "refund_create", state: RequestState = RequestState.COMPLETED
) -> ApprovalRequest:
    return msgspec.structs.replace(a_request(state, tool=tool), id=RequestId(f"apr_0_{number:026d}"), ended_at=at)


class Clocked:
    """Feedback of one broker, at a time that the test sets."""

    def __init__(self, store: Store, every: timedelta) -> None:
        self.now = NOON
        self.feedback = Feedback(store.feedback, store.audit.append, lambda: self.now, lambda server, tool: 6.0, every)

    async def turn(self, request: ApprovalRequest, person: str = ALICE) -> bool:
        self.now = max(self.now, request.ended_at or self.now)
        return await self.feedback.take_turn(request, person)


async def test_a_person_is_asked_once_a_day_and_tool(store: Store) -> None:
    one, other = Clocked(store, DAY), Clocked(store, DAY)
    first = result(1, NOON)
    asked = [
        await one.turn(first), await other.turn(first), await other.turn(result(2, NOON + HOUR)),
        await one.turn(result(3, NOON + HOUR, "refund_get")), await one.turn(result(4, NOON + HOUR), "owen@example.com"),
        await one.turn(result(5, NOON + DAY)), await one.turn(result(6, NOON + DAY + HOUR)),
        await one.turn(first),  # brought once more, a day later
    ]  # fmt: skip
    assert asked == [True, False, False, True, True, True, False, False]


@pytest.mark.parametrize(("every", "asked"), [(0, [False] * 3), (1, [True] * 3), (4, [True, False, False])])
async def test_the_operator_says_how_often(store: Store, every: int, asked: list[bool]) -> None:
    one = Clocked(store, every * HOUR)
    assert [await one.turn(result(number, NOON + number * HOUR)) for number in range(3)] == asked


async def test_a_turn_that_could_not_be_used_is_given_back(store: Store) -> None:
    one, request = Clocked(store, DAY), result(1, NOON)
    assert await one.turn(request)
    await one.feedback.give_turn(request, ALICE)
    assert await one.turn(request)


async def test_nobody_is_asked_of_what_they_answered_of_what_is_old_or_of_what_is_not_theirs(store: Store) -> None:
    one = Clocked(store, DAY)
    answered = result(1, NOON)
    await one.feedback.give(answered, ALICE, 5, "web")
    assert not await one.turn(answered)
    assert not await one.turn(result(2, NOON), "dana@example.com")
    for number, state in enumerate((RequestState.FAILED, RequestState.UNKNOWN, RequestState.REJECTED, RequestState.PENDING)):
        assert not await one.turn(result(10 + number, NOON, state=state))
    assert not await one.turn(msgspec.structs.replace(result(20, NOON), note="the tool ran and answered with an error"))
    one.now = NOON + DAY + HOUR
    assert not await one.turn(result(3, NOON))


async def test_an_answer_is_of_those_behind_the_call_and_of_a_working_day_at_most(store: Store) -> None:
    one, request = Clocked(store, DAY), result(1, NOON)
    for person, minutes, error in (
        ("dana@example.com", 5, UnknownRequest), ("", 5, UnknownRequest), (ALICE, -1, Malformed), (ALICE, 481, Malformed),
    ):  # fmt: skip
        with pytest.raises(error):
            await one.feedback.give(request, person, minutes, "web")
    with pytest.raises(WrongMove):
        await one.feedback.give(result(2, NOON, state=RequestState.FAILED), ALICE, 5, "web")
    await one.feedback.give(request, "owen@example.com", 480, "web")  # the agent's owner
    assert await one.feedback.answer(request, ALICE) is None
    nobody = msgspec.structs.replace(request, call=msgspec.structs.replace(request.call, caller=Caller(workload="spiffe://x/y")))
    with pytest.raises(UnknownRequest):
        await one.feedback.give(nobody, "", 5, "web")
