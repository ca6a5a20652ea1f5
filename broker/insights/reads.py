"""What agents read from outside shortly before they ask: words that others wrote may be what makes them ask. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from broker.domain.events import CallDecided, Entry

SHORTLY = timedelta(minutes=10)
CALLERS, EACH = 2_000, 20


class Read(msgspec.Struct, frozen=True):
    """One call that was let through."""

    at: datetime
    server: str
    tool: str


class Reads:
    """The last calls of each caller that were allowed: `take` audit entries in order. The longest idle callers are forgotten."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Read]] = OrderedDict()

    def take(self, entry: Entry) -> None:
        match entry.event:
            case CallDecided(effect="allow") as fact:
                caller = fact.caller.principal
                reads = self._of.get(caller)
                if reads is None:
                    reads = self._of[caller] = deque(maxlen=EACH)
                reads.append(Read(fact.at, fact.server, fact.tool))
                self._of.move_to_end(caller)
                if len(self._of) > CALLERS:
                    self._of.popitem(last=False)
            case _:
                return

    def before(self, principal: str, at: datetime, outside: Callable[[str, str], bool]) -> Read | None:
        """Return the last call to a tool that reaches `outside` (of a server and tool) in the 10 minutes before `at`."""
        found = (read for read in reversed(self._of.get(principal, ())) if at - SHORTLY <= read.at <= at)
        return next((read for read in found if outside(read.server, read.tool)), None)
