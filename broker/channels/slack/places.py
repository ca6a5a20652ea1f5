"""Where a request is shown in Slack: conversations, direct messages to approvers, and where to fall back. Pure.

`channels` of a rule: `slack:#refunds` or `slack:C0123ABC` is a conversation, `slack:approvers` a direct message to each
person who is asked. A rule that names no channel at all is shown in the default conversation.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from broker.domain.requests import ApprovalRequest

PREFIX = "slack:"
APPROVERS = "approvers"
# More direct messages than this for one request are a flood: its conversation has to do.
DIRECT = 20


class Post(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where something was posted, and what it shows. `told`: keys of the replies in its thread.

    `digest`: it has no message of its own, but a line in that digest. `dead`: Slack refused it for good, by this code.
    """

    channel: str = ""
    ts: str = ""
    mark: str = ""
    at: float = 0.0
    told: tuple[str, ...] = ()
    digest: str = ""
    dead: str = ""


encode_post = msgspec.json.Encoder().encode
decode_post = msgspec.json.Decoder(Post).decode


def conversations(request: ApprovalRequest, default: str) -> tuple[str, ...]:
    """Return the conversations that a request is shown in, as the operator wrote them, each once."""
    named = [channel.removeprefix(PREFIX) for channel in request.plan.channels if channel.startswith(PREFIX)]
    if not request.plan.channels and default:
        named = [default]
    return tuple(dict.fromkeys(place for place in named if place != APPROVERS))


def asks_approvers(request: ApprovalRequest) -> bool:
    """Does a rule want a direct message to each approver?"""
    return PREFIX + APPROVERS in request.plan.channels


def direct(slack_ids: Iterable[str]) -> tuple[str, ...]:
    """Return the places of direct messages; none when there would be too many."""
    ids = sorted(set(slack_ids))
    return tuple(f"@{one}" for one in ids) if len(ids) <= DIRECT else ()


def target(place: str) -> str:
    """Return what Slack calls a place: an id, or a conversation's name."""
    return place.removeprefix("@").removeprefix("#")
