"""Holding: one caller waits on its open answer for one request, hears what there is to hear, and gets the outcome.

The answer becomes a stream only after a while, so that quick decisions are plain JSON. Who leaves loses nothing: the
request is the desk's, and this is only somebody who waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import anyio
import anyio.lowlevel
import msgspec
import structlog

from broker.domain.outcomes import Gone, Outcome, Released, StillPending, outcome_of
from broker.domain.requests import ApprovalRequest, RequestId
from broker.errors import BrokerError, StoreUnavailable
from broker.gateway.envelope import RpcId, encoded
from broker.gateway.exchange import Exchange
from broker.gateway.passing import as_event
from broker.gateway.ports import Attending, Lines, Waiting
from broker.gateway.results import Reply, failed, told, waiting_line
from broker.gateway.voices import Manner, Voice

log = structlog.get_logger()


# Messages of the upstream that a caller may lag behind.
BACKLOG = 1_000

Call = tuple[str, str, RpcId | None]
"""Principal, the upstream's session and JSON-RPC id: by these a client of the older era names its own call."""


class Attendances:
    """Who waits in this process, so that shutdown and cancellations find them, and the last one says `delivered`."""

    def __init__(self, desk: Waiting, lines: Lines, clock: Callable[[], datetime]) -> None:
        self.desk = desk
        self.lines = lines
        self.clock = clock
        self._holds: dict[RequestId, set[Hold]] = {}
        self._calls: dict[Call, Hold] = {}
        self._delivered: set[RequestId] = set()
        self._draining = False

    def enter(self, hold: Hold) -> None:
        self._holds.setdefault(hold.request.id, set()).add(hold)
        if hold.call is not None:
            self._calls[hold.call] = hold
        if self._draining:
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
            await self.note_delivery(request_id)

    async def note_delivery(self, request_id: RequestId) -> None:
        """Say that the agent has its answer; where it can't be said, the answer may be fetched again by the same call."""
        try:
            await self.desk.delivered(request_id)
        except BrokerError as error:
            log.warning("gateway.delivery_not_noted", request=request_id, code=error.code)

    def drain(self) -> None:
        """Answer PENDING to everybody who waits, and to whoever comes."""
        self._draining = True
        for holds in list(self._holds.values()):
            for hold in list(holds):
                hold.stop()

    def cancelled(self, call: Call) -> bool:
        """End the hold of a call that its client cancelled. The request stays: the call may come again.

        It ends with PENDING, which the client drops: one whose stream just ended would come back for the rest by `GET`
        (2025-11-25), as the SDKs do by themselves, and take and drop the result that its next call should get.
        """
        hold = self._calls.get(call)
        if hold is not None:
            hold.stop()
        return hold is not None


class Hold:
    """One caller that waits for one request. There are as many as parked calls, so each is kept small.

    `call` names it for its client's cancellation; `let_go` is called when it ends.
    """

    __slots__ = (
        "_alarm", "_ending", "_exchange", "_joined", "_leaving", "_let_go", "_manner", "_messages", "_stopped",
        "call", "request", "voice",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, request: ApprovalRequest, voice: Voice, manner: Manner, *, joined: bool,
        call: Call | None = None, let_go: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.request = request
        self.voice = voice
        self.call = call
        self._exchange = exchange
        self._manner = manner
        self._joined = joined
        self._let_go = let_go
        self._ending: asyncio.Future[Outcome] | None = None
        self._leaving: asyncio.Future[None] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._messages: list[bytes] = []
        self._stopped = False

    def stop(self) -> None:
        """End the waiting now, with PENDING."""
        self._stopped = True
        if self._ending is not None and self.request.state.open:
            self._ending.cancel()

    async def run(self, here: Attendances) -> None:
        """Wait for the outcome and answer with it. A mistake becomes what the model can read."""
        delivered = False
        here.enter(self)
        try:
            with here.desk.attend(self.request) as attending, here.lines.listen(self.request.id, self._hear):
                delivered = await self._attended(attending, here.clock)
        except BrokerError as error:
            await self._answer(failed(error))
        finally:
            if self._let_go is not None:
                self._let_go()
            await here.leave(self, delivered=delivered)

    async def _attended(self, attending: Attending, clock: Callable[[], datetime]) -> bool:
        """Returns whether an end was told to a client that was there to read it."""
        ending = self._ending = asyncio.ensure_future(_ending(attending, self._manner.within))
        leaving = self._leaving = asyncio.ensure_future(self._exchange.left())
        ending.add_done_callback(self._rouse)
        leaving.add_done_callback(self._rouse)
        try:
            if self._stopped:
                self.stop()
            if not await self._waited(ending, clock):
                return False
            outcome = self._outcome(ending)
            return await self._answer(self._told(outcome, clock())) and not isinstance(outcome, StillPending)
        finally:
            ending.cancel()
            leaving.cancel()
            await asyncio.gather(ending, leaving, return_exceptions=True)

    # -- waiting ------------------------------------------------------------------------------------------

    async def _waited(self, ending: asyncio.Future[Outcome], clock: Callable[[], datetime]) -> bool:
        """Pass on what comes and beat, until the end; False when the client left."""
        pause = self._manner.pace.commit_after
        if self._manner.question:
            await self._say(as_event(self._manner.question))
        while True:
            if not (ending.done() or self._gone or self._messages):
                await self._sleep(pause)
            if self._gone:
                return False
            if self._messages:
                messages, self._messages = self._messages, []
                for message in messages:
                    await self._relay(message)
            elif ending.done():
                return True
            else:
                pause = self._manner.pace.beat
                await self._beat(clock)

    async def _sleep(self, within: float) -> None:
        """Return when something happened, or after `within` seconds."""
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_later(within, self._rouse)
        try:
            await self._alarm
        finally:
            timer.cancel()
            self._alarm = None

    def _rouse(self, _: object = None) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def _hear(self, message: bytes) -> None:
        """Take what the upstream says during the release. Who lags far behind hears less, and still gets the answer."""
        if len(self._messages) < BACKLOG:
            self._messages.append(message)
            self._rouse()

    @property
    def _gone(self) -> bool:
        return self._leaving is not None and self._leaving.done()

    # -- telling ------------------------------------------------------------------------------------------

    async def _beat(self, clock: Callable[[], datetime]) -> None:
        if not self._manner.streams:
            return
        pending = outcome_of(self.request, None)
        text = waiting_line(pending, clock()) if isinstance(pending, StillPending) else ""
        notice = self.voice.waiting(text)
        await self._say(as_event(encoded(notice)) if notice else b": waiting\n\n")

    async def _relay(self, message: bytes) -> None:
        heard = self.voice.relayed(message) if self._manner.streams else None
        if heard is not None:
            await self._say(as_event(encoded(heard)))

    async def _say(self, event: bytes) -> None:
        """Write one event; the first one begins the stream, and brings our event id where the client can use it."""
        manner = self._manner
        if not self._exchange.started:
            await self._exchange.stream()
            if manner.event_id and manner.primes:
                event = f"id: {manner.event_id}\ndata: \n\n".encode() + event
            elif manner.event_id and not event.startswith(b":"):
                event = f"id: {manner.event_id}\n".encode() + event
        await self._exchange.write(event)

    def _outcome(self, ending: asyncio.Future[Outcome]) -> Outcome:
        away = ending.cancelled() or isinstance(ending.exception(), StoreUnavailable)
        outcome = outcome_of(self.request, None) if away and self.request.state.open else ending.result()
        return outcome if isinstance(outcome, Gone) else msgspec.structs.replace(outcome, joined=self._joined)

    def _told(self, outcome: Outcome, now: datetime) -> Reply:
        if isinstance(outcome, StillPending) and self._manner.pending is not None:
            return self._manner.pending(self.request, outcome, now)
        if isinstance(outcome, Released) and self._manner.asks_back is not None:
            return self._manner.asks_back(self.request, outcome) or told(outcome, now=now)
        return told(outcome, now=now)

    async def _answer(self, reply: Reply) -> bool:
        """Write the answer. Returns whether the client was there to read it."""
        exchange, message = self._exchange, reply.encoded(self.voice.rpc_id)
        if not exchange.started:
            present = not self._gone
            await exchange.reply(reply.status(modern=self._manner.modern), message)
            return present
        await exchange.write(as_event(message))
        await anyio.lowlevel.checkpoint()
        present = not self._gone
        await exchange.write(b"", more=False)
        return present


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
