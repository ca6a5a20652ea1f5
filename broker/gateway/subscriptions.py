"""`subscriptions/listen` (2026-07-28): its server's changes pass through, and tasks are the broker's own to tell of.

A client names tasks in `notifications.taskIds` (io.modelcontextprotocol/tasks). Each time that one has moved it hears what
`tasks/get` would say; ids that are not its own read as unknown ones do there: they are not among those acknowledged.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import msgspec

from broker.domain.outcomes import StillPending
from broker.errors import BrokerError, Forbidden, Malformed, StoreUnavailable, Unauthenticated, UnknownRequest, UnknownServer
from broker.gateway.envelope import INVALID_PARAMS, encoded
from broker.gateway.lasting import Still
from broker.gateway.passing import Passing, as_event
from broker.gateway.results import Result
from broker.gateway.stands import Stand
from broker.gateway.tasks import Tasks, task_needed
from broker.gateway.visits import Visit

METHOD = "notifications/tasks"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
# Tasks that one stream may tell of.
MOST_TASKS = 100
# Seconds between two looks at a task whose server waits for an answer, or while the store is away; between two signs of life.
LOOK = 1.0
LOOK_AGAIN = 30.0
BEAT = 15.0


class Subscriptions:
    """Answers `subscriptions/listen`."""

    def __init__(self, passing: Passing, tasks: Tasks, still: Still) -> None:
        self._passing = passing
        self._tasks = tasks
        self._still = still

    async def listen(self, visit: Visit) -> None:
        """Pass changes and tell of tasks until the client leaves. Raises as `Passing.post`, and `Malformed`."""
        asked = visit.message.params.get("notifications")
        if not isinstance(asked, dict) or (wanted := asked.pop("taskIds", None)) is None:
            await self._passing.post(visit, visit.headers(), patient=True)
            return
        telling = _Telling(visit, self._tasks, await self._known(visit, wanted), self._still)
        if any(asked.values()):
            await self._woven(visit, telling)
        else:
            with visit.exchange.until_gone():
                await telling.alone()

    async def _woven(self, visit: Visit, telling: _Telling) -> None:
        mistake: BrokerError | None = None
        visit.exchange.rewrite(telling.rewritten)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(telling.run)
            try:
                await self._passing.post(visit, visit.headers(), patient=True)
            except BrokerError as error:
                mistake = error  # raised below as it is, in no group of mistakes
            tasks.cancel_scope.cancel()
        if mistake is not None:
            raise mistake

    async def _known(self, visit: Visit, wanted: Any) -> list[str]:
        rpc_id = visit.message.id
        if not visit.tasks:
            raise task_needed(id=rpc_id)
        if not isinstance(wanted, list) or len(wanted) > MOST_TASKS or not all(isinstance(one, str) for one in wanted):
            raise Malformed(f"`taskIds` has to be a list of at most {MOST_TASKS} strings", rpc=INVALID_PARAMS, id=rpc_id)
        known = []
        for task in dict.fromkeys(wanted):
            with suppress(Malformed):  # there is no such task
                known.append((await self._tasks.looked(visit, task)).root.id)
        return list(known)


class _Telling:
    """Tells one stream of its tasks, once its acknowledgement has gone out."""

    def __init__(self, visit: Visit, tasks: Tasks, known: list[str], still: Still) -> None:
        self._still = still
        self._visit = visit
        self._exchange = visit.exchange
        self._tasks = tasks
        self._known = known
        self._acknowledged = anyio.Event()
        self._mark = {SUBSCRIPTION: visit.message.id}

    def rewritten(self, event: bytes) -> bytes:
        """Name the tasks in the server's acknowledgement; all else stays."""
        if self._acknowledged.is_set() or ACKNOWLEDGED.encode() not in event:
            return event
        data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        try:
            message = msgspec.json.decode(data, type=dict[str, Any])
            message["params"]["notifications"]["taskIds"] = self._known
        except (msgspec.MsgspecError, KeyError, TypeError):
            return event
        self._acknowledged.set()
        return as_event(encoded(message))

    async def alone(self) -> None:
        """Be the whole stream: nothing of the server was asked for."""
        await self._exchange.stream()
        await self._say(ACKNOWLEDGED, {"notifications": {"taskIds": self._known}})
        self._acknowledged.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.run)
            while True:
                await anyio.sleep(BEAT)
                await self._exchange.write(b": listening\n\n")

    async def run(self) -> None:
        await self._acknowledged.wait()
        async with anyio.create_task_group() as tasks:
            for task in self._known:
                tasks.start_soon(self._follow, task)

    async def _follow(self, task: str) -> None:
        """Tell of one task at once, and whenever it has moved, until it has ended or is no longer this caller's."""
        told = ""
        while True:
            try:
                await self._still(self._visit)
                stand = await self._tasks.looked(self._visit, task)
            except (Malformed, UnknownRequest, Unauthenticated, Forbidden, UnknownServer):
                return
            except BrokerError:
                await anyio.sleep(LOOK)
                continue
            shown = self._tasks.shown(stand)
            if (now := _moved(shown)) != told:
                told = now
                await self._say(METHOD, shown)
            if stand.ended is not None:
                await self._tasks.delivered(stand.ended)
                return
            await self._wait(stand)

    async def _wait(self, stand: Stand) -> None:
        if not isinstance(stand.outcome, StillPending):
            await anyio.sleep(LOOK)
            return
        with suppress(StoreUnavailable):
            await self._tasks.moved(stand, LOOK_AGAIN)

    async def _say(self, method: str, params: Result) -> None:
        stamped = {**params, "_meta": {**params.get("_meta", {}), **self._mark}}
        await self._exchange.write(as_event(encoded({"jsonrpc": "2.0", "method": method, "params": stamped})))


def _moved(shown: Result) -> str:
    """What is news of a task: not how long its people still have."""
    return f"{shown['status']} {sorted(shown.get('inputRequests', ()))}"
