"""How each tool of a server stands: accepted and unchanged, changed, gone, listed by the operator, or new. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from broker.domain.servers import ToolDefinition
from broker.errors import Malformed
from broker.registry.drift import Difference, differences
from broker.registry.pins import Pin
from broker.registry.ports import Listing


class Standing(StrEnum):
    PINNED = "pinned"
    CHANGED = "changed"
    GONE = "gone"
    LISTED = "listed"
    NEW = "new"

    @property
    def known(self) -> bool:
        """Do rules treat the tool as known?"""
        return self in (Standing.PINNED, Standing.LISTED)

    @property
    def drifted(self) -> bool:
        """Is it no longer what somebody accepted?"""
        return self in (Standing.CHANGED, Standing.GONE)


class Stand(msgspec.Struct, frozen=True):
    """One tool. `definition` is None for one that is gone, `pin` for one that nobody accepted."""

    tool: str
    standing: Standing
    definition: ToolDefinition | None
    pin: Pin | None = None

    @property
    def changes(self) -> tuple[Difference, ...]:
        """What changed since it was accepted."""
        if self.pin is None or self.definition is None:
            return ()
        return differences(self.pin.definition, self.definition.raw)


def stands(listing: Listing, pins: Mapping[str, Pin], listed: Collection[str]) -> tuple[Stand, ...]:
    """Return how every tool stands that the server offers or that somebody accepted, in the server's order."""
    offered = [_stand(tool, pins.get(tool.name), tool.name in listed) for tool in listing.tools]
    gone = [Stand(name, Standing.GONE, None, pin) for name, pin in pins.items() if listing.tool(name) is None]
    return (*offered, *gone)


def _stand(tool: ToolDefinition, pin: Pin | None, listed: bool) -> Stand:
    if pin is None:
        return Stand(tool.name, Standing.LISTED if listed else Standing.NEW, tool)
    try:
        same = pin.holds(tool)
    except Malformed:  # it has no digest now, so it is not what was accepted
        same = False
    return Stand(tool.name, Standing.PINNED if same else Standing.CHANGED, tool, pin)
