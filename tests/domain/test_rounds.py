"""What a server asks back: which questions may reach a caller, and the one right to answer them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.requests import RequestId, RequestState, Round
from broker.domain.rounds import AskedBack, answered, askable, asked_back, bare, continued, continuing, given_up
from broker.errors import AlreadyResolved
from tests.domain.conftest import CALL, Make

FORM = {"method": "elicitation/create", "params": {"message": "Sure?"}}
ROOTS = {"method": "roots/list"}
ALL: dict[str, Any] = {"elicitation": {"form": {}}, "sampling": {}, "roots": {}}


def test_of_a_declaration_only_what_can_be_asked_is_kept() -> None:
    declared = {**ALL, "extensions": {"io.modelcontextprotocol/tasks": {}}, "experimental": {}, "tasks": {}}
    assert askable(declared) == ALL
    assert askable({"elicitation": None, "roots": True}) == {}
    for unfit in ("y" * 5_000, "\ud800", 10**400):
        assert askable({"sampling": {"x": unfit}}) == {}
    for nonsense in (None, [], "elicitation"):
        assert askable(nonsense) == {}


@pytest.mark.parametrize(
    ("result", "declared", "asked"),
    [
        ({"inputRequests": {"a": FORM}, "requestState": "s"}, ALL, AskedBack({"a": FORM}, "s")),
        ({"inputRequests": {"a": FORM, "b": ROOTS}}, ALL, AskedBack({"a": FORM, "b": ROOTS})),
        ({"inputRequests": {"a": FORM, "b": ROOTS}}, {"elicitation": {}}, None),
        ({"inputRequests": {"a": FORM}}, {}, None),
        ({"inputRequests": {"a": {"method": "tools/call"}}}, ALL, None),
        ({"inputRequests": {"a": "elicitation/create"}}, ALL, None),
        ({"inputRequests": {"a": FORM}, "requestState": 7}, ALL, None),
        ({"inputRequests": {}, "requestState": "s"}, ALL, None),
        ({"requestState": "s"}, ALL, None),
        ({"inputRequests": {"a": FORM}, "resultType": "complete"}, ALL, None),
    ],
)
def test_only_questions_that_the_caller_declared_are_questions(
    result: dict[str, Any], declared: dict[str, Any], asked: AskedBack | None
) -> None:
    assert asked_back({"resultType": "input_required", **result}, declared) == asked


def test_the_words_of_a_question_are_its_message_or_else_what_is_asked_for() -> None:
    long = {"method": "elicitation/create", "params": {"message": "x" * 600}}
    assert AskedBack({"a": FORM, "b": ROOTS, "c": long}).words == {"a": "Sure?", "b": "roots/list", "c": "x" * 499 + "…"}


def test_an_answer_is_the_stored_call_with_the_answers_and_the_servers_own_state(make: Make) -> None:
    request = make(RequestState.COMPLETED, call=msgspec.structs.replace(CALL, idempotency_key="k"))
    now = Caller(agent="bot", client="new")
    first = continuing(request, now, {"a": 1}, "theirs")
    assert first == ToolCall(CALL.server, CALL.tool, {**CALL.params, "inputResponses": {"a": 1}, "requestState": "theirs"}, now)
    assert first.digest() != CALL.digest() and bare(first).digest() == CALL.digest()
    second = continuing(make(call=first), now, {"b": 2}, None)
    assert second.params == {**CALL.params, "inputResponses": {"b": 2}}, "what an earlier round answered is not said again"


def test_the_right_to_answer_is_taken_once_and_by_the_same_call_again(make: Make) -> None:
    taken = continued(make(RequestState.COMPLETED), "sha256:yes", RequestId("r2")).after
    assert taken.round == Round(digest="sha256:yes", next=RequestId("r2"))
    assert continued(taken, "sha256:yes", RequestId("r3")).after == taken
    with pytest.raises(AlreadyResolved):
        continued(taken, "sha256:no", RequestId("r3"))


Move = Callable[..., Any]
MOVES: list[Move] = [
    lambda it: continued(it, "d", RequestId("r2")),
    lambda it: answered(it, {"a": 1}),
    lambda it: given_up(it, "cancelled", "no"),
]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", [state for state in RequestState if state is not RequestState.COMPLETED])
def test_only_a_call_that_ran_has_questions(make: Make, state: RequestState, move: Move) -> None:
    with pytest.raises(AlreadyResolved):
        move(make(state))


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("kept", [Round(digest="x", next=RequestId("r9")), Round(over="cancelled")])
def test_what_was_answered_or_given_up_stays_so(make: Make, kept: Round, move: Move) -> None:
    with pytest.raises(AlreadyResolved):
        move(make(RequestState.COMPLETED, round=kept))


def test_an_answer_that_was_given_is_not_replaced(make: Make) -> None:
    first = answered(make(RequestState.COMPLETED), {"a": 1}).after
    assert answered(first, {"a": 2, "b": 3}).after.round == Round(given={"a": 1, "b": 3})
