"""The HTTP protocol under the gateway: uvicorn's own on httptools, with a bound for heads, and answers that leave in one write.

What counts is bytes that lead nowhere: that end no head, carry no body and end no message. So the bound also holds for one
endless header line, for the extensions of chunks and for trailers.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# Seconds in which a head has to be whole, and a fresh connection has to send something.
HEAD_WITHIN = 10.0

_REFUSED = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"  # RFC 6585, section 5
)


def bounded(limit: int) -> type[HttpToolsProtocol]:
    """Return the protocol class for `uvicorn.Config(http=…)` that refuses heads of more than `limit` bytes with a 431."""

    class BoundedProtocol(_Bounded):
        head_limit = limit

    return BoundedProtocol


class _Parts:
    """Stands for a transport and keeps what is written, until all of it leaves at once."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_closing = transport.is_closing
        self._transport = transport
        self._written: list[bytes] = []
        self._closed = False

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def close(self) -> None:
        self._closed = True

    def leave(self) -> None:
        self._transport.writelines(self._written)
        if self._closed:
            self._transport.close()


class _Cycle(RequestResponseCycle):
    """One request and its answer. A head that says how long the body is waits for its first part: each write costs a system call,
    and wakes the client for a head that it can do nothing with.
    """

    _head: MutableMapping[str, Any] | None = None

    async def send(self, message: Any) -> None:
        head, self._head = self._head, None
        if message["type"] == "http.response.start" and self.keep_alive and not self.response_started and _has_length(message):
            self._head = message
        elif head is not None and message["type"] == "http.response.body":
            await self._together(head, message)
        else:  # also uvicorn's own word about an app that broke, instead of the head that waited
            await super().send(message)

    async def _together(self, head: Any, message: Any) -> None:
        transport, parts = self.transport, _Parts(self.transport)
        self.transport = cast(asyncio.Transport, parts)
        try:
            await super().send(head)
            await super().send(message)
        finally:
            self.transport = transport
        parts.leave()


def _has_length(message: MutableMapping[str, Any]) -> bool:
    names = [name for name, _ in message["headers"]]
    return b"content-length" in names and b"connection" not in names


class _Bounded(HttpToolsProtocol):
    head_limit = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fruitless = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            room = self.head_limit - self._fruitless
            piece, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
            self._fruitless += len(piece)
            super().data_received(piece)
            if self._fruitless >= self.head_limit:
                self._refuse()
                return
        if self._fruitless and self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def on_headers_complete(self) -> None:
        self._in_time()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.__class__ = _Cycle  # uvicorn makes it, and takes no other class

    def on_body(self, body: bytes) -> None:
        self._in_time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_time()
        super().on_message_complete()

    def _in_time(self) -> None:
        self._fruitless = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self) -> None:
        """Answer and hang up; in the middle of an answer of ours, only hang up."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_REFUSED)
            self.transport.close()
