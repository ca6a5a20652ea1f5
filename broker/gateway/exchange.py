"""One HTTP exchange over ASGI: read the body within its limit, answer once, or keep a stream open and notice who left."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import anyio

from broker.errors import Malformed
from broker.gateway.envelope import INVALID_REQUEST

Scope = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
Result = TypeVar("Result")
Rewrite = Callable[[bytes], bytes]
"""Takes one or more whole server-sent events, and returns what the client gets of them."""

JSON = b"application/json"
STREAM = b"text/event-stream"
# Seconds that a body may take to arrive.
BODY_WITHIN = 30.0
# A running exchange watches for its client's leaving after one to two times these seconds: most calls are answered before, and a
# watcher costs a task.
WATCH_AFTER = 0.1


def begun(coroutine: Coroutine[Any, Any, Result]) -> tuple[Result, None] | tuple[None, Awaitable[Result]]:
    """Run a coroutine up to where it first waits. Returns its result, or else what to await for it.

    Most bodies are here already, and a limit of time costs as much as a whole check.
    """
    try:
        waits = coroutine.send(None)
    except StopIteration as done:
        return done.value, None
    return None, _going_on(coroutine, waits)


@types.coroutine
def _going_on(coroutine: Coroutine[Any, Any, Result], waits: Any) -> Generator[Any, Any, Result]:
    """Hand on what a coroutine waits for, and to it what comes of that."""
    while True:
        try:
            told = yield waits
        except BaseException as error:
            step = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, told)
        try:
            waits = step()
        except StopIteration as done:
            result: Result = done.value
            return result


class ClientGone(Exception):
    """The client closed its connection before its message was whole: there is nobody to answer."""


class Exchange:
    """One request and its one answer."""

    __slots__ = ("_receive", "_rewrite", "_rewriting", "_send", "closing", "gone", "scope", "status", "task", "watch")

    def __init__(self, scope: Scope, receive: Receive, send: Send, watch: Watch) -> None:
        self.scope = scope
        self.watch = watch
        self._rewrite: Rewrite | None = None
        self._rewriting: Rewrite | None = None
        self._receive = receive
        self._send = send
        self.task: asyncio.Task[Any] | None = None
        self.status = 0
        self.gone = False
        self.closing = False

    @property
    def started(self) -> bool:
        return self.status > 0

    async def body(self, limit: int) -> bytes:
        """Return the request's body. Raises `Malformed` beyond `limit` bytes or 30 s, `ClientGone`."""
        message, waits = begun(self._receive())
        if message is not None and message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            self._within(body, limit)
            return body
        try:
            async with asyncio.timeout(BODY_WITHIN):
                if waits is not None:
                    message = await waits
                assert message is not None, "it is one or the other"
                return await self._rest(message, limit)
        except TimeoutError:
            raise Malformed("the body did not arrive in time", rpc=INVALID_REQUEST, status=408) from None

    async def _rest(self, message: MutableMapping[str, Any], limit: int) -> bytes:
        body = bytearray()
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            self._within(body, limit)
            if not message.get("more_body"):
                return bytes(body)
            message = await self._receive()

    def _within(self, body: bytes | bytearray, limit: int) -> None:
        if len(body) > limit:
            raise Malformed(f"the body is larger than {limit} bytes", rpc=INVALID_REQUEST, status=413)

    # -- answering ----------------------------------------------------------------------------------------

    async def reply(self, status: int, body: bytes = b"", *, media: bytes = JSON, headers: Sequence[Header] = ()) -> None:
        """Answer whole, at once."""
        length = [(b"content-length", b"%d" % len(body))] if status != 204 else []
        told = [(b"content-type", media), *length] if body else length
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": [*told, *headers]})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def rewrite(self, events: Rewrite) -> None:
        """From now on the client gets what `events` makes of each event of a stream."""
        self._rewriting = events

    async def stream(self, headers: Sequence[Header] = (), status: int = 200) -> None:
        """Begin a stream of server-sent events."""
        self._rewrite = self._rewriting
        about = [(b"content-type", STREAM), (b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no")]
        await self.start(status, [*about, *headers])

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        if self._rewrite is not None and body:
            body = self._rewrite(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    # -- who left -----------------------------------------------------------------------------------------

    async def left(self) -> None:
        """Return when the client closes its connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True

    def until_gone(self) -> Attended:
        """End what is inside when the client leaves: its connection to the upstream closes, which cancels there."""
        return Attended(self)

    def end_early(self) -> None:
        """End what runs inside `until_gone`; `finish` then ends the answer. For streams that would outlive the broker."""
        if self.task is not None and not self.closing:
            self.closing = True
            self.task.cancel()

    async def finish(self) -> None:
        """Bring an answer that was ended early to a proper end."""
        if self.started:
            await self.write(b"", more=False)
        else:
            await self.reply(503)


class Kept:
    """An answer that is kept here instead of being sent: whole once whoever answers is done."""

    def __init__(self) -> None:
        self.status = 0
        self.media = b""
        self.session = ""
        self.body = bytearray()

    async def take(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            self.status, self.media = message["status"], headers.get(b"content-type", b"")
            self.session = headers.get(b"mcp-session-id", b"").decode("latin-1")
        else:
            self.body += message.get("body", b"")


def aside(exchange: Exchange) -> tuple[Exchange, Kept]:
    """Return an exchange of one's own beside `exchange`, and where its answer will be. Nobody ever leaves it."""
    kept = Kept()
    return Exchange(exchange.scope, _nobody_leaves, kept.take, exchange.watch), kept


async def _nobody_leaves() -> MutableMapping[str, Any]:
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


class Attended:
    """The time in which a client's leaving ends what runs for it. Most of it is over before anybody has to watch."""

    __slots__ = ("_exchange", "_watcher")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._exchange.task = asyncio.current_task()
        self._exchange.watch.begin(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        exchange, task = self._exchange, self._exchange.task
        exchange.watch.end(self)
        if self._watcher is not None:
            self._watcher.cancel()
        exchange.task = None
        ended = isinstance(error, asyncio.CancelledError) and (exchange.gone or exchange.closing)
        return ended and task is not None and task.uncancel() <= 0

    def watch(self) -> None:
        """It takes long: look whether the client leaves."""
        self._watcher = asyncio.ensure_future(self._cancel_when_gone())

    async def _cancel_when_gone(self) -> None:
        await self._exchange.left()
        if self._exchange.task is not None:
            self._exchange.task.cancel()


class Watch:
    """Finds the exchanges that take long, with one timer for all: most end long before, and a timer costs as much as a check."""

    def __init__(self) -> None:
        self._begun: set[Attended] = set()
        self._before: set[Attended] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, attended: Attended) -> None:
        self._begun.add(attended)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._look)

    def end(self, attended: Attended) -> None:
        self._begun.discard(attended)
        self._before.discard(attended)

    def _look(self) -> None:
        """Those that had begun at the last look have run for one round at least."""
        for attended in self._before:
            attended.watch()
        self._before, self._begun = self._begun, set()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._look) if self._before else None
