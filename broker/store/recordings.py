"""Calls that passed or were denied at once, kept for replays: sealed, bounded, and never awaited on the road."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import structlog

from broker.errors import RecordUnreadable, StoreUnavailable
from broker.store import keys
from broker.store.cipher import Cipher
from broker.store.clock import micros
from broker.store.connection import Commands

log = structlog.get_logger()

KEPT = 100_000
EVERY = 0.5
# Records that may wait for the store; while it is away the oldest are lost: they are no proof, the audit is.
WAITING = 10_000


class Recordings:
    """A stream of sealed lines."""

    def __init__(self, commands: Commands, cipher: Cipher) -> None:
        self._commands = commands
        self._cipher = cipher
        self._waiting: deque[bytes] = deque(maxlen=WAITING)
        self._task: asyncio.Task[None] | None = None

    def put(self, line: bytes) -> None:
        """Keep a line soon. Costs no round trip."""
        self._waiting.append(line)
        if self._task is None:
            self._task = asyncio.create_task(self._write_on())

    async def flush(self) -> None:
        """Write what waits. Raises `StoreUnavailable`; then it still waits."""
        while self._waiting:
            lines = [self._waiting.popleft() for _ in range(min(500, len(self._waiting)))]
            key = keys.recordings()
            sealed = (self._cipher.seal(line, key) for line in lines)
            try:
                await self._commands.run_all(*(("XADD", key, "MAXLEN", "~", KEPT, "*", "c", line) for line in sealed))
            except StoreUnavailable:
                self._waiting.extendleft(reversed(lines))
                raise

    async def read(self, limit: int = KEPT) -> Sequence[bytes]:
        """The newest lines, oldest first. What does not open is left out, loudly: one must not hide all others."""
        key = keys.recordings()
        rows = await self._commands.run("XREVRANGE", key, "+", "-", "COUNT", limit)
        found = [line for _, fields in reversed(rows) if (line := self._opened(fields[1], key)) is not None]
        if len(found) < len(rows):
            log.error("recordings.unreadable", count=len(rows) - len(found))
        return found

    async def forget(self, before: datetime) -> None:
        """Delete what was recorded earlier, by the store's clock: retention."""
        await self._commands.run("XTRIM", keys.recordings(), "MINID", f"{micros(before) // 1000}-0")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(StoreUnavailable):
            await self.flush()

    def _opened(self, line: bytes, place: str) -> bytes | None:
        try:
            return self._cipher.open(line, place)
        except RecordUnreadable:
            return None

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            with suppress(StoreUnavailable):
                await self.flush()
