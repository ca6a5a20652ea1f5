"""Every key of the store, as a function. Nothing else spells one.

A request's id names its shard, and all keys of a shard share the hash tag `{shard}`, so that one script may touch
them together on a cluster. There is one shard now; the number is fixed in `meta()` when a store is first used.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import UnknownRequest
from broker.store.clock import micros

SHARDS: Final = 1
FORMAT: Final = 1

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(r"apr_(0|[1-9][0-9]{0,3})_[0-9a-z]{26}")


def new_id(shard: int = 0) -> RequestId:
    """Return a fresh request id: its shard and 130 random bits, in Crockford's base 32."""
    bits = secrets.randbits(130)
    return RequestId(f"apr_{shard}_" + "".join(_ALPHABET[bits >> place & 31] for place in range(0, 130, 5)))


def shard_of(request_id: str) -> int:
    """Return the shard that an id names. Raises `UnknownRequest` for what is no id of this store."""
    match = _ID.fullmatch(request_id)
    if match is None or int(match[1]) >= SHARDS:
        raise UnknownRequest(request_id)
    return int(match[1])


def _in(shard: int, *parts: str) -> str:
    return f"ab:{{{shard}}}:" + ":".join(parts)


def meta() -> str:
    """Hash: format and number of shards."""
    return "ab:meta"


# -- requests -------------------------------------------------------------------------------------------------


def record(request_id: str) -> str:
    """Hash of one request: v(ersion), b(ody), j(oin), n(onces of its last commits), a(udit numbers)."""
    return _in(shard_of(request_id), "request", request_id)


def answer(request_id: str) -> str:
    """The mailbox: string with a time to live."""
    return _in(shard_of(request_id), "answer", request_id)


def join(name: str, shard: int = 0) -> str:
    """String: the id of the request that holds the join."""
    return _in(shard, "join", name)


def changes(shard: int = 0) -> str:
    """Stream of `Changed`, trimmed."""
    return _in(shard, "changes")


def due(shard: int = 0) -> str:
    """Sorted set: when the janitor has to look at a request."""
    return _in(shard, "due")


def ended(shard: int = 0) -> str:
    """Sorted set: when a request ended, for retention."""
    return _in(shard, "ended")


def state(name: RequestState, shard: int = 0) -> str:
    """Sorted set of the requests in a state, by their opening."""
    return _in(shard, "state", name.value)


def group(name: str, shard: int = 0) -> str:
    """Sorted set of the PENDING requests that ask a group, by their opening."""
    return _in(shard, "group", name)


def principal(name: str, shard: int = 0) -> str:
    """Sorted set of a caller's requests, by their opening."""
    return _in(shard, "principal", name)


def places(request: ApprovalRequest) -> dict[str, int]:
    """Return every sorted set in which a request stands, with its score in microseconds."""
    shard, opened = shard_of(request.id), micros(request.opened_at)
    found = {state(request.state, shard): opened, principal(request.call.caller.principal, shard): opened}
    if request.due_at is not None:
        found[due(shard)] = micros(request.due_at)
    if request.state is RequestState.PENDING:
        found |= {group(name, shard): opened for name in (*request.plan.groups, *request.escalated)}
    if request.ended_at is not None and request.state is not RequestState.UNKNOWN:
        found[ended(shard)] = micros(request.ended_at)
    return found


# -- outbox and audit -----------------------------------------------------------------------------------------


def outbox(shard: int = 0) -> str:
    """Stream of deliveries, with a consumer group; an entry goes when it is done."""
    return _in(shard, "outbox")


def outbox_later(shard: int = 0) -> str:
    """Sorted set of deliveries that wait for another try, by its time."""
    return _in(shard, "outbox", "later")


def outbox_dead(shard: int = 0) -> str:
    """Stream of deliveries that were given up."""
    return _in(shard, "outbox", "dead")


def audit(shard: int = 0) -> str:
    """Stream of events; the entry's id is `<number>-0`."""
    return _in(shard, "audit")


def audit_number(shard: int = 0) -> str:
    """String: the last number given."""
    return _in(shard, "audit", "number")


def audit_lane(lane: str, shard: int = 0) -> str:
    """String: how many events of one writer are in, so that a repeated write adds none twice."""
    return _in(shard, "audit", "lane", lane)


# -- the rest lives in shard 0 --------------------------------------------------------------------------------


def recordings(shard: int = 0) -> str:
    """Stream: calls kept for replays, sealed, trimmed."""
    return _in(shard, "recordings")


def counter(bucket: str) -> str:
    """Sorted set: the calls in one window, by the time they fall out of it."""
    return _in(0, "counter", bucket)


def counter_amounts(bucket: str) -> str:
    """Hash: call id to amount, beside `counter`."""
    return _in(0, "counter", bucket, "amounts")


def credential(kind: str, digest: str) -> str:
    """String with a time to live: what a hashed secret stands for."""
    return _in(0, "credential", kind, digest)


def credentials(kind: str) -> str:
    """Hash of a kind's hashes to their holders."""
    return _in(0, "credentials", kind)


def signing(name: str) -> str:
    """String: a random key that all brokers share."""
    return _in(0, "signing", name)


def usage(month: str) -> str:
    """Hash: kind, day, server, tool and minutes to a number of calls."""
    return _in(0, "usage", month)


def usage_people(month: str) -> str:
    """Set: pairs of server and person who called it."""
    return _in(0, "usage", month, "people")


def usage_lately(server: str) -> str:
    """Sorted set with a time to live: who called a server, by the last day on which they did."""
    return _in(0, "usage", "lately", server)


def usage_of(person: str) -> str:
    """Sorted set with a time to live: the tools that a person's calls had results of, by the last day on which they did."""
    return _in(0, "usage", "of", person)


def feedback(month: str) -> str:
    """Hash: server, tool, the owner's minutes and those that were given, to how often they were."""
    return _in(0, "feedback", month)


def feedback_given(month: str) -> str:
    """Hash: request and person to what that person said of its result, empty for nothing."""
    return _in(0, "feedback", month, "given")


def shelf(name: str) -> str:
    """Hash of named, versioned values (pinned definitions, refused ones)."""
    return _in(0, "shelf", name)


def enrolled() -> str:
    """Hash: official name to record of every server that the registry knows."""
    return _in(0, "enrolled")


def enrolled_head() -> str:
    """Hash: n, how many writes `enrolled` had; at, the stamp of the last."""
    return _in(0, "enrolled", "head")


def enrolled_notices() -> str:
    """Hash: what the tracker has to be told of yet."""
    return _in(0, "enrolled", "notices")


def once(mark: str) -> str:
    """String with a time to live: something that may happen once only did."""
    return _in(0, "once", mark)


def lease(name: str) -> str:
    """String with a time to live: who holds a lease."""
    return _in(0, "lease", name)


def presence(place: str) -> str:
    """Sorted set with a time to live: who is at a place, by the time until which they are."""
    return _in(0, "presence", place)


def broker(broker_id: str) -> str:
    """String with a time to live: a broker is alive."""
    return _in(0, "broker", broker_id)


def arrivals() -> str:
    """Stream of what Slack sent, with a consumer group; an entry goes when it was worked on."""
    return _in(0, "slack", "arrivals")


def arrived(mark: str) -> str:
    """String with a time to live: a signed message of Slack was seen."""
    return _in(0, "slack", "arrived", mark)


def wanted(channel: str = "slack") -> str:
    """Sorted set: what a channel shows and has to be looked at, by when."""
    return _in(0, channel, "wanted")


def posts(subject: str) -> str:
    """Hash with a time to live: where a card or digest was posted."""
    return _in(0, "slack", "posts", subject)


def folded(digest: str) -> str:
    """Sorted set with a time to live: the requests that one digest message holds, by their opening."""
    return _in(0, "slack", "folded", digest)
