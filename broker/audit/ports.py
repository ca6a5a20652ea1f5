"""What the audit needs from outside: the store's numbered entries as bytes, a place for the last seal, a lease."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol


class RawLog(Protocol):
    """The store's entries, unchanged. Numbers count from 1 without gaps."""

    async def raw(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]: ...

    async def last(self) -> int:
        """The highest number that was given, 0 before the first."""
        ...

    async def trim(self, upto: int) -> None:
        """Drop entries up to a number that is sealed and kept outside."""
        ...


class SealHead(Protocol):
    """The last seal, as every sealer has to find it."""

    async def head(self) -> bytes | None: ...

    async def advance(self, before: bytes | None, after: bytes) -> bool:
        """Replace the head if it still is `before`; False when another sealer was faster."""
        ...


class Lease(Protocol):
    async def lease(self, name: str, owner: str, lasts: timedelta) -> bool:
        """Take or keep a named lease; False while somebody else holds it."""
        ...

    async def give_up(self, name: str, owner: str) -> None:
        """Let somebody else have it at once."""
        ...
