"""What the Slack channel keeps: what arrived and is not worked on yet, what has to be looked at, where things were posted.

Bytes are not looked into. Everything here may be sent twice by the connection and does no harm then.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.store import keys
from broker.store.clock import micros
from broker.store.connection import Commands
from broker.store.scripts import load
from broker.store.shelf import Shelf

ARRIVE = load("arrive")
GATHER = load("gather")
WANT = load("want")
GROUP = "workers"
# A signature is good for 5 minutes in either direction; its mark is kept longer than that.
MARKED = timedelta(minutes=15)
# A worker that has held an arrival for this long is taken for dead.
TAKEOVER = timedelta(seconds=5)
# Posts outlive every request that is kept for its usual 30 days.
KEPT = timedelta(days=45)


class Arrivals:
    """What Slack sent: kept before it is acknowledged, taken by any broker, gone when it was worked on."""

    def __init__(self, commands: Commands, *, broker: str, takeover: timedelta = TAKEOVER) -> None:
        self._commands = commands
        self._broker = broker
        self._takeover = takeover

    async def put(self, body: bytes, mark: str = "") -> bool:
        """Keep one; durable when it returns. False for a `mark` that was there before: a replay, and nothing is kept."""
        lasts = MARKED // timedelta(milliseconds=1) if mark else 0
        arguments = (body, secrets.token_hex(8), lasts)
        return bool(await self._commands.script(ARRIVE, (keys.arrivals(), keys.arrived(mark)), arguments))

    async def take(self, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return (entry, body) of those that nobody holds, or whose holder died. Does not wait."""
        dead_after = self._takeover // timedelta(milliseconds=1)
        rows = await self._commands.script(GATHER, (keys.arrivals(),), (GROUP, self._broker, limit, dead_after))
        return [(entry.decode(), body) for entry, body in rows]

    async def done(self, entry: str) -> None:
        await self._commands.run_all(("XACK", keys.arrivals(), GROUP, entry), ("XDEL", keys.arrivals(), entry))


class Wanted:
    """Subjects to be looked at, each once however often it was wanted, and when."""

    def __init__(self, commands: Commands, channel: str = "slack") -> None:
        self._commands = commands
        self._key = keys.wanted(channel)

    async def want(self, subject: str, at: datetime | None = None) -> None:
        """Look at it at `at` by the store's clock, or as soon as can be."""
        await self._commands.script(WANT, (self._key,), (subject, "now" if at is None else micros(at), ""))

    async def due(self, limit: int, now: datetime) -> Sequence[tuple[str, int]]:
        """Return subjects whose time has come, with the score that `settle` wants back; the earliest first."""
        row = await self._commands.run("ZRANGEBYSCORE", self._key, "-inf", micros(now), "WITHSCORES", "LIMIT", 0, limit)
        return [(subject.decode(), int(float(score))) for subject, score in zip(row[::2], row[1::2], strict=True)]

    async def settle(self, subject: str, score: int, again: datetime | None) -> None:
        """It was looked at: forget it, or look `again`. Nothing is changed when it was wanted once more meanwhile."""
        await self._commands.script(WANT, (self._key,), (subject, "" if again is None else micros(again), score))

    async def waiting(self) -> int:
        """How many subjects are wanted, now or later."""
        return int(await self._commands.run("ZCARD", self._key))


class Posts:
    """Where each subject was posted, by place."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def of(self, subject: str) -> dict[str, bytes]:
        row = await self._commands.run("HGETALL", keys.posts(subject))
        return {place.decode(): post for place, post in zip(row[::2], row[1::2], strict=True)}

    async def first(self, subject: str, place: str, post: bytes) -> bytes:
        """Keep a post unless the place has one. Returns the one that is kept."""
        key = keys.posts(subject)
        _, kept, _ = await self._commands.run_all(
            ("HSETNX", key, place, post), ("HGET", key, place), ("EXPIRE", key, int(KEPT.total_seconds()))
        )
        return bytes(kept)

    async def put(self, subject: str, place: str, post: bytes) -> None:
        key = keys.posts(subject)
        await self._commands.run_all(("HSET", key, place, post), ("EXPIRE", key, int(KEPT.total_seconds())))

    async def drop(self, subject: str, place: str) -> None:
        await self._commands.run("HDEL", keys.posts(subject), place)

    async def fold(self, digest: str, request: str, opened_at: datetime) -> None:
        """Let a digest hold a request."""
        key = keys.folded(digest)
        await self._commands.run_all(("ZADD", key, micros(opened_at), request), ("EXPIRE", key, int(KEPT.total_seconds())))

    async def unfold(self, digest: str, request: str) -> None:
        """Take a request out of a digest."""
        await self._commands.run("ZREM", keys.folded(digest), request)

    async def folded(self, digest: str) -> Sequence[str]:
        """Return the requests of a digest, the oldest first."""
        return [row.decode() for row in await self._commands.run("ZRANGE", keys.folded(digest), 0, -1)]


@dataclass(frozen=True)
class SlackStore:
    """All that the Slack channel keeps. `links`: team and user to person; `viewers` of App Home; `troubles` by place."""

    arrivals: Arrivals
    wanted: Wanted
    posts: Posts
    links: Shelf
    viewers: Shelf
    troubles: Shelf


def slack_store(commands: Commands, broker: str) -> SlackStore:
    return SlackStore(
        Arrivals(commands, broker=broker),
        Wanted(commands),
        Posts(commands),
        links=Shelf(commands, "slack-links"),
        viewers=Shelf(commands, "slack-viewers"),
        troubles=Shelf(commands, "slack-troubles"),
    )
