"""What the use cases need from outside, as Protocols: the store, the catalogue, the upstreams, the channels.

Whoever implements one raises `StoreUnavailable` when the store can't be reached, and never waits for it longer than 2 s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from broker.domain import servers
from broker.domain.events import Entry, Event
from broker.domain.people import Group
from broker.domain.requests import ApprovalRequest, Change, RequestId, RequestState
from broker.domain.reviews import Review
from broker.errors import StoreUnavailable
from broker.policy.model import CounterUse, Policy


class Query(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which requests: every field that is given must hold. `principal` is the caller's; `group` is asked."""

    states: tuple[RequestState, ...] = ()
    group: str = ""
    principal: str = ""
    server: str = ""
    tool: str = ""


class Page(msgspec.Struct, frozen=True):
    """Newest first. `cursor` continues, empty at the end."""

    requests: tuple[ApprovalRequest, ...]
    cursor: str = ""


class RequestStore(Protocol):
    """The records. Every write is one atomic commit: record, indexes, change stream, outbox, numbered audit event."""

    async def open(self, join: str, draft: Callable[[datetime], Change]) -> tuple[ApprovalRequest, bool]:
        """Create the request that `draft(now)` makes, or return the one that holds `join` and True.

        `join` is held from the opening until the answer was delivered, or its keeping time after the end is over.
        """
        ...

    async def get(self, request_id: RequestId) -> ApprovalRequest:
        """Raises `UnknownRequest`."""
        ...

    async def update(self, request_id: RequestId, change: Callable[[ApprovalRequest, datetime], Change]) -> ApprovalRequest:
        """Commit `change(request, now)`; on a conflict read and ask again. Whatever `change` raises passes through."""
        ...

    async def answer(self, request_id: RequestId) -> bytes | None:
        """The answer in the mailbox, as it was committed; None when there is none, or its time is over."""
        ...

    async def due(self, limit: int) -> list[RequestId]:
        """Requests whose `due_at` has passed by the store's clock."""
        ...

    async def approved(self, limit: int) -> list[RequestId]:
        """Requests that are APPROVED and not claimed, oldest first."""
        ...

    async def find(self, query: Query, *, limit: int = 50, cursor: str = "") -> Page: ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete ended requests older than `before`: retention. Returns how many."""
        ...


class Changed(msgspec.Struct, frozen=True):
    """One commit of a request, as the change stream tells it. A wake-up: the record is the truth."""

    request: RequestId
    version: int
    state: RequestState


class Watch(Protocol):
    async def wait(self, within: float) -> bool:
        """Return True once the request changed since the last `wait`, False after `within` seconds."""
        ...


class Changes(Protocol):
    def watch(self, request_id: RequestId) -> AbstractContextManager[Watch]:
        """Be woken for one request. Registered when entered: enter it before reading the record."""
        ...

    def follow(self) -> AbstractAsyncContextManager[AsyncIterator[Changed]]:
        """Every change from now on, also across reconnects. A slow follower loses the oldest, never the newest."""
        ...


class Delivery(msgspec.Struct, frozen=True):
    """One entry of the outbox: bring what channels show of `request` to its latest state."""

    entry: str
    request: RequestId
    attempts: int


class Outbox(Protocol):
    async def take(self, limit: int, within: float) -> Sequence[Delivery]:
        """Entries nobody holds, also those of a consumer that died; waits up to `within` seconds for the first."""
        ...

    async def done(self, delivery: Delivery) -> None: ...

    async def later(self, delivery: Delivery, after: timedelta, why: str) -> None:
        """Give it back for another try; after too many it becomes a dead letter."""
        ...

    async def dead(self, limit: int) -> Sequence[tuple[Delivery, str]]:
        """Dead letters with their reason, newest first."""
        ...


Told = Callable[[StoreUnavailable | None], None]
"""Hears of an event that it is durable (None), or why it could not be written."""


class AuditLog(Protocol):
    def begin(self, event: Event, told: Told) -> None:
        """Begin to write. Gap-free numbers. `told` hears how it went, once: it must be quick, and must not raise."""
        ...

    async def append(self, event: Event) -> None:
        """Durable when it returns. Raises `StoreUnavailable`."""
        ...

    async def spool(self, event: Event) -> None:
        """Keep an event on disk while the store is away; it is appended when the store is back."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[Entry]: ...


class Health(Protocol):
    @property
    def up(self) -> bool:
        """Is the store known to answer? Judged by the last command and a steady ping, without a round trip."""
        ...


class Counters(Protocol):
    """Windows over calls and sums (POLICY.md, rule 9)."""

    async def reserve(self, call_id: str, uses: Sequence[CounterUse]) -> Mapping[str, float]:
        """In one step: return the sum of *earlier* open and committed amounts for each counter, and add this call's."""
        ...

    async def commit(self, call_id: str, uses: Sequence[CounterUse]) -> None: ...

    async def give_back(self, call_id: str, uses: Sequence[CounterUse]) -> None: ...


SeenTool = servers.SeenTool


class Tools(Protocol):
    async def look(self, server: str, tool: str, *, fresh: bool = False) -> SeenTool:
        """Return the tool as last probed; `fresh` asks the server now (at park and at release)."""
        ...


class PolicySource(Protocol):
    @property
    def current(self) -> Policy:
        """The policy in force. Raises `PolicyInvalid` when there never was a good one."""
        ...


Relay = Callable[[bytes], None]
"""Takes each JSON-RPC message that the upstream sends before its answer (progress, logging, its own requests)."""


class Upstreams(Protocol):
    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        """Send the stored call once and return the answer's member, `{"result": …}` or `{"error": …}`.

        Raises `UpstreamUntouched` when it is sure that nothing was sent, `OutcomeLost` when it is not.
        """
        ...


StillIn = Callable[[Review, Group], Awaitable[bool]]
"""Asks again, at the release, whether an outside directory holds the reviewer in a group that it vouched for at the review.

Raises `ChannelError` where that can't be known now: then nothing is released.
"""


class Channel(Protocol):
    """A face towards people."""

    @property
    def name(self) -> str: ...

    async def sync(self, request: ApprovalRequest) -> None:
        """Bring what this channel shows of the request to its latest state: announce it, update it, or leave it.

        Idempotent: it may come late, twice, or out of order. Raises to be tried again.
        """
        ...
