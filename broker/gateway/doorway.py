"""The door: who comes in, to which server, and what is written down of those who find it closed.

A server of files whose `discovery` is public tells anybody what it offers: nobody in particular may list its tools, and do
nothing else. What is listed then is what the rules would let a caller without any name do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from broker.approvals.limits import Seldom
from broker.domain.calls import Caller
from broker.domain.events import Noted
from broker.domain.servers import Server
from broker.errors import Forbidden, PolicyInvalid, StoreUnavailable, Unauthenticated, UnknownServer
from broker.gateway.heads import Head
from broker.gateway.ports import Authenticate, Barred, Catalogue, Note
from broker.gateway.visits import Visit

ANYBODY = Caller()
"""Whoever brings no credential at all."""

# What anybody may send to a server whose discovery is public.
_DISCOVERY = frozenset(("server/discover", "tools/list", "initialize", "notifications/initialized", "ping"))

# One agent's tries that are written down in a minute, each server once.
MOST_TRIES = 20
_LONGEST = 100


class Doorway:
    """`note` writes an audit event."""

    def __init__(
        self, authenticate: Authenticate, catalogue: Catalogue, barred: Barred, note: Note, clock: Callable[[], datetime]
    ) -> None:  # fmt: skip
        self._authenticate = authenticate
        self._catalogue = catalogue
        self._barred = barred
        self._note = note
        self._clock = clock
        self._seldom = Seldom(MOST_TRIES)

    async def caller(self, head: Head, client: tuple[str, int] | None, name: str) -> Caller:
        """Return who sends something to the server `name`, empty for that of all.

        Raises `Unauthenticated`, `StoreUnavailable`.
        """
        try:
            return await self._authenticate(head.authorization, head.peer(client))
        except Unauthenticated:
            if head.authorization is None and self._public(name):
                return ANYBODY
            raise

    def server(self, name: str, caller: Caller) -> Server:
        """Return a server that this caller may speak to. Raises `UnknownServer`, `Forbidden`, `Unauthenticated`."""
        server = self._catalogue(name)
        if server is None or not caller.may_use(name):
            raise UnknownServer("there is no such server")
        if why := self._barred(server, caller):
            raise Unauthenticated("a bearer token is needed") if _nameless(caller) else Forbidden(why)
        return server

    async def entered(self, name: str, caller: Caller) -> Server:
        """As `server`; where it is closed, that is written down."""
        try:
            return self.server(name, caller)
        except (UnknownServer, Forbidden) as error:
            await self.strayed(name, caller, error.message)
            raise

    def check(self, visit: Visit) -> None:
        """Raises `Unauthenticated` for what only those may send who are known."""
        method = visit.exchange.scope["method"]
        if not _nameless(visit.caller) or (method == "DELETE" and visit.session is not None):
            return
        if method != "POST" or visit.message.method not in _DISCOVERY:
            raise Unauthenticated("a bearer token is needed")

    async def strayed(self, name: str, caller: Caller, why: str) -> None:
        """Write down that a caller found no way to a server, each a few times a minute."""
        now = self._clock()
        if not self._seldom.counts(caller.principal, name, now):
            return
        try:
            who = caller.user or caller.agent or caller.workload
            fields = {"server": name[:_LONGEST], "agent": caller.agent, "workload": caller.workload, "why": why[:_LONGEST]}
            await self._note(Noted(at=now, what="server.closed", who=who, fields=fields))
        except StoreUnavailable:
            return  # nothing was let through, whatever can be written

    def _public(self, name: str) -> bool:
        try:
            server = self._catalogue(name) if name else None
        except PolicyInvalid:
            return False
        return server is not None and server.discovery == "public"


def _nameless(caller: Caller) -> bool:
    """Is nobody known behind it? What a client says of itself is no name."""
    return not (caller.agent or caller.user or caller.workload or caller.surface or caller.conversation)
