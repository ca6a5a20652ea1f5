"""Connections to Redis or Valkey: commands of one tick go out together, and none is ever cancelled in flight.

redis-py connects, authenticates and parses. Its own retries and timeouts are off, ours are these: a batch has
`PATIENCE` to be answered, and when it is not, everything that waits behind it is told so too. Nobody waits longer for
a store that does not answer; a store that is only busy may take its time. Inside `PATIENCE` a batch is sent again when
its connection breaks, so every command here may run twice: commits carry a nonce, the rest does no harm twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from broker.errors import ConfigInvalid, StoreUnavailable
from broker.store.lanes import PATIENCE, Argument, Command, Lane, Unit
from broker.store.scripts import Script

LANES = 2
BATCH = 256
BATCH_BYTES = 1 << 20


def connect(url: str, name: str) -> AbstractConnection:
    """Return a connection, not yet open, without retries and timeouts of redis-py's own. Raises `ConfigInvalid`."""
    ours: dict[str, Any] = {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": None,
        "socket_connect_timeout": 1.0,
        "health_check_interval": 0,
        "client_name": name,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    try:
        pool = ConnectionPool(**{**parse_url(url), **ours})
        connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    except (ValueError, TypeError, RedisError):
        raise ConfigInvalid("the store's address can't be used: write redis://HOST:PORT/0, rediss://… or unix:///PATH") from None
    return connection


class Commands:
    """Sends commands to one store. Replies are raw: bytes, integers, lists, None."""

    def __init__(self, url: str, name: str, seen: Callable[[bool], None]) -> None:
        """`seen` hears whether the store answered, whenever it did or could not be reached."""
        self._seen = seen
        self._answered_at = self._failed_at = float("-inf")
        self._queue: deque[Unit] = deque()
        self._lanes = [Lane(connect(url, name), self) for _ in range(LANES)]
        self._free: list[Lane] = []
        self._planned = False

    def start(self) -> None:
        self._free = list(self._lanes)
        self._hand_out()

    async def stop(self) -> None:
        self._free = []
        for lane in self._lanes:
            await lane.stop()
        for unit in self._queue:
            unit.fail("the store was closed")

    async def run(self, *command: Argument) -> Any:
        """Send one command and return its reply. Raises `StoreUnavailable`."""
        return (await self.run_all(command))[0]

    async def run_all(self, *commands: Command) -> list[Any]:
        """Send commands in one round trip; not atomic. Raises `StoreUnavailable` if any was not carried out."""
        replies = await self._exchanged(commands)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise StoreUnavailable(words(reply))
        return replies

    async def script(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script by its hash, or by its text where the server has forgotten it (restart, failover)."""
        return await self.answer(script, keys, arguments, self.sent(script, keys, arguments))

    def sent(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> asyncio.Future[list[Any]]:
        """Begin `script`: it is under way when this returns, unless all lanes are busy. What comes is for `answer` to read."""
        unit = Unit((("EVALSHA", script.sha, len(keys), *keys, *arguments),))
        self._queue.append(unit)
        self._hand_out()
        return unit.replies

    async def answer(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], sent: asyncio.Future[list[Any]]
    ) -> Any:  # fmt: skip
        """Return what came of a script that was `sent`. Raises `StoreUnavailable`."""
        reply = (await sent)[0]
        if isinstance(reply, NoScriptError):
            reply = (await self._exchanged((("EVAL", script.text, len(keys), *keys, *arguments),)))[0]
        if isinstance(reply, ResponseError):
            raise StoreUnavailable(words(reply))
        return reply

    def check(self, since: float) -> None:
        """Raise `StoreUnavailable` if the store failed after `since` (monotonic) and has not answered again.

        For who waited for another errand to end: there is no need to find out the same anew.
        """
        if since < self._failed_at > self._answered_at:
            raise StoreUnavailable("the store does not answer")

    def _exchanged(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Queue commands; those that are asked for before the loop comes round again go out together."""
        unit = Unit(commands)
        self._queue.append(unit)
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._hand_out)
        return unit.replies

    # -- who carries what ---------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        self._planned = False
        while self._queue and self._free:
            if units := self._next_batch():
                self._free.pop().carry(units)

    def _next_batch(self) -> list[Unit]:
        units: list[Unit] = []
        size = 0
        while self._queue and len(units) < BATCH and size < BATCH_BYTES:
            unit = self._queue.popleft()
            if not unit.replies.done():  # its caller gave up while it waited: it must not happen later
                units.append(unit)
                size += len(unit.packed)
        return units

    def answered(self, lane: Lane) -> None:
        """A whole batch was answered; the lane is free."""
        self._answered_at = time.monotonic()
        self._seen(True)
        self._free.append(lane)
        self._hand_out()

    def failed(self, lane: Lane, error: Exception, units: Sequence[Unit]) -> None:
        """`units` were not answered in time; the lane is free, and connects when it is next used."""
        self._failed_at = time.monotonic()
        self._seen(False)
        doomed = list(units)
        if self._failed_at > self._answered_at + PATIENCE:  # the other lanes have no answers either
            doomed += self._queue
            self._queue.clear()
        for unit in doomed:
            unit.fail(words(error))
        self._free.append(lane)
        self._hand_out()

    def broke(self) -> bool:
        """A fresh connection could not be made or used. Returns whether it is worth another try."""
        self._seen(False)
        return time.monotonic() <= self._answered_at + PATIENCE


def words(error: Exception) -> str:
    """Say what went wrong without any argument of a command."""
    if isinstance(error.__cause__, RedisError):
        error = error.__cause__  # redis-py wraps what a server answers to AUTH
    code = str(error).split(" ", 1)[0] if isinstance(error, ResponseError) else ""
    return f"the store can't be used: {type(error).__name__} {code}".rstrip()
