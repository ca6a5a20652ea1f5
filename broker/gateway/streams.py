"""What a session of the older era has beside calls: its own stream (`GET`), and its end (`DELETE`)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from broker.domain.calls import Caller
from broker.domain.outcomes import StillPending
from broker.domain.requests import ApprovalRequest, RequestId
from broker.errors import UNREADABLE, BrokerError, OutcomeLost, UnknownRequest
from broker.gateway.envelope import encoded
from broker.gateway.lists import Edit
from broker.gateway.passing import as_event, check_answer
from broker.gateway.ports import Event, Forwarder, Waiting
from broker.gateway.visits import Visit

log = structlog.get_logger()

# Sessions that are remembered with their parked calls, and those that ended; the oldest go first.
MOST_SESSIONS = 10_000
# Parked calls that are remembered of one session: of many more, the oldest have ended.
MOST_PARKED = 1_000
# How long one look at a parked call lasts while a session's end waits for it.
LOOK = 60.0

Key = tuple[str, str]


class Sessions:
    """Which calls are parked in which session, and which sessions their clients have ended."""

    def __init__(self, desk: Waiting, forwarder: Forwarder) -> None:
        self._desk = desk
        self._forwarder = forwarder
        self._parked: OrderedDict[Key, OrderedDict[RequestId, None]] = OrderedDict()
        self._ended: OrderedDict[Key, None] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()

    def parked(self, visit: Visit, request: ApprovalRequest) -> None:
        """Remember that a call of this session waits: the session must outlive its release."""
        if request.origin.session and request.origin.session == visit.upstream_session:
            key = (visit.server.name, request.origin.session)
            here = self._parked.setdefault(key, OrderedDict())
            here[request.id] = None
            _keep_newest(here, MOST_PARKED)
            _keep_newest(self._parked)

    def ended(self, server: str, session: str) -> bool:
        return (server, session) in self._ended

    async def end(self, visit: Visit) -> None:
        """Answer a `DELETE`: at once, and sent upstream when the session's parked calls have ended."""
        key = (visit.server.name, visit.upstream_session)
        parked = tuple(self._parked.get(key, ()))
        waiting = [request for id in parked if (request := await self._open(id, visit.caller))]
        self._parked.pop(key, None)
        headers = visit.headers()
        if not waiting:
            await self._delete(visit, headers)
            return
        self._ended[key] = None
        _keep_newest(self._ended)
        self._later(self._delete_after(visit.server.name, headers, waiting))
        await visit.exchange.reply(200)

    async def close(self) -> None:
        """Give up the ends that still wait: an upstream ends an idle session by itself."""
        for task in list(self._ending):
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _open(self, request_id: RequestId, caller: Caller) -> ApprovalRequest | None:
        try:
            request = await self._desk.fetched(request_id, caller)
        except UnknownRequest:
            return None
        return request if request.state.open else None

    async def _delete(self, visit: Visit, headers: dict[str, str]) -> None:
        answer = await self._forwarder.forward(visit.server.name, "DELETE", headers, b"")
        try:
            if answer.status >= 300:
                check_answer(answer)
            allow = [(b"allow", answer.allow.encode("latin-1"))] if answer.allow else []
            await visit.exchange.reply(answer.status, headers=allow)
        finally:
            answer.close()

    async def _delete_after(self, server: str, headers: dict[str, str], waiting: list[ApprovalRequest]) -> None:
        for request in waiting:
            with self._desk.attend(request) as attending:
                while isinstance(await attending.outcome(LOOK), StillPending):
                    pass
        answer = await self._forwarder.forward(server, "DELETE", headers, b"")
        answer.close()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._quietly(work))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BrokerError as error:
            log.info("gateway.session_not_ended", code=error.code)


async def listened(visit: Visit, forwarder: Forwarder, edit: Edit) -> None:
    """Pass the stream of a session (`GET`), also one that resumes after the client's last event.

    A replay may bring the answer to a list that was asked for elsewhere: `edit` is done to it as to that one.
    """
    exchange = visit.exchange
    with exchange.until_gone():
        answer = await forwarder.forward(visit.server.name, "GET", visit.headers(), b"", patient=True)
        try:
            check_answer(answer)
            if answer.media != "text/event-stream":
                allow = [(b"allow", answer.allow.encode("latin-1"))] if answer.allow else []
                await exchange.reply(answer.status, await answer.read(), headers=allow)
                return
            await exchange.stream(status=answer.status)
            with suppress(OutcomeLost):  # the client comes back by itself
                async for event in answer.events():
                    await exchange.write(replayed(event, edit))
            await exchange.write(b"", more=False)
        finally:
            answer.close()


def replayed(event: Event, edit: Edit) -> bytes:
    """Return an event of a session's stream as it goes on: a list of tools is edited and loses its id."""
    try:
        message = msgspec.json.decode(event.data) if event.data else None
    except UNREADABLE:
        return event.raw
    if not isinstance(message, dict):
        return event.raw
    result = message.get("result")
    if not isinstance(result, dict) or not isinstance(result.get("tools"), list):
        return event.raw
    return as_event(encoded({**message, "result": edit(result)}))


def _keep_newest(kept: OrderedDict[Any, Any], most: int = MOST_SESSIONS) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
