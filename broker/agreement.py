"""Which policy all brokers of a store should be running: the newest that came into force by a change of files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

import msgspec

from broker.chores import Chore, repeating
from broker.errors import PolicyInvalid
from broker.reload import PolicyFolder

EVERY = 1.0
NAME = "policy"
PLACE = "brokers"
# A broker that has said nothing for so long is taken for stopped.
LASTS = timedelta(seconds=10)


class Replica(msgspec.Struct, frozen=True):
    """One running broker, and the digest of the policy it has in force: empty where it has none."""

    broker: str
    policy: str
    own: bool


class Board(Protocol):
    """One value that all brokers see."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes) -> None: ...

    async def swap(self, name: str, before: bytes | None, after: bytes) -> bool: ...


class Presence(Protocol):
    """Who is at a place now."""

    async def here(self, place: str, member: str, lasts: timedelta) -> Sequence[str]: ...

    async def gone(self, place: str, member: str) -> None: ...


class Agreement:
    """A broker that starts takes part in what is agreed; one whose files change says what is agreed from then on."""

    def __init__(self, board: Board, policies: PolicyFolder, presence: Presence, broker: str) -> None:
        self._board = board
        self._policies = policies
        self._presence = presence
        self._broker = broker
        self._said = ""
        self._replicas: tuple[Replica, ...] = ()
        self._mine = ""
        self._agreed = ""

    @property
    def missing(self) -> str:
        """The agreed digest, if this broker runs another policy; empty while it agrees."""
        return self._agreed if self._agreed and self._agreed != self._digest() else ""

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The brokers of this store that were there a moment ago, this one too."""
        return self._replicas

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("agreement", self.look, EVERY)):
            yield

    async def look(self) -> None:
        """Say what changed here, and hear what is agreed. Raises `StoreUnavailable`."""
        mine = self._digest()
        if mine and not self._mine:
            await self._board.swap(NAME, None, mine.encode())
        elif mine and mine != self._mine:
            await self._board.put(NAME, mine.encode())
        self._mine = mine
        self._agreed = (await self._board.get(NAME) or b"").decode()
        await self._say(f"{self._broker} {mine}")

    async def _say(self, told: str) -> None:
        """Say which policy this broker runs, and hear what the others say."""
        if self._said not in ("", told):
            await self._presence.gone(PLACE, self._said)
        self._said = told
        parts = [member.partition(" ") for member in await self._presence.here(PLACE, told, LASTS)]
        self._replicas = tuple(Replica(broker, digest, broker == self._broker) for broker, _, digest in parts)

    def _digest(self) -> str:
        try:
            return self._policies.current.digest
        except PolicyInvalid:
            return ""
