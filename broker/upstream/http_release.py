"""Releases over HTTP: the stored call goes out once, as it was reviewed, under headers and `_meta` that we make ourselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import anyio
import msgspec

from broker import __version__
from broker.approvals.ports import Relay
from broker.domain.requests import ApprovalRequest
from broker.domain.rounds import asked_back
from broker.errors import UNREADABLE, OutcomeLost, UpstreamError, UpstreamUntouched
from broker.upstream.http import HttpServers, Targets
from broker.upstream.incoming import HttpAnswer
from broker.upstream.words import header_value, parameter_headers

MODERN = "2026-07-28"
# Results beyond this are not kept: the mailbox lies in the store's memory.
LARGEST_RESULT = 16 << 20
# How often in a row a broken stream is resumed without a new event, and the pause before, unless the server names one.
RESUMES = 5
PAUSE = 1.0

_META = "io.modelcontextprotocol/"
_US = {"name": "approval-broker", "version": __version__}

Schemas = Callable[[str, str], Awaitable[Mapping[str, Any] | None]]
"""The input schema of a server's tool as last probed, None where it is not known."""

Stamp = Callable[[ApprovalRequest], Mapping[str, Any]]
"""What the broker itself says in the `_meta` of a release: its receipt."""

_encode = msgspec.json.Encoder().encode


class SessionGone(Exception):
    """The upstream does not know the session any more: nothing ran in it."""


class HttpReleases:
    """Executes approved calls; fits the releaser's `Upstreams` for servers over HTTP.

    `servers` should not pool its connections.
    """

    def __init__(self, servers: HttpServers, targets: Targets, schemas: Schemas, stamp: Stamp = lambda request: {}) -> None:
        self._servers = servers
        self._targets = targets
        self._schemas = schemas
        self._stamp = stamp

    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        """Send the stored call once and return the answer's member, `{"result": …}` or `{"error": …}`.

        Raises `UpstreamUntouched` when it is sure that nothing ran, `OutcomeLost` when it is not.
        """
        origin, server = request.origin, request.call.server
        if origin.era == MODERN:
            headers, body = await self._modern_headers(request), _modern_body(request, self._stamp(request))
            return await self._called(server, headers, body, request.id, relay, origin.capabilities)
        try:
            return await self._in_session(request, origin.session, relay)
        except SessionGone:
            if not self._targets(server).stateless:
                raise UpstreamUntouched("the caller's session with the server is gone, and the call belongs to it") from None
        return await self._in_own_session(request, relay)

    async def _in_session(self, request: ApprovalRequest, session: str, relay: Relay) -> bytes:
        rpc_id = request.id if request.origin.rpc_id is None else request.origin.rpc_id
        headers = _headers(request.origin.era, session)
        return await self._called(request.call.server, headers, _body(request, rpc_id, dict(self._stamp(request))), rpc_id, relay)

    async def _in_own_session(self, request: ApprovalRequest, relay: Relay) -> bytes:
        """Begin a session for this one call. The catalogue says that the server keeps nothing in its sessions."""
        server, era = request.call.server, request.origin.era
        hello = {"protocolVersion": era, "capabilities": {}, "clientInfo": _US}
        try:
            session = await self._begun(server, era, hello)
        except (OutcomeLost, SessionGone) as error:
            raise UpstreamUntouched(f"the broker could not begin a session of its own: {error}") from None
        try:
            return await self._in_session(request, session, relay)
        except SessionGone:
            raise UpstreamUntouched("the server ended the broker's own session before the call ran") from None
        finally:
            if session:
                with suppress(UpstreamError):
                    (await self._servers.forward(server, "DELETE", _headers(era, session), b"")).close()

    async def _begun(self, server: str, era: str, hello: dict[str, Any]) -> str:
        message = _encode({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
        answer = await self._servers.forward(server, "POST", _headers(era, ""), message)
        session = answer.session
        try:
            if await _Reading(answer, 0, _unheard).member() is None:
                raise OutcomeLost("the server did not answer its handshake")
        finally:
            answer.close()
        told = _encode({"jsonrpc": "2.0", "method": "notifications/initialized"})
        (await self._servers.forward(server, "POST", _headers(era, session), told)).close()
        return session

    async def _called(
        self, server: str, headers: dict[str, str], body: bytes, rpc_id: int | str, relay: Relay,
        declared: Mapping[str, Any] = MappingProxyType({}),
    ) -> bytes:  # fmt: skip
        answer = await self._servers.forward(server, "POST", headers, body)
        reading = _Reading(answer, rpc_id, relay, session=headers.get("mcp-session-id", ""), declared=declared)
        try:
            member = await reading.member()
        finally:
            answer.close()
        tries = 0
        while member is None:
            if not reading.last_event or headers["mcp-protocol-version"] == MODERN or tries >= RESUMES:
                raise OutcomeLost("the connection to the server broke before its answer came")
            tries += 1
            await anyio.sleep(PAUSE if reading.retry is None else reading.retry)
            member, heard = await self._resumed(server, headers, reading)
            tries = 0 if heard else tries
        return _kept(member)

    async def _resumed(self, server: str, headers: dict[str, str], reading: _Reading) -> tuple[bytes | None, bool]:
        """Ask for the events after the last one. Returns the answer's member, and whether anything new came."""
        before = reading.last_event
        again = {name: value for name, value in headers.items() if name != "content-type"}
        try:
            answer = await self._servers.forward(server, "GET", {**again, "last-event-id": before}, b"", patient=False)
        except UpstreamError:
            return None, False
        try:
            if answer.status != 200:
                raise OutcomeLost(f"the server can't resume the broken stream (HTTP {answer.status})")
            reading.answer = answer
            return await reading.member(), reading.last_event != before
        finally:
            answer.close()

    async def _modern_headers(self, request: ApprovalRequest) -> dict[str, str]:
        call = request.call
        headers = _headers(MODERN, "") | {"mcp-method": "tools/call", "mcp-name": header_value(call.tool)}
        schema = await self._schemas(call.server, call.tool)
        return headers | parameter_headers(schema, call.arguments)


class _Reading:
    """Reads one call's answer, over as many connections as it takes."""

    def __init__(
        self, answer: HttpAnswer, rpc_id: int | str, relay: Relay, *, session: str = "",
        declared: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.answer = answer
        self._declared = declared
        self._session = session
        self.last_event = ""
        self.retry: float | None = None
        self._rpc_id = rpc_id
        self._relay = relay

    async def member(self) -> bytes | None:
        """Return the answer's member; None when the stream broke, and may be resumed after `last_event`.

        Raises `UpstreamUntouched`, `OutcomeLost`, `SessionGone`.
        """
        status, media = self.answer.status, self.answer.media
        if status == 404 and self._session:
            raise SessionGone
        if status == 200 and media == "text/event-stream":
            return await self._streamed()
        body = await self.answer.read() if media == "application/json" else b""
        found = self._found(body)
        if found is not None:
            return found
        if 300 <= status < 500:
            raise UpstreamUntouched(f"the server refused the call (HTTP {status}{_why(body)})")
        raise OutcomeLost(f"the server's answer to the call makes no sense (HTTP {status})")

    async def _streamed(self) -> bytes | None:
        try:
            async for event in self.answer.events():
                self.last_event = event.id or self.last_event
                self.retry = event.retry if event.retry is not None else self.retry
                found = self._found(event.data) if event.data else None
                if found is not None:
                    return found
        except OutcomeLost:
            pass  # told by None: there may be a way to go on
        return None

    def _found(self, data: bytes) -> bytes | None:
        """Return the member of the awaited answer; hand on what comes before it."""
        message = _decoded(data)
        if message is None:
            return None
        if "method" in message:
            self._relay(data)
            return None
        if message.get("id") != self._rpc_id:
            return None
        if isinstance(message.get("error"), dict):
            return _encode({"error": message["error"]})
        return _result(message["result"], self._declared) if isinstance(message.get("result"), dict) else None


def _result(result: dict[str, Any], declared: Mapping[str, Any]) -> bytes:
    """A server may ask back what the call `declared` that it can be asked: nothing, unless the catalogue says that it may ask."""
    kind = result.get("resultType", "complete")
    if kind == "complete" or asked_back(result, declared) is not None:
        return _encode({"result": result})
    text = f"the server answered the approved call with `{kind}` instead of a result: it was not finished"
    return _encode({"error": {"code": -32603, "message": text}})


def _kept(member: bytes) -> bytes:
    if len(member) <= LARGEST_RESULT:
        return member
    text = f"The call ran, but its result of {len(member)} bytes is too large to be kept."
    return _encode({"result": {"content": [{"type": "text", "text": text}], "isError": True}})


def _headers(era: str, session: str) -> dict[str, str]:
    headers = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": era,
    }
    return headers | {"mcp-session-id": session} if session else headers


def _modern_body(request: ApprovalRequest, stamp: Mapping[str, Any]) -> bytes:
    origin = request.origin
    meta = {
        **stamp,
        _META + "protocolVersion": MODERN,
        _META + "clientCapabilities": origin.capabilities,
        _META + "clientInfo": _US,
        **({_META + "logLevel": origin.log_level} if origin.log_level else {}),
    }
    return _body(request, request.id, meta)


def _body(request: ApprovalRequest, rpc_id: int | str, meta: dict[str, Any]) -> bytes:
    params = {**request.call.params, "_meta": {**meta, "progressToken": request.id}}
    return _encode({"jsonrpc": "2.0", "id": rpc_id, "method": "tools/call", "params": params})


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        message = msgspec.json.decode(data) if data else None
    except UNREADABLE:
        return None
    return message if isinstance(message, dict) else None


def _why(body: bytes) -> str:
    """What a server says about its refusal, if it says it in JSON-RPC."""
    error = (_decoded(body) or {}).get("error")
    text = error.get("message") if isinstance(error, dict) else None
    return f": {text[:200]}" if isinstance(text, str) else ""


def _unheard(message: bytes) -> None:
    """Nobody waits for what a server says while a session begins."""
