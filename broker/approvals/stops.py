"""Stop switches: nobody's calls, or one agent's, are let through or released until a person lifts the stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from broker.chores import Chore, repeating
from broker.domain.events import Noted
from broker.errors import UNREADABLE

# Every broker looks this often, so a stop holds everywhere within a second.
LOOK = 0.4
# The name under which the stop of all agents is kept; no agent's credential can be called that.
EVERYBODY = "*"


class Stop(msgspec.Struct, frozen=True):
    """Who stopped whom, when and why. `agent` is `EVERYBODY` for the switch of all."""

    agent: str
    by: str
    why: str
    at: datetime


def stopped(stop: Stop) -> Noted:
    """The fact for the audit, whoever turned the switch."""
    return Noted(at=stop.at, what="stop.set", who=stop.by, fields={"agent": stop.agent, "why": stop.why})


def lifted(agent: str, by: str, at: datetime) -> Noted:
    return Noted(at=at, what="stop.lifted", who=by, fields={"agent": agent})


class StopBoard(Protocol):
    """Where stops are kept for all brokers: values by name."""

    async def put(self, name: str, value: bytes) -> None: ...

    async def delete(self, name: str) -> bool: ...

    async def all(self) -> Mapping[str, bytes]: ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stop).decode


class Stops:
    """Knows the stops in force without a round trip. While the store is away the last known ones stand."""

    def __init__(self, board: StopBoard) -> None:
        self._board = board
        self._known: dict[str, Stop] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.look()
        async with repeating(Chore("stops", self.look, LOOK)):
            yield

    def of(self, *names: str) -> Stop | None:
        """Return the stop that holds for who goes by one of these names, None when it may act."""
        if not self._known:
            return None
        return next((stop for name in (EVERYBODY, *filter(None, names)) if (stop := self._known.get(name)) is not None), None)

    async def all(self) -> list[Stop]:
        await self.look()
        return sorted(self._known.values(), key=lambda stop: stop.at)

    async def stop(self, stop: Stop) -> None:
        await self._board.put(stop.agent, _encode(stop))
        await self.look()

    async def lift(self, agent: str) -> bool:
        """Return whether there was a stop to lift."""
        lifted = await self._board.delete(agent)
        await self.look()
        return lifted

    async def look(self) -> None:
        """Read the board. Raises `StoreUnavailable`. What can't be read still stops whom it names: somebody put it there."""
        self._known = {name: _read(name, value) for name, value in (await self._board.all()).items()}


def _read(name: str, value: bytes) -> Stop:
    try:
        return _decode(value)
    except UNREADABLE:
        return Stop(name, "nobody knows", "what was written about it can't be read", datetime.fromtimestamp(0, UTC))
