"""Guarded servers over HTTP: one message out, its answer back as it comes. No cookies, no redirects, no hidden retries.

A caller's credentials never get here; what the catalogue says about a server's own is added to every message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
from yarl import URL

from broker import __version__
from broker.domain.servers import Authorization
from broker.errors import OutcomeLost, UpstreamUntouched
from broker.outgoing import Reach, refused
from broker.upstream.incoming import HttpAnswer
from broker.upstream.pool import Pool
from broker.upstream.wire import Origin

_OURS = {"accept-encoding": "identity", "user-agent": f"approval-broker/{__version__}"}
_ONCE = _OURS | {"connection": "close"}
# What would frame a message otherwise, or make the connection something else (RFC 9110, section 7.6.1).
_FRAMING = frozenset(("expect", "te", "trailer", "transfer-encoding", "upgrade"))
# What may stand in the first lines of a message (RFC 3986, section 2).
_PLAIN = re.compile(r"[!-~]+")


class Target(msgspec.Struct, frozen=True):
    """One server: its address, its own headers with their secrets looked up, in lower case; the rest as in the catalogue.

    `commands` are headers that have to be asked for.
    """

    url: str
    headers: Mapping[str, str] = {}
    stateless: bool = False
    commands: Mapping[str, str] = {}
    auth: Authorization | None = None
    networks: tuple[str, ...] = ()
    enrolled: bool = False
    tell_caller: bool = False

    @property
    def asks(self) -> bool:
        """Do its credentials, or the broker's word about the caller, have to be asked for?"""
        return self.auth is not None or bool(self.commands) or self.tell_caller


Targets = Callable[[str], Target]
"""The target of a server's name. Raises `UnknownServer`."""


class Credentials(Protocol):
    """Headers that have to be asked for. Both raise `UpstreamUntouched` when they can't be had."""

    async def of(self, server: str, target: Target) -> dict[str, str]: ...

    async def anew(self, server: str, target: Target, used: dict[str, str]) -> dict[str, str] | None:
        """The server did not accept `used`: other ones, None where there are none."""
        ...


class Road(NamedTuple):
    """The way to one address; `path` is what the first line of a message asks for. `networks` are those it was opened with."""

    origin: Origin
    host: str
    path: str
    networks: tuple[str, ...]


class HttpServers:
    """All guarded servers that are reached over HTTP. `connect_within` and `silence` are in seconds.

    `pooled` connections carry what passes through; a release takes a fresh one, since on an idle connection that is just
    being closed nobody could tell whether the call was read. Without `credentials`, those of the targets are not asked for.
    `for_enrolled` are the networks that the operator opens to enrolled servers, beside the public addresses.
    """

    def __init__(
        self, targets: Targets, *, credentials: Credentials | None = None, connect_within: float = 5.0, silence: float = 300.0,
        pooled: bool = True, for_enrolled: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._targets = targets
        self._credentials = credentials
        self._pooled = pooled
        self._for_enrolled = for_enrolled
        self._within = connect_within
        self._silence = silence
        self._reach = Reach()
        self._pool = Pool(self._reach, within=connect_within, kept=pooled)
        # Servers that were enrolled have connections of their own: no private address is open to them but those of
        # `for_enrolled`, whatever their address says.
        self._enrolled = Pool(Reach(always=for_enrolled), within=connect_within, kept=pooled)
        self._roads: dict[tuple[str, bool], Road] = {}

    async def forward(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False
    ) -> HttpAnswer:  # fmt: skip
        """Send one message and return once the head of its answer is here; the gateway's `Forwarder`.

        Raises `UnknownServer`; `UpstreamUntouched` when nothing was sent, `OutcomeLost` when it is not known.
        """
        target = self._targets(server)
        if not target.asks:
            answer = await self._sent(server, verb, target, {**target.headers, **headers}, body, patient)
        else:
            answer = await self._introduced(server, verb, target, headers, body, patient)
        if answer.encoded:
            answer.close()
            raise OutcomeLost(f"the server {server} answered in an encoding that it was not asked for")
        return answer

    async def close(self) -> None:
        await self._pool.close()
        await self._enrolled.close()

    async def _introduced(
        self, server: str, verb: str, target: Target, headers: Mapping[str, str], body: bytes, patient: bool
    ) -> HttpAnswer:
        """Send with credentials that were asked for, and once more if they have grown old: a 401 says that nothing ran."""
        if self._credentials is None:
            raise UpstreamUntouched(f"the broker's credentials for {server} can't be asked for here")
        used = await self._credentials.of(server, target)
        answer = await self._sent(server, verb, target, {**used, **headers}, body, patient)
        if answer.status != 401:
            return answer
        answer.close()
        fresh = await self._credentials.anew(server, target, used)
        if fresh is None:
            raise UpstreamUntouched("the server does not accept the broker's credentials")
        return await self._sent(server, verb, target, {**fresh, **headers}, body, patient)

    async def _sent(
        self, server: str, verb: str, target: Target, headers: Mapping[str, str], body: bytes, patient: bool
    ) -> HttpAnswer:
        try:
            road = self._road(target)
            message = message_of(verb, road, headers, body, kept=self._pooled)
        except ValueError as error:
            raise UpstreamUntouched(f"the message can't be sent to {server} ({type(error).__name__})") from None
        pool = self._enrolled if target.enrolled else self._pool
        # What opens a stream or ends a session takes a fresh connection: it is rare, and an idle one might just be closing.
        wire = pool.idle(road.origin) if verb == "POST" else None
        if wire is None:
            try:
                wire = await pool.fresh(road.origin)
            except (OSError, TimeoutError) as error:
                why = refused(error) or type(error).__name__
                raise UpstreamUntouched(f"the server {server} can't be reached ({why})") from None
        return await wire.ask(message, None if patient else self._silence)

    def _road(self, target: Target) -> Road:
        known = self._roads.get((target.url, target.enrolled))
        if known is None or known.networks != target.networks:
            if not target.enrolled:
                self._reach.open(target.url, target.networks)
            known = self._roads[target.url, target.enrolled] = road_to(target.url, target.networks)
        return known


def road_to(address: str, networks: tuple[str, ...] = ()) -> Road:
    """Return the way to an address. Raises `ValueError` for what is none over HTTP."""
    url = URL(address, encoded=True)
    if url.scheme not in ("http", "https") or not url.raw_host or not url.port:
        raise ValueError("this is no address over HTTP")
    host, path = url.host_port_subcomponent or "", url.raw_path_qs
    if not _PLAIN.fullmatch(host + path):
        raise ValueError("an address is written in printable ASCII, anything else in it percent-encoded")
    return Road(Origin(url.scheme == "https", url.raw_host, url.port), host, path, networks)


def message_of(verb: str, road: Road, headers: Mapping[str, str], body: bytes, *, kept: bool) -> bytes:
    """Return a whole message. Raises `ValueError` for headers that would be more than one, or would frame it otherwise."""
    if not _FRAMING.isdisjoint(headers):
        raise ValueError("these headers are the broker's to make")
    told = {"host": road.host, **headers, **(_OURS if kept else _ONCE)}
    if body or verb != "GET" or "content-length" in headers:
        told["content-length"] = str(len(body))
    lines = "\r\n".join([f"{name}: {value}" for name, value in told.items()])
    if lines.count("\n") != len(told) - 1 or lines.count("\r") != len(told) - 1 or "\0" in lines:
        raise ValueError("a header holds the end of a line")
    return f"{verb} {road.path} HTTP/1.1\r\n{lines}\r\n\r\n".encode() + body
