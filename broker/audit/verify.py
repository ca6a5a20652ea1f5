"""Verification: recompute the chain from the segment files, check every signature, and hold the store against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from broker.audit.chain import GENESIS, Batch, Seal, links_of, moment_of, seal_of
from broker.audit.keys import PublicKeys
from broker.audit.ports import RawLog, SealHead
from broker.audit.segments import Place, batches, places

PAGE = 5_000
# Seconds that running brokers have to seal what is there: another takes over within the sealer's lease.
PATIENCE = 10.0
_LINK = 32


class Fault(msgspec.Struct, frozen=True):
    """The first thing that is wrong: the number of the event (0: before any), where, and what."""

    number: int
    where: str
    what: str


class Verified(msgspec.Struct, frozen=True):
    """What the files prove: `last` is the last sealed event; `fault` is None when all holds."""

    last: int
    seals: int
    head: str
    fault: Fault | None = None


class _Walk:
    """One pass over the batches, in the order of their events. The hash of each event is kept, so that batches can overlap:
    a crash seals the same events twice, and only the same.
    """

    def __init__(self, keys: PublicKeys) -> None:
        self._keys = keys
        self._links = bytearray()
        self.seals = 0

    @property
    def last(self) -> int:
        return len(self._links) // _LINK

    def link(self, number: int) -> bytes:
        """The hash of an event, of number 0 what the chain begins with."""
        return bytes(self._links[(number - 1) * _LINK : number * _LINK]) if number else bytes.fromhex(GENESIS)

    def take(self, place: Place, batch: Batch | None) -> Fault | None:
        if batch is None:
            return Fault(place.first, place.where, "the line can't be read")
        if batch.seal.first > self.last + 1:
            told = f"events {self.last + 1} to {batch.seal.first - 1} are missing"
            return Fault(self.last + 1, place.where, told)
        wrong = self._wrong(batch.seal, len(batch.entries))
        if wrong:
            return Fault(place.first, place.where, wrong)
        links = links_of(batch.seal.before, batch.seal.first, (bytes(entry) for entry in batch.entries))
        if links[-1].hex() != batch.seal.head:
            return Fault(place.first, place.where, "an entry was changed")
        return self._joined(place, links)

    def _wrong(self, seal: Seal, entries: int) -> str:
        if not self._keys.holds(seal.key, seal.statement(), seal.signature):
            return "the seal's signature does not hold"
        if not 0 < entries == seal.last - seal.first + 1:
            return "entries were inserted or deleted"
        if self.link(seal.first - 1).hex() != seal.before:
            return "the seal does not continue the chain before it"
        return ""

    def _joined(self, place: Place, links: Sequence[bytes]) -> Fault | None:
        again = max(0, self.last + 1 - place.first)
        for number, link in enumerate(links[:again], place.first):
            if self.link(number) != link:
                return Fault(number, place.where, "the event was sealed twice, and differs: the store was put back in between")
        self._links += b"".join(links[again:])
        self.seals += 1
        return None


def verify_files(folder: Path, keys: PublicKeys) -> Verified:
    """Check all segment files of a folder, of however many sealers. Raises `ConfigInvalid` when there is none."""
    found, walk = places(folder), _Walk(keys)
    fault = next((fault for place, batch in batches(folder, sorted(found)) if (fault := walk.take(place, batch))), None)
    moved = _out_of_order(found)
    if moved is not None and (fault is None or moved.number < fault.number):
        fault = moved
    return Verified(walk.last, walk.seals, walk.link(walk.last).hex(), fault)


def _out_of_order(found: Sequence[Place]) -> Fault | None:
    """A sealer only goes forward: in its own file no line stands before an earlier one."""
    wrong = (one for one, after in pairwise(found) if one.file == after.file and after.first < one.first)
    place = min(wrong, default=None)
    return Fault(place.first, place.where, "the lines were put in another order") if place else None


async def verify_live(
    folder: Path, keys: PublicKeys, log: RawLog, seals: SealHead, *, kept: datetime | None = None, patience: float = PATIENCE
) -> Verified:  # fmt: skip
    """Check the files, and hold the store against them, while brokers may go on. Raises `ConfigInvalid`, `StoreUnavailable`.

    What happened after `kept` has to be in the store still; None: it may begin anywhere. What is there, and is not sealed within
    `patience` seconds, is a fault: somebody may keep the brokers from it, and nothing proves what stands there.
    """
    head = await seals.head()  # before the files are read: what is sealed meanwhile stands in them, and is no lost tail
    verified = await anyio.to_thread.run_sync(verify_files, folder, keys)
    fault = (
        verified.fault
        or await verify_store(folder, log, head, verified, kept=kept)
        or await _unsealed(keys, log, seals, verified.last, patience)
    )
    return msgspec.structs.replace(verified, fault=fault)


async def verify_store(
    folder: Path, log: RawLog, head: bytes | None, verified: Verified, *, kept: datetime | None = None
) -> Fault | None:  # fmt: skip
    """Hold the live store against the files: a change, deletion, insertion, swap, lost tail or older dump is a fault.

    `head` is the store's own word of its last seal, from before the files were read. Entries that retention dropped after sealing
    are fine: the store may begin later, but must not have holes, nor lack what happened after `kept`.
    """
    seal = seal_of(head)
    if seal is not None and seal.last > verified.last:
        return Fault(verified.last + 1, "files", f"the store was sealed up to {seal.last}: the files lost their tail")
    last = await log.last()
    if last < verified.last:
        return Fault(
            last + 1, "store", f"the store ends at {last}, the files at {verified.last}: its tail is lost, or it is older"
        )
    return await _compare(_Sealed(folder), log, verified.last, kept)


async def _unsealed(keys: PublicKeys, log: RawLog, seals: SealHead, last: int, patience: float) -> Fault | None:
    written, until = await log.last(), anyio.current_time() + patience
    while (sealed := _sealed_to(await seals.head(), keys)) < written:
        if anyio.current_time() > until:
            told = f"nothing proves what stands up to {written}: no broker sealed it within {patience:g} s (is one running?)"
            return Fault(max(sealed, last) + 1, "store", told)
        await anyio.sleep(0.1)
    return None


def _sealed_to(head: bytes | None, keys: PublicKeys) -> int:
    """Only what a broker signed counts: the store is somebody else's word."""
    told = seal_of(head)
    return told.last if told is not None and keys.holds(told.key, told.statement(), told.signature) else 0


async def _compare(sealed: _Sealed, log: RawLog, last: int, kept: datetime | None) -> Fault | None:
    page = await log.raw(0, PAGE)
    expected = page[0][0] if page else last + 1
    young = sealed.first_after(kept, before=expected) if kept else 0
    if young:
        return Fault(young, "store", "the event is missing, and too young for retention (keep_events) to have dropped it")
    while page:
        fault = _page_fault(page, sealed, expected)
        if fault:
            return fault
        expected = page[-1][0] + 1
        # the last one again, where retention left it: what somebody put in right behind it has its number
        page = await log.raw(expected - 2, PAGE)
        page = page[1:] if page and page[0][0] == expected - 1 else page
    return None if expected > last else Fault(expected, "store", "the event is missing")


def _page_fault(page: Sequence[tuple[int, bytes]], sealed: _Sealed, expected: int) -> Fault | None:
    for number, entry in page:
        if number != expected:
            return Fault(expected, "store", "the event is missing, or stands elsewhere")
        if sealed.entry(number) not in (entry, None):
            return Fault(number, "store", "the event was changed after it was sealed")
        expected += 1
    return None


class _Sealed:
    """The entries of verified files, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._entries = sealed_entries(folder)
        self._now: tuple[int, bytes] | None = next(self._entries, None)

    def first_after(self, moment: datetime, *, before: int) -> int:
        """Return the number of the first entry that happened after a moment, 0 where none below `before` did."""
        while self._now is not None and self._now[0] < before:
            if moment_of(self._now[1]) > moment:
                return self._now[0]
            self._now = next(self._entries, None)
        return 0

    def entry(self, number: int) -> bytes | None:
        """Return an entry, None after the last. The numbers that are asked for have to grow."""
        while self._now is not None and self._now[0] < number:
            self._now = next(self._entries, None)
        return self._now[1] if self._now is not None and self._now[0] == number else None


def sealed_entries(folder: Path, after: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield each sealed entry with a number above `after` once, in order. Raises `ConfigInvalid` without any file."""
    for place, batch in batches(folder, sorted(one for one in places(folder) if one.last > after)):
        for number, entry in enumerate(batch.entries if batch else (), place.first):
            if number > after:
                yield number, bytes(entry)
                after = number
