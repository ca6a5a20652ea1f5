"""Answers made in this process, in the shape of what an HTTP upstream would send: one JSON body, or a stream of events.

They fit the gateway's `Answer`. A stream begins when there is something to stream, or after `COMMIT` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.abc
import msgspec
import structlog

from broker.errors import OutcomeLost, UpstreamError
from broker.upstream.flights import GivenUp, Message, Sink, encode

log = structlog.get_logger()

JSON = "application/json"
STREAM = "text/event-stream"
# Seconds without any message after which an answer becomes a stream, and between the comments that keep it open.
COMMIT = 1.0
PING = 15.0
# Messages that a slow reader may lag behind; what comes then is dropped, but never the answer.
BACKLOG = 1_000


class Event(msgspec.Struct, frozen=True):
    """One whole server-sent event as it goes on the wire."""

    raw: bytes
    id: str = ""
    data: bytes = b""


class Whole:
    """An answer whose body is known."""

    def __init__(self, status: int, body: Message | None = None, *, session: str = "", allow: str = "") -> None:
        self._body = encode(body) if body is not None else b""
        self.status = status
        self.media = JSON if body is not None else ""
        self.session = session
        self.allow = allow

    @property
    def length(self) -> int | None:
        return len(self._body)

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def events(self) -> AsyncIterator[Event]:
        yield event_of(self._body)

    def close(self) -> None:
        """There is nothing to give up."""


class Stream:
    """A stream of messages, fed by `put` and ended by an answer, by `end`, or by a mistake."""

    status = 200
    media = STREAM
    session = ""
    allow = ""
    length: int | None = None

    def __init__(self, on_close: Callable[[], None]) -> None:
        self._messages: asyncio.Queue[Message | UpstreamError | None] = asyncio.Queue()
        self._on_close = on_close
        self._first: list[Message | UpstreamError | None] = []
        self.closed = False

    def put(self, message: Message) -> None:
        if self._messages.qsize() < BACKLOG and not self.closed:
            self._messages.put_nowait(message)

    def end(self, last: Message | UpstreamError | None = None) -> None:
        """Nothing comes after `last`: an answer, a mistake to be raised to the reader, or just the end."""
        self._messages.put_nowait(last)
        if isinstance(last, dict):
            self._messages.put_nowait(None)

    async def begun(self) -> Message | UpstreamError | None:
        """Wait for the first item, at most `COMMIT` seconds, and return it if it comes. It stays in the stream."""
        with anyio.move_on_after(COMMIT):
            self._first.append(await self._messages.get())
        return self._first[0] if self._first else None

    async def events(self) -> AsyncIterator[Event]:
        """Raises `OutcomeLost` where the server ended before its answer."""
        while True:
            item: Message | UpstreamError | None = None
            with anyio.move_on_after(PING) as waiting:
                item = self._first.pop() if self._first else await self._messages.get()
            if waiting.cancelled_caught:
                yield Event(b": waiting\n\n")
            elif isinstance(item, UpstreamError):
                raise OutcomeLost(item.message)
            elif item is None:
                return
            else:
                yield event_of(encode(item))

    async def chunks(self) -> AsyncIterator[bytes]:
        async for event in self.events():
            yield event.raw

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._on_close()


def event_of(data: bytes) -> Event:
    return Event(b"event: message\ndata: " + data + b"\n\n", data=data)


Work = Callable[[Sink], Awaitable[Message]]


async def answered(work: Work, tasks: anyio.abc.TaskGroup, *, cancels: bool, status: Callable[[Message], int]) -> Whole | Stream:
    """Run `work` and return its answer: whole when nothing came before it, else as a stream.

    `cancels`: a reader who leaves ends the work (2026-07-28); in the older era a broken connection is no cancellation.
    Raises what `work` raises before anything was told.
    """
    scope = anyio.CancelScope()
    stream = Stream(scope.cancel if cancels else _nothing)
    tasks.start_soon(_run, work, stream, scope)
    try:
        first = await stream.begun()
    except asyncio.CancelledError:
        stream.close()
        raise
    if isinstance(first, UpstreamError):
        raise first
    if first is not None and "method" not in first:
        return Whole(status(first), first)
    return stream


async def _run(work: Work, stream: Stream, scope: anyio.CancelScope) -> None:
    with scope:
        try:
            stream.end(await work(stream.put))
        except GivenUp:
            stream.end()  # a cancelled request gets no answer, but its connection has to end
        except UpstreamError as error:
            stream.end(error)
        except Exception:
            log.exception("upstream.broke")
            stream.end(OutcomeLost("the broker failed while the call ran"))


def _nothing() -> None:
    pass
