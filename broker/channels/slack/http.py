"""Slack over HTTP: `/slack/interactions`, `/slack/events` and `/slack/commands`, as an ASGI application.

The order is fixed: size, signature over the raw bytes, replay, parsing, keeping; then the acknowledgement, and the work later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, assert_never

import msgspec
import structlog

from broker.channels.slack.arrivals import Arrival, command, complaint, encode, event, form_of, interaction
from broker.channels.slack.ports import Arrivals
from broker.channels.slack.signature import verified
from broker.errors import Malformed, StoreUnavailable

log = structlog.get_logger()

LIMIT = 1 << 20
PATHS = ("/slack/interactions", "/slack/events", "/slack/commands")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"


class SlackHttp:
    """Takes what Slack sends. `arrived` is called after something was kept, so that the work starts at once."""

    def __init__(self, secret: str, arrivals: Arrivals, *, arrived: Callable[[], None], now: Callable[[], float]) -> None:
        self._secret = secret.encode()
        self._arrivals = arrivals
        self._arrived = arrived
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope, receive)
        headers = [(b"content-type", answer.kind.encode()), (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path = scope["path"]
        if path not in PATHS:
            return Answer(404, b"not found")
        if scope["method"] != "POST":
            return Answer(405, b"only POST")
        body = await _body(receive)
        if body is None:
            return Answer(413, b"too large")
        return await self._judged(path, _heads(scope), body)

    async def _judged(self, path: str, heads: Mapping[bytes, bytes], body: bytes) -> Answer:
        timestamp, signature = heads.get(b"x-slack-request-timestamp", b""), heads.get(b"x-slack-signature", b"")
        if not verified(self._secret, timestamp, signature, body, self._now()):
            log.warning("slack.refused", path=path, why="signature")
            return Answer(401, b"not signed by Slack")
        try:
            told = _told(path, body)
        except Malformed:
            log.warning("slack.refused", path=path, why="malformed")
            return Answer(400, b"malformed")
        if isinstance(told, str):
            return Answer(200, told.encode())
        if (wrong := complaint(told)) is not None:
            return Answer(200, msgspec.json.encode(wrong), "application/json")
        return await self._kept(told, signature.decode("ascii"))

    async def _kept(self, told: Arrival | None, mark: str) -> Answer:
        try:
            if told is not None and not await self._arrivals.put(encode(told), mark):
                return Answer(401, b"seen before")
        except StoreUnavailable:
            return Answer(503, b"the broker can't keep this now")
        self._arrived()
        return Answer(200)


def _told(path: str, body: bytes) -> Arrival | str | None:
    """Return what was said, a string to be sent back, or None for what is none of ours. Raises `Malformed`."""
    match path:
        case "/slack/events":
            return event(body)
        case "/slack/interactions":
            fields = form_of(body)
            return "" if "ssl_check" in fields else interaction(fields.get("payload", "").encode())
        case "/slack/commands":
            fields = form_of(body)
            return "" if "ssl_check" in fields else command(fields)
        case _:
            assert_never(path)  # type: ignore[arg-type]  # `PATHS` lets no other pass


def _heads(scope: Scope) -> dict[bytes, bytes]:
    """The last of each header: one that comes twice can't be what was signed."""
    return dict(scope["headers"])


async def _body(receive: Receive) -> bytes | None:
    """Return the body, None when it is larger than `LIMIT` or the sender left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > LIMIT:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
