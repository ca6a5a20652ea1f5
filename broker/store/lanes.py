"""One connection to the store, which carries one batch of commands at a time and gives each reply to its caller as it comes.

redis-py connects, authenticates and sets up TLS; then its socket is ours, since its way of reading costs more than the store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, ConnectionError, NoScriptError, RedisError, ResponseError

from broker.errors import StoreUnavailable

Argument = str | bytes | int | float
Command = tuple[Argument, ...]

PATIENCE = 1.5
RETRY = 0.02

_MORE = object()


class Unit:
    """Commands that belong together, and their caller."""

    __slots__ = ("count", "got", "packed", "replies")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]  # a stub
        self.count = len(commands)
        self.got: list[Any] = []
        self.replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def take(self, reply: Any) -> bool:
        """Take one reply; True once all are here, which wakes the caller."""
        self.got.append(reply)
        if len(self.got) < self.count:
            return False
        if not self.replies.done():
            self.replies.set_result(self.got)
        return True

    def fail(self, why: str) -> None:
        if not self.replies.done():
            self.replies.set_exception(StoreUnavailable(why))


class Owner(Protocol):
    """Hears how a lane fares."""

    def answered(self, lane: Lane) -> None:
        """A whole batch was answered; the lane is free."""
        ...

    def failed(self, lane: Lane, error: Exception, units: Sequence[Unit]) -> None:
        """`units` were not answered in time; the lane is free, and connects when it is next used."""
        ...

    def broke(self) -> bool:
        """A fresh connection could not be made or used. Return whether it is worth another try."""
        ...


class Lane(asyncio.Protocol):
    """A connection that is opened at first use, and again after it broke."""

    def __init__(self, connection: AbstractConnection, owner: Owner) -> None:
        self._connection = connection
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._proved = False
        self._units: deque[Unit] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._mending: asyncio.Task[None] | None = None

    def carry(self, units: Sequence[Unit]) -> None:
        """Send a batch; one at a time. It has `PATIENCE` to be answered, and is sent again while its connection breaks."""
        self._units.extend(units)
        loop = asyncio.get_running_loop()
        self._due = loop.time() + PATIENCE
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._look)
        if self._transport is None:
            self._begin_to_mend()
        else:
            self._transport.write(b"".join([unit.packed for unit in units]))

    async def stop(self) -> None:
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait([self._mending])
        self._drop()
        if self._timer is not None:
            self._timer.cancel()
        await closed(self._connection)
        for unit in self._units:
            unit.fail("the store was closed")

    # -- what the transport calls -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                self._deal(reply)
        except (hiredis.ProtocolError, ConnectionError) as error:
            self._lost(error)
        else:
            if not self._units:
                self._done()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._lost(exc or ConnectionError("the store closed the connection"))

    # -- one batch ----------------------------------------------------------------------------------------

    def _send(self, transport: asyncio.Transport) -> None:
        """Send what is not answered yet. A caller that gave up while it waited does not want it to happen later."""
        self._units = deque(unit for unit in self._units if not unit.replies.done())
        for unit in self._units:
            unit.got.clear()
        if self._units:
            transport.write(b"".join([unit.packed for unit in self._units]))
        else:
            self._done()

    def _deal(self, reply: Any) -> None:
        if isinstance(reply, ConnectionError):
            raise reply
        if not self._units:
            raise ConnectionError("a reply that nobody asked for")
        if self._units[0].take(reply):
            self._units.popleft()

    def _done(self) -> None:
        self._proved = True
        self._owner.answered(self)

    def _lost(self, error: Exception) -> None:
        """The connection is of no use any more. What it carried goes on another one, in what is left of its time."""
        self._drop()
        if not self._units:
            return
        if self._proved:
            self._begin_to_mend()
        elif self._owner.broke():
            self._begin_to_mend(RETRY)
        else:
            self._failed(error)

    def _look(self) -> None:
        """One timer for all batches of a lane: most are answered long before."""
        loop = asyncio.get_running_loop()
        if not self._units:
            self._timer = None
        elif self._due > loop.time():
            self._timer = loop.call_at(self._due, self._look)
        else:
            self._timer = None
            self._late()

    def _late(self) -> None:
        """The connection may still bring a late reply: it is given up with what it carries."""
        if self._mending is not None:
            self._mending.cancel()
        self._drop()
        self._failed(TimeoutError())

    def _failed(self, error: Exception) -> None:
        units, self._units = tuple(self._units), deque()
        self._owner.failed(self, error, units)

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    # -- opening ------------------------------------------------------------------------------------------

    def _begin_to_mend(self, after: float = 0.0) -> None:
        self._mending = asyncio.create_task(self._mend(after, self._mending))

    async def _mend(self, after: float, before: asyncio.Task[None] | None) -> None:
        """Open, and send. A store that was fine a moment ago may be restarting: it is worth the patience."""
        if before is not None:
            await asyncio.wait([before])  # it was told to end, and may still have its hand on the connection
        await asyncio.sleep(after)
        while True:
            try:
                transport = await self._opened()
                break
            except (RedisError, OSError) as error:
                if not self._owner.broke():
                    self._failed(error)
                    return
                await asyncio.sleep(RETRY)
        self._send(transport)

    async def _opened(self) -> asyncio.Transport:
        await closed(self._connection)
        await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        self._reader = hiredis.Reader(replyError=_error, notEnoughData=_MORE)
        assert self._connection._writer is not None, "it is connected"
        transport = cast(asyncio.Transport, self._connection._writer.transport)
        transport.set_protocol(self)
        self._transport, self._proved = transport, False
        return transport


def _error(text: str) -> Exception:
    """An error of one command is a value; a store that is still loading is like one that is not there."""
    code = text.partition(" ")[0]
    return {"LOADING": BusyLoadingError, "NOSCRIPT": NoScriptError}.get(code, ResponseError)(text.removeprefix("ERR "))


async def closed(connection: AbstractConnection) -> None:
    """Drop a connection, whatever state it is in."""
    try:
        await connection.disconnect(nowait=True)
    except (RedisError, OSError):
        return  # it is gone, which is what was asked
