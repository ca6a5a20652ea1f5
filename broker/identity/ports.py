"""What identity needs from outside: a place for credentials, of which only hashes are ever kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol


class Kept(Protocol):
    """One credential as kept: `hash` is the SHA-256 (hex) of the secret, `record` what it stands for."""

    @property
    def hash(self) -> str: ...
    @property
    def record(self) -> bytes: ...


class Credentials(Protocol):
    """Records under (`kind`, `hash`). Every write is durable when it returns. Raises `StoreUnavailable`.

    `kind` is a word (`agent`, `person`, `link`, `session`); `holder` whose it is, so that all of one holder can be listed.
    """

    async def put(self, kind: str, hash: str, record: bytes, *, holder: str, ttl: timedelta) -> None:
        """Keep a record until it is deleted, or `ttl` is over by the store's clock."""
        ...

    async def renew(self, kind: str, hash: str, record: bytes, *, holder: str, ttl: timedelta) -> bool:
        """Replace a record that still exists. False (and nothing kept) when it is gone: a deleted one must not come back."""
        ...

    async def get(self, kind: str, hash: str) -> bytes | None: ...

    async def take(self, kind: str, hash: str) -> bytes | None:
        """Return the record and delete it in one step: of two takers one gets it."""
        ...

    async def delete(self, kind: str, hash: str) -> bool:
        """Return whether it existed."""
        ...

    async def list(self, kind: str, holder: str = "") -> Sequence[Kept]:
        """All that have not expired, of one `holder` or of everybody."""
        ...
