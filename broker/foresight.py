"""What would come of a call, wired: the forecaster on the rules, tools and counters in force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from broker.approvals.brakes import Brakes
from broker.approvals.forecast import Forecaster
from broker.approvals.stops import Stops
from broker.joined import Joined
from broker.outward import Outward
from broker.store.open import Store


def forecaster(policies: Joined, out: Outward, store: Store, stops: Stops, clock: Callable[[], datetime]) -> Forecaster:
    """Return the forecaster of this broker."""

    async def offered(server: str) -> Sequence[str]:
        return [tool.name for tool in (await out.tools.listing(server)).tools]

    return Forecaster(policies, out.tools, store.counters, offered, clock=clock, brakes=Brakes(stops))
