"""The janitor: deadlines, escalations and leases, whoever was waiting. Every broker has one; none is special."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from broker.approvals.ports import RequestStore
from broker.chores import Chore, repeating
from broker.domain.requests import ApprovalRequest, Change, RequestState
from broker.errors import RecordUnreadable, RequestError, WrongMove

Forget = Callable[[datetime], Awaitable[object]]

SWEEP = 0.25
TIDY = 60.0
# Requests that are looked at in one sweep, and with those that can't be read.
AT_ONCE = 200
MOST = 5_000


class Janitor:
    """Moves what is due and forgets what is old."""

    def __init__(
        self, requests: RequestStore, *, keep: timedelta, clock: Callable[[], datetime], also: Sequence[Forget] = ()
    ) -> None:
        """`also` are asked to delete what they hold from before retention begins."""
        self._requests = requests
        self._also = also
        self._keep = keep
        self._clock = clock
        self._stuck = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("janitor.sweep", self.sweep, SWEEP), Chore("janitor.tidy", self.tidy, TIDY)):
            yield

    async def sweep(self) -> None:
        """Move every request whose time has come, by the store's clock.

        Records that can't be read stay due for ever: as many more are looked at, so that they hold up no other.
        """
        stuck = 0
        for request_id in await self._requests.due(limit=min(AT_ONCE + self._stuck, MOST)):
            try:
                await self._requests.update(request_id, due_move)
            except RecordUnreadable:
                stuck += 1
            except RequestError:
                continue
        self._stuck = stuck

    async def tidy(self) -> None:
        """Delete ended requests that are older than retention says, and what else is kept of calls."""
        before = self._clock() - self._keep
        while await self._requests.forget(before, limit=500):
            pass
        for forget in self._also:
            await forget(before)


def due_move(request: ApprovalRequest, now: datetime) -> Change:
    """Return what has to happen to a request whose time has come. Raises `WrongMove` when it has not."""
    if request.due_at is None or now < request.due_at:
        raise WrongMove("the request is not due", request=request.id)
    if request.state is RequestState.EXECUTING:
        return request.lost(now)
    if request.state is RequestState.PENDING and now < request.expires_at:
        groups = {group for step in request.escalations_left if now >= request.opened_at + step.after for group in step.to}
        return request.asked_further(tuple(sorted(groups)), now)
    return request.expired(now)
