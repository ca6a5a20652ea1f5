"""Reviews of enrolled servers: what a reviewer is shown, what it would change, and the answer, bound to what was shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

import anyio.to_thread
import msgspec

from broker.domain.enrolment import Enrolment, Lifecycle, address_of, proposal_digest
from broker.domain.servers import Server, ToolDefinition, Trust
from broker.domain.terms import Actor, Proposal, Slot, SlotState, Terms
from broker.errors import Malformed, NotEnrolled, ShownAnother, UpstreamError, VersionConflict, WrongMove
from broker.policy.model import Policy
from broker.policy.widening import Offered, Widening, widening
from broker.registry.enrolling import Enrolling, Known
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.registry.standing import Stand, stands

Word = TypeVar("Word", Slot, SlotState)


class Asking(Protocol):
    """The catalogue: a name that `Enrolment.candidate` gives may be asked as well."""

    async def listing(self, server: str, *, fresh: bool = False) -> Listing: ...

    async def read_pins(self) -> None: ...


class Policies(Protocol):
    @property
    def current(self) -> Policy: ...


class Sheet(msgspec.Struct, frozen=True):
    """What a reviewer looks at. `digest` binds the answer to it; `problem` says why the server's tools are not known."""

    enrolment: Enrolment
    proposal: Proposal
    before: Terms
    tools: tuple[Stand, ...]
    widening: Widening
    digest: str
    problem: str = ""

    @property
    def address(self) -> str:
        """Where calls would go."""
        version = self.enrolment.version(self.proposal.version)
        return address_of(version.document) if version else ""

    @property
    def address_before(self) -> str:
        """Where they go now, empty where nowhere."""
        live = self.enrolment.live
        return address_of(live.document) if live else ""


class Reviewing:
    """The verbs of reviewers. `clock` is the store's."""

    def __init__(
        self, enrolling: Enrolling, asking: Asking, pins: Pins, policies: Policies, clock: Callable[[], datetime]
    ) -> None:  # fmt: skip
        self.enrolling = enrolling
        self.asking = asking
        self.pins = pins
        self._policies = policies
        self._clock = clock

    async def sheet(self, enrolment: Enrolment) -> Sheet | None:
        """Return what waits for reviews, None where nothing does. Asks the server now. Raises `StoreUnavailable`."""
        proposal, candidate = enrolment.proposal, enrolment.candidate()
        if proposal is None or candidate is None:
            return None
        listing, problem = await self._listed(candidate)
        pins = await self.pins.of(enrolment.local)
        shown = stands(_renamed(listing, enrolment.local), pins, ())
        before = enrolment.grant.terms if enrolment.grant is not None else Terms()
        difference = await anyio.to_thread.run_sync(self.difference, enrolment, proposal.terms, shown)
        return Sheet(
            enrolment, proposal, before, shown, difference, proposal_digest(enrolment, _digests(listing)), problem
        )  # fmt: skip

    def difference(self, enrolment: Enrolment, terms: Terms, tools: tuple[Stand, ...]) -> Widening:
        """What these terms would change for callers, beside what is in force now. Raises `PolicyInvalid`."""
        policy = self._policies.current
        before = enrolment.server() if enrolment.lifecycle is Lifecycle.APPROVED else None
        after = Server(
            name=enrolment.local, trust=Trust.REVIEWED, tools=terms.tools, groups=terms.groups, sign_in=terms.sign_in,
            enrolled=True,
        )  # fmt: skip
        offered = [Offered(stand.definition, stand.standing.known) for stand in tools if stand.definition is not None]
        return widening(policy, before, after, offered, self._clock())

    async def review(
        self, name: str, slot: str, state: str, by: Actor, *, shown: str, reason: str = "", ticket: str = ""
    ) -> Enrolment:  # fmt: skip
        """Answer for one slot, on what was shown (`Sheet.digest`). The last answer that passes accepts the tools as shown.

        Raises `Malformed`, `ShownAnother`, `UpstreamError` where nobody can see what would be approved, and what
        `Enrolment.reviewed` raises.
        """
        chosen, answer = _word(Slot, slot), _word(SlotState, state)
        if answer is SlotState.PENDING:
            raise Malformed("an answer is approved, rejected or n/a")
        enrolment = self._found(name)
        candidate = enrolment.candidate()
        if candidate is None:
            raise WrongMove(f"nothing of {name} is under review")
        listing, problem = await self._listed(candidate)
        if problem and answer is SlotState.APPROVED:
            raise UpstreamError(f"nobody can see what would be approved: {problem}", server=enrolment.local)
        digests = _digests(listing)

        def move(known: Known, now: datetime) -> Enrolment:
            before = known.get(name) or enrolment
            if proposal_digest(before, digests) != shown:
                raise ShownAnother("what you looked at has changed since: the terms, the version or the server's tools")
            return before.reviewed(
                chosen, answer, by, now, reviewers=self.enrolling.house.reviewers, reason=reason, ticket=ticket, shown=shown
            )

        after = await self.enrolling.change(name, move)
        if after.proposal is None and after.grant is not None and after.grant.at == after.changed_at:
            await self._accept(listing, after, by)
        return after

    async def _accept(self, listing: Listing, enrolment: Enrolment, by: Actor) -> None:
        """Pin what was reviewed. A tool that somebody pins at the same moment is left to them: it is looked at again."""
        pins = await self.pins.of(enrolment.local)
        for tool in _renamed(listing, enrolment.local).tools:
            pin = pins.get(tool.name)
            if pin is None or not pin.holds(tool):
                try:
                    await self.pins.accept(tool, by.person, self._clock(), instead_of=pin)
                except VersionConflict:
                    continue
        await self.asking.read_pins()

    async def _listed(self, candidate: Server) -> tuple[Listing, str]:
        try:
            return await self.asking.listing(candidate.name, fresh=True), ""
        except UpstreamError as error:
            return Listing(candidate.name, ()), error.message

    def _found(self, name: str) -> Enrolment:
        found = self.enrolling.roster.enrolments.get(name)
        if found is None:
            raise NotEnrolled(f"there is no enrolled server {name}")
        return found


def _renamed(listing: Listing, local: str) -> Listing:
    """The same offer under the name that calls will use."""
    tools = tuple(ToolDefinition(local, tool.name, tool.raw) for tool in listing.tools)
    return msgspec.structs.replace(listing, server=local, tools=tools)


def _digests(listing: Listing) -> Mapping[str, str]:
    """A tool without a digest is there all the same: it can't be accepted, and a review of it is one of nothing."""
    found = {}
    for tool in listing.tools:
        try:
            found[tool.name] = tool.digest()
        except Malformed:
            found[tool.name] = ""
    return found


def _word(kind: type[Word], value: str) -> Word:
    try:
        return kind(value)
    except ValueError:
        raise Malformed(f"`{value[:40]}` is none of {', '.join(kind)}") from None
