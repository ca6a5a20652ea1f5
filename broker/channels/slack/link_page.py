"""The page where a person, signed in on the web, connects a Slack account: `/slack/link/CODE`. It says which account that is."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol
from urllib.parse import quote

from broker.channels.slack.arrivals import form_of
from broker.channels.slack.linking import Account, Linking
from broker.domain.text import visible
from broker.errors import Malformed, StoreUnavailable

PREFIX = "/slack/link/"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1rem;color-scheme:light dark}"
    "button{font:inherit;padding:.6rem 1.2rem;min-height:44px}strong{overflow-wrap:anywhere}"
)
_CSP = (
    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)


class Visitor(Protocol):
    """Somebody with a good session on the web."""

    @property
    def person(self) -> str: ...
    @property
    def csrf(self) -> str: ...
    def posted(self, token: str) -> bool: ...


Sessions = Callable[[str], Awaitable[Visitor | None]]
"""Finds a session by the secret of its cookie."""

Noted = Callable[[str, Account], Awaitable[None]]
"""Makes durable in the audit which account was connected with whom."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class LinkPage:
    """An ASGI application. A GET looks, a POST with the session's own token connects: once."""

    def __init__(self, linking: Linking, sessions: Sessions, noted: Noted, *, cookie: str) -> None:
        self._linking = linking
        self._sessions = sessions
        self._noted = noted
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, words = await self._answer(scope, receive)
        except StoreUnavailable:
            status, words = 503, "<p>The broker can't do this right now. Try again in a moment.</p>"
        body = _page(words).encode("utf-8", "replace")
        heads = {
            "content-type": "text/html; charset=utf-8", "content-length": str(len(body)), "content-security-policy": _CSP,
            "cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff",
        }  # fmt: skip
        headers = [(name.encode(), value.encode()) for name, value in heads.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        code = scope["path"].removeprefix(PREFIX)
        visitor = await self._visitor(scope)
        if visitor is None:
            after = quote(scope["path"] if scope["method"] == "GET" else "/", safe="")
            return 401, f'<p>Sign in first, then open the link again.</p><p><a href="/sign-in?after={after}">Sign in</a></p>'
        if scope["method"] == "POST":
            return await self._connected(code, visitor, await _form(receive))
        if scope["method"] != "GET":
            return 405, "<p>Only GET and POST.</p>"
        account = await self._linking.look(code)
        return (200, _question(account, visitor)) if account is not None else (410, _OVER)

    async def _connected(self, code: str, visitor: Visitor, form: dict[str, str]) -> tuple[int, str]:
        if not visitor.posted(form.get("csrf", "")):
            return 403, "<p>This form was not accepted. Open the link again.</p>"
        account = await self._linking.confirm(code, visitor.person)
        if account is None:
            return 410, _OVER
        await self._noted(visitor.person, account)
        return 200, f"<p>Done: <strong>{_shown(account.name)}</strong> decides as <strong>{_shown(visitor.person)}</strong>.</p>"

    async def _visitor(self, scope: Scope) -> Visitor | None:
        told = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
        try:
            morsel = SimpleCookie(told).get(self._cookie)
        except CookieError:
            return None
        return await self._sessions(morsel.value) if morsel is not None and morsel.value else None


_OVER = "<p>This link was used, or its ten minutes are over. Type <code>/approvals link</code> in Slack for another.</p>"


def _question(account: Account, visitor: Visitor) -> str:
    return (
        f"<p>May the Slack account <strong>{_shown(account.name)}</strong> ({_shown(account.user)}) approve and reject as "
        f"<strong>{_shown(visitor.person)}</strong>?</p><p>Go on only if this is your own account. If somebody sent you this "
        f'link, close it.</p><form method="post"><input type="hidden" name="csrf" value="{escape(visitor.csrf)}">'
        "<button>Yes, this account is mine</button></form>"
    )


def _shown(text: str) -> str:
    return escape(visible(text, keep=""))


def _page(words: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Connect Slack</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><main><h1>Connect Slack</h1>{words}</main></body></html>"
    )


async def _form(receive: Receive) -> dict[str, str]:
    """The form's fields, none where there is none that can be read."""
    message = await receive()
    try:
        return form_of(message.get("body", b"")[:4_096])
    except Malformed:
        return {}
