"""The HTTP protocol under the gateway: uvicorn's own on httptools, which takes heads of any size, with a bound.

What counts is bytes that lead nowhere: that end no head, carry no body and end no message. So the bound also holds for one
endless header line, for the extensions of chunks and for trailers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
        super().on_headers_complete()

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
