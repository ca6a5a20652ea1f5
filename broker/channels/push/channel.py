"""The push channel: who may answer a request is told once on each of their devices that something waits.

It is a hint and no card: what is lost is lost, and what ended meanwhile is not told. Retries are this channel's own, so
that a slow push service holds up nobody else.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio
import msgspec
import structlog

from broker.approvals.desk import Desk
from broker.approvals.ports import RequestStore
from broker.channels.push.devices import Device, Devices
from broker.channels.push.ports import Leases, Wanted
from broker.channels.push.sending import Fate, Sender, Told
from broker.chores import Chore, repeating
from broker.domain.decisions import Severity
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import UnknownRequest

log = structlog.get_logger()

LEASE = "push-delivery"
# Seconds: between two looks for what is due, of the lease of who delivers, and of the first wait after a failure.
LOOK, HELD, RETRY = 1.0, 30.0, 2.0
BATCH, TRIES = 100, 8


@dataclass(frozen=True)
class PushParts:
    """What the channel is made of. `broker` holds the lease, `retry` is the first wait after a failure in seconds."""

    devices: Devices
    sender: Sender
    wanted: Wanted
    leases: Leases
    desk: Desk
    requests: RequestStore
    clock: Callable[[], datetime]
    broker: str
    retry: float = RETRY


class PushChannel:
    """`Channel` of the use cases. `running` delivers."""

    name = "push"

    def __init__(self, parts: PushParts) -> None:
        self._parts = parts
        self._failed: dict[str, int] = {}
        self._woken = anyio.Event()

    async def sync(self, request: ApprovalRequest) -> None:
        """Want every device told whose person may answer. Returns at once; who was told is not told again."""
        if request.state is not RequestState.PENDING:
            return
        for device in (await self._parts.devices.all()).values():
            if self._asked(request, device):
                await self._parts.wanted.want(f"{request.id} {device.id}")
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("push", self.round, 0.0, after_failure=LOOK)):
            yield

    async def round(self) -> None:
        """Tell what is due, where no other broker does it. Raises `StoreUnavailable`."""
        with anyio.move_on_after(LOOK):
            await self._woken.wait()
        self._woken = anyio.Event()
        due = await self._parts.wanted.due(BATCH, self._parts.clock())
        if due and await self._parts.leases.lease(LEASE, self._parts.broker, timedelta(seconds=HELD)):
            async with anyio.create_task_group() as tasks:
                for subject, score in due:
                    tasks.start_soon(self._attend, subject, score)

    async def _attend(self, subject: str, score: int) -> None:
        await self._parts.wanted.settle(subject, score, await self._told(subject))

    async def _told(self, subject: str) -> datetime | None:
        """Tell one device of one request, once. Returns when to try again."""
        request_id, _, device_id = subject.partition(" ")
        device = await self._parts.devices.get(device_id)
        try:
            request = await self._parts.requests.get(RequestId(request_id))
        except UnknownRequest:
            return None
        left = request.expires_at - self._parts.clock()
        if device is None or left <= timedelta() or not self._asked(request, device):
            return None
        # the mark comes first: a broker that dies in between tells nobody rather than twice
        mark, own = f"push:{subject}", secrets.token_hex(8)
        if not await self._parts.leases.lease(mark, own, left):
            return None
        urgent = request.plan.severity.rank >= Severity.HIGH.rank
        told = await self._parts.sender.send(device, notice(request), urgent=urgent, lasts=left)
        if told.fate is Fate.LATER:
            await self._parts.leases.give_up(mark, own)
            return self._again(subject, told)
        self._failed.pop(subject, None)
        if told.fate is Fate.GONE:
            await self._parts.devices.gone(device.id)
        return None

    def _again(self, subject: str, told: Told) -> datetime | None:
        """When to try again: as the service asks, else after a growing while; None after too many tries."""
        failed = self._failed[subject] = self._failed.get(subject, 0) + 1
        if failed >= TRIES:
            del self._failed[subject]
            log.warning("push.given_up", tries=failed)
            return None
        return self._parts.clock() + timedelta(seconds=told.after or self._parts.retry * 2 ** (failed - 1))

    def _asked(self, request: ApprovalRequest, device: Device) -> bool:
        """May this device's person still answer the request, by the groups they are in now?"""
        said = {review.reviewer.casefold() for review in request.reviews}
        involved = request.call.caller.backed_by(device.person) or device.person.casefold() in said
        if request.state is not RequestState.PENDING or involved:
            return False
        groups = self._parts.desk.groups_of(Reviewer(device.person, self.name, device.groups))
        return bool({*request.plan.groups, *request.escalated}.intersection(groups))


def notice(request: ApprovalRequest) -> bytes:
    """Return all that leaves for a push service: which request, and how severe it is."""
    return msgspec.json.encode({"id": request.id, "severity": request.plan.severity.value})
