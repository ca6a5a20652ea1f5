"""The records of approval requests: read, committed by compare-and-set, listed by index."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import count
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec
import structlog

from broker.approvals.ports import Page, Query
from broker.domain.events import Event, encode_event
from broker.domain.requests import ApprovalRequest, Change, RequestId, RequestState
from broker.errors import UNREADABLE, RecordUnreadable, UnknownRequest, VersionConflict
from broker.store import keys, listing
from broker.store.cipher import Cipher
from broker.store.clock import micros, told
from broker.store.connection import Commands
from broker.store.lanes import Argument
from broker.store.scripts import load

log = structlog.get_logger()

COMMIT = load("commit")
DUE = load("due")
CHANGES_KEPT = 100_000
ATTEMPTS = 64
# Callers that are attached at the same time read the same answer: it outlives its delivery by this much.
AFTER_DELIVERY = timedelta(seconds=60)

Observe = Callable[[Event, ApprovalRequest | None], None]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ApprovalRequest).decode


class Stored(NamedTuple):
    request: ApprovalRequest
    join: str


class Requests:
    """`RequestStore` on Redis. All of one commit happens in `commit.lua`, in one step."""

    def __init__(
        self,
        commands: Commands,
        *,
        broker: str,
        keep_answers: timedelta,
        observe: Observe = lambda event, request: None,
        cipher: Cipher | None = None,
    ) -> None:
        """`observe` is told of each event once it is written."""
        self._commands = commands
        self._broker = broker
        self._keep_answers = keep_answers
        self._observe = observe
        self._cipher = cipher or Cipher()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._commits = count()
        self._run = secrets.token_hex(6)

    async def open(self, join: str, draft: Callable[[datetime], Change]) -> tuple[ApprovalRequest, bool]:
        """Create the request that `draft(now)` makes, or return the one that holds `join` and True."""
        for _ in range(ATTEMPTS):
            holder, clock = await self._commands.run_all(("GET", keys.join(join)), ("TIME",))
            if holder is None:
                change = draft(told(clock))
                answer = await self._commit(None, change, join)
                if answer[0] == b"done":
                    return change.after, False
                holder = answer[1] if answer[0] == b"joined" else None
            if holder is not None:
                try:
                    return await self.get(RequestId(holder.decode())), True
                except UnknownRequest:
                    continue  # it was forgotten in between, and its join with it
        raise VersionConflict("the request could not be opened: others were faster every time")

    async def get(self, request_id: RequestId) -> ApprovalRequest:
        """Raises `UnknownRequest`."""
        body = await self._commands.run("HGET", keys.record(request_id), "b")
        if body is None:
            raise UnknownRequest(request_id)
        return self._opened(request_id, body)

    async def update(self, request_id: RequestId, change: Callable[[ApprovalRequest, datetime], Change]) -> ApprovalRequest:
        """Commit `change(request, now)`; on a conflict read and ask again. Whatever `change` raises passes through."""
        keys.shard_of(request_id)
        turn = self._turns.setdefault(request_id, asyncio.Lock())
        came = time.monotonic()
        async with turn:  # in one process they queue, so only other brokers conflict
            self._commands.check(came)
            return await self._update(request_id, change)

    async def _update(self, request_id: RequestId, change: Callable[[ApprovalRequest, datetime], Change]) -> ApprovalRequest:
        for attempt in range(ATTEMPTS):
            stored, now = await self._read(request_id)
            made = change(stored.request, now)
            if (await self._commit(stored.request, made, stored.join))[0] == b"done":
                return made.after
            await asyncio.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.02)))
        raise VersionConflict("somebody else committed first, every time", request=request_id)

    async def _read(self, request_id: RequestId) -> tuple[Stored, datetime]:
        found, clock = await self._commands.run_all(("HMGET", keys.record(request_id), "b", "j"), ("TIME",))
        if found[0] is None:
            raise UnknownRequest(request_id)
        return Stored(self._opened(request_id, found[0]), found[1].decode()), told(clock)

    # -- one commit ---------------------------------------------------------------------------------------

    async def _commit(self, before: ApprovalRequest | None, change: Change, join: str) -> list[bytes]:
        after = change.after
        answer, kept = self._mailbox(before, change)
        moves = _moves(keys.places(before) if before else {}, keys.places(after))
        arguments: tuple[Argument, ...] = (
            after.id, before.version if before else 0, after.version, self._nonce(), self._sealed(after),
            join, self._joinable(before, after), answer, kept, self._told(change.event), after.state, CHANGES_KEPT,
        )  # fmt: skip
        reply = await self._sent(after.id, join, moves, arguments)
        if reply[0] == b"done" and change.event is not None:
            self._observe(change.event, after)
        return reply

    async def _sent(
        self, request_id: RequestId, join: str, moves: dict[str, Argument], arguments: tuple[Argument, ...]
    ) -> list[bytes]:
        shard = keys.shard_of(request_id)
        fixed = (
            keys.record(request_id), keys.join(join, shard), keys.answer(request_id),
            keys.changes(shard), keys.outbox(shard), keys.audit(shard), keys.audit_number(shard),
        )  # fmt: skip
        reply: list[bytes] = await self._commands.script(COMMIT, (*fixed, *moves), (*arguments, *moves.values()))
        return reply

    def _sealed(self, request: ApprovalRequest) -> bytes:
        return self._cipher.seal(_encode(request), keys.record(request.id))

    def _opened(self, request_id: RequestId, body: bytes) -> ApprovalRequest:
        """Raises `RecordUnreadable`."""
        try:
            return _decode(self._cipher.open(body, keys.record(request_id)))
        except UNREADABLE:
            raise RecordUnreadable("a record is not as this broker writes it", request=request_id) from None

    def _nonce(self) -> str:
        return f"{self._run}{next(self._commits):012x}"

    def _told(self, event: Event | None) -> bytes:
        if event is None:
            return b""
        return encode_event(event if event.broker else msgspec.structs.replace(event, broker=self._broker))

    def _joinable(self, before: ApprovalRequest | None, after: ApprovalRequest) -> Argument:
        """The join is held while the request is open, for `keep_answers` after its end, and until the delivery."""
        if after.delivered_at is not None:
            return 0
        if before is not None and after.state.answered and after.ended_at != before.ended_at:
            return _milliseconds(self._keep_answers)
        return ""

    def _mailbox(self, before: ApprovalRequest | None, change: Change) -> tuple[bytes, Argument]:
        if change.answer:
            return self._cipher.seal(change.answer, keys.answer(change.after.id)), _milliseconds(self._keep_answers)
        if before is not None and before.delivered_at is None and change.after.delivered_at is not None:
            return b"", _milliseconds(AFTER_DELIVERY)
        return b"", ""

    # -- the mailbox, lists and retention -----------------------------------------------------------------

    async def answer(self, request_id: RequestId) -> bytes | None:
        """The answer in the mailbox, as it was committed; None when there is none, or its time is over."""
        found: bytes | None = await self._commands.run("GET", keys.answer(request_id))
        return None if found is None else self._cipher.open(found, keys.answer(request_id))

    async def due(self, limit: int) -> list[RequestId]:
        """Requests whose `due_at` has passed by the store's clock, the longest overdue first."""
        return _ids(await self._commands.script(DUE, (keys.due(),), (limit,)))

    async def approved(self, limit: int) -> list[RequestId]:
        """Requests that are APPROVED and not claimed, oldest first."""
        return _ids(await self._commands.run("ZRANGE", keys.state(RequestState.APPROVED), 0, limit - 1))

    async def count(self, state: RequestState) -> int:
        """How many requests are in a state, without reading one."""
        return int(await self._commands.run("ZCARD", keys.state(state)))

    async def find(self, query: Query, *, limit: int = 50, cursor: str = "") -> Page:
        """Newest first. A page may be short where few of many match: as long as it has a cursor, there is more."""
        return await listing.find(self._commands, query, limit, cursor, self._many)

    async def _many(self, ids: Iterable[RequestId]) -> list[ApprovalRequest | None]:
        wanted = list(ids)
        bodies = await self._commands.run_all(*(("HGET", keys.record(one), "b") for one in wanted)) if wanted else []
        return [self._listed(one, body) for one, body in zip(wanted, bodies, strict=True)]

    def _listed(self, request_id: RequestId, body: bytes | None) -> ApprovalRequest | None:
        """A record that does not open is left out of lists, loudly: one must not hide all others."""
        try:
            return None if body is None else self._opened(request_id, body)
        except RecordUnreadable as error:
            log.error("record.unreadable", request=request_id, why=error.message)
            return None

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete ended requests older than `before`: retention. UNKNOWN ones stay until somebody records what happened."""
        old = await self._commands.run("ZRANGEBYSCORE", keys.ended(), "-inf", f"({micros(before)}", "LIMIT", 0, limit)
        return sum(await asyncio.gather(*(self._forget(request_id) for request_id in _ids(old))))

    async def _forget(self, request_id: RequestId) -> bool:
        try:
            stored, _ = await self._read(request_id)
        except UnknownRequest:
            return bool(await self._commands.run("ZREM", keys.ended(), request_id))
        except RecordUnreadable:
            return await self._forget_unread(request_id)
        return await self._deleted(request_id, stored.request.version, stored.join, keys.places(stored.request))

    async def _forget_unread(self, request_id: RequestId) -> bool:
        """Its key is gone, or it was changed: it goes in its time all the same, and keeps no other. Two indexes by its content
        may still name it; lists pass over what has no record.
        """
        shard = keys.shard_of(request_id)
        version, join = await self._commands.run("HMGET", keys.record(request_id), "v", "j")
        places = (keys.ended(shard), keys.due(shard), *(keys.state(one, shard) for one in RequestState))
        return await self._deleted(request_id, int(version), join.decode(), places)

    async def _deleted(self, request_id: RequestId, version: int, join: str, places: Iterable[str]) -> bool:
        gone: dict[str, Argument] = dict.fromkeys(places, "")
        arguments = (request_id, version, version, self._nonce(), "", join, 0, "", "", "", "", CHANGES_KEPT)
        return (await self._sent(request_id, join, gone, arguments))[0] == b"done"


def _moves(before: dict[str, int], after: dict[str, int]) -> dict[str, Argument]:
    """Return sorted set -> new score, or "" to leave it, for each one that changes."""
    left: dict[str, Argument] = dict.fromkeys(before.keys() - after.keys(), "")
    return left | {place: score for place, score in after.items() if before.get(place) != score}


def _ids(members: Iterable[bytes]) -> list[RequestId]:
    return [RequestId(member.decode()) for member in members]


def _milliseconds(span: timedelta) -> int:
    return max(1, span // timedelta(milliseconds=1))
