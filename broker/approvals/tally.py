"""What one call adds to its counters: reserved before it is judged, then counted or given back (POLICY.md, rule 9).

`of: all` counts calls that were sent, allowed or released; `asked` those that people were asked about; `released` those
that ran after an approval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.approvals.ports import Counters
from broker.errors import StoreUnavailable
from broker.policy.model import CounterUse

ALLOWED = frozenset(("all",))
ASKED = frozenset(("asked",))
RELEASED = frozenset(("all", "released"))
NOTHING: frozenset[str] = frozenset()


class Tally:
    """One call's part in its counters. Costs nothing where no counter is about the call."""

    def __init__(self, counters: Counters, call_id: str, uses: Sequence[CounterUse]) -> None:
        self._counters = counters
        self._call_id = call_id
        self._uses = uses

    async def reserve(self) -> Mapping[str, float]:
        """Take this call's amounts and return the sums of earlier calls. Empty while the store is away: that tightens."""
        if not self._uses:
            return {}
        try:
            return await self._counters.reserve(self._call_id, self._uses)
        except StoreUnavailable:
            return {}

    async def settle(self, counted: frozenset[str]) -> None:
        """Count the uses of these kinds, give back the others. Raises `StoreUnavailable`: what is not counted is not sent."""
        if not self._uses:
            return
        kept = [use for use in self._uses if use.of in counted]
        left = [use for use in self._uses if use.of not in counted]
        if kept:
            await self._counters.commit(self._call_id, kept)
        if left:
            await self._counters.give_back(self._call_id, left)
