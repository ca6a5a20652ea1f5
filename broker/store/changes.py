"""Wake-ups: one reader for each process on the change stream, from our own last id, fanned out to who waits here.

Nothing is lost in a reconnect, since the place in the stream is ours. Where the stream was trimmed past it, everyone
is woken to read the record again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from redis.exceptions import RedisError

from broker.approvals.ports import Changed
from broker.domain.requests import RequestId, RequestState
from broker.errors import StoreUnavailable
from broker.store import keys
from broker.store.connection import connect
from broker.store.lanes import PATIENCE, closed

log = structlog.get_logger()

# XREAD waits this long in the server; the reply is due at most PATIENCE later, else the connection is given up.
BLOCK = 3.0
COUNT = 512
RETRY = 0.05
BACKLOG = 10_000


# Under this name everyone is registered who wants to hear that there is news at all.
_ANY = RequestId("")


class OneWatch:
    """A wait for one request; small, since there are as many as parked calls."""

    __slots__ = ("_changed", "_registered", "_request", "_waiter")

    def __init__(self, request: RequestId, registered: dict[RequestId, list[OneWatch]]) -> None:
        self._request = request
        self._registered = registered
        self._changed = False
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> OneWatch:
        self._registered.setdefault(self._request, []).append(self)
        return self

    def __exit__(self, *_: object) -> None:
        watches = self._registered[self._request]
        watches.remove(self)
        if not watches:
            del self._registered[self._request]

    def wake(self) -> None:
        self._changed = True
        self._rouse()

    def _rouse(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, within: float) -> bool:
        """Return True once the request changed since the last `wait`, False after `within` seconds."""
        if not self._changed:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(within, self._rouse)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        changed, self._changed = self._changed, False
        return changed


class Follower:
    """Every change, for one who reads at his own speed: the oldest are dropped when he lags."""

    def __init__(self) -> None:
        self._backlog: deque[Changed] = deque(maxlen=BACKLOG)
        self._filled = asyncio.Event()
        self._over = False

    def put(self, changed: Changed) -> None:
        self._backlog.append(changed)
        self._filled.set()

    def end(self) -> None:
        self._over = True
        self._filled.set()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Changed:
        while not self._backlog:
            if self._over:
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        return self._backlog.popleft()


class ChangeStream:
    """`Changes` on Redis."""

    def __init__(self, url: str, name: str) -> None:
        self._connection = connect(url, name)
        self._last = b""
        self._watches: dict[RequestId, list[OneWatch]] = {}
        self._followers: set[Follower] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take our place at the end of the stream, then read on in the background. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(PATIENCE):
                self._last = await self._newest()
        except (RedisError, OSError, TimeoutError) as error:
            await closed(self._connection)
            raise StoreUnavailable(f"the change stream can't be read: {type(error).__name__}") from None
        self._task = asyncio.create_task(self._read_on())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await closed(self._connection)
        for follower in self._followers:
            follower.end()

    def watch(self, request_id: RequestId) -> OneWatch:
        """Be woken for one request. Registered when entered: enter it before reading the record."""
        return OneWatch(request_id, self._watches)

    def ear(self) -> OneWatch:
        """Be woken by any change at all."""
        return OneWatch(_ANY, self._watches)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[AsyncIterator[Changed]]:
        """Every change from now on, also across reconnects. A slow follower loses the oldest, never the newest."""
        follower = Follower()
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    # -- the reader ---------------------------------------------------------------------------------------

    async def _read_on(self) -> None:
        sure = True
        while True:
            try:
                async with asyncio.timeout(BLOCK + PATIENCE):
                    if not sure:
                        await self._catch_up()
                    sure = await self._read() < COUNT
            except Exception as error:  # without its reader a broker would leave everyone waiting: it goes on, whatever comes
                if sure:
                    log.warning("changes.reconnects", error=type(error).__name__)
                sure = False
                await closed(self._connection)
                await asyncio.sleep(RETRY)

    async def _read(self) -> int:
        """Wait for entries, hand them on, and return how many there were."""
        reply = await self._ask("XREAD", "COUNT", COUNT, "BLOCK", int(BLOCK * 1000), "STREAMS", keys.changes(), self._last)
        entries = reply[0][1] if reply else ()
        for entry, fields in entries:
            self._last = entry
            request, version, state = fields[1].decode().split(" ")
            self._tell(Changed(RequestId(request), int(version), RequestState(state)))
        if entries:
            self._wake(_ANY)
        return len(entries)

    def _wake(self, request_id: RequestId) -> None:
        for watch in self._watches.get(request_id, ()):
            watch.wake()

    def _tell(self, changed: Changed) -> None:
        self._wake(changed.request)
        for follower in self._followers:
            follower.put(changed)

    async def _catch_up(self) -> None:
        """Where our last entry is gone, entries after it may be gone too: go to the end, and let everyone read again."""
        if await self._ask("XRANGE", keys.changes(), self._last, self._last):
            return
        self._last = await self._newest()
        for request_id in self._watches:
            self._wake(request_id)

    async def _newest(self) -> bytes:
        entries = await self._ask("XREVRANGE", keys.changes(), "+", "-", "COUNT", 1)
        newest: bytes = entries[0][0] if entries else b"0-0"
        return newest

    async def _ask(self, *command: Any) -> Any:
        await self._connection.send_command(*command)
        return await self._connection.read_response()
