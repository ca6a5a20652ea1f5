"""One person's answer, and whether the answers so far meet what the rules demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from broker.domain.decisions import Requirement, RuleApproval


class Verdict(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class Review(msgspec.Struct, frozen=True, omit_defaults=True):
    """`groups` are the reviewer's at that moment; `digest` is of the call and `view` of what this person was shown.

    `evidence` is a passkey assertion over request, digest and verdict, where the rule demands one; `batch` is the same in all
    reviews that were given in one submission, empty where one was given alone.
    """

    reviewer: str
    verdict: Verdict
    at: datetime
    digest: str
    channel: str
    groups: tuple[str, ...] = ()
    reason: str = ""
    view: str = ""
    evidence: dict[str, Any] | None = None
    batch: str = ""


class Comment(msgspec.Struct, frozen=True):
    """What one person wrote beside a request, for the others who look at it. Decides nothing, and no agent is told."""

    who: str
    at: datetime
    channel: str
    text: str


class Way(StrEnum):
    """How the caller's own user was asked: a form in the client, or our own page, where they signed in."""

    FORM = "form"
    PAGE = "page"


class Confirmation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the caller's own user, where every asking rule says `caller: true`. It is no review.

    `person` is the one behind the caller's credential. In a form the client speaks for them: that a person saw it can't be
    known. `client` is that software's own word, `nonce` the single use of what was handed out (empty on our page); `view` is
    the digest of what they were shown, `at` is set when it is counted.
    """

    person: str
    verdict: Verdict
    digest: str
    way: Way
    client: str = ""
    nonce: str = ""
    reason: str = ""
    view: str = ""
    at: datetime | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far one requirement is: `have` of `need.count`."""

    rule: str
    need: Requirement
    have: int


def met(asks: Iterable[RuleApproval], approvals: Sequence[Review], wildcards: frozenset[str] = frozenset()) -> bool:
    """Is every requirement met, each person filling at most one slot inside a rule? `wildcards` are escalation groups."""
    return all(item.have >= item.need.count for item in progress(asks, approvals, wildcards))


def progress(
    asks: Iterable[RuleApproval], approvals: Sequence[Review], wildcards: frozenset[str] = frozenset()
) -> tuple[Progress, ...]:
    """Return how far each requirement is, by the assignment of people to slots that fills most."""
    return tuple(item for ask in asks for item in _rule_progress(ask, approvals, wildcards))


def _rule_progress(ask: RuleApproval, approvals: Sequence[Review], wildcards: frozenset[str]) -> list[Progress]:
    people = {review.reviewer: frozenset(review.groups) for review in approvals}
    slots = [index for index, need in enumerate(ask.all_of) for _ in range(need.count)]
    filled = assign([[who for who, groups in people.items() if groups & {ask.all_of[slot].group, *wildcards}] for slot in slots])
    have = [0] * len(ask.all_of)
    for slot in filled:
        have[slots[slot]] += 1
    return [Progress(rule=ask.rule, need=need, have=have[index]) for index, need in enumerate(ask.all_of)]


def assign(candidates: Sequence[Sequence[str]]) -> dict[int, str]:
    """Return slot -> person for a largest matching (Kuhn's augmenting paths): each person fills one slot."""
    holder: dict[str, int] = {}

    def place(slot: int, tried: set[str]) -> bool:
        for person in candidates[slot]:
            if person in tried:
                continue
            tried.add(person)
            if person not in holder or place(holder[person], tried):
                holder[person] = slot
                return True
        return False

    for slot in range(len(candidates)):
        place(slot, set())
    return {slot: person for person, slot in holder.items()}
