"""The head of a request: the headers that mean something here, each at most once, and whether the host may be spoken to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from broker.domain.peers import Peer
from broker.errors import Forbidden, Malformed
from broker.gateway.envelope import HEADER_MISMATCH, INVALID_REQUEST

_PARAMETER = b"mcp-param-"
# What tells that something stands between the caller and the broker.
_RELAYED = frozenset((b"forwarded", b"via", b"x-real-ip"))
_FORWARDED = b"x-forwarded-"
# Blanks around a value are no part of it (RFC 9110, section 5.5), and the HTTP parser leaves the ones at its end.
_BLANKS = " \t"
_READ = {
    b"authorization": "authorization",
    b"host": "host",
    b"origin": "origin",
    b"content-type": "media",
    b"accept": "accept",
    b"mcp-protocol-version": "version",
    b"mcp-method": "method",
    b"mcp-name": "name",
    b"mcp-session-id": "session",
    b"last-event-id": "last_event",
    b"traceparent": "trace",
    b"x-forwarded-user": "forwarded_user",
    b"x-forwarded-groups": "forwarded_groups",
    b"x-forwarded-client-cert": "forwarded_certificate",
}
# Those of them by which a proxy vouches.
_VOUCHING = frozenset(("forwarded_user", "forwarded_groups", "forwarded_certificate"))


class Head(msgspec.Struct):
    """What a request's headers say. None or empty: the header is missing. `parameters` are the `mcp-param-…` headers."""

    authorization: str | None = None
    host: str = ""
    origin: str = ""
    media: str = ""
    accept: str = ""
    version: str = ""
    method: str | None = None
    name: str | None = None
    session: str = ""
    last_event: str = ""
    trace: str = ""
    forwarded_user: str = ""
    forwarded_groups: str = ""
    forwarded_certificate: str = ""
    relayed: bool = False
    parameters: dict[str, str] = {}

    @property
    def takes_stream(self) -> bool:
        return "text/event-stream" in self.accept or "*/*" in self.accept

    def peer(self, client: tuple[str, int] | None) -> Peer:
        """Return who is at the other end; `client` is ASGI's word for its address."""
        address = client[0] if client else ""
        direct = not self.relayed and not self.origin
        return Peer(address, self.forwarded_user, self.forwarded_groups, self.forwarded_certificate, direct)

    def onward(self, session: str) -> dict[str, str]:
        """Return the headers that go upstream: MCP's own and nothing else, never a credential. Without the parameters."""
        headers = {"accept": self.accept or "application/json, text/event-stream"}
        if self.version:
            headers["mcp-protocol-version"] = self.version
        if self.method is not None:
            headers["mcp-method"] = self.method
        if self.name is not None:
            headers["mcp-name"] = self.name
        if session:
            headers["mcp-session-id"] = session
        if self.last_event:
            headers["last-event-id"] = self.last_event
        return headers


def head_of(scope: Mapping[str, Any]) -> Head:
    """Return the head of an ASGI request. Raises `Malformed` for a header that came twice and could be read in two ways."""
    found: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    relayed = False
    for key, value in scope["headers"]:
        name, known = _READ.get(key), found
        if name is None:
            relayed = relayed or key in _RELAYED or key.startswith(_FORWARDED)
            if not key.startswith(_PARAMETER):
                continue
            name, known = key.decode("latin-1"), parameters
        if name in known:
            raise Malformed(f"the header {key.decode('latin-1')} came twice", rpc=HEADER_MISMATCH)
        known[name] = value.decode("latin-1").strip(_BLANKS)
    return Head(**found, parameters=parameters, relayed=relayed or not _VOUCHING.isdisjoint(found))


def check_host(head: Head, hosts: Collection[str]) -> None:
    """Raises `Forbidden` for a Host or Origin that is not ours: a page elsewhere must not speak to a broker on loopback."""
    if _name(head.host) not in hosts:
        raise Forbidden("this host name is not served here", status=403)
    if head.origin and _name(head.origin.partition("://")[2]) not in hosts:
        raise Forbidden("pages of this origin may not speak to the broker", status=403)


def check_media(head: Head) -> None:
    """Raises `Malformed` unless the body is said to be JSON: a form of another site could send anything else."""
    if head.media.partition(";")[0].strip().lower() != "application/json":
        raise Malformed("the content type has to be application/json", rpc=INVALID_REQUEST, status=415)


def _name(authority: str) -> str:
    """Return the host of `host:port` in lower case, an IPv6 address without its brackets."""
    end = authority.rfind(":")
    if end > authority.rfind("]"):
        authority = authority[:end]
    return authority.lower().strip("[]")
