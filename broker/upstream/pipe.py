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
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY

from broker.errors import OutcomeLost, UpstreamError, UpstreamUntouched
from broker.upstream.process import Process

log = structlog.get_logger()

Message = dict[str, Any]
Sink = Callable[[Message], None]
"""Takes a message that the server sent before its answer, with the caller's own token in it. Must not block or raise."""

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# Seconds that a server gets to answer a request after it was told that the caller gave it up.
AFTER_CANCEL = 0.5


class Flight:
    """One request under way: `number` on the pipe, `request` as the caller sent it, `owner` whoever may cancel it."""

    def __init__(self, number: int, request: Message, sink: Sink, owner: Hashable) -> None:
        self.number = number
        self.request = request
        self.sink = sink
        self.owner = owner
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    @property
    def token(self) -> Any:
        return _meta(self.request).get("progressToken")

    @property
    def log_level(self) -> str:
        """The log level that this request asks for (2026-07-28), empty where it asks for none."""
        return str(_meta(self.request).get("io.modelcontextprotocol/logLevel", ""))

    def outgoing(self) -> Message:
        """The request as the server gets it: under our number."""
        if self.token is None:
            return {**self.request, "id": self.number}
        params = self.request["params"]
        return {
            **self.request,
            "id": self.number,
            "params": {**params, "_meta": {**params["_meta"], "progressToken": self.number}},
        }


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
                _settle(flight, OutcomeLost(f"{self._server} ended while the call ran: whether it took effect is unknown"))

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
                lost = OutcomeLost("the caller gave the request up")
                asyncio.get_running_loop().call_later(AFTER_CANCEL, _settle, flight, lost)

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
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._unreadable(line)
            return
        if not isinstance(message, dict):
            log.warning("stdio.no_message", server=self._server, size=len(line))
        elif "method" in message:
            self._heard(message)
        elif flight := self._found(message.get("id")):
            _settle(flight, _restored(message, flight))

    def _heard(self, message: Message) -> None:
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if message["method"] == "notifications/progress":
            if flight := self._found(params.get("progressToken")):
                flight.sink({**message, "params": {**params, "progressToken": flight.token}})
            return  # progress of a request that is over concerns nobody
        meta = params.get("_meta")
        if isinstance(meta, dict) and (flight := self._found(meta.get(SUBSCRIPTION_ID_META_KEY))):
            meta = {**meta, SUBSCRIPTION_ID_META_KEY: flight.request["id"]}
            flight.sink({**message, "params": {**params, "_meta": meta}})
            return
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
                _settle(flight, OutcomeLost(f"{self._server} answered with something that is no valid JSON"))


def _settle(flight: Flight, answer: Message | UpstreamError) -> None:
    if flight.answer.done():
        return
    if isinstance(answer, UpstreamError):
        flight.answer.set_exception(answer)
        flight.answer.exception()  # nobody may be waiting any more
    else:
        flight.answer.set_result(answer)


def _restored(answer: Message, flight: Flight) -> Message:
    answer = {**answer, "id": flight.request["id"]}
    result = answer.get("result")
    if isinstance(result, dict) and SUBSCRIPTION_ID_META_KEY in _meta({"params": result}):
        answer["result"] = {**result, "_meta": {**result["_meta"], SUBSCRIPTION_ID_META_KEY: answer["id"]}}
    return answer


def _meta(message: Message) -> Message:
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}
