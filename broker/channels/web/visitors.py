"""Who is there: session cookies, and what a browser may be talked into by another site.

Cookies are only read here. A page that changes something asks `posted`, which refuses a form without the session's token.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request
from litestar.datastructures import Cookie
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from broker.channels.web.intruders import Intruders
from broker.channels.web.ports import Sessions, SignedIn
from broker.channels.web.proxy import Proxy, Vouched
from broker.errors import Forbidden, Malformed, Unauthenticated

AnyRequest = Request[Any, Any, Any]

PROXY = "a proxy"
"""How a session began that a trusted proxy vouches for. No identity provider can have this name."""

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]+)?", re.ASCII)
_RELAYED = frozenset(("forwarded", "via", "x-real-ip"))
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class SignInNeeded(Unauthenticated):
    """Nobody is signed in: a page sends the visitor to the sign-in, and back to `after`."""

    def __init__(self, after: str = "/") -> None:
        super().__init__("sign in first")
        self.after = after


class CookieJar:
    """The session cookie's name and marks. `__Host-` and Secure wherever people come over https."""

    def __init__(self, public_url: str) -> None:
        self.https = public_url.startswith("https://")
        self.name = "__Host-broker" if self.https else "broker"

    def read(self, request: AnyRequest) -> str:
        return str(request.cookies.get(self.name, ""))

    def set(self, secret: str) -> Cookie:
        return Cookie(key=self.name, value=secret, path="/", secure=self.https, httponly=True, samesite="lax")

    def clear(self) -> Cookie:
        return Cookie(key=self.name, value="", path="/", max_age=0, secure=self.https, httponly=True, samesite="lax")


class Visitors(ASGIMiddleware):
    """Finds the session of a request, and refuses what another site made the browser send."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = "anonymous"

    def __init__(self, sessions: Sessions, proxy: Proxy, jar: CookieJar, public_url: str) -> None:
        self._sessions = sessions
        self._proxy = proxy
        self._jar = jar
        self._hosts = _LOOPBACK | ({urlsplit(public_url).hostname or ""} - {""})

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        request: AnyRequest = Request(scope, receive, send)
        self._right_host(request)
        if request.method not in _SAFE:
            same_site(request)
        vouched = self._proxy.look(address_of(request), lambda name: request.headers.getall(name, []))
        scope["state"]["vouched"] = vouched
        found = scope["state"]["visitor"] = await self._found(self._jar.read(request), vouched)
        if found is None:
            await intruders_of(request).keep_out((bearer_of(request), self._jar.read(request)), request.url.path)
        await next_app(scope, receive, send)

    async def _found(self, secret: str, vouched: Vouched | None) -> SignedIn | None:
        """A session that a proxy began is good while the proxy still says the same, and only through it."""
        found = await self._sessions.find(secret) if secret else None
        if found is None or found.how != PROXY:
            return found
        same = vouched is not None and (vouched.person, vouched.groups) == (found.person, found.groups)
        return found if same else None

    def _right_host(self, request: AnyRequest) -> None:
        """A name that somebody else points at us (DNS rebinding) would make their page ours."""
        if _hostname(request) not in self._hosts:
            raise Forbidden("this broker is not known under this name: set BROKER_PUBLIC_URL to the address that people use")


def intruders_of(request: AnyRequest) -> Intruders:
    found: Intruders = request.app.state["web"].intruders
    return found


def bearer_of(request: AnyRequest) -> str:
    """Return the token of an `Authorization` header, empty where there is none."""
    return request.headers.get("authorization", "").partition(" ")[2].strip()


def same_site(request: AnyRequest) -> None:
    """Refuse what a page of another origin sent: by Fetch Metadata, and by Origin. Raises `Forbidden`.

    A client that sends neither is no browser: nobody can make it act for somebody else.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    if site not in ("same-origin", "none") or foreign:
        raise Forbidden("another site sent this form: it was not accepted")


def visitor(request: AnyRequest) -> SignedIn:
    """Return who is signed in. Raises `SignInNeeded`."""
    found: SignedIn | None = request.scope["state"].get("visitor")
    if found is None:
        raise SignInNeeded(request.url.path if request.method == "GET" else "/")
    return found


async def fields(request: AnyRequest) -> dict[str, str]:
    """Return the text fields of a form. Raises `Malformed` for anything else."""
    try:
        form = await request.form()
    except ValueError:
        raise Malformed("the form can't be read") from None
    return {name: value for name, value in form.items() if isinstance(value, str)}


async def posted(request: AnyRequest) -> tuple[SignedIn, dict[str, str]]:
    """Return who sent a form, and its fields. Raises `SignInNeeded`, and `Forbidden` without the session's own token."""
    form = await fields(request)
    if request.scope["state"].get("visitor") is None:
        await intruders_of(request).keep_out(form.values(), request.url.path)
    who = visitor(request)
    if not who.posted(form.get("csrf", "")):
        raise Forbidden("this form belongs to another session: load the page again")
    return who, form


def vouched(request: AnyRequest) -> Vouched | None:
    """Return whom a trusted proxy names."""
    found: Vouched | None = request.scope["state"].get("vouched")
    return found


def address_of(request: AnyRequest) -> str:
    return request.client.host if request.client else ""


def on_loopback(request: AnyRequest) -> bool:
    """Is the visitor on this very machine, with no proxy between, and does it say so in the address too?"""
    client = request.scope.get("client")
    if client is None or any(name in _RELAYED or name.startswith("x-forwarded-") for name in request.headers):
        return False
    try:
        return ip_address(client[0]).is_loopback and _hostname(request) in _LOOPBACK
    except ValueError:
        return False


def origin_of(request: AnyRequest, public_url: str) -> str:
    """Return the origin under which the visitor's browser knows us."""
    parts = urlsplit(public_url)
    if parts.hostname and _hostname(request) == parts.hostname:
        return f"{parts.scheme}://{parts.netloc}"
    return f"http://{request.headers.get('host', '').lower()}"


def named_address(origin: str) -> str:
    """Return the same origin under a name, where it is a bare address, else an empty text: passkeys are bound to names."""
    parts = urlsplit(origin)
    port = f":{parts.port}" if parts.port else ""
    return f"http://localhost{port}" if parts.hostname in ("127.0.0.1", "::1") else ""


def _hostname(request: AnyRequest) -> str:
    found = _HOST.fullmatch(request.headers.get("host", ""))
    return found[1].strip("[]").lower() if found else ""


def safe_path(path: str) -> str:
    """Return a path of our own to go on to, `/` for anything that could lead elsewhere."""
    parts = urlsplit(path)
    inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if inside and not parts.scheme and not parts.netloc else "/"


def sign_in_path(after: str, *, proxied: bool = False) -> str:
    """Return where to sign in; `proxied`: somebody whom a proxy has signed in already needs no page for it."""
    path = "/sign-in/proxy" if proxied else "/sign-in"
    return path if after == "/" else f"{path}?after={quote(after)}"
