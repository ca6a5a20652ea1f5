"""What the Slack channel needs from outside: places to keep things, leases, codes, people. All raise `StoreUnavailable`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from broker.domain.people import People


class Arrivals(Protocol):
    """What Slack sent: kept before it is acknowledged, taken by any broker, gone when it was worked on."""

    async def put(self, body: bytes, mark: str = "") -> bool:
        """Keep one, durably. False for a `mark` that was there before."""
        ...

    async def take(self, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return (entry, body) of those that nobody holds, or whose holder died. Does not wait."""
        ...

    async def done(self, entry: str) -> None: ...


class Wanted(Protocol):
    """Subjects to be looked at, each once however often it was wanted, and when."""

    async def want(self, subject: str, at: datetime | None = None) -> None: ...

    async def due(self, limit: int, now: datetime) -> Sequence[tuple[str, int]]:
        """Return subjects whose time has come, with the score that `settle` wants back; the earliest first."""
        ...

    async def settle(self, subject: str, score: int, again: datetime | None) -> None:
        """It was looked at: forget it, or look `again`. Nothing is changed when it was wanted once more meanwhile."""
        ...


class Posts(Protocol):
    """Where each subject was posted, by place."""

    async def of(self, subject: str) -> dict[str, bytes]: ...

    async def first(self, subject: str, place: str, post: bytes) -> bytes:
        """Keep a post unless the place has one. Returns the one that is kept."""
        ...

    async def put(self, subject: str, place: str, post: bytes) -> None: ...

    async def drop(self, subject: str, place: str) -> None: ...

    async def fold(self, digest: str, request: str, opened_at: datetime) -> None: ...

    async def unfold(self, digest: str, request: str) -> None: ...

    async def folded(self, digest: str) -> Sequence[str]: ...


class Names(Protocol):
    """Named values that all brokers share."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes) -> None: ...

    async def delete(self, name: str) -> bool: ...

    async def all(self) -> Mapping[str, bytes]: ...


class Leases(Protocol):
    async def lease(self, name: str, owner: str, lasts: timedelta) -> bool:
        """Take or keep a named lease; False while somebody else holds it."""
        ...

    async def give_up(self, name: str, owner: str) -> None: ...


class Codes(Protocol):
    """One-time codes, kept by the hash of their secret."""

    async def put(self, kind: str, hash: str, record: bytes, *, holder: str, ttl: timedelta) -> None: ...

    async def get(self, kind: str, hash: str) -> bytes | None: ...

    async def take(self, kind: str, hash: str) -> bytes | None:
        """Return the record and delete it in one step: of two takers one gets it."""
        ...


Directory = Callable[[], People]
"""The people of the policy in force; empty when there is none."""

Clock = Callable[[], datetime]
"""The store's time."""
