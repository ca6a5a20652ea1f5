"""Older-era sessions with a process of their own each: everything passes as it is, the server's own questions too."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque

import anyio
import anyio.abc
import structlog

from broker.domain.servers import Server
from broker.errors import UpstreamUntouched
from broker.upstream import eras
from broker.upstream.flights import Message, Sink
from broker.upstream.pipe import Pipe
from broker.upstream.process import started
from broker.upstream.references import asked
from broker.upstream.translated import TranslatedSessions

log = structlog.get_logger()

_PREFIX = "own."
# Sessions of one server at a time, and seconds without a message after which one ends.
MOST = 64
IDLE = 1_800.0
# Messages that are kept while nobody listens.
KEPT = 100


class OwnProcess:
    """One session and its process. `run` is its owner task; when the process ends, so does the session."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._kept: deque[Message] = deque(maxlen=KEPT)
        self._ear: Sink | None = None
        self._scope = anyio.CancelScope()
        self.pipe: Pipe | None = None
        self.over = asyncio.Event()
        self.used = asyncio.get_running_loop().time()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Raises `UpstreamUntouched`, `ConfigInvalid` before `task_status` is told, nothing afterwards."""
        process = await started(self._server.name, self._server.command, await asked(self._server.env), self._server.cwd)
        try:
            with self._scope:
                self.pipe = Pipe(process, self._server.name, self._heard)
                task_status.started()
                await self.pipe.run()
        finally:
            self.over.set()
            await process.stop(patient=self._scope.cancel_called)

    def idle_since(self, moment: float) -> bool:
        """Was there no message since then, and is nobody listening?"""
        return self.used < moment and self._ear is None and not (self.pipe and self.pipe.flights)

    def end(self) -> None:
        self._scope.cancel()

    def _heard(self, message: Message, pipe: Pipe) -> None:
        """Bring the server's own words to the client: on the stream of its newest call, so that they come before its answer."""
        if pipe.flights:
            pipe.flights[-1].sink(message)
        elif self._ear is not None:
            self._ear(message)
        else:
            self.keep(message)

    def keep(self, message: Message) -> None:
        """Keep what is said before anybody can listen."""
        self._kept.append(message)

    async def listen(self, sink: Sink) -> None:
        self._ear = sink
        while self._kept:
            sink(self._kept.popleft())
        try:
            await self.over.wait()
        finally:
            if self._ear is sink:
                self._ear = None


class OwnSessions:
    """The sessions of one server, each with a process. They live in this broker and end with it.

    A server that knows no sessions, since it only speaks 2026-07-28, is left to `otherwise`.
    """

    def __init__(self, server: Server, otherwise: TranslatedSessions, tasks: anyio.abc.TaskGroup) -> None:
        self._server = server
        self._otherwise = otherwise
        self._tasks = tasks
        self._sessions: dict[str, OwnProcess] = {}

    def knows(self, session: str) -> bool:
        found = self._sessions.get(session)
        return found is not None and not found.over.is_set()

    async def begin(self, request: Message) -> tuple[Message, str]:
        """Start a process and hand it the client's own `initialize`. Raises `UpstreamUntouched`."""
        self._tidy()
        if len(self._sessions) >= MOST:
            raise UpstreamUntouched(f"{self._server.name} has {MOST} sessions, and takes no more")
        own, session = OwnProcess(self._server), _PREFIX + secrets.token_urlsafe(16)
        self._sessions[session] = own
        try:
            await self._tasks.start(self._run, own)
            answer = await self._pipe(own).ask(request, own.keep)
        except BaseException:
            await self.end(session)
            raise
        if "error" not in answer:
            return answer, session
        await self.end(session)
        if answer["error"].get("code") == eras.UNSUPPORTED_VERSION:
            return await self._otherwise.begin(request)
        return answer, ""

    async def ask(self, session: str, request: Message, sink: Sink) -> Message:
        return await self._pipe(self._found(session)).ask(request, sink, session)

    async def tell(self, session: str, message: Message) -> None:
        pipe = self._pipe(self._found(session))
        if message.get("method") == "notifications/cancelled":
            params = message.get("params") or {}
            await pipe.cancel(session, params.get("requestId"), params)
        else:
            await pipe.tell(message)

    async def listen(self, session: str, sink: Sink) -> None:
        await self._found(session).listen(sink)

    async def end(self, session: str) -> None:
        """End the session and its process. Harmless for one that is not there."""
        own = self._sessions.pop(session, None)
        if own is not None:
            own.end()

    def end_all(self) -> None:
        for own in self._sessions.values():
            own.end()

    async def _run(self, own: OwnProcess, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            await own.run(task_status=task_status)
        except Exception:
            if own.pipe is None:
                raise
            log.exception("stdio.broke", server=self._server.name)

    def _found(self, session: str) -> OwnProcess:
        if not self.knows(session):
            raise UpstreamUntouched(f"the session with {self._server.name} has ended")
        own = self._sessions[session]
        own.used = asyncio.get_running_loop().time()
        return own

    def _pipe(self, own: OwnProcess) -> Pipe:
        if own.pipe is None:
            raise UpstreamUntouched(f"{self._server.name} is not up")
        return own.pipe

    def _tidy(self) -> None:
        """Drop sessions whose process ended, and end those that nobody used for long."""
        long_ago = asyncio.get_running_loop().time() - IDLE
        for session, own in tuple(self._sessions.items()):
            if own.over.is_set() or own.idle_since(long_ago):
                del self._sessions[session]
                own.end()
