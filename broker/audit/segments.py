"""Segment files: sealed batches, one a line, appended and synced, outside the store."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import msgspec

from broker.audit.chain import Batch, Seal
from broker.errors import UNREADABLE, ConfigInvalid

# A segment is closed at this size, so that old ones can be moved to where nobody writes.
ROLL_AT = 64 << 20


class _Head(msgspec.Struct, frozen=True):
    seal: Seal


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Batch).decode
_head_of = msgspec.json.Decoder(_Head).decode


class Segments:
    """The folder of one sealer. Only `append` writes, and only at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: Path | None = None

    def append(self, batch: Batch) -> None:
        """Write one line; it is on the disk when this returns. Of a line that does not fit on the disk nothing stays."""
        path = self._current(batch.seal.shard, batch.seal.first)
        with path.open("ab", buffering=0) as file:
            before, line = file.tell(), _encode(batch) + b"\n"
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "only a part of the line was written", str(path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise

    def _current(self, shard: int, first: int) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._open is None or not self._open.exists() or self._open.stat().st_size >= ROLL_AT:
            # a name that no process had before, whatever its id: nothing is appended to what a crash tore
            self._open = self.folder / f"audit-{shard}-{first:012d}-{secrets.token_hex(8)}.jsonl"
            self._open.touch(mode=0o600, exist_ok=False)
            sync_folder(self.folder)
        return self._open


def sync_folder(folder: Path) -> None:
    """Make the new name of a file itself durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Place(msgspec.Struct, frozen=True, order=True):
    """One line of a segment file: the events that it says it seals, and where it stands. `last` 0: it can't be read."""

    first: int
    last: int
    file: str
    number: int
    offset: int

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}"


def places(folder: Path) -> list[Place]:
    """Return the lines of all segment files, each file's in its order. Raises `ConfigInvalid` without any, or for one that can't
    be read.

    A line that can't be read counts as the one after the line before it. One that a crash tore at the end of a file is passed
    over: what it held is sealed again, or found to be missing.
    """
    files = sorted(folder.glob("audit-*.jsonl"))
    if not files:
        raise ConfigInvalid(f"there is no segment file in {folder}")
    return [place for file in files for place in _places(file)]


def batches(folder: Path, order: Sequence[Place]) -> Iterator[tuple[Place, Batch | None]]:
    """Yield what stands at each place; None for what can't be read."""
    with ExitStack() as opened:
        files: dict[str, IO[bytes]] = {}
        for place in order:
            if place.file not in files:
                files[place.file] = opened.enter_context((folder / place.file).open("rb"))
            files[place.file].seek(place.offset)
            try:
                yield place, _decode(files[place.file].readline())
            except UNREADABLE:
                yield place, None


def _places(path: Path) -> list[Place]:
    try:
        return list(_lines(path))
    except OSError as error:
        raise ConfigInvalid(f"{path.name} can't be read: {type(error).__name__}") from None


def _lines(path: Path) -> Iterator[Place]:
    offset, after = 0, 1
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                seal = _head_of(line).seal
                place = Place(seal.first, seal.last, path.name, number, offset)
            except UNREADABLE:
                if not line.endswith(b"\n"):
                    return
                place = Place(after, 0, path.name, number, offset)
            yield place
            offset, after = offset + len(line), place.last + 1 if place.last else after
