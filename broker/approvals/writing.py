"""One event on its way to the audit, whoever still waits for it."""

from __future__ import annotations

import asyncio

from broker.approvals.ports import AuditLog
from broker.domain.events import Event
from broker.errors import StoreUnavailable


class Writing:
    """Begins to write when it is made. Where the store dies in between the event is spooled, also when nobody waits any more:
    the call may have run, and nobody is made to repeat it.
    """

    def __init__(self, audit: AuditLog, event: Event) -> None:
        self._audit = audit
        self._event = event
        self._waiting: list[asyncio.Future[None]] = []
        self._written = False
        self._spooling: asyncio.Future[None] | None = None
        audit.begin(event, self._ended)

    async def durable(self) -> None:
        """Return once the event is in the store, or on disk. Who gives up waiting does not stop it."""
        if not self._written and self._spooling is None:
            heard = asyncio.get_running_loop().create_future()
            self._waiting.append(heard)
            await heard
        if self._spooling is not None:
            await asyncio.shield(self._spooling)

    def _ended(self, error: StoreUnavailable | None) -> None:
        if error is None:
            self._written = True
        else:
            self._spooling = asyncio.ensure_future(self._audit.spool(self._event))
        for heard in self._waiting:
            if not heard.done():
                heard.set_result(None)
