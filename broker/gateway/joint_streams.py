"""Streams of servers at the address of all: what a server asks its client goes there under an id that names the server."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import msgspec

from broker.errors import UNREADABLE, UpstreamError
from broker.gateway.envelope import RpcId, encoded
from broker.gateway.exchange import Kept
from broker.gateway.passing import as_event
from broker.gateway.sessions import EVENT_PREFIX

PREFIX = "joint."


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Whose id it was, before it went to the client."""

    server: str
    id: RpcId


def answer_of(kept: Kept, rpc_id: RpcId) -> dict[str, Any]:
    """Return the JSON-RPC answer in what was kept, from a stream too. Raises an `UpstreamError` where there is none."""
    body = bytes(kept.body)
    streamed = kept.media.startswith(b"text/event-stream")
    for text in _data(body) if streamed else [body]:
        try:
            message = msgspec.json.decode(text)
        except UNREADABLE:
            continue
        if isinstance(message, dict) and message.get("id") == rpc_id and "method" not in message:
            return message
    raise UpstreamError(f"it gave no answer (HTTP {kept.status})", status=kept.status)


def marked(server: str, rpc_id: RpcId) -> str:
    """Return the id under which a client gets a server's own request, or event."""
    return PREFIX + urlsafe_b64encode(msgspec.json.encode(Mark(server, rpc_id))).rstrip(b"=").decode()


def mark_of(text: Any) -> Mark | None:
    """Return what `marked` hid; None for any other id. It proves nothing: a client may name any server and id."""
    if not isinstance(text, str) or not text.startswith(PREFIX):
        return None
    packed = text.removeprefix(PREFIX)
    try:
        return msgspec.json.decode(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), type=Mark)
    except (ValueError, msgspec.MsgspecError):
        return None


def rewriting(server: str, ours: Callable[[Any], bool]) -> Callable[[bytes], bytes]:
    """Return what marks event ids and requests of one server's stream; those that are `ours` stay."""

    def one(event: bytes) -> bytes:
        lines = event.splitlines()
        ids = [line[3:].strip().decode("utf-8", "replace") for line in lines if line.startswith(b"id:")]
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        event_id = ids[-1] if ids else ""
        if event_id and not event_id.startswith(EVENT_PREFIX):
            event_id = marked(server, event_id)
        asked = _request(data)
        if asked is not None and not ours(asked["id"]):
            data = encoded({**asked, "id": marked(server, asked["id"])})
        elif not event_id or event_id == ids[-1]:
            return event + b"\n\n"
        return as_event(data, event_id)

    def events(raw: bytes) -> bytes:
        whole = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return b"".join(one(event) for event in whole.split(b"\n\n") if event)

    return events


def _request(data: bytes) -> dict[str, Any] | None:
    if b'"method"' not in data or b'"id"' not in data:
        return None
    try:
        message = msgspec.json.decode(data)
    except UNREADABLE:
        return None
    asks = isinstance(message, dict) and "method" in message and isinstance(message.get("id"), int | str)
    return message if asks else None


def _data(stream: bytes) -> list[bytes]:
    whole = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events = (event.splitlines() for event in whole.split(b"\n\n"))
    return [b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:")) for lines in events]
