"""Which open requests are looked at together."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.domain.batches import NEAR, Proposal, batch_of, batches, proposal
from broker.domain.calls import Caller, ToolCall
from broker.domain.requests import Origin, RequestId
from tests.domain.conftest import NOON, Make

TOO_LATE = NEAR.total_seconds() + 1


def one(name: str, seconds: float, *, caller: str = "bot", run: str = "", label: str = "") -> Proposal:
    return Proposal(RequestId(name), caller, run or caller, label, NOON + timedelta(seconds=seconds))


CASES = [
    ("nothing", [], []),
    ("near ones of one run", [one("a", 0), one("b", 50), one("c", 100)], ["abc"]),
    ("in the order of their arrival", [one("b", 1), one("a", 0)], ["ab"]),
    ("one that came later is another batch", [one("a", 0), one("b", TOO_LATE)], ["a", "b"]),
    ("another caller", [one("a", 0), one("b", 1, caller="other"), one("c", 2)], ["ac", "b"]),
    ("another run of the same caller", [one("a", 0, run="r1"), one("b", 1, run="r2")], ["a", "b"]),
    ("a label over runs and time", [one("a", 0, run="r1", label="x"), one("b", TOO_LATE, run="r2", label="x")], ["ab"]),
    ("another label", [one("a", 0, label="x"), one("b", 1, label="y"), one("c", 2)], ["a", "b", "c"]),
    ("the same label of another caller", [one("a", 0, label="x"), one("b", 1, caller="other", label="x")], ["a", "b"]),
]


@pytest.mark.parametrize(("proposals", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_requests_of_one_caller_that_came_together_are_a_batch(proposals: list[Proposal], expected: list[str]) -> None:
    assert ["".join(one.id for one in batch) for batch in batches(proposals)] == expected


def test_a_batch_is_found_by_a_request_that_is_decided_already() -> None:
    others = [one("b", 20), one("c", 40), one("d", 41, caller="other")]
    assert batch_of(one("a", 0), others) == ("b", "c")
    assert batch_of(one("b", 20), others) == ("b", "c")
    assert batch_of(one("z", 0, caller="nobody"), others) == ()


@pytest.mark.parametrize(
    ("caller", "session", "alike"),
    [
        (Caller(agent="bot", user="al@x", owner="ow@x"), "", True),
        (Caller(agent="bot", user="bo@x", owner="ow@x"), "", False),
        (Caller(agent="bot", user="al@x", client="cursor"), "", False),
        (Caller(agent="bot", user="al@x", conversation="C1"), "", False),
        (Caller(agent="bot", user="al@x"), "s2", False),
    ],
    ids=["the same", "another user", "another client", "another conversation", "another session"],
)
def test_a_run_is_a_caller_in_a_session(make: Make, caller: Caller, session: str, *, alike: bool) -> None:
    call = ToolCall("mail", "send", {"name": "send"}, caller)
    other = proposal(make(call=call, origin=Origin(session=session)))
    assert (other.run == proposal(make()).run) is alike
