"""The security standard for servers, as rules that a machine checks: what has to be known of one before people use it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from broker.domain.enrolment import Enrolment, Lifecycle
from broker.domain.servers import EVERY, Server, ToolFacts, Trust
from broker.domain.terms import Keeper, Slot, Terms
from broker.registry.offers import Offer, offer_of


class Finding(msgspec.Struct, frozen=True):
    """One thing that is missing. `rule` is its stable name, `mend` what to do."""

    server: str
    rule: str
    told: str
    mend: str

    def __str__(self) -> str:
        return f"{self.server}: {self.rule}: {self.told}; {self.mend}"


class Subject(msgspec.Struct, frozen=True):
    """A server as the rules look at it. `offered` are its tools by name, beside those that `facts` name.

    `reviews` None: nobody asks for them yet, as for an experiment. An empty text is a slot that passed. `local`: it is a program
    on the broker's machine.
    """

    name: str
    owner: str
    contact: str
    groups: Mapping[str, tuple[str, ...]] | None
    facts: Mapping[str, ToolFacts]
    sign_in: str
    reviews: Mapping[str, str] | None
    offered: Collection[str] = ()
    local: bool = False


Rule = Callable[[Subject], Iterator[tuple[str, str]]]


def lint(subject: Subject) -> tuple[Finding, ...]:
    """Return everything that the standard finds missing."""
    return tuple(Finding(subject.name, rule, *found) for rule, check in RULES.items() for found in check(subject))


def _owner(subject: Subject) -> Iterator[tuple[str, str]]:
    if not subject.owner:
        yield "nobody answers for it", "name its `owner`"


def _contact(subject: Subject) -> Iterator[tuple[str, str]]:
    if not subject.contact:
        yield "its users do not know where to ask", "name a channel or address: `support` of a server.json, `contact` of an owner"


def _reviews(subject: Subject) -> Iterator[tuple[str, str]]:
    for slot, state in (subject.reviews or {}).items():
        if state:
            yield f"the {slot} review is {state}", "let its reviewers decide: `broker servers review`"


def _groups(subject: Subject) -> Iterator[tuple[str, str]]:
    if subject.groups is None or EVERY in subject.groups:
        yield "everybody with good credentials gets to it", "name the `groups` that need it"
    elif not subject.groups:
        yield "no group may use it", "name the `groups` that need it"


def _sensitivity(subject: Subject) -> Iterator[tuple[str, str]]:
    for tool in sorted({*subject.facts, *subject.offered}):
        facts = subject.facts.get(tool, ToolFacts())
        if facts.read_only is None and facts.destructive is None:
            yield f"it is not said whether `{tool}` changes anything", "write `read_only` or `destructive` for it"


def _sign_in(subject: Subject) -> Iterator[tuple[str, str]]:
    if not subject.sign_in:
        yield "it is not said who may stand behind a call", "write `sign_in: person`, or `any` if services may call it alone"


def _local(subject: Subject) -> Iterator[tuple[str, str]]:
    if subject.local and subject.reviews is not None:
        yield (
            "it runs on the broker's machine, as only experiments should",
            "deploy it and write its `url`, or `experiment: true`",
        )


RULES: Mapping[str, Rule] = {
    "owner": _owner, "contact": _contact, "reviews": _reviews, "groups": _groups, "sensitivity": _sensitivity,
    "sign_in": _sign_in, "local": _local,
}  # fmt: skip


def declared(server: Server, offered: Collection[str] = ()) -> Subject:
    """A server of servers.yaml: its operator's review is `trust: reviewed`, which an experiment does not need."""
    reviews = {"operator's": "" if server.trust is Trust.REVIEWED else "missing (`trust: reviewed`)"}
    owner, asked = server.owner, None if server.experiment else reviews
    return Subject(
        server.name, owner.team, owner.contact, server.groups, server.tools, server.sign_in, asked, offered, bool(server.command)
    )


def enrolled(enrolment: Enrolment, offered: Collection[str] = ()) -> Subject:
    """An enrolled server, by what is proposed, else granted, else offered by its last version."""
    proposal, grant = enrolment.proposal, enrolment.grant
    terms = proposal.terms if proposal else grant.terms if grant else offer_of(enrolment.versions[-1].document).terms
    slots = proposal.slots if proposal else grant.slots if grant else {}
    told = {slot.value: "" if slots[slot].state.passed else slots[slot].state.value for slot in Slot if slot in slots}
    exempt = enrolment.lifecycle is Lifecycle.EXPERIMENT
    return _enrolled(enrolment.local, enrolment.keeper, terms, None if exempt else told, offered)


def document(content: Mapping[str, Any]) -> Subject:
    """A server.json before it is enrolled. Raises `EnrolmentRefused`."""
    offer: Offer = offer_of(content)
    return _enrolled(str(content["name"]).partition("/")[2], offer.keeper, offer.terms, None, ())


def _enrolled(
    name: str, keeper: Keeper, terms: Terms, reviews: Mapping[str, str] | None, offered: Collection[str]
) -> Subject:  # fmt: skip
    contact = next(iter(keeper.support), "")
    return Subject(name, keeper.team or keeper.group, contact, terms.groups, terms.tools, terms.sign_in, reviews, offered)
