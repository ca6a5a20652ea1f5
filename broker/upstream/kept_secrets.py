"""Secrets that cost a question, kept until they get old. One question at a time for each; a failure is kept for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable

from broker.errors import BrokerError

# Entries before all are forgotten, and seconds before somebody who failed is asked again.
MOST = 10_000
AGAIN = 1.0


class Secret:
    """`value` is good for `lasts` seconds, as a monotonic clock counts. It never shows itself."""

    __slots__ = ("lasts", "value")

    def __init__(self, value: str, lasts: float) -> None:
        self.value = value
        self.lasts = lasts


class _Entry:
    __slots__ = ("failed", "failed_at", "lock", "old_at", "secret")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.secret: Secret | None = None
        self.old_at = 0.0
        self.failed: BrokerError | None = None
        self.failed_at = 0.0


class KeptSecrets:
    """`get` is quick while a secret is good. One that has a tenth of its time left, or 30 s, is asked for anew."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._entries: dict[Hashable, _Entry] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[Secret]]) -> str:
        """Return the secret of `key`; `ask` gets a new one. Raises what `ask` raises, a `BrokerError`."""
        entry = self._entry(key)
        if entry.secret is not None and self._monotonic() < entry.old_at:
            return entry.secret.value
        async with entry.lock:
            if entry.secret is not None and self._monotonic() < entry.old_at:
                return entry.secret.value  # somebody else was faster
            if entry.failed is not None and self._monotonic() - entry.failed_at < AGAIN:
                raise entry.failed
            return await self._asked(entry, ask)

    def refused(self, key: Hashable, value: str) -> None:
        """A server refused this value: the next `get` asks, unless somebody has since."""
        entry = self._entries.get(key)
        if entry is not None and entry.secret is not None and entry.secret.value == value:
            entry.secret = None

    async def _asked(self, entry: _Entry, ask: Callable[[], Awaitable[Secret]]) -> str:
        asked_at = self._monotonic()
        try:
            secret = await ask()
        except BrokerError as error:
            entry.secret, entry.failed, entry.failed_at = None, error, self._monotonic()
            raise
        entry.secret, entry.failed = secret, None
        entry.old_at = asked_at + max(secret.lasts - min(30.0, secret.lasts / 10), 0.0)
        return secret.value

    def _entry(self, key: Hashable) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= MOST:
                self._entries.clear()
            entry = self._entries[key] = _Entry()
        return entry
