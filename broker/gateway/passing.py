"""Passing on: one message to its upstream, and the answer back, streamed as it comes.

What an upstream says to the broker alone stays here: its demands for credentials, redirects and pages of other kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from broker.domain.outcomes import errored
from broker.errors import UNREADABLE, OutcomeLost, UpstreamError, UpstreamUntouched
from broker.gateway.envelope import INTERNAL_ERROR, RpcId, encoded
from broker.gateway.exchange import Exchange, Header
from broker.gateway.lists import Edit
from broker.gateway.ports import Answer, Event, Forwarder
from broker.gateway.sessions import LONGEST_SESSION, Seals, Session
from broker.gateway.visits import Visit

# Answers up to this size are read whole before the first byte leaves, so that one which breaks off can still be told.
SMALL = 64 << 10

Recorded = Callable[[], Awaitable[None]]


class _Tip(msgspec.Struct):
    """As much of a message as tells whether it is the answer that was awaited."""

    id: RpcId | None = None
    method: str = ""


_tip = msgspec.json.Decoder(_Tip).decode


async def nothing() -> None:
    """There is nothing to record."""


class Passing:
    """Sends messages on through `forwarder`, and seals the sessions that upstreams begin."""

    def __init__(self, forwarder: Forwarder, seals: Seals) -> None:
        self._forwarder = forwarder
        self._seals = seals

    async def post(
        self, visit: Visit, headers: dict[str, str], *, edit: Edit | None = None, recorded: Recorded = nothing,
        patient: bool = False, client: tuple[str, str, str] = ("", "", ""),
    ) -> bool:  # fmt: skip
        """Send the visit's message and pass its answer. `recorded` is awaited before the first byte of it leaves.

        Returns whether it was answered with a result that is no error, as far as that was seen in passing. Raises an
        `UpstreamError` where there is no answer that a client could use; nothing has been sent to it then.
        """
        exchange, body = visit.exchange, visit.message.encoded()
        with exchange.until_gone():
            answer = await self._forwarder.forward(visit.server.name, "POST", headers, body, patient=patient)
            try:
                check_answer(answer)
                told = self._headers(visit, answer, client)
                if answer.media == "text/event-stream":
                    await recorded()
                    return await _stream(visit, answer, told, edit)
                if answer.media == "application/json":
                    return await _json(exchange, answer, told, edit, recorded)
                await recorded()
                await exchange.reply(answer.status, headers=told)
                return False
            finally:
                answer.close()
        return False  # the client left

    def _headers(self, visit: Visit, answer: Answer, client: tuple[str, str, str]) -> list[Header]:
        headers = [(b"allow", answer.allow.encode("latin-1"))] if answer.allow else []
        if not answer.session:
            return headers
        if len(answer.session) > LONGEST_SESSION:
            raise UpstreamError("the server's session id is too long")
        if visit.session and visit.session.upstream == answer.session:
            sealed = visit.head.session
        else:
            sealed = self._seals.session(Session(answer.session, *client), visit.caller, visit.server.name)
        return [*headers, (b"mcp-session-id", sealed.encode())]


def check_answer(answer: Answer) -> None:
    """Raises an `UpstreamError` for an answer that is meant for the broker, or for nobody who speaks MCP."""
    status, media = answer.status, answer.media
    if status in (401, 403, 407):
        raise UpstreamUntouched("the server does not accept the broker's credentials")
    if 300 <= status < 400:
        raise UpstreamUntouched("the server answered with a redirect, which is not followed")
    if media in ("application/json", "text/event-stream") or (status in (202, 204, 404, 405) and status < 500):
        return
    if 400 <= status < 500:
        raise UpstreamUntouched(f"the server refused the message (HTTP {status})", status=status)
    raise OutcomeLost(f"the server's answer is not MCP (HTTP {status}, {media or 'no content'})")


def edited(data: bytes, edit: Edit) -> bytes:
    """Return a JSON-RPC message with its `result` edited; other messages unchanged. Raises `OutcomeLost` if it is not JSON."""
    try:
        message = msgspec.json.decode(data)
    except UNREADABLE:
        raise OutcomeLost("the server's answer is not valid JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("result"), dict):
        return data
    message["result"] = edit(message["result"])
    return encoded(message)


def as_event(data: bytes, event_id: str = "") -> bytes:
    """Return one message as a server-sent event."""
    head = f"id: {event_id}\n".encode() if event_id else b""
    return head + b"event: message\ndata: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


async def _json(
    exchange: Exchange, answer: Answer, headers: list[Header], edit: Edit | None, recorded: Recorded
) -> bool:  # fmt: skip
    if edit is not None or (answer.length is not None and answer.length <= SMALL):
        body = await answer.read()
        if edit is not None and body:
            body = edited(body, edit)
        await recorded()
        await exchange.reply(answer.status, body, headers=headers)
        return not errored(body)
    await recorded()
    length = [(b"content-length", b"%d" % answer.length)] if answer.length is not None else []
    await exchange.start(answer.status, [(b"content-type", b"application/json"), *length, *headers])
    seen = b""
    try:
        async for chunk in answer.chunks():
            seen = seen + chunk if len(seen) <= SMALL else seen
            await exchange.write(chunk)
    except OutcomeLost:
        return False  # the head is out: all that is left is to end the connection early, which the client can see
    await exchange.write(b"", more=False)
    return len(seen) > SMALL or not errored(seen)


async def _stream(visit: Visit, answer: Answer, headers: list[Header], edit: Edit | None) -> bool:
    exchange, last, resumable = visit.exchange, b"", False
    await exchange.stream(headers, answer.status)
    why = "the server ended the stream without an answer"
    try:
        async for event in answer.events():
            await exchange.write(_passed(event, edit))
            last = event.data or last
            resumable = resumable or (event.id != "" and edit is None)
    except OutcomeLost as error:
        why = error.message
    resumable = resumable and not visit.modern
    answered = _answers(last, visit.message.id)
    if visit.message.request and not resumable and not answered:
        told = {"code": INTERNAL_ERROR, "message": f"{why}: its result is unknown"}
        await exchange.write(as_event(encoded({"jsonrpc": "2.0", "id": visit.message.id, "error": told})))
    await exchange.write(b"", more=False)
    return not errored(last) if answered else resumable


def _passed(event: Event, edit: Edit | None) -> bytes:
    """Return an event as it goes on. An edited one loses its id: a replay by that id would show what was taken out."""
    if edit is None:
        return event.raw
    return as_event(edited(event.data, edit)) if event.data else b": \n\n"


def _answers(data: bytes, rpc_id: RpcId | None) -> bool:
    try:
        tip = _tip(data)
    except UNREADABLE:
        return False
    return tip.id == rpc_id and not tip.method
