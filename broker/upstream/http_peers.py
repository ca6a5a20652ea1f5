"""HTTP servers that the broker asks on its own account: for probes, and for callers of the era that a server does not speak.

Which era a server speaks is asked once, and again when it stops making sense. Only an answer of the server decides that: a broken
connection or a 5xx is no word about eras.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import anyio

from broker.domain.servers import Grant
from broker.errors import OutcomeLost, UpstreamError, UpstreamUntouched
from broker.upstream import eras
from broker.upstream.acting import BROKER, acting
from broker.upstream.flights import Flight, GivenUp, Message, Sink, encode
from broker.upstream.http import Target, Targets
from broker.upstream.incoming import HttpAnswer
from broker.upstream.reading import decoded, read_answer
from broker.upstream.words import (
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    MODERN_PROTOCOL_VERSIONS,
    NAME_BEARING_METHODS,
    header_value,
    parameter_headers,
)

_ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
# Seconds that a server gets for one step of a handshake.
HANDSHAKE_WITHIN = 10.0
# Seconds before a broken stream of a server's own words is opened again.
AGAIN = 5.0

Schemas = Callable[[str, str], Awaitable[Mapping[str, Any] | None]]
"""The input schema of a server's tool as last probed, None where it is not known."""


class Forward(Protocol):
    async def __call__(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False
    ) -> HttpAnswer: ...


class HttpPeers:
    """The servers by name, each shaken hands with when it is first asked, and when its entry has changed."""

    def __init__(self, forward: Forward, targets: Targets, schemas: Schemas) -> None:
        self._forward = forward
        self._targets = targets
        self._schemas = schemas
        self._peers: dict[str, tuple[Target, NewerHttp | OlderHttp]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def peer(self, server: str) -> NewerHttp | OlderHttp:
        """Raises `UnknownServer`, and `UpstreamUntouched` when it can't be met."""
        target = self._targets(server)
        met = self._peers.get(server)
        if met is not None and met[0] is target and not met[1].older:
            return met[1]
        async with self._locks.setdefault(server, asyncio.Lock()):
            known = self._peers.get(server)
            if known is None or known[0] != target:
                known = self._peers[server] = (target, await self._met(server))
            if known[1].older and _of_user(target):
                raise UpstreamUntouched(f"{server} is used with each user's own access, and its older sessions can't be shared")
            return known[1]

    def known(self, server: str) -> NewerHttp | OlderHttp | None:
        """The server as it was met, None where it was not yet."""
        known = self._peers.get(server)
        return known[1] if known else None

    def forget(self, server: str) -> None:
        """Ask the server anew for its era: its answers made no sense."""
        self._peers.pop(server, None)

    async def close(self) -> None:
        """End our sessions with older servers."""
        for _, peer in tuple(self._peers.values()):
            if isinstance(peer, OlderHttp):
                await peer.close()
        self._peers.clear()

    async def _met(self, server: str) -> NewerHttp | OlderHttp:
        newer, older = NewerHttp(self._forward, server, self._schemas), OlderHttp(self._forward, server)
        try:
            with anyio.move_on_after(HANDSHAKE_WITHIN):
                if await newer.meet():
                    return newer
            with anyio.move_on_after(HANDSHAKE_WITHIN):
                await older.meet()
                return older
        except OutcomeLost as error:  # of the handshake, that is: nothing of a caller's was sent
            raise UpstreamUntouched(error.message) from None
        raise UpstreamUntouched(f"{server} did not shake hands within {HANDSHAKE_WITHIN:.0f} s")


class NewerHttp:
    """A server of 2026-07-28: each request stands for itself."""

    older = False

    def __init__(self, forward: Forward, server: str, schemas: Schemas) -> None:
        self._forward = forward
        self._server = server
        self._schemas = schemas
        self._asking: dict[tuple[Hashable, Any], anyio.CancelScope] = {}
        self.hello: Message = {}

    async def meet(self) -> bool:
        """Ask what it speaks. False when it does not speak this era; raises `UpstreamUntouched` when it can't be asked."""
        answer = await self._ask(eras.discover_request("discover"), eras.ignored, {})
        hello = answer.get("result") if answer else None
        if not isinstance(hello, dict) or not set(hello.get("supportedVersions") or ()) & set(MODERN_PROTOCOL_VERSIONS):
            return False
        self.hello = hello
        return True

    async def ask(self, request: Message, sink: Sink, owner: Hashable = None) -> Message:
        """Send one request with its envelope. Being cancelled closes the connection, which is this era's cancellation."""
        scope = self._asking[owner, request["id"]] = anyio.CancelScope()
        try:
            with scope:
                answer = await self._ask(request, sink, await self._parameters(request))
                if answer is None:
                    raise UpstreamUntouched(f"{self._server} refused the message")
                return answer
            raise GivenUp("the caller gave the request up")
        finally:
            self._asking.pop((owner, request["id"]), None)

    async def tell(self, message: Message) -> None:
        """This era has no notifications from client to server."""

    async def cancel(self, owner: Hashable, request_id: Any, params: Message) -> None:
        scope = self._asking.get((owner, request_id))
        if scope is not None:
            scope.cancel()

    async def _ask(self, request: Message, sink: Sink, more: Mapping[str, str]) -> Message | None:
        method, params = request["method"], request["params"]
        headers = {**_ACCEPT, **more, "mcp-protocol-version": LATEST_MODERN_VERSION, "mcp-method": method}
        name = params.get(NAME_BEARING_METHODS.get(method, ""))
        if isinstance(name, str):
            headers["mcp-name"] = header_value(name)
        patient = method == "subscriptions/listen"
        answer = await self._forward(self._server, "POST", headers, encode(request), patient=patient)
        return await read_answer(answer, self._server, request["id"], sink)

    async def _parameters(self, request: Message) -> dict[str, str]:
        if request["method"] != "tools/call":
            return {}
        schema = await self._schemas(self._server, request["params"]["name"])
        arguments = request["params"].get("arguments") or {}
        return {name.lower(): value for name, value in parameter_headers(schema, arguments).items()}


class OlderHttp:
    """A server of the older era, in a session of ours that all requests share. A session that ends is begun again."""

    older = True

    def __init__(self, forward: Forward, server: str) -> None:
        self._forward = forward
        self._server = server
        self._session = ""
        self._version = LATEST_HANDSHAKE_VERSION
        self._numbers = itertools.count(1)
        self._asking: dict[int, tuple[Flight, anyio.CancelScope]] = {}
        self._meeting = asyncio.Lock()
        self.hello: Message = {}

    async def meet(self) -> None:
        """Shake hands. Raises `UpstreamUntouched`."""
        request = eras.initialize_request(next(self._numbers))
        answer = await self._forward(self._server, "POST", _ACCEPT, encode(request))
        session = answer.session
        told = await read_answer(answer, self._server, request["id"], eras.ignored)
        hello = told.get("result") if told else None
        if not isinstance(hello, dict):
            raise UpstreamUntouched(f"{self._server} speaks neither era of the protocol, or refused the handshake")
        self.hello, self._session, self._version = hello, session, str(hello.get("protocolVersion", LATEST_HANDSHAKE_VERSION))
        await self.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def ask(self, request: Message, sink: Sink, owner: Hashable = None) -> Message:
        """Send one request in our session. Being cancelled tells the server so."""
        flight, scope = Flight(next(self._numbers), request, sink, owner), anyio.CancelScope()
        self._asking[flight.number] = (flight, scope)
        try:
            with scope:
                flight.settle(await self._sent(flight))
                return flight.answer.result()
            raise GivenUp("the caller gave the request up")
        except asyncio.CancelledError:
            with anyio.move_on_after(1.0, shield=True):
                await self._tell_cancelled(flight, {"reason": "the caller went away"})
            raise
        finally:
            del self._asking[flight.number]

    async def tell(self, message: Message) -> None:
        with suppress(UpstreamError):
            (await self._forward(self._server, "POST", self._headers(), encode(message))).close()

    async def cancel(self, owner: Hashable, request_id: Any, params: Message) -> None:
        for flight, scope in tuple(self._asking.values()):
            if flight.owner == owner and flight.request.get("id") == request_id:
                await self._tell_cancelled(flight, params)
                scope.cancel()

    async def hear(self, sink: Sink) -> None:
        """Give what the server says of its own accord to `sink`, for as long as it offers a stream."""
        while True:
            with suppress(UpstreamError):
                answer = await self._forward(self._server, "GET", self._headers(), b"", patient=True)
                try:
                    if answer.status == 405:
                        return
                    if answer.status == 200:
                        async for event in answer.events():
                            message = decoded(event.data)
                            if "method" in message and "id" not in message:
                                sink(message)
                finally:
                    answer.close()
            await anyio.sleep(AGAIN)

    async def close(self) -> None:
        if self._session:
            with suppress(UpstreamError):
                (await self._forward(self._server, "DELETE", self._headers(), b"")).close()

    async def _sent(self, flight: Flight) -> Message:
        for again in (False, True):
            session, body = self._session, encode(flight.outgoing())
            answer = await self._forward(self._server, "POST", self._headers(), body)
            if answer.status == 404 and session and not again:
                answer.close()
                await self._begun_again(session)
                continue
            told = await read_answer(answer, self._server, flight.number, lambda message: _heard(flight, message))
            if told is not None:
                return told
        raise UpstreamUntouched(f"{self._server} refused the message")

    async def _begun_again(self, session: str) -> None:
        async with self._meeting:
            if self._session == session:  # else somebody was faster
                await self.meet()

    async def _tell_cancelled(self, flight: Flight, params: Message) -> None:
        params = {**params, "requestId": flight.number}
        await self.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    def _headers(self) -> dict[str, str]:
        headers = {**_ACCEPT, "mcp-protocol-version": self._version}
        return headers | {"mcp-session-id": self._session} if self._session else headers


def _of_user(target: Target) -> bool:
    exchanges = target.auth is not None and target.auth.grant is Grant.TOKEN_EXCHANGE
    return exchanges and acting() is not BROKER


def _heard(flight: Flight, message: Message) -> None:
    if "id" not in message:  # we declared nothing that could be asked
        flight.heard(message)
