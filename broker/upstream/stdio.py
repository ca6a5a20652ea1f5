"""stdio servers as upstreams: forwarding for the gateway, execution for releases.

The losses, beside those in `eras.py`: in a shared process the server can't ask its callers, and its log messages reach nobody,
since it does not say whose call they belong to; `per_session` keeps both for callers of the older era.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import anyio.abc
import msgspec

from broker.approvals.ports import Relay
from broker.chores import beside
from broker.domain.requests import ApprovalRequest, Origin
from broker.domain.servers import Server
from broker.errors import UnknownServer
from broker.upstream import eras
from broker.upstream.answers import Stream, Whole
from broker.upstream.face import Face, Sessions
from broker.upstream.flights import Message, encode
from broker.upstream.http_release import Stamp
from broker.upstream.keeper import Keeper
from broker.upstream.listeners import Listeners, Peer
from broker.upstream.newer import Newer
from broker.upstream.own import OwnSessions
from broker.upstream.pipe import Pipe
from broker.upstream.releases import member_of, stored_call
from broker.upstream.shared import SharedSessions
from broker.upstream.translated import TranslatedSessions


class StdioServer:
    """One guarded server over one process, or one for each session. `run` owns the shared one."""

    def __init__(self, server: Server, tasks: anyio.abc.TaskGroup, silence: float, stamp: Stamp) -> None:
        self.server = server
        self._stamp = stamp
        self._tasks = tasks
        self._keeper = Keeper(server, self._heard, self._restarted)
        self._listeners = Listeners(self._keeper.live)
        self._shared = SharedSessions(server.name, self._keeper.live, self._listeners)
        self._translated = TranslatedSessions(server.name, self._keeper.live)
        self._own = OwnSessions(server, self._translated, tasks)
        newer = Newer(server.name, self._keeper.live, self._listeners)
        self.face = Face(newer, (self._shared, self._translated, self._own), self._begin, tasks, silence=silence)
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Keep the server, until `stop`."""
        try:
            with self._scope:
                await self._keeper.run()
        finally:
            self._listeners.over.set()
            self._own.end_all()

    async def live(self) -> Peer:
        return await self._keeper.live()

    def stop(self) -> None:
        self._scope.cancel()

    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        """Send the stored call, in its caller's session while that lives, and return the answer's member."""
        call, origin = stored_call(request, self._stamp), request.origin

        def sink(message: Message) -> None:
            relay(encode(message))

        newer = eras.is_newer(origin.era, {})
        session = await self._session_for(origin)
        if newer or self._translated.knows(session):
            call = eras.enveloped(call, origin.capabilities, eras.US, origin.log_level)
            answer = await self.face.ask(eras.NEWER, "", call, sink)
            return member_of(call, answer, older=not newer)
        return member_of(call, await self.face.ask(origin.era, session, call, sink))

    async def _session_for(self, origin: Origin) -> str:
        """The caller's session; one of ours where it is gone and the server keeps nothing in its sessions."""
        if not origin.session or not self.server.stateless or self.face.sessions_of(origin.session) is not None:
            return origin.session
        _, session = await (await self._shared_kind()).begin(eras.initialize_request("release"))
        return session

    async def _begin(self) -> Sessions:
        return self._own if self.server.per_session else await self._shared_kind()

    async def _shared_kind(self) -> Sessions:
        return self._shared if (await self._keeper.live()).older else self._translated

    def _restarted(self) -> None:
        self._tasks.start_soon(self._listeners.again)

    def _heard(self, message: Message, pipe: Pipe) -> None:
        """Take what the shared process says of its own accord."""
        if "id" in message:
            self._tasks.start_soon(pipe.tell, _refused(message))
        elif message["method"] == "notifications/message":
            listening = [flight for flight in pipe.flights if flight.log_level]
            if len(listening) == 1:  # else nobody knows whose call it is about
                listening[0].sink(message)
        else:
            self._listeners.heard(message)


class StdioForwarder:
    """All stdio servers of the catalogue. Each is started when it is first used, and anew when its entry changes."""

    def __init__(
        self, catalogue: Callable[[str], Server | None], *, silence: timedelta, stamp: Stamp = lambda request: {}
    ) -> None:
        self._catalogue = catalogue
        self._stamp = stamp
        self._silence = silence.total_seconds()
        self._servers: dict[str, StdioServer] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while this is open. At its end every process is ended, with all that it started."""
        async with beside() as self._tasks:
            yield

    async def forward(
        self, server: str, verb: str, headers: Mapping[str, str], body: bytes, *, patient: bool = False
    ) -> Whole | Stream:  # fmt: skip
        """Take one message as an HTTP upstream would. Raises `UnknownServer`, `UpstreamUntouched`, `OutcomeLost`."""
        message = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
        return await self._server(server).face.exchange(verb, headers, message, patient=patient)

    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        """Send a stored call once and return the answer's member. Raises as `forward` does."""
        return await self._server(request.call.server).execute(request, relay)

    async def peer(self, name: str) -> Peer:
        """The process that all share, for the broker's own questions. Raises `UnknownServer`, `UpstreamUntouched`."""
        return await self._server(name).live()

    def _server(self, name: str) -> StdioServer:
        server, known = self._catalogue(name), self._servers.get(name)
        if server is None or not server.command or self._tasks is None:
            if known is not None:
                self._servers.pop(name).stop()
            raise UnknownServer(f"there is no server {name} over stdio", server=name)
        if known is None or _way(known.server) != _way(server):
            if known is not None:
                known.stop()
            known = self._servers[name] = StdioServer(server, self._tasks, self._silence, self._stamp)
            self._tasks.start_soon(known.run)
        return known


def _way(server: Server) -> tuple[Any, ...]:
    """What of a catalogue entry makes another process necessary."""
    return server.command, server.env, server.cwd, server.per_session, server.stateless


def _refused(request: Message) -> Message:
    return eras.result(request, {}) if request["method"] == "ping" else eras.no_method(request)
