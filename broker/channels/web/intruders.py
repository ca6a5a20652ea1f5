"""Agents at the people's doors: whose credential is tried on the API or the pages is refused, and the audit says whose it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice

from broker.approvals.limits import Seldom
from broker.channels.web.ports import Authenticate, Note
from broker.domain.calls import Caller
from broker.domain.events import Noted
from broker.errors import Forbidden, StoreUnavailable, Unauthenticated

# Characters of a text that may be a credential, and how many of them are tried in one form.
SHORTEST, LONGEST = 16, 8_192
AT_ONCE = 4


class Intruders:
    """Writes down which agents tried. `callers` knows agents' credentials; without it nobody is known."""

    def __init__(self, callers: Authenticate | None, note: Note, clock: Callable[[], datetime]) -> None:
        self._callers = callers
        self._note = note
        self._clock = clock
        self._seldom = Seldom()

    async def keep_out(self, credentials: Iterable[str], path: str) -> None:
        """Raises `Forbidden` if one of these texts, brought by somebody who is not signed in, is an agent's credential."""
        fit = (text for text in credentials if SHORTEST <= len(text) <= LONGEST and " " not in text)
        for credential in islice(fit, AT_ONCE):
            if await self.tried(f"Bearer {credential}", path):
                raise Forbidden("this is an agent's credential: pages are for people")

    async def tried(self, authorization: str | None, path: str) -> bool:
        """Is this an agent's credential? It is noted whose, unless it was just now."""
        if self._callers is None or not authorization:
            return False
        try:
            caller = await self._callers(authorization)
        except (Unauthenticated, StoreUnavailable):
            return False
        await self._noted_once(caller, path)
        return True

    async def _noted_once(self, caller: Caller, path: str) -> None:
        now, who = self._clock(), caller.agent or caller.workload or caller.user
        if self._seldom.counts(who, "", now):
            await self._note(Noted(at=now, what="agent.refused", who=who, fields={"path": path[:200]}))
