"""Enrolled servers: what was published, their states and moves, and who may make them. Pure.

    EXPERIMENT ── submitted ─► IN_REVIEW ── every slot approved or n/a ─► APPROVED ◄─ resumed ─ SUSPENDED
        └─ its time ran out: no call                                         └────── suspended ────►┘
    RETIRED follows any of them, and is the end.

Whoever answers for a server and whoever proposed what is reviewed can't review it. Only a finished review grants anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from broker.domain.calls import digest_of
from broker.domain.servers import Owner, Server, Trust
from broker.domain.terms import Actor, Grant, Keeper, Proposal, Slot, SlotReview, SlotState, Step, Terms, Version
from broker.errors import Forbidden, SelfReview, WrongMove

# Steps that a server's page can show; the audit holds them all.
STEPS = 200


class Lifecycle(StrEnum):
    EXPERIMENT = "experiment"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    SUSPENDED = "suspended"
    RETIRED = "retired"


class Enrolment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One enrolled server. `name` is the official one, `space/local`; `number` counts its changes."""

    name: str
    number: int
    keeper: Keeper
    lifecycle: Lifecycle
    versions: tuple[Version, ...]
    changed_at: datetime
    until: datetime | None = None
    proposal: Proposal | None = None
    grants: tuple[Grant, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def local(self) -> str:
        """The name under which policies and addresses know it."""
        return self.name.partition("/")[2]

    @property
    def grant(self) -> Grant | None:
        """What is in force."""
        return self.grants[-1] if self.grants else None

    def version(self, version: str) -> Version | None:
        return next((one for one in self.versions if one.version == version), None)

    @property
    def live(self) -> Version | None:
        """The version that calls go to, None while there is none. An experiment's is the one that was published last."""
        match self.lifecycle:
            case Lifecycle.EXPERIMENT:
                found = next((one for one in reversed(self.versions) if one.status != "deleted"), None)
            case Lifecycle.APPROVED if self.grant is not None:
                found = self.version(self.grant.version)
            case _:
                found = None
        return found if found is not None and found.status != "deleted" else None

    def server(self) -> Server | None:
        """The entry of the routing table, None where no call may go."""
        live = self.live
        if live is None:
            return None
        if self.lifecycle is Lifecycle.EXPERIMENT:
            terms, trust = Terms(groups={self.keeper.group: ("*",)}), Trust.UNTRUSTED
        else:
            assert self.grant is not None, "only what was granted is approved"
            terms, trust = self.grant.terms, Trust.REVIEWED
        return self._entry(self.local, live, terms, trust)

    def candidate(self) -> Server | None:
        """What a review has to look at, under a name that no caller can reach."""
        proposed = self.proposal and self.version(self.proposal.version)
        if not proposed or self.lifecycle is Lifecycle.RETIRED:
            return None
        return self._entry(f"{self.local}@{proposed.version}", proposed, Terms(), Trust.UNTRUSTED)

    def _entry(self, name: str, version: Version, terms: Terms, trust: Trust) -> Server:
        contact = self.keeper.support[0] if self.keeper.support else ""
        return Server(
            name=name, url=address_of(version.document), owner=Owner(self.keeper.team or self.keeper.group, contact),
            trust=trust, tools=terms.tools, groups=terms.groups, sign_in=terms.sign_in, until=self.until,
            enrolled=True, release=f"{self.name} {version.version}", where=f"enrolled: {self.name} {version.version}",
        )  # fmt: skip

    def _after(self, now: datetime, step: Step, **changed: Any) -> Enrolment:
        steps = (*self.steps, step)[-STEPS:]
        return msgspec.structs.replace(self, number=self.number + 1, changed_at=now, steps=steps, **changed)

    # -- moves --------------------------------------------------------------------------------------------

    def published(self, version: Version, by: Actor) -> Enrolment:
        """Add a version. Its owner's people may; what is approved stays in force until the new one is."""
        self._owned(by)
        if self.lifecycle is Lifecycle.RETIRED:
            raise WrongMove(f"{self.name} is retired: it takes no new versions")
        if self.version(version.version) is not None:
            raise WrongMove(f"{self.name} {version.version} was published before, and a version never changes")
        step = Step("published", by.person, version.published_at, version.version)
        return self._after(version.published_at, step, versions=(*self.versions, version))

    def submitted(self, version: str, terms: Terms, by: Actor, now: datetime) -> Enrolment:
        """Ask for a review of one version and its terms. A new proposal begins all three reviews anew."""
        self._owned(by)
        if self.lifecycle is Lifecycle.RETIRED:
            raise WrongMove(f"{self.name} is retired")
        found = self.version(version)
        if found is None or found.status == "deleted":
            raise WrongMove(f"{self.name} has no version {version} that could be reviewed")
        after = Lifecycle.IN_REVIEW if self.lifecycle is Lifecycle.EXPERIMENT else self.lifecycle
        until = None if after is Lifecycle.IN_REVIEW else self.until
        proposal = Proposal(version, terms, by.person, now)
        return self._after(now, Step("submitted", by.person, now, version), lifecycle=after, until=until, proposal=proposal)

    def reviewed(  # noqa: PLR0913 - an answer with all that belongs to it, by name
        self, slot: Slot, state: SlotState, by: Actor, now: datetime, *, reviewers: Mapping[Slot, Collection[str]],
        reason: str = "", ticket: str = "", shown: str = "",
    ) -> Enrolment:  # fmt: skip
        """Fill one slot of the review. The last one that passes puts the proposal's version and terms in force.

        `shown` is what the reviewer looked at (`proposal_digest`): reviews of anything else no longer count.
        Raises `Forbidden` outside the slot's groups, `SelfReview` for the server's own people, `WrongMove` without a proposal.
        """
        proposal = self._reviewable(by, slot, reviewers)
        if state in (SlotState.NOT_APPLICABLE, SlotState.REJECTED) and not reason.strip():
            raise WrongMove(f"`{state}` needs a reason")
        told = SlotReview(state, by.person, now, reason, ticket or proposal.slots[slot].ticket, shown)
        kept = {other: one if one.shown == shown else SlotReview(ticket=one.ticket) for other, one in proposal.slots.items()}
        proposal = msgspec.structs.replace(proposal, slots={**kept, slot: told})
        step = Step(f"{slot} {state}", by.person, now, reason)
        if not proposal.passed:
            return self._after(now, step, proposal=proposal)
        grant = Grant(len(self.grants) + 1, proposal.version, proposal.terms, by.person, now, proposal.slots)
        lifecycle = Lifecycle.APPROVED if self.lifecycle is Lifecycle.IN_REVIEW else self.lifecycle
        return self._after(now, step, proposal=None, grants=(*self.grants, grant), lifecycle=lifecycle)

    def ticketed(self, slot: Slot, ticket: str, by: str, now: datetime) -> Enrolment:
        """Link a slot to where it is worked on."""
        if self.proposal is None:
            raise WrongMove(f"nothing of {self.name} is under review")
        told = msgspec.structs.replace(self.proposal.slots[slot], ticket=ticket)
        proposal = msgspec.structs.replace(self.proposal, slots={**self.proposal.slots, slot: told})
        return self._after(now, Step(f"{slot} ticket", by, now, ticket), proposal=proposal)

    def suspended(self, by: Actor, now: datetime, why: str, guards: Collection[str]) -> Enrolment:
        """Let no more calls through: its own people may, and the security reviewers (`guards`)."""
        if self.keeper.group not in by.groups and not set(by.groups) & set(guards):
            raise Forbidden(f"only {self._people(guards)} may suspend {self.name}")
        if self.lifecycle is not Lifecycle.APPROVED:
            raise WrongMove(f"{self.name} is {self.lifecycle}: only what is approved can be suspended")
        return self._after(now, Step("suspended", by.person, now, why), lifecycle=Lifecycle.SUSPENDED)

    def resumed(self, by: Actor, now: datetime, why: str, guards: Collection[str]) -> Enrolment:
        """Let calls through again, on the terms in force: security reviewers alone, and not those who own it."""
        if not set(by.groups) & set(guards):
            raise Forbidden(f"only members of {', '.join(guards) or 'a security group'} may resume {self.name}")
        self._foreign(by)
        if self.lifecycle is not Lifecycle.SUSPENDED:
            raise WrongMove(f"{self.name} is {self.lifecycle}, not suspended")
        return self._after(now, Step("resumed", by.person, now, why), lifecycle=Lifecycle.APPROVED)

    def retired(self, by: Actor, now: datetime, why: str, guards: Collection[str]) -> Enrolment:
        """End it for good."""
        if self.keeper.group not in by.groups and not set(by.groups) & set(guards):
            raise Forbidden(f"only {self._people(guards)} may retire {self.name}")
        if self.lifecycle is Lifecycle.RETIRED:
            raise WrongMove(f"{self.name} is retired already")
        return self._after(now, Step("retired", by.person, now, why), lifecycle=Lifecycle.RETIRED, proposal=None)

    def marked(self, versions: Collection[str], status: str, message: str, by: Actor, now: datetime) -> Enrolment:
        """Set the official status of versions. A deleted version gets no call."""
        self._owned(by)
        if message and status == "active":
            raise WrongMove("an active version has no status message")
        changed = [one for one in self.versions if one.version in versions and (one.status, one.message) != (status, message)]
        if not changed:
            raise WrongMove("nothing would change")
        told = tuple(
            msgspec.structs.replace(one, status=status, message=message, status_at=now, updated_at=now) if one in changed else one
            for one in self.versions
        )
        return self._after(now, Step(f"status {status}", by.person, now, message), versions=told)

    # -- who may ------------------------------------------------------------------------------------------

    def _owned(self, by: Actor) -> None:
        if self.keeper.group not in by.groups:
            raise Forbidden(f"only members of {self.keeper.group} may do this with {self.name}")

    def _foreign(self, by: Actor) -> None:
        if self.keeper.group in by.groups:
            raise SelfReview(f"{by.person} is of {self.keeper.group}, who answer for {self.name}: somebody else has to decide")

    def _reviewable(self, by: Actor, slot: Slot, reviewers: Mapping[Slot, Collection[str]]) -> Proposal:
        asked = reviewers.get(slot, ())
        if not set(by.groups) & set(asked):
            raise Forbidden(f"the {slot} review is for members of {', '.join(asked) or 'no group: set BROKER_REVIEW_GROUPS'}")
        self._foreign(by)
        if self.proposal is None or self.lifecycle is Lifecycle.RETIRED:
            raise WrongMove(f"nothing of {self.name} is under review")
        proposed = self.version(self.proposal.version)
        if by.person in (self.proposal.by, proposed.by if proposed else ""):
            raise SelfReview("whoever published or proposed it can't review it")
        return self.proposal

    def _people(self, guards: Collection[str]) -> str:
        return f"members of {', '.join(dict.fromkeys((self.keeper.group, *guards)))}"


def begun(
    name: str, keeper: Keeper, version: Version, by: Actor, lasts: timedelta
) -> Enrolment:  # fmt: skip
    """Enrol a server as an experiment of its owner's people, who include whoever enrols it. Raises `Forbidden`."""
    if keeper.group not in by.groups:
        raise Forbidden(f"you are not in the group `{keeper.group}`: a server is enrolled by the people who answer for it")
    now = version.published_at
    return Enrolment(
        name=name, number=1, keeper=keeper, lifecycle=Lifecycle.EXPERIMENT, versions=(version,), changed_at=now,
        until=now + lasts, steps=(Step("enrolled", by.person, now, version.version),),
    )  # fmt: skip


def address_of(document: Mapping[str, Any]) -> str:
    """The address of a server.json's first streamable HTTP remote, empty where there is none."""
    remotes = document.get("remotes") or ()
    return next((str(remote["url"]) for remote in remotes if remote.get("type") == "streamable-http"), "")


def proposal_digest(enrolment: Enrolment, definitions: Mapping[str, str]) -> str:
    """What a reviewer was shown: the version's document, the terms, and the digest of each tool as it was offered then."""
    proposal = enrolment.proposal
    found = enrolment.version(proposal.version) if proposal else None
    document = found.document if found else {}
    terms = msgspec.to_builtins(proposal.terms) if proposal else {}
    return digest_of([enrolment.name, document, terms, dict(definitions)])
