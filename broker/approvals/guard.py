"""The guard: one call in, one answer out. Fails closed: whatever it can't know ends with the call not made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from broker.approvals.desk import Parked
from broker.domain.calls import ToolCall
from broker.domain.outcomes import Refused
from broker.domain.requests import Origin


class Admitted(msgspec.Struct, frozen=True):
    """The call may pass. `recorded()` must be awaited before the first byte of the answer leaves: its audit event is durable then."""

    digest: str
    recorded: Callable[[], Awaitable[None]]


class Guard:
    """Judges calls. Built in `app.py` with its stores, catalogue, policy and clock."""

    async def admit(self, call: ToolCall, origin: Origin) -> Admitted | Refused | Parked:
        """Evaluate the policy on one call and act on the decision.

        Raises `StoreUnavailable` (nothing was sent), `Malformed`, `KeyReused`; anything unforeseen is an error, and no pass.
        """
        raise NotImplementedError

    def shows(self, server: str, tool: str, caller: object) -> bool:
        """Might the policy ever let this caller call the tool? What is False here is always denied when called."""
        raise NotImplementedError
