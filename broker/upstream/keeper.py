"""Keeps one process of a stdio server alive: an owner task starts it, shakes hands, and starts it again when it ended.

Its process is entered and left in that one task. A server that fails to start is tried again later and later; meanwhile calls
are refused at once. One that ran and ended is started again at once, and calls wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

import anyio
import msgspec
import structlog

from broker.domain.servers import Server
from broker.errors import BrokerError, OutcomeLost, UpstreamError, UpstreamUntouched
from broker.upstream import eras
from broker.upstream.flights import Message, Sink
from broker.upstream.pipe import Pipe
from broker.upstream.process import started
from broker.upstream.references import asked
from broker.upstream.words import MODERN_PROTOCOL_VERSIONS

log = structlog.get_logger()

# Seconds from the start to the end of the handshake: `npx` and `uvx` may have to fetch the server first.
START_WITHIN = 60.0
# Seconds that a server gets for `server/discover`; an old one may drop what it does not know before the handshake.
DISCOVER_WITHIN = 10.0
# Seconds between attempts, each twice the one before.
FIRST_REST, LONGEST_REST = 0.5, 30.0
# A server that stayed up for so many seconds starts again at once.
STEADY = 5.0


class Live(msgspec.Struct, frozen=True):
    """A server that was shaken hands with. `hello` is its InitializeResult (`older`) or its DiscoverResult."""

    pipe: Pipe
    older: bool
    hello: Message

    async def ask(self, request: Message, sink: Sink, owner: Hashable = None) -> Message:
        return await self.pipe.ask(request, sink, owner)

    async def tell(self, message: Message) -> None:
        await self.pipe.tell(message)

    async def cancel(self, owner: Hashable, request_id: Any, params: Message) -> None:
        await self.pipe.cancel(owner, request_id, params)


class Keeper:
    """Owns the process that all callers of a server share. `run` is its owner task.

    `heard` takes what the server says of its own accord; `greeted` is told each time that it was shaken hands with.
    """

    def __init__(self, server: Server, heard: Callable[[Message, Pipe], None], greeted: Callable[[], None]) -> None:
        self._server = server
        self._heard = heard
        self._on_greeted = greeted
        self._live: Live | None = None
        self._why = ""
        self._resting_until = 0.0
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._older = False
        self._greeted = False

    async def live(self) -> Live:
        """Return the server, started if it has to be. Raises `UpstreamUntouched` when it can't be had."""
        self._wanted.set()
        with anyio.move_on_after(START_WITHIN):
            while self._live is None:
                rest = self._resting_until - asyncio.get_running_loop().time()
                if rest > 0:
                    raise UpstreamUntouched(f"{self._server.name} can't be used: {self._why}; next attempt in {rest:.0f} s")
                await self._changed.wait()
            return self._live
        raise UpstreamUntouched(f"{self._server.name} did not start within {START_WITHIN:.0f} s")

    async def run(self) -> None:
        """Keep the server up from the first wish for it on, until this is cancelled."""
        await self._wanted.wait()
        clock = asyncio.get_running_loop().time
        rest = 0.0
        while True:
            began, self._greeted = clock(), False
            try:
                why = await self._once()
            except Exception:  # whatever it is, one server that can't be kept up ends nothing else
                log.exception("stdio.not_kept", server=self._server.name)
                why = "the broker could not start it, and its log says why"
            at_once = clock() - began >= STEADY or (self._greeted and rest == 0.0)
            rest = 0.0 if at_once else min(max(rest * 2, FIRST_REST), LONGEST_REST)
            log.warning("stdio.ended", server=self._server.name, why=why, again_in=rest)
            self._why, self._resting_until = why, clock() + rest
            self._pulse()
            await anyio.sleep(rest)
            self._resting_until = 0.0

    async def _once(self) -> str:
        """Start the server, shake hands, and stay until it ends. Returns why it ended."""
        try:
            process = await started(self._server.name, self._server.command, await asked(self._server.env), self._server.cwd)
        except BrokerError as error:
            return error.message
        patient, why = True, ""
        try:
            async with anyio.create_task_group() as tasks:
                pipe = Pipe(process, self._server.name, self._heard)
                tasks.start_soon(pipe.run)
                self._greet(await self._shaken(pipe))
                await pipe.ended.wait()
            patient, why = False, "it closed its output"
        except* UpstreamError as errors:
            patient, why = False, "; ".join(str(error) for error in errors.exceptions)
        except* Exception:
            log.exception("stdio.broke", server=self._server.name)
            why = "the broker failed while it ran"
        finally:
            self._live = None
            await process.stop(patient=patient)
        return process.ending or why

    def _greet(self, live: Live) -> None:
        self._live, self._greeted = live, True
        log.info("stdio.started", server=self._server.name, older=live.older)
        self._pulse()
        self._on_greeted()

    async def _shaken(self, pipe: Pipe) -> Live:
        with anyio.move_on_after(START_WITHIN):
            if not self._older:
                self._older = True  # a server that does not survive the question is not asked again
                hello = await _discovered(pipe)
                if hello is not None:
                    self._older = False
                    return Live(pipe, False, hello)
            return await self._handshake(pipe)
        raise UpstreamUntouched(f"no handshake within {START_WITHIN:.0f} s")

    async def _handshake(self, pipe: Pipe) -> Live:
        answer = await pipe.ask(eras.initialize_request("initialize"), eras.ignored)
        if "error" in answer and answer["error"].get("code") == eras.UNSUPPORTED_VERSION:
            # It took the first question, slowly, for the beginning of the newer era.
            hello = await _discovered(pipe)
            if hello is not None:
                self._older = False
                return Live(pipe, False, hello)
        hello = answer.get("result")
        if not isinstance(hello, dict):
            raise UpstreamUntouched("it refused the handshake")
        await pipe.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return Live(pipe, True, hello)

    def _pulse(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _discovered(pipe: Pipe) -> Message | None:
    """Return the DiscoverResult of a server that speaks 2026-07-28, None for one that does not."""
    with anyio.move_on_after(DISCOVER_WITHIN):
        try:
            answer = await pipe.ask(eras.discover_request("discover"), eras.ignored)
        except OutcomeLost:
            raise UpstreamUntouched("it ended during the handshake") from None
        hello = answer.get("result")
        if isinstance(hello, dict) and set(hello.get("supportedVersions") or ()) & set(MODERN_PROTOCOL_VERSIONS):
            return hello
    return None
