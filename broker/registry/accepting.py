"""Tools that are new, or no longer what somebody accepted: a person accepts or refuses them as they are shown.

For an experiment that is its own people's to decide; of every other server, security reviewers who do not answer for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from broker.domain.enrolment import Enrolment, Lifecycle
from broker.domain.events import Noted
from broker.domain.servers import ToolDefinition
from broker.domain.terms import Actor
from broker.errors import Forbidden, ShownAnother, UnknownServer
from broker.registry.enrolling import Enrolling
from broker.registry.pins import Pins
from broker.registry.ports import Notes, Shelf
from broker.registry.reviewing import Asking


class Refused(msgspec.Struct, frozen=True):
    """A definition that somebody looked at and did not want. Its calls stay stopped, as before."""

    server: str
    tool: str
    digest: str
    by: str
    at: datetime
    why: str = ""


_decode = msgspec.json.Decoder(Refused).decode


class Accepting:
    """`clock` is the store's."""

    def __init__(
        self, enrolling: Enrolling, asking: Asking, pins: Pins, refused: Shelf, notes: Notes, clock: Callable[[], datetime]
    ) -> None:  # fmt: skip
        self._enrolling = enrolling
        self._asking = asking
        self._pins = pins
        self._refused = refused
        self._notes = notes
        self._clock = clock

    def objection(self, server: str, by: Actor) -> str:
        """Why this person may not decide about the server's tools; empty where they may."""
        enrolment = self._enrolment(server)
        if enrolment is not None and enrolment.lifecycle is Lifecycle.EXPERIMENT:
            group = enrolment.keeper.group
            return "" if group in by.groups else f"an experiment's tools are accepted by members of {group}"
        guards = self._enrolling.house.guards
        if not set(by.groups) & set(guards):
            return (
                f"tools are accepted by members of {', '.join(guards)}"
                if guards
                else "set BROKER_REVIEW_GROUPS to let people accept"
            )
        if enrolment is not None and enrolment.keeper.group in by.groups:
            return f"you are of {enrolment.keeper.group}, who answer for the server: somebody else has to decide"
        return ""

    async def accept(self, server: str, tool: str, digest: str, by: Actor) -> None:
        """Pin a definition as it was shown. Raises `Forbidden`, `ShownAnother`, `VersionConflict`, an `UpstreamError`."""
        definition = await self._shown(server, tool, digest, by)
        pin = (await self._pins.of(server)).get(tool)
        await self._pins.accept(definition, by.person, self._clock(), instead_of=pin)
        await self._refused.delete(f"{server}/{tool}")
        await self._note("tool.pinned", by, server=server, tool=tool, digest=digest)
        await self._asking.read_pins()

    async def refuse(self, server: str, tool: str, digest: str, by: Actor, why: str) -> None:
        """Say that a definition is not wanted. Raises as `accept` does."""
        await self._shown(server, tool, digest, by)
        refused = Refused(server, tool, digest, by.person, self._clock(), why)
        held = await self._refused.get(f"{server}/{tool}")
        await self._refused.swap(f"{server}/{tool}", held, msgspec.json.encode(refused))
        await self._note("tool.refused", by, server=server, tool=tool, digest=digest, why=why)

    async def refusals(self, server: str) -> Mapping[str, Refused]:
        """What was refused of a server, by tool."""
        found = [_decode(value) for name, value in (await self._refused.all()).items() if name.startswith(f"{server}/")]
        return {one.tool: one for one in found}

    async def _shown(self, server: str, tool: str, digest: str, by: Actor) -> ToolDefinition:
        if why := self.objection(server, by):
            raise Forbidden(why)
        definition = (await self._asking.listing(server, fresh=True)).tool(tool)
        if definition is None:
            raise UnknownServer(f"{server} offers no such tool now")
        if definition.digest() != digest:
            raise ShownAnother("the tool has changed since you looked at it: look again")
        return definition

    async def _note(self, what: str, by: Actor, **fields: str) -> None:
        await self._notes.append(Noted(at=self._clock(), what=what, who=by.person, fields=fields))

    def _enrolment(self, local: str) -> Enrolment | None:
        if local in self._enrolling.declared():
            return None
        return next((one for one in self._enrolling.roster.enrolments.values() if one.local == local), None)
