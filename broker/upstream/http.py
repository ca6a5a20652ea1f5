"""Guarded servers over HTTP: one message out, its answer back as it comes. No cookies, no redirects, no hidden retries.

A caller's credentials never get here; what the catalogue says about a server's own is added to every message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from broker import __version__
from broker.domain.servers import Authorization
from broker.errors import OutcomeLost, UpstreamUntouched
from broker.outgoing import Connector, Reach, refused
from broker.upstream.sse import Cutter, Event

# An answer that has to be read whole may be this large; what only passes through has no limit.
LARGEST_BODY = 64 << 20
_OURS = {"accept-encoding": "identity", "user-agent": f"approval-broker/{__version__}"}
# Idle connections are kept for less than the 5 s after which many servers close theirs: a message that meets a closing
# connection is a message with an unknown end.
_IDLE = 4.0


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


class HttpAnswer:
    """An answer whose head is here; it fits the gateway's `Answer`."""

    __slots__ = ("_response", "media", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def session(self) -> str:
        return self._response.headers.get("Mcp-Session-Id", "")

    @property
    def allow(self) -> str:
        return self._response.headers.get("Allow", "")

    @property
    def length(self) -> int | None:
        return self._response.content_length

    async def read(self) -> bytes:
        """Return the whole body. Raises `OutcomeLost` when it breaks off, or is larger than `LARGEST_BODY`."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise OutcomeLost("the server's answer is too large to be read")
        return bytes(body)

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error) from None

    async def events(self) -> AsyncIterator[Event]:
        cutter = Cutter()
        async for chunk in self.chunks():
            for event in cutter.feed(chunk):
                yield event

    def close(self) -> None:
        """Give up what has not been read; a connection whose answer is whole went back to the pool before."""
        self._response.close()


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
        self._within = aiohttp.ClientTimeout(total=None, sock_connect=connect_within, sock_read=silence)
        self._patient = aiohttp.ClientTimeout(total=None, sock_connect=connect_within, sock_read=None)
        self._session: aiohttp.ClientSession | None = None
        self._enrolled: aiohttp.ClientSession | None = None
        self._urls: dict[tuple[str, bool], tuple[tuple[str, ...], URL]] = {}
        self._reach = Reach()

    async def forward(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False
    ) -> HttpAnswer:  # fmt: skip
        """Send one message and return once the head of its answer is here; the gateway's `Forwarder`.

        Raises `UnknownServer`; `UpstreamUntouched` when nothing was sent, `OutcomeLost` when it is not known.
        """
        target = self._targets(server)
        if not target.asks:
            response = await self._sent(server, verb, target, {**target.headers, **headers, **_OURS}, body, patient)
        else:
            response = await self._introduced(server, verb, target, headers, body, patient)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise OutcomeLost(f"the server {server} answered in an encoding that it was not asked for")
        return HttpAnswer(response)

    async def close(self) -> None:
        for session in (self._session, self._enrolled):
            if session is not None:
                await session.close()
        self._session = self._enrolled = None

    async def _introduced(
        self, server: str, verb: str, target: Target, headers: Mapping[str, str], body: bytes, patient: bool
    ) -> aiohttp.ClientResponse:
        """Send with credentials that were asked for, and once more if they have grown old: a 401 says that nothing ran."""
        if self._credentials is None:
            raise UpstreamUntouched(f"the broker's credentials for {server} can't be asked for here")
        used = await self._credentials.of(server, target)
        response = await self._sent(server, verb, target, {**used, **headers, **_OURS}, body, patient)
        if response.status != 401:
            return response
        response.close()
        fresh = await self._credentials.anew(server, target, used)
        if fresh is None:
            raise UpstreamUntouched("the server does not accept the broker's credentials")
        return await self._sent(server, verb, target, {**fresh, **headers, **_OURS}, body, patient)

    async def _sent(
        self, server: str, verb: str, target: Target, headers: Mapping[str, str], body: bytes, patient: bool
    ) -> aiohttp.ClientResponse:
        try:
            return await self._open(target.enrolled).request(
                verb,
                self._url(target),
                data=body or None,
                headers=headers,
                allow_redirects=False,
                timeout=self._patient if patient else self._within,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UpstreamUntouched(f"the server {server} can't be reached ({refused(error) or type(error).__name__})") from None
        except (aiohttp.InvalidURL, ValueError) as error:
            raise UpstreamUntouched(f"the message can't be sent to {server} ({type(error).__name__})") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error) from None

    def _open(self, enrolled: bool) -> aiohttp.ClientSession:
        """The client, made at first use: it belongs to the loop that runs then.

        Servers that were enrolled have one of their own: no private address is open to it but those of `for_enrolled`, whatever
        their address says, and no connection of the others.
        """
        if enrolled:
            if self._enrolled is None:
                self._enrolled = self._client(Reach(always=self._for_enrolled))
            return self._enrolled
        if self._session is None:
            self._session = self._client(self._reach)
        return self._session

    def _client(self, reach: Reach) -> aiohttp.ClientSession:
        kept: dict[str, Any] = {"keepalive_timeout": _IDLE} if self._pooled else {"force_close": True}
        return aiohttp.ClientSession(
            connector=Connector(reach, limit=0, **kept),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def _url(self, target: Target) -> URL:
        known = self._urls.get((target.url, target.enrolled))
        if known is None or known[0] != target.networks:
            if not target.enrolled:
                self._reach.open(target.url, target.networks)
            known = self._urls[target.url, target.enrolled] = (target.networks, URL(target.url, encoded=True))
        return known[1]


def _broken(error: Exception) -> OutcomeLost:
    if isinstance(error, TimeoutError):
        return OutcomeLost("the server was silent for too long")
    return OutcomeLost(f"the connection to the server broke ({type(error).__name__})")
