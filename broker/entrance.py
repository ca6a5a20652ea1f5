"""The entrance for agents, wired: the gateway with everything that a call may need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from broker.approvals.desk import Desk
from broker.approvals.guard import Guard
from broker.approvals.releaser import Releaser
from broker.doors import Identity
from broker.gateway.app import Gateway
from broker.gateway.ports import Failed, Sized
from broker.operations import challenge
from broker.outward import Outward
from broker.registered import barred
from broker.serving import hosts
from broker.settings import Settings
from broker.store.open import Store
from broker.upstream.acting import acting_for


@dataclass(frozen=True)
class Agents:
    """What agents meet behind the entrance."""

    identity: Identity
    desk: Desk
    guard: Guard
    releaser: Releaser
    sized: Sized
    failing: Failed


async def agents_entrance(
    settings: Settings, agents: Agents, out: Outward, store: Store, clock: Callable[[], datetime], *, broker: str, address: str
) -> Gateway:  # fmt: skip
    """Return the gateway; close it at the end. `address` is where the broker listens, for host checks."""
    return Gateway(
        authenticate=acting_for(agents.identity.callers.authenticate), catalogue=out.servers.in_force,
        names=lambda: out.servers.current.servers, judge=agents.guard,
        desk=agents.desk, lines=agents.releaser, forwarder=out.ways, schemas=out.tools.schema, clock=clock,
        sized=agents.sized, failing=agents.failing, note=store.audit.append,
        key=await store.keys.signing_key("sessions"), broker=broker,
        hosts=hosts(settings, address), hold=settings.hold.total_seconds(),
        body_limit=settings.body_limit, kept=settings.keep_answers, page=settings.public_url,
        challenge=challenge(settings.public_url, settings.issuers), barred=barred(out.servers, store.clock),
    )  # fmt: skip
