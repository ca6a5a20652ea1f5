"""What the web shows of the broker's own state: its replicas, its deliveries, and channels that do not deliver."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from broker.agreement import Agreement, Replica
from broker.channels.slack.troubles import Troubles
from broker.store.open import Store


class Vitals:
    """Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store, agreement: Agreement) -> None:
        self._store = store
        self._agreement = agreement
        self._troubles = Troubles(store.slack.troubles, store.clock)

    def replicas(self) -> Sequence[Replica]:
        return self._agreement.replicas

    async def deliveries(self) -> tuple[int, int, int]:
        """Return how many deliveries wait, wait for another try, and were given up."""
        return await self._store.outbox.depth()

    async def undelivered(self) -> Sequence[tuple[str, int, datetime]]:
        """Return for each channel in trouble its name, how often it could not deliver, and since when."""
        found = await self._troubles.all()
        if not found:
            return ()
        return (("Slack", sum(trouble.count for trouble in found), min(trouble.since for trouble in found)),)
