"""The JSON-RPC traffic of many callers over the one pipe of a stdio server.

Each request goes out under a number of ours, which is its progress token as well, and comes back under its caller's own: two
callers may use the same ids. Messages are JSON objects as `dict`; members that nobody knows here survive.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import msgspec
import structlog

from broker.errors import UNREADABLE, OutcomeLost, UpstreamUntouched
from broker.upstream.flights import Flight, GivenUp, Message, Sink, encode, meta_of
from broker.upstream.process import Process
from broker.upstream.words import SUBSCRIPTION_ID_META_KEY

log = structlog.get_logger()

_decode = msgspec.json.Decoder().decode

# Seconds that a server gets to answer a request after it was told that the caller gave it up.
AFTER_CANCEL = 0.5


class Pipe:
    """Requests and answers over one process. `stray` gets what belongs to no request, the server's own words, and this pipe."""

    def __init__(self, process: Process, server: str, stray: Callable[[Message, Pipe], None]) -> None:
        self._process = process
        self._server = server
        self._stray = stray
        self._numbers = itertools.count(1)
        self._flights: dict[int, Flight] = {}
        self.ended = asyncio.Event()

    @property
    def flights(self) -> tuple[Flight, ...]:
        """Requests that wait for their answer, the newest last."""
        return tuple(flight for flight in self._flights.values() if not flight.answer.done())

    async def run(self) -> None:
        """Read until the server closes its side; then every request under way is lost."""
        try:
            async for line in self._process.lines():
                if line.strip():
                    self._take(line)
        finally:
            self.ended.set()
            for flight in self.flights:
                flight.settle(OutcomeLost(f"{self._server} ended while the call ran: whether it took effect is unknown"))

    async def ask(self, request: Message, sink: Sink, owner: Hashable = None) -> Message:
        """Send one request and return its answer under the request's own id. Being cancelled tells the server so.

        Raises `UpstreamUntouched` where it was not sent, `OutcomeLost` where the server ended, or gave no readable answer.
        """
        with self._flight(request, sink, owner) as flight:
            await self._write(flight.outgoing())
            try:
                return await flight.answer
            except asyncio.CancelledError:
                with anyio.move_on_after(1.0, shield=True):
                    await self._tell_cancelled(flight, {"reason": "the caller went away"})
                raise

    async def tell(self, message: Message) -> None:
        """Send a notification, or an answer to the server's own request, as it is. Nothing happens when the server has ended."""
        with suppress(UpstreamUntouched):
            await self._write(message)

    async def cancel(self, owner: Hashable, request_id: Any, params: Message) -> None:
        """Pass on that a caller gave up its request. Other callers' requests with the same id are not touched."""
        for flight in self.flights:
            if flight.owner == owner and flight.request.get("id") == request_id:
                await self._tell_cancelled(flight, params)
                lost = GivenUp("the caller gave the request up")
                asyncio.get_running_loop().call_later(AFTER_CANCEL, flight.settle, lost)

    async def _tell_cancelled(self, flight: Flight, params: Message) -> None:
        if flight.request.get("method") not in ("initialize", "server/discover"):
            params = {**params, "requestId": flight.number}
            await self.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    async def _write(self, message: Message) -> None:
        if self.ended.is_set():
            raise UpstreamUntouched(f"{self._server} has ended")
        await self._process.write(encode(message))

    @contextmanager
    def _flight(self, request: Message, sink: Sink, owner: Hashable) -> Iterator[Flight]:
        flight = Flight(next(self._numbers), request, sink, owner)
        self._flights[flight.number] = flight
        try:
            yield flight
        finally:
            del self._flights[flight.number]
            flight.answer.cancel()

    def _take(self, line: bytes) -> None:
        try:
            message = _decode(line)
        except UNREADABLE:
            self._unreadable(line)
            return
        if not isinstance(message, dict):
            log.warning("stdio.no_message", server=self._server, size=len(line))
        elif "method" in message:
            self._heard(message)
        elif flight := self._found(message.get("id")):
            flight.settle(message)

    def _heard(self, message: Message) -> None:
        params = message.get("params")
        if message["method"] == "notifications/progress":
            # Progress of a request that is over concerns nobody.
            if flight := self._found(params.get("progressToken") if isinstance(params, dict) else None):
                flight.heard(message)
        elif flight := self._found(meta_of(message).get(SUBSCRIPTION_ID_META_KEY)):
            flight.heard(message)
        else:
            self._stray(message, self)

    def _found(self, number: Any) -> Flight | None:
        return self._flights.get(number) if type(number) is int else None  # True == 1 must not find one

    def _unreadable(self, line: bytes) -> None:
        """What can't be passed on: if it is an answer, its caller must not wait for another."""
        log.warning("stdio.unreadable", server=self._server, size=len(line))
        with suppress(ValueError, RecursionError):
            message = json.loads(line)
            flight = self._found(message.get("id")) if isinstance(message, dict) and "method" not in message else None
            if flight:
                flight.settle(OutcomeLost(f"{self._server} answered with something that is no valid JSON"))
