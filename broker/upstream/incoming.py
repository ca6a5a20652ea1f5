"""The answer to one message over HTTP, as it comes in: its head, then its body in parts, to the end or to where it broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from broker.errors import OutcomeLost
from broker.upstream.sse import Cutter, Event

# An answer that has to be read whole may be this large; what only passes through has no limit.
LARGEST_BODY = 64 << 20
# Bytes of a body that lie here before the server has to wait for whoever reads them.
AHEAD = 256 << 10
_KEPT = frozenset((b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"mcp-session-id", b"allow"))
_BODILESS = frozenset((204, 304))


class Source(Protocol):
    """What brings the answer."""

    def go_on(self) -> None:
        """Whoever reads has taken what was here."""
        ...

    def abort(self) -> None: ...


class Strange(Exception):
    """The server speaks no HTTP/1.1 that could be understood in one way only."""


class HttpAnswer:
    """An answer whose head is here; it fits the gateway's `Answer`."""

    __slots__ = ("_ahead", "_error", "_headers", "_parts", "_source", "_waiter", "_whole", "length", "media", "status")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._ahead = 0
        self._whole = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.media = ""
        self.length: int | None = None

    @property
    def session(self) -> str:
        return self._headers.get(b"mcp-session-id", b"").decode("latin-1")

    @property
    def allow(self) -> str:
        return self._headers.get(b"allow", b"").decode("latin-1")

    @property
    def encoded(self) -> bool:
        """Is the body in an encoding that nobody asked for?"""
        return self._headers.get(b"content-encoding", b"identity").lower() != b"identity"

    async def read(self) -> bytes:
        """Return the whole body. Raises `OutcomeLost` when it breaks off, or is larger than `LARGEST_BODY`."""
        while not self._whole and self._error is None:
            await self._changed()
            if self._ahead > LARGEST_BODY:
                raise OutcomeLost("the server's answer is too large to be read")
            self._source.go_on()
        if self._error is not None:
            raise broken(self._error)
        return self._taken()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `OutcomeLost` when it breaks off."""
        while True:
            if self._parts:
                yield self._taken()
            elif self._error is not None:
                raise broken(self._error)
            elif self._whole:
                return
            else:
                self._source.go_on()
                await self._changed()

    async def events(self) -> AsyncIterator[Event]:
        cutter = Cutter()
        async for chunk in self.chunks():
            for event in cutter.feed(chunk):
                yield event

    def close(self) -> None:
        """Give up what has not been read; a connection whose answer is whole went back to the pool before."""
        if not self._whole and self._error is None:
            self.fail(ConnectionAbortedError())
            self._source.abort()

    # -- what the source calls ----------------------------------------------------------------------------

    async def headed(self) -> None:
        """Return once the head is here. Raises what broke it."""
        while self.status == 0:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _KEPT:
            self._headers.setdefault(name, value)

    def forget(self) -> None:
        """That was an interim answer (RFC 9110, section 15.2)."""
        self._headers.clear()

    def begin(self, status: int) -> None:
        """The head is whole. Raises `Strange`."""
        found = self._headers
        if found.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            raise Strange("another transfer coding")
        self.media = found.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        self.length = int(found[b"content-length"]) if b"content-length" in found else None
        self.status = status
        self._wake()

    @property
    def until_closed(self) -> bool:
        """Is the end of the connection the end of this answer?"""
        framed = self.length is not None or b"transfer-encoding" in self._headers or self.status in _BODILESS
        return self.status > 0 and not framed

    def body(self, data: bytes) -> bool:
        """Take a part of the body. Returns whether that is enough for now."""
        self._parts.append(data)
        self._ahead += len(data)
        self._wake()
        return self._ahead > AHEAD

    def end(self) -> None:
        self._whole = True
        self._wake()

    def fail(self, error: Exception) -> None:
        if not self._whole and self._error is None:
            self._error = error
            self._wake()

    # -- reading ------------------------------------------------------------------------------------------

    async def _changed(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _taken(self) -> bytes:
        parts, self._parts, self._ahead = self._parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)


def broken(error: Exception) -> OutcomeLost:
    if isinstance(error, TimeoutError):
        return OutcomeLost("the server was silent for too long")
    if isinstance(error, Strange):
        return OutcomeLost(f"the server's answer is not HTTP/1.1 that can be read in one way only ({error})")
    return OutcomeLost(f"the connection to the server broke ({type(error).__name__})")
