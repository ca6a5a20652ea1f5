"""Comments: a person's note on a request, in any of its states. It moves nothing but the version."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from broker.domain import events
from broker.domain.requests import ApprovalRequest, Change
from broker.domain.reviews import Comment
from broker.errors import NotAnApprover, WrongMove

# A record is read and written whole: what people say to each other at length belongs elsewhere.
MOST = 50


def may_comment(request: ApprovalRequest, person: str, groups: Collection[str]) -> bool:
    """Those may who are asked, who asked, and who answered."""
    asked = {*request.plan.groups, *request.escalated} & set(groups)
    return bool(asked) or person in {*request.call.caller.people, *(review.reviewer for review in request.reviews)}


def commented(request: ApprovalRequest, said: Comment, groups: Collection[str], now: datetime) -> Change:
    """Add one comment of a person who is in `groups` now.

    Raises `NotAnApprover`, and `WrongMove` when the request holds `MOST` comments.
    """
    if not may_comment(request, said.who, groups):
        raise NotAnApprover("only those who are asked, who asked or who answered may comment", request=request.id)
    if len(request.comments) >= MOST:
        raise WrongMove(f"this request holds {MOST} comments already", request=request.id)
    after = msgspec.structs.replace(request, version=request.version + 1, comments=(*request.comments, said))
    fact = events.Commented(
        at=now, request=after.id, version=after.version, state=after.state.value, trace=after.origin.trace,
        who=said.who, channel=said.channel, text=said.text,
    )  # fmt: skip
    return Change(after, fact)
