"""One HTTP/1.1 connection to a server, which carries one message at a time: llhttp parses, an asyncio.Protocol does the rest.

What is not plainly HTTP/1.1 ends the connection, and its answer in doubt: garbage, a length said twice or beside chunks
(RFC 9112, section 6.3), another transfer coding, an upgrade, a head or trailers without an end. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

from broker.upstream.incoming import HttpAnswer, Strange, broken

# Bytes of a head, of trailers or of anything else that is no body.
LARGEST_HEAD = 64 << 10
_MOST_HEADERS = 256


class Origin(NamedTuple):
    """Where a connection leads."""

    tls: bool
    host: str
    port: int


class Wire(asyncio.Protocol):
    """The connection. `free` hears when it may carry the next message, `lost` when it is of no use any more."""

    __slots__ = (
        "_answer", "_dry", "_free", "_headers", "_heard", "_keep", "_loop", "_lost", "_over", "_parser", "_paused", "_silence",
        "_timer", "_transport", "idle_since", "origin",
    )  # fmt: skip

    def __init__(self, origin: Origin, free: Callable[[Wire], None], lost: Callable[[Wire], None]) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._free = free
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: HttpAnswer | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._silence: float | None = None
        self._heard = 0.0
        self._dry = self._headers = 0
        self._keep = self._over = self._paused = False

    async def ask(self, message: bytes, silence: float | None) -> HttpAnswer:
        """Send one message and return once the head of its answer is here. The server may say nothing for `silence` seconds.

        Raises `OutcomeLost`: the server may have got it. Who gives up waiting closes the connection, which tells the server.
        """
        if self._transport is None or self._transport.is_closing():
            raise broken(ConnectionResetError())
        answer = self._answer = HttpAnswer(self)
        self._dry, self._over = 0, False
        self._silence, self._heard = silence, self._loop.time()
        if silence is not None and self._timer is None:
            self._timer = self._loop.call_later(silence, self._look)
        self._transport.write(message)
        try:
            await answer.headed()
        except asyncio.CancelledError:
            answer.close()
            raise
        except Exception as error:
            raise broken(error) from None
        return answer

    @property
    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def go_on(self) -> None:
        """Whoever reads has taken what was here."""
        if self._paused and self._transport is not None:
            self._paused, self._heard = False, self._loop.time()
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- what the transport calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape, not by name

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked for anything
            self.abort()
            return
        self._heard = self._loop.time()
        self._dry += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(error.__context__ if isinstance(error.__context__, Strange) else Strange(str(error)))
            return
        if self._dry > LARGEST_HEAD:
            self._break(Strange("a head without an end"))
        elif self._over:
            self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        answer, self._answer, self._transport = self._answer, None, None
        del self._parser  # it holds our methods: nobody would collect the two
        self._lost(self)
        if answer is not None:
            if exc is None and answer.until_closed:
                answer.end()
            answer.fail(exc or ConnectionResetError())

    # -- what the parser calls ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._over:
            raise Strange("more than was asked for")
        self._headers = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > _MOST_HEADERS:
            raise Strange("too many headers")
        if self._answer is not None and self._answer.status == 0:  # else trailers, which change nothing
            self._answer.header(name, value)

    def on_headers_complete(self) -> None:
        status, answer = self._parser.get_status_code(), self._answer
        assert answer is not None, "nothing is parsed that nobody waits for"
        if status >= 200:
            answer.begin(status)
            self._keep = self._parser.should_keep_alive()
        elif status < 100:
            raise Strange("no status")
        else:
            answer.forget()

    def on_body(self, data: bytes) -> None:
        self._dry = 0
        if self._answer is not None and self._answer.body(data) and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._over = self._answer is not None and self._answer.status > 0

    # -- ends ---------------------------------------------------------------------------------------------

    def _ended(self) -> None:
        """The answer is whole. A server that answered before it had the whole message can't be asked again."""
        answer, self._answer = self._answer, None
        transport = self._transport
        assert answer is not None
        answer.end()
        if not self._keep or transport is None or transport.is_closing() or transport.get_write_buffer_size():
            self.abort()
            return
        if self._paused:
            self.go_on()
        self._free(self)

    def _break(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        self.abort()
        if answer is None:
            return
        if self._over:  # what came after it was not asked for, and is nobody's
            answer.end()
        answer.fail(error)

    def _look(self) -> None:
        """One timer for all messages of a connection: most are answered long before."""
        self._timer = None
        if self._answer is None or self._silence is None:
            return
        due = self._loop.time() + self._silence if self._paused else self._heard + self._silence
        if due <= self._loop.time():
            self._break(TimeoutError())
        else:
            self._timer = self._loop.call_at(due, self._look)
