"""Credentials, as identity keeps them: under the hash of their secret, until they expire. What they mean is not known here.

Where the store is encrypted they are sealed too, each in its place: whoever can write to the store alone makes none.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import structlog

from broker.errors import RecordUnreadable
from broker.store import keys
from broker.store.cipher import Cipher
from broker.store.connection import Commands
from broker.store.scripts import load

log = structlog.get_logger()

KEEP = load("keep")


class KeptRecord(NamedTuple):
    """`hash` of the secret, and what it stands for."""

    hash: str
    record: bytes


class HashedCredentials:
    """Records under (`kind`, `hash`), each with a time to live by the store's clock."""

    def __init__(self, commands: Commands, cipher: Cipher | None = None) -> None:
        self._commands = commands
        self._cipher = cipher or Cipher()

    async def put(self, kind: str, hash: str, record: bytes, *, holder: str, ttl: timedelta) -> None:
        """Keep a record until it is deleted, or `ttl` is over."""
        await self._keep(kind, hash, record, holder, ttl, only_existing=False)

    async def renew(self, kind: str, hash: str, record: bytes, *, holder: str, ttl: timedelta) -> bool:
        """Replace a record that still exists. False, and nothing kept, when it is gone."""
        return await self._keep(kind, hash, record, holder, ttl, only_existing=True)

    async def get(self, kind: str, hash: str) -> bytes | None:
        """Return the record; None where there is none, or none that a broker wrote."""
        return self._opened(kind, hash, await self._commands.run("GET", keys.credential(kind, hash)))

    async def take(self, kind: str, hash: str) -> bytes | None:
        """Return the record and delete it in one step: of two takers one gets it."""
        return self._opened(kind, hash, await self._commands.run("GETDEL", keys.credential(kind, hash)))

    async def delete(self, kind: str, hash: str) -> bool:
        """Return whether it existed."""
        return bool(await self._commands.run("DEL", keys.credential(kind, hash)))

    async def list(self, kind: str, holder: str = "") -> list[KeptRecord]:
        """All that have not expired, of one `holder` or of everybody; those that end first come first."""
        members = [row.decode().split(" ", 1) for row in await self._commands.run("ZRANGE", keys.credentials(kind), 0, -1)]
        hashes = [hash for hash, whose in members if holder in ("", whose)]
        if not hashes:
            return []
        found = await self._commands.run("MGET", *(keys.credential(kind, hash) for hash in hashes))
        records = (self._opened(kind, hash, sealed) for hash, sealed in zip(hashes, found, strict=True))
        return [KeptRecord(hash, record) for hash, record in zip(hashes, records, strict=True) if record is not None]

    def _opened(self, kind: str, hash: str, sealed: bytes | None) -> bytes | None:
        if sealed is None or not self._cipher.on:
            return sealed
        try:
            return self._cipher.open(sealed, keys.credential(kind, hash))
        except RecordUnreadable as error:
            log.error("credential.unreadable", kind=kind, id=hash[:8], why=error.message)
            return None

    async def _keep(self, kind: str, hash: str, record: bytes, holder: str, ttl: timedelta, *, only_existing: bool) -> bool:
        lasts = max(1, ttl // timedelta(milliseconds=1))
        place = keys.credential(kind, hash)
        arguments = (hash, self._cipher.seal(record, place), holder, lasts, int(only_existing))
        return bool(await self._commands.script(KEEP, (place, keys.credentials(kind)), arguments))
