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
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from broker.errors import ConfigInvalid, StoreUnavailable
from broker.store.scripts import Script

PATIENCE = 1.5
RETRY = 0.02
LANES = 2
BATCH = 256
BATCH_BYTES = 1 << 20

Argument = str | bytes | int | float
Command = tuple[Argument, ...]


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


class Unit:
    """Commands that belong together, and their caller."""

    __slots__ = ("count", "packed", "replies")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]  # a stub
        self.count = len(commands)
        self.replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        if not self.replies.done():
            self.replies.set_exception(StoreUnavailable(why))


class Commands:
    """Sends commands to one store. Replies are raw: bytes, integers, lists, None."""

    def __init__(self, url: str, name: str, seen: Callable[[bool], None]) -> None:
        """`seen` hears whether the store answered, whenever it did or could not be reached."""
        self._connections = [connect(url, name) for _ in range(LANES)]
        self._seen = seen
        self._answered_at = self._failed_at = float("-inf")
        self._queue: deque[Unit] = deque()
        self._filled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._serve(connection)) for connection in self._connections]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections:
            await closed(connection)
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

    async def script(self, script: Script, keys: Sequence[str], arguments: Iterable[Argument]) -> Any:
        """Run a script by its hash, or by its text where the server has forgotten it (restart, failover)."""
        rest: Command = (len(keys), *keys, *arguments)
        reply = (await self._exchanged((("EVALSHA", script.sha, *rest),)))[0]
        if isinstance(reply, NoScriptError):
            reply = (await self._exchanged((("EVAL", script.text, *rest),)))[0]
        if isinstance(reply, ResponseError):
            raise StoreUnavailable(words(reply))
        return reply

    def check(self, since: float) -> None:
        """Raise `StoreUnavailable` if the store failed after `since` (monotonic) and has not answered again.

        For who waited for another errand to end: there is no need to find out the same anew.
        """
        if since < self._failed_at > self._answered_at:
            raise StoreUnavailable("the store does not answer")

    async def _exchanged(self, commands: Sequence[Command]) -> list[Any]:
        unit = Unit(commands)
        self._queue.append(unit)
        self._filled.set()
        return await unit.replies

    # -- one connection's work ----------------------------------------------------------------------------

    async def _serve(self, connection: AbstractConnection) -> None:
        while True:
            await self._filled.wait()
            units = self._next_batch()
            if units:
                await self._answer(connection, units)

    def _next_batch(self) -> list[Unit]:
        units: list[Unit] = []
        size = 0
        while self._queue and len(units) < BATCH and size < BATCH_BYTES:
            unit = self._queue.popleft()
            if not unit.replies.done():  # its caller gave up while it waited: it must not happen later
                units.append(unit)
                size += len(unit.packed)
        if not self._queue:
            self._filled.clear()
        return units

    async def _answer(self, connection: AbstractConnection, units: list[Unit]) -> None:
        why = "the store was closed"
        try:
            async with asyncio.timeout(PATIENCE):
                await self._persist(connection, units)
        except (RedisError, OSError, TimeoutError) as error:  # TimeoutError: the connection may hold a late reply
            await closed(connection)
            self._failed_at = time.monotonic()
            self._seen(False)
            why = words(error)
            if self._failed_at > self._answered_at + PATIENCE:  # the other lanes have no answers either
                units += self._queue
                self._queue.clear()
        finally:
            for unit in units:
                unit.fail(why)

    async def _persist(self, connection: AbstractConnection, units: list[Unit]) -> None:
        """Send until it is answered. A store that was fine a moment ago may be restarting: worth the patience."""
        while True:
            fresh = not connection.is_connected
            try:
                await _exchange(connection, [unit for unit in units if not unit.replies.done()])
            except (RedisError, OSError):
                await closed(connection)
                if fresh:
                    self._seen(False)
                    if time.monotonic() > self._answered_at + PATIENCE:
                        raise
                    await asyncio.sleep(RETRY)
            else:
                self._answered_at = time.monotonic()
                self._seen(True)
                return


async def _exchange(connection: AbstractConnection, units: list[Unit]) -> None:
    await connection.send_packed_command(b"".join([unit.packed for unit in units]))
    for unit in units:
        replies = [await reply(connection) for _ in range(unit.count)]
        if not unit.replies.done():
            unit.replies.set_result(replies)


async def reply(connection: AbstractConnection) -> Any:
    """Read one reply; an error of one command is a value, so that the replies after it stay in step."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def closed(connection: AbstractConnection) -> None:
    """Drop a connection, whatever state it is in."""
    try:
        await connection.disconnect(nowait=True)
    except (RedisError, OSError):
        return  # it is gone, which is what was asked


def words(error: Exception) -> str:
    """Say what went wrong without any argument of a command."""
    if isinstance(error.__cause__, RedisError):
        error = error.__cause__  # redis-py wraps what a server answers to AUTH
    code = str(error).split(" ", 1)[0] if isinstance(error, ResponseError) else ""
    return f"the store can't be used: {type(error).__name__} {code}".rstrip()
