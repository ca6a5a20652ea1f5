"""Audit events: one class for each fact. The store numbers them without gaps in the step that makes them true."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from broker.domain.calls import Caller


class EventBase(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`at` is the store's clock; `broker` the process that wrote it; `trace` the id of the call's journey."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    broker: str = ""
    trace: str = ""


class CallDecided(EventBase, frozen=True, tag="call.decided"):
    """A call met the policy: allowed or denied at once (`effect`), or asked (then `request` is set).

    `definition` is the digest of the tool as its server described it; empty where nobody had asked it yet.
    """

    caller: Caller
    server: str
    tool: str
    digest: str
    effect: str
    policy: str
    definition: str = ""
    rules: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    request: str = ""
    seconds: float = 0.0


class CallEnded(EventBase, frozen=True, tag="call.ended"):
    """An allowed call was not answered with a result: `outcome` is `failed`, or the code of what went wrong.

    Those that were leave their decision alone.
    """

    caller: Caller
    server: str
    tool: str
    digest: str
    outcome: str


class RequestEvent(EventBase, frozen=True):
    """A move of one request. `state` is the state after it, `version` the record's."""

    request: str
    version: int
    state: str


class Opened(RequestEvent, frozen=True, tag="request.opened"):
    """People are asked. `stated` is the digest of what the agent gave as its reason, empty where it gave none.

    `shadow` are the rules that would have held, in shadow.
    """

    caller: Caller
    server: str
    tool: str
    digest: str
    definition: str
    policy: str
    rules: tuple[str, ...]
    expires_at: datetime
    stated: str = ""
    shadow: tuple[str, ...] = ()


class Reviewed(RequestEvent, frozen=True, tag="request.reviewed"):
    """A person answered. `batch` is the same in all answers that were given in one submission."""

    reviewer: str
    verdict: str
    channel: str
    digest: str
    groups: tuple[str, ...] = ()
    reason: str = ""
    view: str = ""
    evidence: dict[str, Any] | None = None
    batch: str = ""


class Commented(RequestEvent, frozen=True, tag="request.commented"):
    """A person wrote something beside the request. It decided nothing."""

    who: str
    channel: str
    text: str


class Confirmed(RequestEvent, frozen=True, tag="request.confirmed"):
    """The caller's own user answered: no reviewer, and no member of a group. `client` and `nonce` are the evidence.

    `view` is the digest of what they were shown.
    """

    person: str
    verdict: str
    way: str
    digest: str
    client: str = ""
    nonce: str = ""
    reason: str = ""
    view: str = ""


class Reopened(RequestEvent, frozen=True, tag="request.reopened"):
    """The policy now in force needs more than was given."""

    policy: str
    rules: tuple[str, ...]


class Escalated(RequestEvent, frozen=True, tag="request.escalated"):
    groups: tuple[str, ...]


class Ended(RequestEvent, frozen=True, tag="request.ended"):
    """Rejected by the policy, expired, cancelled or voided: `why`, and `by` where a person or agent did it."""

    why: str
    by: str = ""


class Claimed(RequestEvent, frozen=True, tag="request.claimed"):
    fence: int
    policy: str
    definition: str


class Finished(RequestEvent, frozen=True, tag="request.finished"):
    """Completed or failed. `result` is the digest of the answer; `why` says what went wrong, also of a tool that ran."""

    fence: int
    result: str = ""
    why: str = ""


class Lost(RequestEvent, frozen=True, tag="request.lost"):
    """The lease ran out: whether the call ran is unknown, and it is never run again."""

    fence: int
    why: str = ""


class Recorded(RequestEvent, frozen=True, tag="request.recorded"):
    """A person wrote down what became of an unknown request."""

    by: str
    why: str = ""


class Delivered(RequestEvent, frozen=True, tag="request.delivered"):
    pass


class Noted(EventBase, frozen=True, tag="noted"):
    """A fact that belongs to no request: a sign-in, a token made, a policy loaded, a stop switch turned.

    `what` is a dotted name, `who` the person or part that did it, `fields` plain values without secrets.
    """

    what: str
    who: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)


Event = (
    CallDecided
    | CallEnded
    | Opened
    | Reviewed
    | Commented
    | Confirmed
    | Reopened
    | Escalated
    | Ended
    | Claimed
    | Finished
    | Lost
    | Recorded
    | Delivered
    | Noted
)


class Entry(msgspec.Struct, frozen=True):
    """An event as the store keeps it: `number` counts from 1 without gaps."""

    number: int
    event: Event


encode_event = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def decode_event(entry: bytes) -> Event:
    """Return what was encoded. Raises `msgspec.MsgspecError` for anything else, however deep it is and whatever bytes it has."""
    try:
        event: Event = _decode(entry)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(type(error).__name__) from None
    return event


def unreadable(entry: bytes) -> Noted:
    """What stands for an event that can't be read: that of no moment, with the digest of what was there."""
    told = {"sha256": hashlib.sha256(entry).hexdigest(), "bytes": str(len(entry))}
    return Noted(at=datetime.fromtimestamp(0, UTC), what="event.unreadable", fields=told)
