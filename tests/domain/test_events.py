"""Every event survives the wire under its own tag."""

from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest

from broker.domain import events
from broker.domain.calls import Caller

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BASE: dict[str, Any] = {"at": NOON, "broker": "b1", "trace": "t1"}
MOVE: dict[str, Any] = {**BASE, "request": "r1", "version": 2, "state": "pending"}
CALL: dict[str, Any] = {"caller": Caller(agent="bot"), "server": "s", "tool": "t", "digest": "d"}

EVENTS = [
    events.CallDecided(**BASE, **CALL, effect="allow", policy="p", rules=("r",), errors=("e",), shadow=("s",), seconds=0.5),
    events.CallEnded(**BASE, **CALL, outcome="answered"),
    events.Opened(**MOVE, **CALL, definition="f", policy="p", rules=("r",), expires_at=NOON),
    events.Reviewed(**MOVE, reviewer="a", verdict="approve", channel="web", digest="d", groups=("g",), evidence={"k": [1]}),
    events.Commented(**MOVE, who="a", channel="web", text="t"),
    events.Confirmed(**MOVE, person="a", verdict="approve", way="form", digest="d", client="c 1", nonce="n", reason="w"),
    events.Reopened(**MOVE, policy="p", rules=("r",)),
    events.Escalated(**MOVE, groups=("g",)),
    events.Ended(**MOVE, why="w", by="a"),
    events.Claimed(**MOVE, fence=1, policy="p", definition="d"),
    events.Finished(**MOVE, fence=1, result="d", why="w"),
    events.Lost(**MOVE, fence=1, why="w"),
    events.Recorded(**MOVE, by="a", why="w"),
    events.Delivered(**MOVE),
    events.Noted(**BASE, what="person.signed_in", who="a", fields={"k": "v"}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_the_wire(event: events.Event) -> None:
    assert events.decode_event(events.encode_event(event)) == event


def test_every_event_is_tried() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(events.Event))


def test_tags_are_stable() -> None:
    assert [msgspec.inspect.type_info(type(event)).tag for event in EVENTS] == [  # type: ignore[union-attr]
        "call.decided", "call.ended", "request.opened", "request.reviewed", "request.commented", "request.confirmed",
        "request.reopened", "request.escalated", "request.ended", "request.claimed", "request.finished", "request.lost",
        "request.recorded", "request.delivered", "noted",
    ]  # fmt: skip


def test_an_event_that_nobody_knows_is_no_event() -> None:
    with pytest.raises(msgspec.ValidationError):
        events.decode_event(b'{"type":"request.invented","at":"2026-11-24T12:00:00Z"}')
