"""What web push needs from outside. All raise `StoreUnavailable`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol


class Names(Protocol):
    """Named values that all brokers share."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes) -> None: ...

    async def delete(self, name: str) -> bool: ...

    async def all(self) -> dict[str, bytes]: ...


class Wanted(Protocol):
    """Subjects to be looked at, each once however often it was wanted."""

    async def want(self, subject: str, at: datetime | None = None) -> None: ...

    async def due(self, limit: int, now: datetime) -> Sequence[tuple[str, int]]: ...

    async def settle(self, subject: str, score: int, again: datetime | None) -> None: ...


class Leases(Protocol):
    async def lease(self, name: str, owner: str, lasts: timedelta) -> bool: ...

    async def give_up(self, name: str, owner: str) -> None: ...
