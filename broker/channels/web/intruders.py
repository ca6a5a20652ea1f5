"""Agents at the people's door: whose credential is tried on the API for people is refused, and the audit says whose it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from broker.channels.web.ports import Authenticate, Note
from broker.domain.events import Noted
from broker.errors import StoreUnavailable, Unauthenticated

# One entry an agent in this time: whoever tries without an end fills no audit.
SELDOM = timedelta(minutes=1)
MOST = 1_000


class Intruders:
    """Writes down which agents tried. `callers` knows agents' credentials; without it nobody is known."""

    def __init__(self, callers: Authenticate | None, note: Note, clock: Callable[[], datetime]) -> None:
        self._callers = callers
        self._note = note
        self._clock = clock
        self._noted: dict[str, datetime] = {}

    async def tried(self, authorization: str | None, path: str) -> None:
        """Note whose credential this is, if it is an agent's and was not noted just now."""
        if self._callers is None or not authorization:
            return
        try:
            caller = await self._callers(authorization)
        except (Unauthenticated, StoreUnavailable):
            return
        now, who = self._clock(), caller.agent or caller.workload or caller.user
        if now - self._noted.get(who, now - SELDOM) < SELDOM:
            return
        if len(self._noted) >= MOST:
            self._noted.clear()
        self._noted[who] = now
        await self._note(Noted(at=now, what="agent.refused", who=who, fields={"path": path[:200]}))
