"""Tasks (`io.modelcontextprotocol/tasks`, 2026-07-28): a parked call as a handle that its client comes back to.

The request is the task and its id the task's: nothing else is kept, so any broker answers, also after a restart. The handle
is no authority: principal, server and the right to use it are checked each time, and foreign ids read like unknown ones.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from broker.domain.outcomes import Code, Outcome, Refused, StillPending
from broker.domain.requests import ApprovalRequest, RequestId
from broker.errors import AlreadyResolved, BrokerError, Malformed, UnknownRequest
from broker.gateway.envelope import INVALID_PARAMS, MISSING_CAPABILITY, encoded
from broker.gateway.eras import TASKS
from broker.gateway.holding import Attendances
from broker.gateway.results import Reply, Result, rpc_error, status_of, told, waiting_line
from broker.gateway.visits import Visit
from broker.gateway.voices import Pending

# Milliseconds that a client is asked to leave between two looks.
POLL_INTERVAL = 2_000
_MILLISECOND = timedelta(milliseconds=1)
_NEEDED: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}


class Tasks:
    """Answers `tasks/get`, `tasks/update` and `tasks/cancel`. `kept` is how long a finished answer waits for its caller."""

    def __init__(self, attendances: Attendances, clock: Callable[[], datetime], kept: timedelta) -> None:
        self._attendances = attendances
        self._desk = attendances.desk
        self._clock = clock
        self._kept = kept

    @property
    def begun(self) -> Pending:
        """Makes `CreateTaskResult`, for a call that waits. The request is durable before this is asked."""

        def begun(request: ApprovalRequest, pending: StillPending, now: datetime) -> Reply:
            return Reply({"resultType": "task", **_task(request, pending, now, self._kept)})

        return begun

    async def answer(self, visit: Visit) -> None:
        """Answer one message. A mistake is a JSON-RPC error: there is no model that reads this."""
        exchange, rpc_id = visit.exchange, visit.message.id
        try:
            result, ended = await self._answered(visit)
        except BrokerError as error:
            body = encoded({"jsonrpc": "2.0", "id": rpc_id, "error": rpc_error(error)})
            await exchange.reply(status_of(error, modern=True), body)
            return
        await exchange.reply(200, Reply(result).encoded(rpc_id))
        if ended is not None:
            await self._attendances.note_delivery(ended)

    async def _answered(self, visit: Visit) -> tuple[Result, RequestId | None]:
        """Return the result, and the request whose end its agent knows once it was written."""
        request = await self._fetched(visit)
        match visit.message.method:
            case "tasks/get":
                return await self._looked(request)
            case "tasks/cancel":
                return _ACKNOWLEDGED, await self._withdrawn(visit, request)
            case _:
                # Nobody is asked through a task, and answers to questions that were not put are ignored.
                if not isinstance(visit.message.params.get("inputResponses"), dict):
                    raise Malformed("`inputResponses` has to be an object", rpc=INVALID_PARAMS)
                return _ACKNOWLEDGED, None

    async def _fetched(self, visit: Visit) -> ApprovalRequest:
        task = visit.message.params.get("taskId")
        if not visit.tasks:
            raise Malformed(f"`{TASKS}` has to be declared for this", rpc=MISSING_CAPABILITY, data=_NEEDED)
        if not isinstance(task, str):
            raise Malformed("`taskId` has to be a string", rpc=INVALID_PARAMS)
        try:
            request = await self._desk.fetched(RequestId(task), visit.caller)
        except UnknownRequest:
            raise _unknown() from None
        if request.call.server != visit.server.name:
            raise _unknown()
        return request

    async def _looked(self, request: ApprovalRequest) -> tuple[Result, RequestId | None]:
        with self._desk.attend(request) as attending:
            outcome = await attending.outcome(0.0)
        ended = None if isinstance(outcome, StillPending) else request.id
        return {"resultType": "complete", **_task(request, outcome, self._clock(), self._kept)}, ended

    async def _withdrawn(self, visit: Visit, request: ApprovalRequest) -> RequestId | None:
        """Take it back if nothing runs yet. Later it is too late, which is no mistake: cancelling is cooperative."""
        try:
            return (await self._desk.withdraw(request.id, visit.caller)).id
        except AlreadyResolved:
            return None


_ACKNOWLEDGED: Result = {"resultType": "complete"}


def _task(request: ApprovalRequest, outcome: Outcome, now: datetime, kept: timedelta) -> Result:
    """Return a task as it stands. What people or rules decided is `completed`; `failed` is for JSON-RPC errors alone."""
    reply = told(outcome, now=now)
    told_by = {
        "taskId": request.id,
        "createdAt": request.opened_at.isoformat(),
        "lastUpdatedAt": _moved_at(request).isoformat(),
        "ttlMs": (_kept_until(request, kept) - request.opened_at) // _MILLISECOND,
        "pollIntervalMs": POLL_INTERVAL,
    }
    return told_by | _status(outcome, reply, now)


def _status(outcome: Outcome, reply: Reply, now: datetime) -> dict[str, Any]:
    result = reply.result or {}
    if isinstance(outcome, StillPending):
        return {"status": "working", "statusMessage": waiting_line(outcome, now), "_meta": result["_meta"]}
    if isinstance(outcome, Refused) and outcome.code is Code.CANCELLED:
        return {"status": "cancelled", "statusMessage": "withdrawn; the call was not made", "_meta": result["_meta"]}
    if reply.error is not None:
        return {"status": "failed", "error": reply.error}
    return {"status": "completed", "result": result}


def _moved_at(request: ApprovalRequest) -> datetime:
    """When it last moved, as far as the record says: a claim leaves no time of its own."""
    return request.ended_at or max((request.opened_at, *(review.at for review in request.reviews)))


def _kept_until(request: ApprovalRequest, kept: timedelta) -> datetime:
    last = max(request.expires_at, request.release_by or request.expires_at)
    return (request.ended_at or last) + kept


def _unknown() -> Malformed:
    return Malformed("there is no such task", rpc=INVALID_PARAMS)
