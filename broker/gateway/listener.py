"""The HTTP protocol under the gateway: uvicorn's own on httptools, with a bound for heads, and answers that leave in one write.

What counts is bytes that lead nowhere: that end no head, carry no body and end no message. So the bound also holds for one
endless header line, for the extensions of chunks and for trailers.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from http import HTTPStatus
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


class _Cycle(RequestResponseCycle):
    """One request and its answer. A head that says how long the body is waits for it, and both leave together: each write costs a
    system call, and wakes the client for a head that it can do nothing with.
    """

    _head: MutableMapping[str, Any] | None = None

    async def send(self, message: Any) -> None:
        head, self._head = self._head, None
        if message["type"] == "http.response.start" and self.keep_alive and not self.response_started and _has_length(message):
            self._head = message
        elif head is not None and message["type"] == "http.response.body":
            if whole := self._whole(head, message):
                self._leave(whole)
            else:
                await super().send(cast(Any, head))
                await super().send(message)
        else:  # also uvicorn's own word about an app that broke, instead of the head that waited
            await super().send(message)

    def _whole(self, head: MutableMapping[str, Any], message: MutableMapping[str, Any]) -> bytes:
        """Return the whole answer; nothing where there is more to see to than writing it."""
        body: bytes = message.get("body", b"")
        headers = [*self.default_headers, *head["headers"]]
        hindered = self.flow.write_paused or self.disconnected or not self.keep_alive or self.scope["method"] == "HEAD"
        if hindered or message.get("more_body") or (b"content-length", b"%d" % len(body)) not in headers:
            return b""
        first = _STATUS.get(head["status"], b"")
        told = b"\r\n".join([first, *[b"%b: %b" % (name, value) for name, value in headers], b"\r\n"])
        return told + body if first and told.count(b"\n") == told.count(b"\r") == len(headers) + 2 else b""

    def _leave(self, told: bytes) -> None:
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(told)
        self.message_event.set()
        self.on_response()


def _has_length(message: MutableMapping[str, Any]) -> bool:
    names = [name for name, _ in message["headers"]]
    return b"content-length" in names and b"connection" not in names


_STATUS = {status.value: b"HTTP/1.1 %d %b" % (status, status.phrase.encode()) for status in HTTPStatus}


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
