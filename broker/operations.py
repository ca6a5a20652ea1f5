"""What operators' machines ask: is it alive, is it ready, its figures, its public keys. No secret, no person, no argument."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from broker.agreement import Agreement
from broker.domain.requests import RequestState
from broker.errors import PolicyInvalid, StoreUnavailable
from broker.insights.usage import month_of
from broker.metrics import Metrics
from broker.reload import PolicyFolder
from broker.serving import Receive, Scope, Send
from broker.store.open import Store

RESOURCE = "/.well-known/oauth-protected-resource"
_ENDPOINT = re.compile(r"/mcp/[A-Za-z0-9._-]{1,128}", re.ASCII)


class Operations:
    """The ASGI app for `/healthz`, `/readyz`, `/metrics` and `/.well-known/*`."""

    def __init__(
        self, *, unready: Callable[[], Awaitable[list[str]]], metrics: Callable[[], Awaitable[bytes]], jwks: dict[str, Any],
        base: str = "", issuers: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`unready` returns what keeps the broker from serving, an empty list when it may be sent calls.

        `base` is the public address and `issuers` those whose access tokens are taken: clients find them by RFC 9728.
        """
        self._unready = unready
        self._metrics = metrics
        self._jwks = json.dumps(jwks).encode()
        self._base = base.rstrip("/")
        self._issuers = issuers

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
            case path if self._issuers and _described(path):
                await _reply(send, 200, self._resource(path.removeprefix(RESOURCE)))
            case _:
                await _reply(send, 404, b'{"status":"not found"}')

    def _resource(self, path: str) -> bytes:
        """Protected resource metadata (RFC 9728, section 3.2) of one endpoint, or of all."""
        told = {
            "resource": f"{self._base}{path or '/mcp'}",
            "authorization_servers": list(self._issuers),
            "bearer_methods_supported": ["header"],
            "resource_name": "approval broker",
        }
        return msgspec.json.encode(told)


def _described(path: str) -> bool:
    """Is it where the metadata of an endpoint lies? Whatever else is asked for is no resource here."""
    endpoint = path.removeprefix(RESOURCE)
    return path.startswith(RESOURCE) and (endpoint in ("", "/mcp") or _ENDPOINT.fullmatch(endpoint) is not None)


def readiness(
    store: Store, policies: PolicyFolder, agreement: Agreement, stopping: asyncio.Event
) -> Callable[[], Awaitable[list[str]]]:
    """Return what says why a broker must not be sent calls."""

    async def unready() -> list[str]:
        why = ["the broker is stopping"] if stopping.is_set() else []
        why += [] if store.health.up else ["the store does not answer"]
        try:
            policies.current  # noqa: B018 - asked for what it raises
        except PolicyInvalid:
            why.append("there is no good policy")
        if agreement.missing:
            why.append(f"other brokers run the policy {agreement.missing}, which is not on this one")
        return why

    return unready


def scraped(
    metrics: Metrics, store: Store, policies: PolicyFolder, sizes: Callable[[], tuple[int, int]]
) -> Callable[[], Awaitable[bytes]]:
    """Return what `/metrics` is made of, at the moment that it is asked for. `sizes` are how many servers and tools there are."""

    async def text() -> bytes:
        pending = None
        with suppress(StoreUnavailable):
            pending = await store.requests.count(RequestState.PENDING)
            metrics.delivering(*await store.outbox.depth())
            metrics.used(await store.usage.month(month_of(store.clock().date())))
        metrics.sizes(*sizes())
        return metrics.text(store_up=store.health.up, problems=len(policies.problems), pending=pending)

    return text


def challenge(base: str, issuers: Sequence[str]) -> Callable[[str, bool], str]:
    """Return what says in `WWW-Authenticate` why a path is closed (RFC 6750, section 3; RFC 9728, section 5.1).

    Each endpoint has metadata of its own, so that a client asks for a token that is good for this server alone.
    """

    def told(path: str, brought: bool) -> str:
        endpoint = path if _ENDPOINT.fullmatch(path) else "/mcp"
        said = ['error="invalid_token"'] if brought else []
        said += [f'resource_metadata="{base.rstrip("/")}{RESOURCE}{endpoint}"'] if issuers else []
        return f"Bearer {', '.join(said)}".strip()

    return told


async def _reply(send: Send, status: int, body: bytes, media: bytes = b"application/json") -> None:
    headers = [
        (b"content-type", media),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"access-control-allow-origin", b"*"),  # nothing here is anybody's own; browser clients look for metadata
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
