"""Segment files: sealed batches, one a line, appended and synced, outside the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from broker.audit.chain import Batch
from broker.errors import ConfigInvalid

# A segment is closed at this size, so that old ones can be moved to where nobody writes.
ROLL_AT = 64 << 20

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Batch).decode


class Segments:
    """The folder of one sealer. Only `append` writes, and only at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: Path | None = None

    def append(self, batch: Batch) -> None:
        """Write one line; it is on the disk when this returns."""
        path = self._current(batch.seal.shard, batch.seal.first)
        with path.open("ab") as file:
            file.write(_encode(batch) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _current(self, shard: int, first: int) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._open is None or self._open.stat().st_size >= ROLL_AT:
            self._open = self.folder / f"audit-{shard}-{first:012d}-{os.getpid()}.jsonl"
            self._open.touch(mode=0o600)
        return self._open


class Line(msgspec.Struct, frozen=True):
    """One line as found: `batch` is None when it can't be read."""

    file: str
    number: int
    batch: Batch | None


def lines(folder: Path) -> Iterator[list[Line]]:
    """Yield the lines of each segment file, files in the order of their first event. Raises `ConfigInvalid` without any."""
    files = sorted(folder.glob("audit-*.jsonl"))
    if not files:
        raise ConfigInvalid(f"there is no segment file in {folder}")
    for file in files:
        yield [_line(file.name, number, raw) for number, raw in enumerate(file.read_bytes().splitlines(), 1)]


def _line(file: str, number: int, raw: bytes) -> Line:
    try:
        return Line(file, number, _decode(raw))
    except msgspec.MsgspecError:
        return Line(file, number, None)
