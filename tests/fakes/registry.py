"""The registry as a web app is given it, on a real store: every address fits, each slot is reviewed by the group of its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker.channels.web.parts import RegistryParts
from broker.domain.servers import Server
from broker.domain.terms import Slot
from broker.registry.accepting import Accepting
from broker.registry.catalogue import Catalogue
from broker.registry.declared import Declarations
from broker.registry.enrolling import Enrolling, House
from broker.registry.pins import Pins
from broker.registry.reviewing import Reviewing
from broker.registry.roster import Roster
from broker.registry.widened import Widenings
from broker.store.open import Store

REVIEWERS = {slot: (slot.value,) for slot in Slot}


async def resolve(host: str) -> Sequence[str]:
    return ("8.8.8.8",)


def registry_parts(store: Store, policies: Any, offers: Catalogue, **more: Any) -> RegistryParts:
    roster = Roster(store.enrolled, clock=store.clock)

    def declared() -> Mapping[str, Server]:
        found: Mapping[str, Server] = policies.current.servers
        return found

    house = House(lambda address: True, REVIEWERS)
    enrolling = Enrolling(store.enrolled, roster, house, declared=declared, resolve=resolve, broker="broker-1")
    pins = Pins(store.servers)
    return RegistryParts(
        reviewing=Reviewing(enrolling, offers, pins, policies, store.clock),
        accepting=Accepting(enrolling, offers, pins, store.refused, store.audit, store.clock),
        declarations=Declarations(store.enrolled, roster, declared), widenings=Widenings(store.widened), **more,
    )  # fmt: skip
