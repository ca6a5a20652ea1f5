"""Enrolling servers and moving them: every verb reads all records, makes one pure move, and writes it in one step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from broker.domain.enrolment import Enrolment, Lifecycle, address_of, begun
from broker.domain.events import Noted
from broker.domain.servers import Server, mixed_up
from broker.domain.terms import Actor, Slot, Version
from broker.errors import EnrolmentRefused, NotEnrolled, VersionConflict
from broker.registry import server_json
from broker.registry.addresses import Fit, Resolve, objection
from broker.registry.offers import offer_of
from broker.registry.ports import Held, Ledger
from broker.registry.roster import Roster, decoded, encode_enrolment

TRIES = 40

Known = Mapping[str, Enrolment | None]
Move = Callable[[Known, datetime], Enrolment]


class House(msgspec.Struct, frozen=True):
    """What the operator decides: who reviews which slot, which addresses fit an enrolled server, how long experiments last."""

    fit: Fit
    reviewers: Mapping[Slot, tuple[str, ...]] = {}
    experiments_last: timedelta = timedelta(days=14)

    @property
    def guards(self) -> Collection[str]:
        """The groups that may stop an approved server."""
        return self.reviewers.get(Slot.SECURITY, ())


class Enrolling:
    """The verbs. `declared` are the servers of servers.yaml, whose names nobody can take; `tell` makes a notice of a change."""

    def __init__(
        self, ledger: Ledger, roster: Roster, house: House, *, declared: Callable[[], Mapping[str, Server]], resolve: Resolve,
        tell: Callable[[Enrolment, Noted], bytes] | None = None, broker: str = "",
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self.roster = roster
        self.house = house
        self.declared = declared
        self._resolve = resolve
        self._tell = tell
        self._broker = broker

    async def publish(self, document: Any, by: Actor) -> Enrolment:
        """Enrol a server, or publish a version of one: the first is an experiment, a later one goes to review with its server.

        Raises `EnrolmentRefused` with everything that is wrong, `Forbidden`, `WrongMove`.
        """
        if found := server_json.problems(document):
            raise EnrolmentRefused(*found)
        document = server_json.trimmed(document)
        offer = offer_of(document)
        for remote in document["remotes"]:
            if why := await objection(remote["url"], self._resolve, self.house.fit):
                raise EnrolmentRefused(why)
        name = document["name"]

        def move(known: Known, now: datetime) -> Enrolment:
            version = Version(document["version"], document, by.person, now, now)
            if name not in known:
                self._free(name, known.keys())
                return begun(name, offer.keeper, version, by, self.house.experiments_last)
            before = _readable(known, name)
            if before.keeper.group != offer.owner:
                raise EnrolmentRefused(f"{name} belongs to `{before.keeper.group}`: publishing can't give it away")
            after = msgspec.structs.replace(before.published(version, by), keeper=offer.keeper)
            in_use = after.lifecycle is not Lifecycle.EXPERIMENT
            return after.submitted(version.version, offer.terms, by, now) if in_use else after

        return await self.change(name, move)

    async def submit(self, name: str, by: Actor, version: str = "") -> Enrolment:
        """Ask for the review of a version (the last, if none is named) on the terms that it states itself."""

        def move(known: Known, now: datetime) -> Enrolment:
            before = _readable(known, name)
            found = before.version(version) if version else before.versions[-1]
            if found is None:
                raise NotEnrolled(f"{name} has no version {version}")
            return before.submitted(found.version, offer_of(found.document).terms, by, now)

        return await self.change(name, move)

    async def suspend(self, name: str, by: Actor, why: str) -> Enrolment:
        return await self.change(name, lambda known, now: _readable(known, name).suspended(by, now, why, self.house.guards))

    async def resume(self, name: str, by: Actor, why: str) -> Enrolment:
        return await self.change(name, lambda known, now: _readable(known, name).resumed(by, now, why, self.house.guards))

    async def retire(self, name: str, by: Actor, why: str) -> Enrolment:
        return await self.change(name, lambda known, now: _readable(known, name).retired(by, now, why, self.house.guards))

    async def mark(self, name: str, versions: Sequence[str] | None, status: str, message: str, by: Actor) -> Enrolment:
        """Set the official status of some versions, or of all at once (None)."""

        def move(known: Known, now: datetime) -> Enrolment:
            before = _readable(known, name)
            chosen = [one.version for one in before.versions] if versions is None else versions
            if unknown := [version for version in chosen if before.version(version) is None]:
                raise NotEnrolled(f"{name} has no version {unknown[0]}")
            return before.marked(chosen, status, message, by, now)

        return await self.change(name, move)

    async def change(self, name: str, move: Move) -> Enrolment:
        """Make one move, again on what others wrote in between. What `move` raises passes through."""
        for _ in range(TRIES):
            held = await self._ledger.read()
            after = move(decoded(held), held.at)
            event = _event(after, held, self._broker)
            notice = (f"{held.count + 1}", self._tell(after, event)) if self._tell else None
            if await self._ledger.write(name, encode_enrolment(after), held, event, notice):
                await self.roster.look()
                return after
        raise VersionConflict("others write the registry all the time: try again")

    def _free(self, name: str, known: Collection[str]) -> None:
        local = name.partition("/")[2]
        if local in self.declared():
            raise EnrolmentRefused(f"servers.yaml declares `{local}`: files win, choose another name")
        if taken := [other for other in known if other.partition("/")[2] == local]:
            raise EnrolmentRefused(f"`{local}` is the name of {taken[0]}: choose another name")
        if alike := mixed_up(local, (*self.declared(), *(other.partition("/")[2] for other in known))):
            raise EnrolmentRefused(f"`{local}` and `{alike}` could have tools of one name at `/mcp`: choose another name")


def address(enrolment: Enrolment) -> str:
    """Where its calls go, for those who may know."""
    live = enrolment.live
    return address_of(live.document) if live else ""


def _readable(known: Known, name: str) -> Enrolment:
    found = known.get(name)
    if found is None:
        raise NotEnrolled(f"there is no enrolled server {name}")
    return found


def _event(after: Enrolment, held: Held, broker: str) -> Noted:
    """What the audit says: the last step, and what is in force after it."""
    step, grant = after.steps[-1], after.grant
    fields = {"server": after.name, "step": step.what, "lifecycle": after.lifecycle.value, "number": str(after.number)}
    if step.why:
        fields["why"] = step.why
    if grant is not None and grant.at == held.at:
        fields |= {"grant": str(grant.number), "version": grant.version, "groups": ",".join(sorted(grant.terms.groups))}
    return Noted(at=held.at, broker=broker, what="server.moved", who=step.by, fields=fields)
