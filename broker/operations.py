"""What operators' machines ask: is it alive, is it ready, its figures, its public keys. No secret, no person, no argument."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from broker.serving import Receive, Scope, Send


class Operations:
    """The ASGI app for `/healthz`, `/readyz`, `/metrics` and `/.well-known/jwks.json`."""

    def __init__(
        self, *, unready: Callable[[], Awaitable[list[str]]], metrics: Callable[[], Awaitable[bytes]], jwks: dict[str, Any]
    ) -> None:  # fmt: skip
        """`unready` returns what keeps the broker from serving, an empty list when it may be sent calls."""
        self._unready = unready
        self._metrics = metrics
        self._jwks = json.dumps(jwks).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/healthz":
                await _reply(send, 200, b'{"status":"alive"}')
            case "/readyz":
                why = await self._unready()
                body = msgspec.json.encode({"status": "not ready", "why": why} if why else {"status": "ready"})
                await _reply(send, 503 if why else 200, body)
            case "/metrics":
                await _reply(send, 200, await self._metrics(), b"text/plain; version=0.0.4; charset=utf-8")
            case "/.well-known/jwks.json":
                await _reply(send, 200, self._jwks, b"application/jwk-set+json")
            case _:
                await _reply(send, 404, b'{"status":"not found"}')


async def _reply(send: Send, status: int, body: bytes, media: bytes = b"application/json") -> None:
    headers = [
        (b"content-type", media),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
