"""The archivist: keeps the search index in step with the store, by the gap-free numbers of the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import msgspec
import structlog

from broker.approvals.ports import Changes, Query, RequestStore
from broker.channels.web.projection import Projection
from broker.domain.events import Entry
from broker.domain.requests import ApprovalRequest, RequestId
from broker.errors import RequestError, StoreUnavailable

log = structlog.get_logger()

BATCH = 500
PAUSE = 2.0
PAGE = 200


class _About(msgspec.Struct):
    """As much of an event as tells which request has moved: most are about calls that passed, and about none."""

    request: str = ""


_about = msgspec.json.Decoder(_About).decode


class Audit(Protocol):
    async def read(self, after: int, limit: int) -> Sequence[Entry]: ...

    async def raw(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]: ...

    async def last(self) -> int: ...


class Archivist:
    """Takes in what the audit tells since the index was last in step; where the audit no longer reaches back, all anew."""

    def __init__(self, projection: Projection, requests: RequestStore, audit: Audit, changes: Changes) -> None:
        self._projection = projection
        self._requests = requests
        self._audit = audit
        self._changes = changes
        self._moved = anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            tasks.start_soon(self._keep_up)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
        await self._projection.close()

    async def _listen(self) -> None:
        async with self._changes.follow() as changes:
            async for _ in changes:
                self._moved.set()

    async def _keep_up(self) -> None:
        while True:
            try:
                while await self.step():
                    pass
            except StoreUnavailable:
                pass
            except Exception:
                log.exception("archivist.failed")
            with anyio.move_on_after(PAUSE):
                await self._moved.wait()
            self._moved = anyio.Event()

    async def step(self) -> bool:
        """Take in one batch of audit entries. Returns whether there may be more."""
        place = await self._projection.place()
        last = await self._audit.last()  # before the entries: one that comes in between is no gap
        if not place and last > BATCH:
            await self._anew(last)
            return True
        entries = await self._audit.raw(place, BATCH)
        if entries and entries[0][0] == place + 1:
            moved = {request for _, event in entries if (request := _about(event).request)}
            await self._projection.put(await self._read(moved), entries[-1][0])
            return len(entries) == BATCH
        if entries or last != place:
            await self._anew(last)
        return False

    async def _anew(self, last: int) -> None:
        """Read every record. What happens meanwhile is taken in after it, from the audit's number of its beginning."""
        await self._projection.empty()
        cursor = ""
        while True:
            page = await self._requests.find(Query(), limit=PAGE, cursor=cursor)
            await self._projection.put(page.requests, 0)
            cursor = page.cursor
            if not cursor:
                break
        await self._projection.put((), last)

    async def _read(self, ids: set[str]) -> list[ApprovalRequest]:
        found: list[ApprovalRequest] = []

        async def one(request_id: str) -> None:
            try:
                found.append(await self._requests.get(RequestId(request_id)))
            except RequestError:
                return  # forgotten, or not to be read: nothing to find

        for batch in (list(ids)[start : start + 64] for start in range(0, len(ids), 64)):
            async with anyio.create_task_group() as tasks:
                for request_id in batch:
                    tasks.start_soon(one, request_id)
        return found
