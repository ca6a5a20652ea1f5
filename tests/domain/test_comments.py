"""A comment is kept with the request and told in the audit; it decides nothing."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from broker.domain import events
from broker.domain.comments import MOST, commented, may_comment
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Comment, Review, Verdict
from broker.errors import NotAnApprover, WrongMove
from tests.domain.conftest import NOON, Make

SOON = NOON + timedelta(minutes=1)
SAID = Comment("fay@x", SOON, "web", "is this the right customer?")


@pytest.mark.parametrize("state", list(RequestState))
def test_a_comment_is_added_in_every_state_and_moves_nothing_but_the_version(make: Make, state: RequestState) -> None:
    request = make(state)
    change = commented(request, SAID, ("finance",), SOON)
    assert change.after == msgspec.structs.replace(request, version=4, comments=(SAID,))
    assert change.event == events.Commented(
        at=SOON, request="r1", version=4, state=state.value, trace="t1", who="fay@x", channel="web", text=SAID.text
    )
    assert change.answer is None


@pytest.mark.parametrize(
    ("person", "groups", "may"),
    [
        ("fay@x", ("finance",), True),
        ("mo@x", ("managers",), False),
        ("al@x", (), True),
        ("ow@x", (), True),
        ("rita@x", (), True),
        ("eve@x", ("strangers",), False),
        ("eve@x", (), False),
    ],
)
def test_who_is_asked_who_asked_and_who_answered_may(make: Make, person: str, groups: tuple[str, ...], may: bool) -> None:
    request: ApprovalRequest = make(reviews=(Review("rita@x", Verdict.APPROVE, NOON, "d", "web"),))
    assert may_comment(request, person, groups) is may
    if not may:
        with pytest.raises(NotAnApprover):
            commented(request, Comment(person, SOON, "web", "hello"), groups, SOON)


def test_a_group_that_was_asked_later_may_too(make: Make) -> None:
    assert may_comment(make(escalated=("managers",)), "mo@x", ("managers",)) is True


def test_a_request_does_not_grow_without_end(make: Make) -> None:
    with pytest.raises(WrongMove, match="50 comments"):
        commented(make(comments=(SAID,) * MOST), SAID, ("finance",), SOON)
