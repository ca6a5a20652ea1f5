"""Tasks (`io.modelcontextprotocol/tasks`, 2026-07-28): a parked call as a handle that its client comes back to.

The request is the task and its id the task's: nothing else is kept, so any broker answers, also after a restart. Where a server
asks back (`rounds.py`), the requests that bring the answers belong to the first one's task. The handle is no authority:
principal, server and the right to use it are checked each time, and foreign ids read like unknown ones.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec

from broker.domain.calls import digest_of
from broker.domain.outcomes import Code, Refused, StillPending
from broker.domain.requests import ApprovalRequest, RequestId
from broker.domain.rounds import ANSWERS
from broker.errors import AlreadyResolved, BrokerError, Malformed, UnknownRequest
from broker.gateway.envelope import INVALID_PARAMS, MISSING_CAPABILITY, encoded
from broker.gateway.eras import TASKS
from broker.gateway.holding import Attendances
from broker.gateway.results import Reply, Result, rpc_error, status_of, told, waiting_line
from broker.gateway.rounds import Rounds
from broker.gateway.stands import Stand, stand_of
from broker.gateway.visits import Visit
from broker.gateway.voices import Pending

# Milliseconds that a client is asked to leave between two looks.
POLL_INTERVAL = 2_000
_MILLISECOND = timedelta(milliseconds=1)
_NEEDED: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}


class Tasks:
    """Answers `tasks/get`, `tasks/update` and `tasks/cancel`. `kept` is how long a finished answer waits for its caller."""

    def __init__(self, attendances: Attendances, clock: Callable[[], datetime], kept: timedelta, rounds: Rounds) -> None:
        self._attendances = attendances
        self._desk = attendances.desk
        self._clock = clock
        self._kept = kept
        self._rounds = rounds

    @property
    def begun(self) -> Pending:
        """Makes `CreateTaskResult`, for a call that waits. The request is durable before this is asked."""

        def begun(request: ApprovalRequest, pending: StillPending, now: datetime) -> Reply:
            return Reply({"resultType": "task", **_task(Stand(request, request, pending), now, self._kept)})

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
        stand = await self._stood(visit, await self._fetched(visit, visit.message.params.get("taskId")))
        match visit.message.method:
            case "tasks/get":
                stand = await self._continued(visit, stand)
                return {"resultType": "complete", **self.shown(stand)}, stand.ended
            case "tasks/cancel":
                return _ACKNOWLEDGED, await self._withdrawn(visit, stand)
            case _:
                return _ACKNOWLEDGED, await self._updated(visit, stand)

    # -- for subscriptions --------------------------------------------------------------------------------

    async def looked(self, visit: Visit, task: str) -> Stand:
        """Return how far a task has come, as `tasks/get` would. Raises `Malformed` where there is none for this caller."""
        return await self._continued(visit, await self._stood(visit, await self._fetched(visit, task)))

    def shown(self, stand: Stand) -> Result:
        """Return the whole task, without a `resultType`."""
        return _task(stand, self._clock(), self._kept)

    async def moved(self, stand: Stand, within: float) -> None:
        """Return once people have decided and the call has ended, or after `within` seconds. Raises `StoreUnavailable`."""
        with self._desk.attend(stand.latest) as attending:
            await attending.outcome(within)

    async def delivered(self, request_id: RequestId) -> None:
        await self._attendances.note_delivery(request_id)

    # -- one task -----------------------------------------------------------------------------------------

    async def _fetched(self, visit: Visit, task: Any) -> ApprovalRequest:
        if not visit.tasks:
            raise task_needed()
        if not isinstance(task, str):
            raise Malformed("`taskId` has to be a string", rpc=INVALID_PARAMS)
        try:
            request = await self._desk.fetched(RequestId(task), visit.caller)
        except UnknownRequest:
            raise _unknown() from None
        if request.call.server != visit.server.name:
            raise _unknown()
        return request

    async def _stood(self, visit: Visit, root: ApprovalRequest) -> Stand:
        """Return how far a task has come."""
        latest, number = root, 0
        with suppress(UnknownRequest):  # it was to be parked, and that broke off
            while latest.round.next:
                latest, number = await self._desk.fetched(latest.round.next, visit.caller), number + 1
        with self._desk.attend(latest) as attending:
            return stand_of(root, latest, number, await attending.outcome(0.0))

    async def _updated(self, visit: Visit, stand: Stand) -> RequestId | None:
        """Keep the answers to what is asked, and go on once there are all. Others are ignored: nobody else is asked here."""
        answers = visit.message.params.get(ANSWERS)
        if not isinstance(answers, dict) or not all(isinstance(answer, dict) for answer in answers.values()):
            raise Malformed(f"`{ANSWERS}` has to be an object of objects", rpc=INVALID_PARAMS)
        digest_of(answers)  # what has no canonical form can't be reviewed, so it is not kept either
        if given := {key: answers[name] for name, key in stand.missing.items() if name in answers}:
            with suppress(AlreadyResolved):
                stand = msgspec.structs.replace(stand, latest=await self._desk.answer(stand.latest.id, given))
        await self._continued(visit, stand)
        return stand.latest.id if stand.asked is not None and not stand.missing else None

    async def _continued(self, visit: Visit, stand: Stand) -> Stand:
        """Park what brings the answers, once all are there. Harmless when done twice."""
        if stand.asked is None or stand.missing:
            return stand
        verdict = await self._rounds.of_task(visit, stand.latest, stand.asked)
        if isinstance(verdict, Refused):
            with suppress(AlreadyResolved):
                await self._desk.give_up(stand.latest.id, verdict.code, verdict.why)
        return await self._stood(visit, await self._desk.fetched(stand.root.id, visit.caller))

    async def _withdrawn(self, visit: Visit, stand: Stand) -> RequestId | None:
        """Take it back if nothing runs yet. Later it is too late, which is no mistake: cancelling is cooperative."""
        try:
            if stand.asked is not None:
                return (await self._desk.give_up(stand.latest.id, Code.CANCELLED, "the agent withdrew it")).id
            return (await self._desk.withdraw(stand.latest.id, visit.caller)).id
        except AlreadyResolved:
            return None


_ACKNOWLEDGED: Result = {"resultType": "complete"}


def _task(stand: Stand, now: datetime, kept: timedelta) -> Result:
    """Return a task as it stands. What people or rules decided is `completed`; `failed` is for JSON-RPC errors alone."""
    root, latest = stand.root, stand.latest
    told_by = {
        "taskId": root.id,
        "createdAt": root.opened_at.isoformat(),
        "lastUpdatedAt": _moved_at(latest).isoformat(),
        "ttlMs": (_kept_until(latest, kept) - root.opened_at) // _MILLISECOND,
        "pollIntervalMs": POLL_INTERVAL,
    }
    return told_by | _status(stand, now)


def _status(stand: Stand, now: datetime) -> dict[str, Any]:
    outcome = stand.outcome
    if stand.asked is not None:
        questions = {name: stand.asked.questions[key] for name, key in stand.missing.items()}
        return {"status": "input_required", "statusMessage": "its server asks something first", "inputRequests": questions}
    reply = told(outcome, now=now)
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


def task_needed(**fields: Any) -> Malformed:
    """The answer to who asks for tasks and does not take them."""
    return Malformed(f"`{TASKS}` has to be declared for this", rpc=MISSING_CAPABILITY, data=_NEEDED, **fields)


def _unknown() -> Malformed:
    return Malformed("there is no such task", rpc=INVALID_PARAMS)
