"""Who is at a place now: people at a request, brokers at their store. Each says so again and again, and is gone by itself."""

from __future__ import annotations

from datetime import timedelta

from broker.store import keys
from broker.store.clock import Clock, micros
from broker.store.connection import Commands


class Presence:
    """Members of named places, by the time until which they are there. Each method raises `StoreUnavailable`."""

    def __init__(self, commands: Commands, clock: Clock) -> None:
        self._commands = commands
        self._clock = clock

    async def here(self, place: str, member: str, lasts: timedelta) -> list[str]:
        """Say that `member` is at the place for so long, and return all who are, in the order of their names."""
        key, until = keys.presence(place), micros(self._clock() + lasts)
        added = ("ZADD", key, until, member)
        kept = ("PEXPIRE", key, lasts // timedelta(milliseconds=1))
        return sorted(name.decode() for name in (await self._commands.run_all(added, self._now(key), kept))[1])

    async def at(self, place: str) -> list[str]:
        """Return all who are at a place, in the order of their names."""
        return sorted(name.decode() for name in await self._commands.run(*self._now(keys.presence(place))))

    def _now(self, key: str) -> tuple[str | int, ...]:
        return ("ZRANGEBYSCORE", key, f"({micros(self._clock())}", "+inf")

    async def gone(self, place: str, member: str) -> None:
        """Take a member away at once. Harmless for one who is not there."""
        await self._commands.run("ZREM", keys.presence(place), member)
