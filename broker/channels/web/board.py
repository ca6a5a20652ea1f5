"""The board: what waits for people, in memory, kept by one follower of the change stream for each process.

It makes lists cheap and tells watchers what moved. It decides nothing: a request's page and every review read the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

import anyio.lowlevel
import msgspec
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from broker.approvals.ports import Changes, Query, RequestStore
from broker.channels.web.views import label_of
from broker.domain.batches import Proposal, batch_of, proposal
from broker.domain.decisions import Severity
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.domain.text import clipped, visible
from broker.errors import StoreUnavailable, UnknownRequest

log = structlog.get_logger()

SHOWN = (RequestState.PENDING, RequestState.APPROVED, RequestState.EXECUTING, RequestState.UNKNOWN)
RECONCILE = 30.0
AT_ONCE = 64
BEHIND = 256
REMEMBERED = 1_000


class Row(msgspec.Struct, frozen=True):
    """What a list shows of one request, redacted. `groups` are asked, `people` stand behind the call."""

    id: RequestId
    version: int
    state: RequestState
    title: str
    fields: tuple[tuple[str, str], ...]
    severity: Severity
    server: str
    tool: str
    agent: str
    people: frozenset[str]
    groups: frozenset[str]
    reviewers: frozenset[str]
    opened_at: datetime
    expires_at: datetime
    proposal: Proposal


class Looked(msgspec.Struct, frozen=True):
    """Other people than before look at the request of this row."""

    row: Row


Told = Row | Looked


def row_of(request: ApprovalRequest, mask_key: bytes) -> Row:
    shown = shown_call(request.call, request.plan, mask_key)
    return Row(
        id=request.id, version=request.version, state=request.state, title=visible(shown.title, keep=""),
        fields=tuple((label_of(field.label), clipped(visible(field.value, keep=""), 40)) for field in shown.fields),
        severity=request.plan.severity, server=request.call.server, tool=visible(request.call.tool, keep=""),
        agent=visible(request.call.caller.agent, keep=""), people=request.call.caller.people,
        groups=frozenset((*request.plan.groups, *request.escalated)),
        reviewers=frozenset(review.reviewer for review in request.reviews),
        opened_at=request.opened_at, expires_at=request.expires_at, proposal=proposal(request),
    )  # fmt: skip


class Board:
    """Rows of every request in the states of `SHOWN`."""

    def __init__(self, requests: RequestStore, changes: Changes, *, mask_key: bytes, closing: asyncio.Event) -> None:
        self._mask_key = mask_key
        self._closing = closing
        self._requests = requests
        self._changes = changes
        self._rows: dict[RequestId, Row] = {}
        self._moved: set[RequestId] = set()
        # What came off since a load began: its pages may be older.
        self._ended: set[RequestId] = set()
        self._wake = anyio.Event()
        self._lookers: dict[RequestId, Sequence[str]] = {}
        self._watchers: set[MemoryObjectSendStream[Told]] = set()

    def rows(self) -> Sequence[Row]:
        return tuple(self._rows.values())

    def row(self, request_id: str) -> Row | None:
        return self._rows.get(RequestId(request_id))

    def batch(self, of: Proposal) -> list[Row]:
        """Return what waits of the batch to which a request belongs, the oldest first."""
        waiting = {row.id: row for row in self._rows.values() if row.state is RequestState.PENDING}
        return [waiting[request_id] for request_id in batch_of(of, [row.proposal for row in waiting.values()])]

    def looked_at(self, request_id: RequestId, people: Sequence[str]) -> None:
        """Tell watchers if these are not the people who looked at the request before, as far as this broker knows."""
        if self._lookers.get(request_id) == people:
            return
        self._lookers[request_id] = people
        if len(self._lookers) > REMEMBERED:
            self._lookers.pop(next(iter(self._lookers)))
        if (row := self._rows.get(request_id)) is not None:
            self._tell(Looked(row))

    @contextmanager
    def watch(self) -> Iterator[MemoryObjectReceiveStream[Told]]:
        """Receive each row that moved, as it is after the move, and whose lookers changed. One that is too slow misses some."""
        send, receive = anyio.create_memory_object_stream[Told](BEHIND)
        self._watchers.add(send)
        try:
            with send, receive:
                yield receive
        finally:
            self._watchers.discard(send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow)
            tasks.start_soon(self._refresh)
            tasks.start_soon(self._reconcile)
            tasks.start_soon(self._close)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def _close(self) -> None:
        """End every stream when the broker stops: a server waits for open answers before it closes anything else."""
        await self._closing.wait()
        for watcher in tuple(self._watchers):
            watcher.close()

    async def _follow(self) -> None:
        while True:
            try:
                async with self._changes.follow() as changes:
                    async for changed in changes:
                        self._look_again({changed.request})
            except StoreUnavailable:
                await anyio.sleep(1)
            except Exception:
                log.exception("board.follow_failed")
                await anyio.sleep(1)

    async def _reconcile(self) -> None:
        while True:
            try:
                await self.load()
            except StoreUnavailable:
                await anyio.sleep(1)
            except Exception:
                log.exception("board.reconcile_failed")
                await anyio.sleep(1)
            else:
                await anyio.sleep(RECONCILE)

    async def load(self) -> None:
        """Read all that waits, and look again at what no longer does."""
        cursor, seen = "", set[RequestId]()
        self._ended.clear()
        while True:
            page = await self._requests.find(Query(states=SHOWN), limit=200, cursor=cursor)
            for request in page.requests:
                seen.add(request.id)
                if request.id not in self._ended:
                    self._place(request)
                await anyio.lowlevel.checkpoint()  # each may be a large call
            cursor = page.cursor
            if not cursor:
                break
        self._look_again(set(self._rows) - seen)

    def _look_again(self, ids: set[RequestId]) -> None:
        self._moved |= ids
        if ids:
            self._wake.set()

    async def _refresh(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._moved:
                batch = [self._moved.pop() for _ in range(min(AT_ONCE, len(self._moved)))]
                async with anyio.create_task_group() as tasks:
                    for request_id in batch:
                        tasks.start_soon(self._read, request_id)

    async def _read(self, request_id: RequestId) -> None:
        try:
            self._place(await self._requests.get(request_id))
        except UnknownRequest:
            self._take_off(request_id)
        except StoreUnavailable:
            await anyio.sleep(0.5)
            self._moved.add(request_id)
        except Exception:
            log.exception("board.read_failed", request=request_id)

    def _place(self, request: ApprovalRequest) -> None:
        known = self._rows.get(request.id)
        if known is not None and known.version >= request.version:
            return
        row = row_of(request, self._mask_key)
        if request.state in SHOWN:
            self._rows[request.id] = row
        else:
            self._take_off(request.id)
        self._tell(row)

    def _take_off(self, request_id: RequestId) -> None:
        self._rows.pop(request_id, None)
        self._ended.add(request_id)

    def _tell(self, news: Told) -> None:
        for watcher in self._watchers:
            try:
                watcher.send_nowait(news)
            except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                continue
