"""The brakes of the guard, together: stop switches, pace, requests left with people, and no asking twice after a no."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from broker.approvals.limits import Memory, Pace, Waiting
from broker.approvals.stops import Stop, Stops
from broker.domain.calls import Caller, ToolCall, repeat_of
from broker.errors import BrokerError


class RejectedBefore(BrokerError):
    """A person rejected the same call a short while ago. `message` is the reason that was given."""

    code = "rejected_before"


class Brakes(msgspec.Struct, frozen=True):
    """Whatever is None does not brake."""

    stops: Stops | None = None
    pace: Pace | None = None
    waiting: Waiting | None = None
    memory: Memory | None = None

    def stop(self, caller: Caller) -> Stop | None:
        """Return the stop that holds for who calls: by the agent's name, the workload's, or the user's where it has neither."""
        if self.stops is None:
            return None
        return self.stops.of(caller.agent, caller.workload) if caller.agent or caller.workload else self.stops.of(caller.user)

    def slow(self, call: ToolCall) -> None:
        """Raises `TooMany` when the agent calls too fast."""
        if self.pace:
            self.pace.take(call.caller.principal)

    async def before_asking(self, call: ToolCall) -> Callable[[], None]:
        """Return what raises `TooMany` or `RejectedBefore` if people would be asked anew. A call that joins is not asked anew."""
        why = await self.memory.recall(repeat_of(call, call.digest())) if self.memory else None
        if why is None:
            return await self.waiting.check(call.caller) if self.waiting else _nothing

        def rejected() -> None:
            raise RejectedBefore(why)

        return rejected


def _nothing() -> None:
    """Nothing brakes."""


def told(stop: Stop) -> str:
    """Return a stop in a sentence for agents: the reason, not the person."""
    return f"all calls of this agent are stopped: {stop.why}" if stop.why else "all calls of this agent are stopped"
