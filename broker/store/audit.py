"""The audit log: numbered without gaps in the store, on disk while the store is away, and never twice."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby, islice
from typing import Any

import msgspec
import structlog

from broker.approvals.ports import Told
from broker.domain.events import Entry, Event, decode_event, encode_event, unreadable
from broker.domain.requests import RequestId
from broker.errors import StoreUnavailable, VersionConflict
from broker.store import keys
from broker.store.connection import Commands
from broker.store.health import Pulse
from broker.store.lanes import Argument
from broker.store.requests import Observe
from broker.store.scripts import load
from broker.store.spool import Spool, Spooled, SpoolFile

log = structlog.get_logger()

APPEND = load("append")
DONE = b"done"
BATCH = 256
LANE_KEPT = 30 * 24 * 3600
DOUBTS = 10_000
DRAIN = 1.0


_Batch = list[tuple[Event, bytes, Told]]


class _Lane:
    """Where one writer stands. After a write whose reply was lost it is left, and a new one begun."""

    def __init__(self, name: str = "") -> None:
        self.name = name or secrets.token_hex(8)
        self.keys = (keys.audit(), keys.audit_number(), keys.audit_lane(self.name))
        self.position = 0


class Audit:
    """`AuditLog` on Redis. An append is sent at once; all that come while one write is under way go together in the next."""

    def __init__(
        self, commands: Commands, spool: Spool, pulse: Pulse, *, broker: str, observe: Observe = lambda event, request: None
    ) -> None:
        """`observe` is told of each event once it is written, from a callback of the loop and not in a task."""
        self._commands = commands
        self._spool = spool
        self._pulse = pulse
        self._broker = broker
        self._observe = observe
        self._lane = _Lane()
        self._waiting: _Batch = []
        self._sent: asyncio.Future[Any] | None = None
        self._doubtful: OrderedDict[int, tuple[Event, str, int]] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._drain_on())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while (sent := self._sent) is not None:  # it has little time to be answered in any case
            await asyncio.wait([sent])
            await asyncio.sleep(0)
            if self._sent is sent:
                break  # somebody ended it: there is nothing more to come
        await self._spool.close()

    def begin(self, event: Event, told: Told) -> None:
        """Begin to write. Where `told` hears of an error, the same event object may be given to `spool`."""
        self._waiting.append((event, encode_event(self._stamped(event)), told))
        if self._sent is None:
            self._send_next()

    async def append(self, event: Event) -> None:
        """Durable when it returns. Raises `StoreUnavailable`; then the same event object may be given to `spool`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(error: StoreUnavailable | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.begin(event, told)
        await done

    async def spool(self, event: Event) -> None:
        """Keep an event on disk while the store is away; it is appended when the store is back.

        An event whose `append` failed is not written twice, even if that write was carried out and only its reply lost.
        """
        _, lane, position = self._doubtful.pop(id(event), (event, "", 0))
        await self._spool.put(Spooled(self._stamped(event), lane, position))

    async def read(self, after: int, limit: int) -> Sequence[Entry]:
        """Entries with numbers above `after`, in order."""
        return [_entry(number, event) for number, event in await self.raw(after, limit)]

    async def raw(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """The same entries with the bytes of their events, unchanged."""
        rows = await self._commands.run("XRANGE", keys.audit(), f"{after + 1}-0", "+", "COUNT", limit)
        return [(int(name.split(b"-", 1)[0]), fields[1]) for name, fields in rows]

    async def about(self, request_id: RequestId) -> Sequence[Entry]:
        """All entries of one request that the store still holds, oldest first; none for an unknown one."""
        numbers = (await self._commands.run("HGET", keys.record(request_id), "a") or b"").decode().split()
        if not numbers:
            return ()
        found = await self._commands.run_all(*(("XRANGE", keys.audit(), f"{n}-0", f"{n}-0") for n in numbers))
        return [_entry(int(n), rows[0][1][1]) for n, rows in zip(numbers, found, strict=True) if rows]

    async def trim(self, upto: int) -> None:
        """Drop entries up to a number that is sealed and kept outside. Numbers go on from the last."""
        await self._commands.run("XTRIM", keys.audit(), "MINID", f"{upto + 1}-0")

    async def last(self) -> int:
        """The highest number given; 0 when there is none."""
        return int(await self._commands.run("GET", keys.audit_number()) or 0)

    # -- writing ------------------------------------------------------------------------------------------

    def _send_next(self) -> None:
        """Send what waits, as much as goes at once. A callback hears what came of it: most calls need no task for that."""
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        self._sent = None
        if batch:
            events, lane = [encoded for _, encoded, _ in batch], self._lane
            names, arguments = _entries(lane, lane.position + len(batch), events)
            self._sent = self._commands.sent(APPEND, names, arguments)
            self._sent.add_done_callback(partial(self._answered, batch))

    def _answered(self, batch: _Batch, sent: asyncio.Future[list[Any]]) -> None:
        if not sent.cancelled() and sent.exception() is None and sent.result()[0] == DONE:
            self._lane.position += len(batch)
            self._written(batch)
        else:
            self._sent = asyncio.ensure_future(self._settled(batch, sent))

    def _written(self, batch: _Batch) -> None:
        try:
            for _, _, told in batch:
                told(None)
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._tell, batch)  # first whoever waits hears of it, then goes on, then this
        finally:
            self._send_next()

    async def _settled(self, batch: _Batch, sent: asyncio.Future[list[Any]]) -> None:
        """See to a batch that was not simply written: the script was not known, the lane stood elsewhere, the store is away."""
        lane, events = self._lane, [encoded for _, encoded, _ in batch]
        reached = lane.position + len(batch)
        try:
            if await self._commands.answer(APPEND, *_entries(lane, reached, events), sent) == DONE:
                lane.position = reached
            else:
                self._lane = _Lane()  # the store has forgotten it: idle for a month, or emptied
                await self._appended(self._lane, len(batch), events)
        except Exception as error:  # whatever it was, nobody may be left waiting
            lane, self._lane, self._sent = self._lane, _Lane(), None
            self._doubt(batch, lane.name, lane.position + len(batch))
            rest, self._waiting = self._waiting, []
            self._fail(batch + rest, error.message if isinstance(error, StoreUnavailable) else type(error).__name__)
        else:
            self._written(batch)

    def _tell(self, written: _Batch) -> None:
        for event, _, _ in written:
            self._observe(event, None)

    async def _appended(
        self, lane: _Lane, reached: int, events: Sequence[bytes], doubt: tuple[str, int] | None = None
    ) -> bool:  # fmt: skip
        """Return whether the lane stood where it was thought to stand; `reached` is where it stands then."""
        done: bool = await self._commands.script(APPEND, *_entries(lane, reached, events, doubt)) == DONE
        if done:
            lane.position = reached
        return done

    def _stamped(self, event: Event) -> Event:
        return event if event.broker else msgspec.structs.replace(event, broker=self._broker)

    def _doubt(self, batch: _Batch, lane: str, reached: int) -> None:
        for event, _, _ in batch:
            self._doubtful[id(event)] = (event, lane, reached)
        while len(self._doubtful) > DOUBTS:
            self._doubtful.popitem(last=False)

    @staticmethod
    def _fail(batch: _Batch, why: str) -> None:
        for _, _, told in batch:
            told(StoreUnavailable(why))

    # -- draining the spool -------------------------------------------------------------------------------

    async def _drain_on(self) -> None:
        while True:
            if self._pulse.up:
                try:
                    with suppress(StoreUnavailable, VersionConflict):
                        await self.drain()
                except Exception:  # a disk or a file that fails once: what lies there is tried again
                    log.exception("spool.failed")
            await asyncio.sleep(DRAIN)

    async def drain(self) -> int:
        """Append what lies on disk, ours and what dead processes left. Returns how many lines that were."""
        drained = 0
        for file in self._spool.found():
            try:
                drained += await self._drain(file)
            finally:
                self._spool.release(file)
        return drained

    async def _drain(self, file: SpoolFile) -> int:
        lane = _Lane(file.lane)
        before = lane.position = int(await self._commands.run("GET", keys.audit_lane(lane.name)) or 0)
        lines = file.lines(before)
        while chunk := list(islice(lines, BATCH)):
            for doubt, group in groupby(chunk, key=_doubt_of):
                await self._drain_group(lane, list(group), doubt)
        await self._spool.retire(file, lane.position)
        if lane.position > before:
            log.info("spool.drained", events=lane.position - before)
        return lane.position - before

    async def _drain_group(self, lane: _Lane, group: Sequence[Spooled | None], doubt: tuple[str, int] | None) -> None:
        events = [encode_event(line.event) for line in group if line is not None]
        if not await self._appended(lane, lane.position + len(group), events, doubt):
            raise VersionConflict("an earlier drain of this file came through after all: look again where it stands")


def _entries(
    lane: _Lane, reached: int, events: Sequence[bytes], doubt: tuple[str, int] | None = None
) -> tuple[tuple[str, ...], tuple[Argument, ...]]:
    """Keys and arguments of `append`; `reached` is where the lane stands after it."""
    arguments = (lane.position, reached, LANE_KEPT, doubt[1] if doubt else "", *events)
    return ((*lane.keys, keys.audit_lane(doubt[0])) if doubt else lane.keys), arguments


def _doubt_of(line: Spooled | None) -> tuple[str, int] | None:
    return (line.lane, line.position) if line is not None and line.lane else None


def _entry(number: int, event: bytes) -> Entry:
    """One that somebody spoilt stands there as what it is, and keeps nobody from the others; `broker audit verify` finds it."""
    try:
        return Entry(number, decode_event(event))
    except msgspec.MsgspecError:
        return Entry(number, unreadable(event))
