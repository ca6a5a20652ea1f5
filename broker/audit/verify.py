"""Verification: recompute the chain from the segment files, check every signature, and hold the store against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from broker.audit.chain import GENESIS, Batch, Seal, head_of
from broker.audit.keys import PublicKeys
from broker.audit.ports import RawLog
from broker.audit.segments import Line, lines

PAGE = 5_000


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
    """One pass over the files: `heads` keeps each seal's end, so that files of several sealers can overlap."""

    def __init__(self, keys: PublicKeys) -> None:
        self._keys = keys
        self.heads: dict[int, str] = {0: GENESIS}
        self.last = 0
        self.seals = 0

    def take(self, line: Line) -> Fault | None:
        where = f"{line.file}:{line.number}"
        if line.batch is None:
            return Fault(self.last + 1, where, "the line can't be read")
        wrong = self._wrong(line.batch)
        if wrong:
            return Fault(line.batch.seal.first, where, wrong)
        seal = line.batch.seal
        self.heads[seal.last] = seal.head
        self.last = max(self.last, seal.last)
        self.seals += 1
        return None

    def _wrong(self, batch: Batch) -> str:
        seal = batch.seal
        if not self._keys.holds(seal.key, seal.statement(), seal.signature):
            return "the seal's signature does not hold"
        if seal.first - 1 not in self.heads:
            return f"events {self.last + 1} to {seal.first - 1} are missing, or out of order"
        if self.heads[seal.first - 1] != seal.before:
            return "the seal does not continue the chain before it"
        if len(batch.entries) != seal.last - seal.first + 1:
            return "entries were inserted or deleted"
        if head_of(seal.before, seal.first, (bytes(entry) for entry in batch.entries)) != seal.head:
            return "an entry was changed"
        if self.heads.get(seal.last, seal.head) != seal.head:
            return "two sealers disagree about the same events"
        return ""


def verify_files(folder: Path, keys: PublicKeys) -> Verified:
    """Check all segment files of a folder. Raises `ConfigInvalid` when there is none."""
    walk = _Walk(keys)
    for segment in lines(folder):
        for line in segment:
            fault = walk.take(line)
            if fault:
                return Verified(walk.last, walk.seals, walk.heads[walk.last], fault)
    return Verified(walk.last, walk.seals, walk.heads[walk.last])


async def verify_store(folder: Path, log: RawLog, head: bytes | None, verified: Verified) -> Fault | None:
    """Hold the live store against the files: a change, deletion, insertion, swap, lost tail or older dump is a fault.

    Entries that retention dropped after sealing are fine: the store may begin later, but must not have holes.
    """
    seal = msgspec.json.decode(head, type=Seal) if head else None
    if seal is not None and seal.last > verified.last:
        return Fault(verified.last + 1, "files", f"the store was sealed up to {seal.last}: the files lost their tail")
    last = await log.last()
    if last < verified.last:
        return Fault(
            last + 1, "store", f"the store ends at {last}, the files at {verified.last}: its tail is lost, or it is older"
        )
    return await _compare(_sealed_entries(folder), log, verified.last)


async def _compare(sealed: Iterable[tuple[int, bytes]], log: RawLog, last: int) -> Fault | None:
    page = await log.raw(0, PAGE)
    begin = page[0][0] if page else last + 1
    expected = begin
    held = {number: entry for number, entry in sealed if number >= begin}
    while page:
        fault = _page_fault(page, held, expected)
        if fault:
            return fault
        expected = page[-1][0] + 1
        page = await log.raw(page[-1][0], PAGE)
    return None if expected > last else Fault(expected, "store", "the event is missing")


def _page_fault(page: Sequence[tuple[int, bytes]], held: dict[int, bytes], expected: int) -> Fault | None:
    for number, entry in page:
        if number != expected:
            return Fault(expected, "store", "the event is missing, or stands elsewhere")
        if number in held and held[number] != entry:
            return Fault(number, "store", "the event was changed after it was sealed")
        expected += 1
    return None


def _sealed_entries(folder: Path) -> Iterable[tuple[int, bytes]]:
    for segment in lines(folder):
        for line in segment:
            if line.batch is not None:
                for offset, entry in enumerate(line.batch.entries):
                    yield line.batch.seal.first + offset, bytes(entry)
