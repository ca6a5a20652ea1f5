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
        self._written = audit.begin(event)
        self._written.add_done_callback(self._ended)
        self._spooling: asyncio.Future[None] | None = None

    async def durable(self) -> None:
        """Return once the event is in the store, or on disk. Who gives up waiting does not stop it."""
        if not self._written.done():
            heard = asyncio.get_running_loop().create_future()
            self._written.add_done_callback(lambda _: None if heard.done() else heard.set_result(None))
            await heard
        self._ended(self._written)
        if self._spooling is not None:
            await asyncio.shield(self._spooling)
        else:
            self._written.result()

    def _ended(self, written: asyncio.Future[None]) -> None:
        if self._spooling is None and not written.cancelled() and isinstance(written.exception(), StoreUnavailable):
            self._spooling = asyncio.ensure_future(self._audit.spool(self._event))
