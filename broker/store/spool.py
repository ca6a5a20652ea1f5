"""Audit events on disk while the store is away: JSON lines, appended and fsynced, in order.

Each process writes files of its own and holds a lock on the one it writes; the file of a process that died has no
lock and is drained by whoever finds it. A line that was cut off by a crash was never promised, and is left out.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from broker.audit.segments import sync_folder
from broker.domain.events import Event
from broker.errors import UNREADABLE, StoreUnavailable

log = structlog.get_logger()


class Spooled(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `lane` and `position` name a write to the store whose reply was lost: the event may be in already."""

    event: Event
    lane: str = ""
    position: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Spooled).decode


class SpoolFile:
    """One file. Its name's stem is its lane in the store, so that a repeated drain adds nothing twice."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def create(cls, folder: Path) -> SpoolFile:
        path = folder / f"{time.time_ns():020d}-{secrets.token_hex(8)}.jsonl"
        handle = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600), "ab+", buffering=0)
        fcntl.flock(handle, fcntl.LOCK_EX)
        sync_folder(folder)
        return cls(path, handle)

    @classmethod
    def adopt(cls, path: Path) -> SpoolFile | None:
        """Take over the file of a process that is gone; None while its writer lives, or when somebody else was faster."""
        try:
            handle = path.open("rb+", buffering=0)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            return None
        return cls(path, handle)

    @property
    def lane(self) -> str:
        return self._path.stem

    def write(self, lines: bytes) -> None:
        """Append whole lines, on disk when it returns; after a failure the file is as it was."""
        size = self._handle.seek(0, os.SEEK_END)
        try:
            written = self._handle.write(lines)
            if written != len(lines):
                raise OSError("the disk took only a part")
            os.fsync(self._handle.fileno())
        except OSError:
            with suppress(OSError):
                self._handle.truncate(size)
            raise

    def lines(self, skip: int) -> Iterator[Spooled | None]:
        """Yield what was written, after `skip` lines; None for a line that can't be read."""
        with self._path.open("rb") as reader:
            for number, line in enumerate(reader):
                if number >= skip and line.endswith(b"\n"):
                    try:
                        yield _decode(line)
                    except UNREADABLE:
                        log.error("spool.unreadable", file=self._path.name, line=number + 1)
                        yield None

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._handle.close()

    def close(self) -> None:
        """Leave it for the next process, or remove it when there is nothing in it."""
        if not self._handle.closed and self._handle.seek(0, os.SEEK_END) == 0:
            self.remove()
        self._handle.close()


class Spool:
    """The spool of this process, and the files that others left."""

    def __init__(self, data: Path) -> None:
        self._folder = data.expanduser() / "spool"
        self._file: SpoolFile | None = None
        self._busy = asyncio.Lock()
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def put(self, spooled: Spooled) -> None:
        """Keep one event, on disk when it returns. Raises `StoreUnavailable` when the disk takes nothing either."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((_encode(spooled) + b"\n", done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_on())
        await done

    async def _write_on(self) -> None:
        while self._waiting:
            async with self._busy:
                batch, self._waiting = self._waiting, []
                try:
                    await asyncio.to_thread(self._write, b"".join(line for line, _ in batch))
                except OSError as error:
                    _settle(
                        batch, StoreUnavailable(f"the event could be kept neither in the store nor on disk: {error.strerror}")
                    )
                else:
                    _settle(batch, None)

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = SpoolFile.create(self._folder)
        self._file.write(lines)

    def found(self) -> Iterator[SpoolFile]:
        """Yield our file and those that dead processes left, oldest first. Give each back with `release`."""
        for path in sorted(self._folder.glob("*.jsonl")):
            if self._file is not None and path.stem == self._file.lane:
                yield self._file
            elif (adopted := SpoolFile.adopt(path)) is not None:
                yield adopted

    def release(self, file: SpoolFile) -> None:
        if file is not self._file:
            file.close()

    async def retire(self, file: SpoolFile, drained: int) -> None:
        """Remove a file of which `drained` lines are in the store, unless more have come."""
        async with self._busy:
            if next(file.lines(drained), file) is file:
                file.remove()
                if file is self._file:
                    self._file = None

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer
        if self._file is not None:
            self._file.close()
            self._file = None  # what comes late has a file of its own


def _settle(batch: list[tuple[bytes, asyncio.Future[None]]], error: StoreUnavailable | None) -> None:
    for _, done in batch:
        if not done.done() and error is not None:
            done.set_exception(error)
        elif not done.done():
            done.set_result(None)
