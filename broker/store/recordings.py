"""Calls that passed or were denied at once, kept for replays: sealed, bounded, and never awaited on the road."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from broker.errors import StoreUnavailable
from broker.store import keys
from broker.store.cipher import Cipher
from broker.store.connection import Commands

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
        """The newest lines, oldest first."""
        key = keys.recordings()
        rows = await self._commands.run("XREVRANGE", key, "+", "-", "COUNT", limit)
        return [self._cipher.open(fields[1], key) for _, fields in reversed(rows)]

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(StoreUnavailable):
            await self.flush()

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            with suppress(StoreUnavailable):
                await self.flush()
