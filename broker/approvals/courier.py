"""The courier: from the outbox to every channel. A channel that fails is asked again and holds nobody up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import anyio
import structlog

from broker.approvals.ports import Channel, Delivery, Outbox, RequestStore
from broker.chores import Chore, repeating
from broker.errors import StoreUnavailable, UnknownRequest

log = structlog.get_logger()

BATCH = 50
WAIT = 2.0


class Courier:
    """Brings what channels show to the latest state of the record. At least once; channels make it idempotent."""

    def __init__(self, outbox: Outbox, requests: RequestStore, channels: Sequence[Channel]) -> None:
        self._outbox = outbox
        self._requests = requests
        self._channels = channels

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeating(Chore("courier", self.round, 0.0, after_failure=WAIT)):
            yield

    async def round(self) -> int:
        """Deliver what lies in the outbox now, waiting a little for the first entry. Returns how many there were."""
        deliveries = await self._outbox.take(BATCH, WAIT)
        async with anyio.create_task_group() as tasks:
            for delivery in deliveries:
                tasks.start_soon(self._deliver, delivery)
        return len(deliveries)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            request = await self._requests.get(delivery.request)
            for channel in self._channels:
                await channel.sync(request)
        except UnknownRequest:
            await self._outbox.done(delivery)
        except StoreUnavailable:
            raise
        except Exception as error:
            log.warning("courier.retries", request=delivery.request, attempts=delivery.attempts, error=type(error).__name__)
            with suppress(StoreUnavailable):
                await self._outbox.later(delivery, backoff(delivery.attempts), type(error).__name__)
        else:
            await self._outbox.done(delivery)


def backoff(attempts: int) -> timedelta:
    """2, 4, 8 … seconds, 5 minutes at most."""
    return timedelta(seconds=min(300, 2 ** min(attempts, 9)))
