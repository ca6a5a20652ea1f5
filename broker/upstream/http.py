"""Guarded servers over HTTP: one message out, its answer back as it comes. No cookies, no redirects, no hidden retries.

A caller's credentials never get here; what the catalogue says about a server's own is added to every message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp
import msgspec
from yarl import URL

from broker import __version__
from broker.errors import OutcomeLost, UpstreamUntouched
from broker.upstream.sse import Cutter, Event

_OURS = {"accept-encoding": "identity", "user-agent": f"approval-broker/{__version__}"}
_SKIPPED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# Idle connections are kept for less than the 5 s after which many servers close theirs: a message that meets a closing
# connection is a message with an unknown end.
_IDLE = 4.0


class Target(msgspec.Struct, frozen=True):
    """One server: its address, its own headers with their secrets looked up, in lower case; `stateless` as in the catalogue."""

    url: str
    headers: Mapping[str, str] = {}
    stateless: bool = False


Targets = Callable[[str], Target]
"""The target of a server's name. Raises `UnknownServer`."""


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
        try:
            return await self._response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error) from None

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
    being closed nobody could tell whether the call was read.
    """

    def __init__(
        self, targets: Targets, *, connect_within: float = 5.0, silence: float = 300.0, pooled: bool = True
    ) -> None:  # fmt: skip
        self._targets = targets
        self._pooled = pooled
        self._within = aiohttp.ClientTimeout(total=None, sock_connect=connect_within, sock_read=silence)
        self._patient = aiohttp.ClientTimeout(total=None, sock_connect=connect_within, sock_read=None)
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}

    async def forward(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False
    ) -> HttpAnswer:  # fmt: skip
        """Send one message and return once the head of its answer is here; the gateway's `Forwarder`.

        Raises `UnknownServer`; `UpstreamUntouched` when nothing was sent, `OutcomeLost` when it is not known.
        """
        target = self._targets(server)
        try:
            response = await self._open().request(
                verb,
                self._url(target.url),
                data=body or None,
                headers={**target.headers, **headers, **_OURS},
                allow_redirects=False,
                timeout=self._patient if patient else self._within,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UpstreamUntouched(f"the server {server} can't be reached ({type(error).__name__})") from None
        except (aiohttp.InvalidURL, ValueError) as error:
            raise UpstreamUntouched(f"the message can't be sent to {server} ({type(error).__name__})") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error) from None
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise OutcomeLost(f"the server {server} answered in an encoding that it was not asked for")
        return HttpAnswer(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        """The client, made at first use: it belongs to the loop that runs then."""
        if self._session is None:
            connector = (
                aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE)
                if self._pooled
                else aiohttp.TCPConnector(limit=0, force_close=True)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=_SKIPPED,
            )
        return self._session

    def _url(self, text: str) -> URL:
        url = self._urls.get(text)
        if url is None:
            url = self._urls[text] = URL(text, encoded=True)
        return url


def _broken(error: Exception) -> OutcomeLost:
    if isinstance(error, TimeoutError):
        return OutcomeLost("the server was silent for too long")
    return OutcomeLost(f"the connection to the server broke ({type(error).__name__})")
