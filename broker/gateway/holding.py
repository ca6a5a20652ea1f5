"""Holding: one caller waits on its open answer for one request, hears what there is to hear, and gets the outcome.

The answer becomes a stream only after a while, so that quick decisions are plain JSON. Who leaves loses nothing: the
request is the desk's, and this is only somebody who waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import structlog

from broker.approvals.releaser import Line
from broker.domain.outcomes import Gone, Outcome, StillPending, outcome_of
from broker.domain.requests import ApprovalRequest, RequestId
from broker.errors import BrokerError, StoreUnavailable
from broker.gateway.envelope import RpcId, encoded
from broker.gateway.exchange import Exchange
from broker.gateway.passing import as_event
from broker.gateway.ports import Attending, Lines, Waiting
from broker.gateway.results import told, waiting_line
from broker.gateway.voices import Voice

log = structlog.get_logger()


Call = tuple[str, str, RpcId | None]
"""Principal, the upstream's session and JSON-RPC id: by these a client of the older era names its own call."""


class Pace(msgspec.Struct, frozen=True):
    """Seconds: after how long a held answer becomes a stream, and between its signs of life."""

    commit_after: float = 1.5
    beat: float = 5.0


USUAL_PACE = Pace()


class Manner(msgspec.Struct, frozen=True):
    """How a caller is held: for `within` seconds.

    `event_id` is ours, so that an older client can come back; empty where it can't.
    `primes`: the client takes an empty first event that only carries the id (2025-11-25 and later).
    """

    within: float
    pace: Pace
    modern: bool = False
    streams: bool = True
    event_id: str = ""
    primes: bool = False


class Attendances:
    """Who waits in this process, so that shutdown and cancellations find them, and the last one says `delivered`."""

    def __init__(self, desk: Waiting) -> None:
        self._desk = desk
        self._holds: dict[RequestId, set[Hold]] = {}
        self._calls: dict[Call, Hold] = {}
        self._delivered: set[RequestId] = set()
        self.draining = False

    def enter(self, hold: Hold) -> None:
        self._holds.setdefault(hold.request.id, set()).add(hold)
        if hold.call is not None:
            self._calls[hold.call] = hold
        if self.draining:
            hold.stop()

    async def leave(self, hold: Hold, *, delivered: bool) -> None:
        """`delivered` is said when the last one leaves: an answer that is delivered is gone from the mailbox for all."""
        request_id, others = hold.request.id, self._holds[hold.request.id]
        others.discard(hold)
        if hold.call is not None and self._calls.get(hold.call) is hold:
            del self._calls[hold.call]
        if delivered:
            self._delivered.add(request_id)
        if others:
            return
        del self._holds[request_id]
        if request_id in self._delivered:
            self._delivered.discard(request_id)
            try:
                await self._desk.delivered(request_id)
            except BrokerError as error:
                log.warning("gateway.delivery_not_noted", request=request_id, code=error.code)

    def drain(self) -> None:
        """Answer PENDING to everybody who waits, and to whoever comes."""
        self.draining = True
        for holds in list(self._holds.values()):
            for hold in list(holds):
                hold.stop()

    def silence(self, call: Call) -> bool:
        """End the hold of a call that its client cancelled, without an answer. The request stays: the call may come again."""
        hold = self._calls.get(call)
        if hold is not None:
            hold.stop(silent=True)
        return hold is not None


class Hold:
    """One caller that waits for one request."""

    def __init__(
        self, exchange: Exchange, request: ApprovalRequest, voice: Voice, manner: Manner, *, joined: bool,
        call: Call | None = None,
    ) -> None:  # fmt: skip
        self.request = request
        self.voice = voice
        self.call = call
        self._exchange = exchange
        self._manner = manner
        self._joined = joined
        self._ending: asyncio.Future[Outcome] | None = None
        self._stopped = False
        self._silent = False

    def stop(self, *, silent: bool = False) -> None:
        """End the waiting now, with PENDING, or without a word."""
        self._stopped, self._silent = True, silent
        if self._ending is not None and self.request.state.open:
            self._ending.cancel()

    async def run(self, desk: Waiting, lines: Lines, attendances: Attendances, clock: Callable[[], datetime]) -> None:
        """Wait for the outcome and answer with it."""
        delivered = False
        attendances.enter(self)
        try:
            with desk.attend(self.request) as attending, lines.attach(self.request.id) as line:
                delivered = await self._attended(attending, line, clock)
        finally:
            await attendances.leave(self, delivered=delivered)

    async def _attended(self, attending: Attending, line: Line, clock: Callable[[], datetime]) -> bool:
        self._ending = asyncio.ensure_future(_ending(attending, self._manner.within))
        leaving = asyncio.ensure_future(self._exchange.left())
        try:
            if self._stopped:
                self.stop(silent=self._silent)
            here = await self._heard(self._ending, leaving, line, clock)
            if not here:
                return False
            outcome = self._outcome(self._ending)
            return await self._answered(outcome, leaving, clock)
        finally:
            for task in (self._ending, leaving):
                task.cancel()
            await asyncio.gather(self._ending, leaving, return_exceptions=True)

    async def _heard(
        self, ending: asyncio.Future[Outcome], leaving: asyncio.Future[None], line: Line, clock: Callable[[], datetime]
    ) -> bool:  # fmt: skip
        """Pass on what comes and beat, until the end; False when the client left."""
        manner, pause = self._manner, self._manner.pace.commit_after
        hearing = asyncio.ensure_future(line.next(manner.within))
        try:
            while not ending.done():
                awaited: set[asyncio.Future[Any]] = {ending, hearing, leaving}
                done, _ = await asyncio.wait(awaited, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if leaving in done:
                    return False
                if hearing in done:
                    await self._relay(hearing.result())
                    hearing = asyncio.ensure_future(line.next(manner.within))
                elif not done:
                    pause = manner.pace.beat
                    await self._beat(clock)
            hearing.cancel()
            [last] = await asyncio.gather(hearing, return_exceptions=True)
            await self._relay(last if isinstance(last, bytes) else None)
            while (message := await line.next(0)) is not None:
                await self._relay(message)
            return True
        finally:
            hearing.cancel()

    async def _beat(self, clock: Callable[[], datetime]) -> None:
        if not self._manner.streams:
            return
        pending = outcome_of(self.request, None)
        text = waiting_line(pending, clock()) if isinstance(pending, StillPending) else ""
        told = self.voice.waiting(text)
        await self._said(as_event(encoded(told)) if told else b": waiting\n\n")

    async def _relay(self, message: bytes | None) -> None:
        heard = self.voice.relayed(message) if message is not None and self._manner.streams else None
        if heard is not None:
            await self._said(as_event(encoded(heard)))

    async def _said(self, event: bytes) -> None:
        """Write one event; the first one begins the stream, and brings our event id where the client can use it."""
        manner = self._manner
        if not self._exchange.started:
            await self._exchange.stream()
            if manner.event_id and manner.primes:
                event = f"id: {manner.event_id}\ndata: \n\n".encode() + event
            elif manner.event_id and not event.startswith(b":"):
                event = f"id: {manner.event_id}\n".encode() + event
        await self._exchange.write(event)

    def _outcome(self, ending: asyncio.Future[Outcome]) -> Outcome | None:
        if self._silent:
            return None
        away = ending.cancelled() or isinstance(ending.exception(), StoreUnavailable)
        outcome = outcome_of(self.request, None) if away and self.request.state.open else ending.result()
        return outcome if isinstance(outcome, Gone) else msgspec.structs.replace(outcome, joined=self._joined)

    async def _answered(self, outcome: Outcome | None, leaving: asyncio.Future[None], clock: Callable[[], datetime]) -> bool:
        """Write the answer. Returns whether it was an end, and the client was there to read it."""
        exchange = self._exchange
        if outcome is None:
            if not exchange.started:
                await exchange.stream()
            await exchange.write(b"", more=False)
            return False
        reply = told(outcome, now=clock())
        final = not isinstance(outcome, StillPending)
        if not exchange.started:
            present = not leaving.done()
            await exchange.reply(reply.status(modern=self._manner.modern), reply.encoded(self.voice.rpc_id))
            return final and present
        await exchange.write(as_event(reply.encoded(self.voice.rpc_id)))
        await anyio.lowlevel.checkpoint()
        present = not leaving.done()
        await exchange.write(b"", more=False)
        return final and present


async def _ending(attending: Attending, within: float) -> Outcome:
    """Wait for the outcome; a store that is away for a moment is waited for, since the request stands in it."""
    deadline = anyio.current_time() + within
    while True:
        left = deadline - anyio.current_time()
        try:
            return await attending.outcome(max(0.0, left))
        except StoreUnavailable:
            if left <= 0:
                raise
            await anyio.sleep(min(1.0, left))
