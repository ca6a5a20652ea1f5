"""A server as its callers see it over HTTP, in both eras, whatever stands behind: a process, or a server of the other era."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import anyio
import anyio.abc
import structlog

from broker.errors import OutcomeLost, UpstreamError, UpstreamUntouched
from broker.upstream import eras
from broker.upstream.answers import Stream, Whole, answered
from broker.upstream.flights import Message, Sink
from broker.upstream.newer import Newer, status_of
from broker.upstream.words import MODERN_PROTOCOL_VERSIONS

log = structlog.get_logger()

SESSION_NOT_FOUND = -32001


class Sessions(Protocol):
    """Sessions of the older era, whatever keeps them."""

    def knows(self, session: str) -> bool: ...

    async def begin(self, request: Message) -> tuple[Message, str]:
        """Answer `initialize`, and name the session that it began."""
        ...

    async def ask(self, session: str, request: Message, sink: Sink) -> Message: ...

    async def tell(self, session: str, message: Message) -> None:
        """Take a notification, or the client's answer to a question of the server."""
        ...

    async def listen(self, session: str, sink: Sink) -> None:
        """Give what the server says of its own accord to `sink` until the session ends."""
        ...

    async def end(self, session: str) -> None: ...


class Face:
    """`begin` picks the kind of a new session. `silence` is how many seconds a server may say nothing within a call."""

    def __init__(
        self, newer: Newer, sessions: Sequence[Sessions], begin: Callable[[], Awaitable[Sessions]],
        tasks: anyio.abc.TaskGroup, *, silence: float,
    ) -> None:  # fmt: skip
        self._newer = newer
        self._sessions = tuple(sessions)
        self._begin = begin
        self._tasks = tasks
        self._silence = silence

    async def exchange(self, verb: str, headers: Mapping[str, str], message: Message, *, patient: bool) -> Whole | Stream:
        """Take one HTTP request. Raises `UpstreamUntouched`, `OutcomeLost`."""
        session = headers.get("mcp-session-id", "")
        if verb == "POST" and eras.is_newer(headers.get("mcp-protocol-version", ""), message):
            return await self._newer_post(message, patient)
        if verb == "POST" and message.get("method") == "initialize":
            answer, begun = await (await self._begin()).begin(message)
            return Whole(200, answer, session="" if "error" in answer else begun)
        sessions = self.sessions_of(session)
        if sessions is None:
            told = eras.error(message, SESSION_NOT_FOUND, "Session not found") if verb == "POST" else None
            return Whole(404 if session else 400, told)
        if verb == "POST":
            return await self._older_post(sessions, session, message, patient)
        if verb == "GET":
            return self._stream(sessions, session)
        await sessions.end(session)
        return Whole(200)

    async def ask(self, version: str, session: str, request: Message, sink: Sink) -> Message:
        """Send one request on the broker's account, in the revision and session of the caller that it is for.

        Raises `UpstreamUntouched` when that session is gone, and what `exchange` raises.
        """
        if version in MODERN_PROTOCOL_VERSIONS:
            return await self._bounded(lambda ear: self._newer.ask(request, ear), sink)
        sessions = self.sessions_of(session)
        if sessions is None:
            raise UpstreamUntouched("the caller's session with the server is gone")
        return await self._bounded(lambda ear: sessions.ask(session, request, ear), sink)

    def sessions_of(self, session: str) -> Sessions | None:
        return next((sessions for sessions in self._sessions if sessions.knows(session)), None)

    async def _newer_post(self, message: Message, patient: bool) -> Whole | Stream:
        if "method" not in message or "id" not in message:
            return Whole(202)  # this revision has no notifications from client to server over HTTP
        return await answered(
            lambda sink: self._bounded(lambda ear: self._newer.ask(message, ear), sink, patient),
            self._tasks, cancels=True, status=status_of,
        )  # fmt: skip

    async def _older_post(self, sessions: Sessions, session: str, message: Message, patient: bool) -> Whole | Stream:
        if "method" not in message or "id" not in message:
            await sessions.tell(session, message)
            return Whole(202)
        return await answered(
            lambda sink: self._bounded(lambda ear: sessions.ask(session, message, ear), sink, patient),
            self._tasks, cancels=False, status=lambda answer: 200,
        )  # fmt: skip

    def _stream(self, sessions: Sessions, session: str) -> Stream:
        scope = anyio.CancelScope()
        stream = Stream(scope.cancel)

        async def listen() -> None:
            with scope:
                try:
                    await sessions.listen(session, stream.put)
                except UpstreamError as error:
                    log.info("upstream.deaf", why=error.message)
                except Exception:
                    log.exception("upstream.broke")
            stream.end()

        self._tasks.start_soon(listen)
        return stream

    async def _bounded(self, ask: Callable[[Sink], Awaitable[Message]], sink: Sink, patient: bool = False) -> Message:
        """Ask, and give up when nothing was heard for too long: the server is told, and the outcome is lost."""
        with anyio.CancelScope() as scope:

            def heard(message: Message) -> None:
                scope.deadline = anyio.current_time() + self._silence
                sink(message)

            if patient:
                return await ask(sink)
            scope.deadline = anyio.current_time() + self._silence
            return await ask(heard)
        raise OutcomeLost(f"the server was silent for {self._silence:.0f} s")
