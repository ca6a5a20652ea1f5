"""The sealer: chains and signs new events every second, outside the store. One at a time; any broker can take over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import takewhile

import anyio
import anyio.to_thread
import msgspec
import structlog

from broker.audit.chain import GENESIS, Batch, Seal, links_of, moment_of
from broker.audit.keys import SigningKey
from broker.audit.ports import Lease, RawLog, SealHead
from broker.audit.segments import Segments
from broker.chores import Chore, repeating
from broker.domain.events import encode_event, unreadable

log = structlog.get_logger()

EVERY = 1.0
BATCH = 5_000
LEASE = timedelta(seconds=5)
TIDY = 60.0


_decode = msgspec.json.Decoder(Seal).decode


class Sealer:
    """Writes the file first and moves the head in the store after: a crash in between seals the same events once more."""

    def __init__(  # noqa: PLR0913 - where store, files and key meet
        self,
        log: RawLog,
        head: SealHead,
        lease: Lease,
        segments: Segments,
        key: SigningKey,
        *,
        broker: str,
        clock: Callable[[], datetime],
        keep: timedelta = timedelta.max,
    ) -> None:
        """`keep` is how long sealed events stay in the store; what is not sealed stays there for ever."""
        self._keep = keep
        self._log = log
        self._head = head
        self._lease = lease
        self._segments = segments
        self._key = key
        self._broker = broker
        self._clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        chore = Chore("sealer", self._drained, EVERY)
        async with repeating(chore, Chore("sealer.tidy", self.tidy, TIDY)):
            yield
        with anyio.move_on_after(2, shield=True):
            await chore.round()

    async def _drained(self) -> None:
        while await self.round() == BATCH:
            pass

    async def round(self) -> int:
        """Seal what is new, if this broker holds the lease. Returns how many events."""
        if not await self._lease.lease("sealer", self._broker, LEASE):
            return 0
        before = await self._head.head()
        seal = _decode(before) if before else None
        done, link = (seal.last, seal.head) if seal else (0, GENESIS)
        found = await self._log.raw(done, BATCH)
        entries = [entry if _readable(entry) else _instead(entry) for entry in _unbroken(done, found)]
        if not entries:
            return 0
        batch = self._sealed(done + 1, link, entries)
        try:
            await anyio.to_thread.run_sync(self._segments.append, batch)
        except OSError:  # whose disk is full keeps no other from sealing
            await self._lease.give_up("sealer", self._broker)
            raise
        await self._head.advance(before, msgspec.json.encode(batch.seal))
        return len(entries)

    async def tidy(self) -> None:
        """Drop what is sealed, written down and older than retention says. Numbers go on from the last."""
        head = await self._head.head()
        sealed, full = _decode(head).last if head else 0, True
        while full:
            found = await self._log.raw(0, BATCH)
            old = [number for number, _ in takewhile(lambda one: one[0] <= sealed and self._old(one[1]), found)]
            full = len(old) == BATCH
            if old:
                await self._log.trim(old[-1])

    def _old(self, entry: bytes) -> bool:
        """What was spoilt goes with those around it: as it was sealed, it stands in the files."""
        try:
            return self._clock() - moment_of(entry) > self._keep
        except msgspec.MsgspecError:
            return True

    def _sealed(self, first: int, before: str, entries: list[bytes]) -> Batch:
        seal = Seal(
            shard=0,
            first=first,
            last=first + len(entries) - 1,
            before=before,
            head=links_of(before, first, entries)[-1].hex(),
            at=self._clock(),
            key=self._key.name,
        )
        signed = msgspec.structs.replace(seal, signature=self._key.sign(seal.statement()))
        return Batch(signed, tuple(msgspec.Raw(entry) for entry in entries))


def _unbroken(after: int, found: Sequence[tuple[int, bytes]]) -> list[bytes]:
    """Return the entries that follow `after` without a gap: what is missing is never sealed over."""
    entries: list[bytes] = []
    for number, entry in found:
        if number != after + len(entries) + 1:
            log.error("audit.gap", missing=after + len(entries) + 1, found=number)
            break
        entries.append(entry)
    return entries


def _readable(entry: bytes) -> bool:
    """Is it an event, on one line, with nothing around it that a file would not keep?"""
    try:
        moment_of(entry)
        entry.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return b"\n" not in entry and entry == entry.strip()


def _instead(entry: bytes) -> bytes:
    """What stands in the files for an event that somebody spoilt before it was sealed, and must not spoil them too. Whoever seals
    it once more writes the same.
    """
    log.error("audit.unreadable", size=len(entry))
    return encode_event(unreadable(entry))
