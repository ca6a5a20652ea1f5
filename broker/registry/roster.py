"""The enrolled servers as this broker knows them: all in memory, read again as soon as the count of writes has moved.

Whoever asks on the road of a call never waits. What can't be known fresh enough is not there: no call goes to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from broker.chores import Chore, repeating
from broker.domain.enrolment import Enrolment
from broker.domain.servers import Server
from broker.registry.ports import Held, Ledger

log = structlog.get_logger()

# Seconds between two looks, and how long the last look counts.
LOOK = 0.4
FRESH = timedelta(seconds=5)

encode_enrolment = msgspec.json.Encoder().encode
decode_enrolment = msgspec.json.Decoder(Enrolment).decode

_NOBODY: dict[str, Server] = {}

# The one record that is no enrolled server's: what the files declare. Official names have a slash.
DECLARED = "servers.yaml"


class Declaration(msgspec.Struct, frozen=True, omit_defaults=True):
    """A server of files as clients are told of it, since `at`. `gone`: no file names it any more."""

    version: str
    about: dict[str, Any]
    at: datetime
    gone: bool = False


_decode_declared = msgspec.json.Decoder(dict[str, Declaration]).decode


class Roster:
    """`servers()` is what calls may go to, `routed` the same however old, `enrolments` everything. `clock` is the store's."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime], fresh: timedelta = FRESH) -> None:
        self._ledger = ledger
        self._clock = clock
        self._fresh = fresh
        self._count = -1
        self._looked: datetime | None = None
        self.enrolments: Mapping[str, Enrolment] = {}
        self.declared: Mapping[str, Declaration] = {}
        self.routed: dict[str, Server] = _NOBODY
        self._candidates: dict[str, Server] = {}
        self._over: datetime | None = None

    @property
    def known(self) -> bool:
        """Was the store read a moment ago?"""
        return self._looked is not None and self._clock() - self._looked < self._fresh

    def servers(self) -> Mapping[str, Server]:
        """The enrolled servers that calls may go to, by local name. The same object until something changes."""
        if not self.routed:
            return _NOBODY
        now = self._clock()
        if self._looked is None or now - self._looked >= self._fresh:
            return _NOBODY
        if self._over is not None and now >= self._over:
            self._route(now)
        return self.routed

    def candidate(self, name: str) -> Server | None:
        """What a review looks at, under the name that `Enrolment.candidate` gives it."""
        return self._candidates.get(name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the store while this is open; the first look is over when it opens."""
        await self.look()
        async with repeating(Chore("roster", self.look, LOOK)):
            yield

    async def look(self) -> None:
        """Read what was written since the last look. Raises `StoreUnavailable`."""
        began = self._clock()
        if await self._ledger.count() != self._count:
            self.take(await self._ledger.read())
        self._looked = began

    def take(self, held: Held) -> None:
        """Take over everything as it was read."""
        self.enrolments = {name: enrolment for name, enrolment in decoded(held).items() if enrolment is not None}
        self.declared = declarations(held)
        found = (enrolment.candidate() for enrolment in self.enrolments.values())
        self._candidates = {server.name: server for server in found if server is not None}
        self._count = held.count
        self._route(self._clock())

    def _route(self, now: datetime) -> None:
        found = [server for enrolment in self.enrolments.values() if (server := enrolment.server()) is not None]
        live = {server.name: server for server in found if server.until is None or server.until > now}
        self._over = min((server.until for server in live.values() if server.until is not None), default=None)
        self.routed = live or _NOBODY


def decoded(held: Held) -> dict[str, Enrolment | None]:
    """Return every record; None for one that this broker can't read: a newer one wrote it, and no call goes there."""
    found: dict[str, Enrolment | None] = {}
    for name, record in held.records.items():
        if name == DECLARED:
            continue
        try:
            found[name] = decode_enrolment(record)
        except msgspec.DecodeError as error:
            log.error("registry.record_unreadable", name=name, error=type(error).__name__)
            found[name] = None
    return found


def declarations(held: Held) -> dict[str, Declaration]:
    """Return what the files declared when they were last noted."""
    record = held.records.get(DECLARED)
    return _decode_declared(record) if record else {}
