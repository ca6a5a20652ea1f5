"""Security headers on every answer of the web, 404s and errors included, and the nonce that its scripts carry.

An ASGI wrapper around the whole web app, since a framework's own middleware does not see answers that no route gave.
"""

from __future__ import annotations

import secrets

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_CSP = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types htmx worker"
)

_STEADY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"x-frame-options", b"DENY"),
)


_SHARED = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
)
"""The registry's reads are for clients in browsers as well (VS Code, GitHub Copilot). No cookie opens them."""


def secured(app: ASGIApp, *, https: bool) -> ASGIApp:
    """Return `app` with headers on every answer; `https` adds HSTS. The nonce lies in `scope["state"]["nonce"]`."""
    steady = [*_STEADY, (b"strict-transport-security", b"max-age=31536000")] if https else [*_STEADY]

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(18)
        scope["state"] = {**scope.get("state", {}), "nonce": nonce}
        shared = _SHARED if scope["path"].startswith("/v0.1/servers") else ()
        policy = (b"content-security-policy", _CSP.format(nonce=nonce).encode())

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                cached = any(name.lower() == b"cache-control" for name, _ in own)
                keep = [] if cached else [(b"cache-control", b"no-store")]
                message["headers"] = [*own, policy, *steady, *keep, *shared]
            await send(message)

        await app(scope, receive, with_headers)

    return outer
