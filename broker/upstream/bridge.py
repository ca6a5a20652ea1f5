"""HTTP servers for callers of either era: what the server speaks itself goes straight through, the rest is translated.

Whether a server speaks the newer era is known from `HttpPeers`; whether it speaks the older one, from its answer to `initialize`.
What gets lost on the way is said in `eras.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import msgspec
import structlog

from broker.approvals.ports import Relay
from broker.chores import beside
from broker.domain.requests import ApprovalRequest
from broker.errors import UpstreamError, UpstreamUntouched
from broker.upstream import eras
from broker.upstream.answers import Stream, Whole
from broker.upstream.face import Face
from broker.upstream.flights import Message, encode
from broker.upstream.http import HttpServers
from broker.upstream.http_peers import AGAIN, HttpPeers
from broker.upstream.http_release import HttpReleases, Stamp
from broker.upstream.incoming import HttpAnswer
from broker.upstream.listeners import Listeners
from broker.upstream.newer import Newer
from broker.upstream.reading import decoded, read_answer
from broker.upstream.releases import member_of, stored_call
from broker.upstream.translated import TranslatedSessions

log = structlog.get_logger()

# Seconds before a server whose era could not be told is asked for it again.
LEFT = 5.0


class _Bridged:
    """One server through the bridge."""

    def __init__(self, server: str, peers: HttpPeers, tasks: anyio.abc.TaskGroup, silence: float) -> None:
        self._server = server
        self._peers = peers
        self._tasks = tasks
        self._hearing = False
        self._listeners = Listeners(self._peer)
        self.newer = Newer(server, self._peer, self._listeners)
        self.sessions = TranslatedSessions(server, self._peer)
        self.face = Face(self.newer, (self.sessions,), self._begin, tasks, silence=silence)

    def hear(self) -> None:
        """Follow what the older server says of its own accord, from the first listener on."""
        if not self._hearing:
            self._hearing = True
            self._tasks.start_soon(self._keep_hearing)

    async def _peer(self) -> Any:
        return await self._peers.peer(self._server)

    async def _begin(self) -> TranslatedSessions:
        return self.sessions

    async def _keep_hearing(self) -> None:
        while True:
            try:
                peer = await self._peer()
                if peer.older:
                    await peer.hear(self._listeners.heard)
            except UpstreamError as error:
                log.info("upstream.deaf", server=self._server, why=error.message)
            except Exception:
                log.exception("upstream.broke", server=self._server)
            await anyio.sleep(AGAIN)


class HttpBridge:
    """Forwards and executes like `HttpServers` and `HttpReleases`, over them where the eras agree.

    `peers` and `release_peers` are the same servers over pooled connections and over fresh ones, which releases take.
    """

    def __init__(
        self, servers: HttpServers, releases: HttpReleases, peers: HttpPeers, release_peers: HttpPeers, stamp: Stamp, *,
        silence: float,
    ) -> None:  # fmt: skip
        self._servers = servers
        self._releases = releases
        self._peers = peers
        self._release_peers = release_peers
        self._stamp = stamp
        self._silence = silence
        self._bridged: dict[tuple[str, bool], _Bridged] = {}
        self._left_until: dict[str, float] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while this is open."""
        async with beside() as self._tasks:
            yield

    async def forward(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False
    ) -> HttpAnswer | Whole | Stream:  # fmt: skip
        """Send one message on. Raises `UnknownServer`, `UpstreamUntouched`, `OutcomeLost`."""
        version, session = headers.get("mcp-protocol-version", ""), headers.get("mcp-session-id", "")
        if TranslatedSessions.made(session):
            return await self._exchange(server, verb, headers, body, patient)
        if verb == "POST" and eras.is_newer(version, {}):
            if await self._is_older(server, self._peers):
                return await self._exchange(server, verb, headers, body, patient)
        elif verb == "POST" and not session and b'"initialize"' in body and decoded(body).get("method") == "initialize":
            return await self._begun(server, headers, body)
        return await self._servers.forward(server, verb, headers, body, patient=patient)

    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        """Send a stored call once. Raises as `forward` does."""
        server, origin = request.call.server, request.origin
        newer, made = eras.is_newer(origin.era, {}), TranslatedSessions.made(origin.session)
        if not made and not (newer and await self._is_older(server, self._release_peers)):
            return await self._releases.execute(request, relay)
        call = eras.enveloped(stored_call(request, self._stamp), origin.capabilities, eras.US, origin.log_level)
        face = self._through(server, self._release_peers).face
        answer = await face.ask(eras.NEWER, "", call, lambda message: relay(encode(message)))
        return member_of(call, answer, older=not newer)

    async def _is_older(self, server: str, peers: HttpPeers) -> bool:
        """Does the server speak the older era only? One that can't be asked is left to answer for itself, for a while."""
        if peers.known(server) is None and self._left_until.get(server, 0.0) > anyio.current_time():
            return False
        try:
            return (await peers.peer(server)).older
        except UpstreamUntouched as error:
            log.info("upstream.era_unknown", server=server, why=error.message)
            self._left_until[server] = anyio.current_time() + LEFT
            return False

    async def _is_newer(self, server: str) -> bool:
        try:
            return not (await self._peers.peer(server)).older
        except UpstreamUntouched:
            return False

    async def _exchange(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, patient: bool
    ) -> Whole | Stream:  # fmt: skip
        message: Message = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
        bridged = self._through(server, self._peers)
        if message.get("method") == "subscriptions/listen":
            bridged.hear()
        return await bridged.face.exchange(verb, headers, message, patient=patient)

    async def _begun(self, server: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer | Whole | Stream:
        """Begin a session with the server itself, or, if it speaks the newer era only, with what we make of it."""
        answer = await self._servers.forward(server, "POST", headers, body)
        status, session, allow = answer.status, answer.session, answer.allow
        told = await read_answer(answer, server, decoded(body).get("id"), eras.ignored)
        if (told is None or "error" in told) and await self._is_newer(server):
            return await self._exchange(server, "POST", headers, body, False)
        return Whole(status, told, session=session, allow=allow)

    def _through(self, server: str, peers: HttpPeers) -> _Bridged:
        assert self._tasks is not None
        key = (server, peers is self._release_peers)
        if key not in self._bridged:
            self._bridged[key] = _Bridged(server, peers, self._tasks, self._silence)
        return self._bridged[key]
