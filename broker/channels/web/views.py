"""What the pages show, as plain data: a request, a person and a moment in; texts, numbers and flags out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from broker.channels.web.arguments import Laid, Piece, lay_out, pieces
from broker.channels.web.differences import Compared
from broker.channels.web.excerpts import excerpt, too_large
from broker.channels.web.standing import Standing
from broker.channels.web.timeline import Moment
from broker.domain.calls import digest_of
from broker.domain.decisions import Reason
from broker.domain.people import People
from broker.domain.redaction import Cause, Masked, Shown
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Review, progress
from broker.domain.text import clipped
from broker.insights.signals import Signal

SOON = timedelta(minutes=5)
# Characters of a decisive field: what is longer stands whole among the arguments.
FIELD = 2_000

STATES = {
    RequestState.PENDING: "Waiting",
    RequestState.APPROVED: "Approved",
    RequestState.EXECUTING: "Running",
    RequestState.COMPLETED: "Ran",
    RequestState.FAILED: "Failed",
    RequestState.UNKNOWN: "Result unknown",
    RequestState.REJECTED: "Rejected",
    RequestState.EXPIRED: "Expired",
    RequestState.CANCELLED: "Withdrawn",
    RequestState.VOIDED: "Voided",
}


class Need(msgspec.Struct, frozen=True):
    """One requirement: `have` of `count` members of `group`. `members` are names; empty where an outside directory knows them."""

    rule: str
    group: str
    count: int
    have: int
    members: tuple[str, ...]

    @property
    def met(self) -> bool:
        return self.have >= self.count


class Answer(msgspec.Struct, frozen=True):
    """One review, for people."""

    who: str
    approved: bool
    at: datetime
    channel: str
    reason: tuple[Piece, ...]


class Background(msgspec.Struct, frozen=True):
    """What is known around a request: its story, what the broker saw of its like, and how it differs from the last of them."""

    moments: tuple[Moment, ...]
    signals: tuple[Signal, ...] = ()
    compared: Compared | None = None


NOTHING = Background(())


class RequestView(msgspec.Struct, frozen=True):
    """Everything on a request's page. `view` is the digest of what this person is shown, kept with their review."""

    request: ApprovalRequest
    state: str
    title: tuple[Piece, ...]
    fields: tuple[tuple[str, tuple[Piece, ...]], ...]
    arguments: Laid
    rest: Laid
    ruled: int
    secrets: tuple[Masked, ...]
    whole: bool
    needs: tuple[Need, ...]
    answers: tuple[Answer, ...]
    barred: tuple[str, ...]
    standing: Standing
    known: Background
    agent: tuple[Piece, ...]
    client: tuple[Piece, ...]
    stated: tuple[Piece, ...]
    asked: tuple[tuple[tuple[Piece, ...], tuple[Piece, ...]], ...]
    reasons: tuple[Reason, ...]
    owner: str
    user: str
    soon: bool
    view: str
    now: datetime

    @property
    def plain_title(self) -> str:
        return "".join(piece.text for piece in self.title)

    @property
    def cut(self) -> bool:
        return self.arguments.cut or self.rest.cut

    @property
    def hidden(self) -> int:
        return self.arguments.hidden + self.rest.hidden


class Said(msgspec.Struct, frozen=True):
    """What the agent says, and what its server asked and this answers, by name: covered like the arguments."""

    stated: str
    asked: Mapping[str, str]


def request_view(
    request: ApprovalRequest, shown: Shown, known: Background, *, people: People, standing: Standing, now: datetime,
    said: Said,
) -> RequestView:  # fmt: skip
    """Put together what one person sees of one request."""
    caller = request.call.caller
    return RequestView(
        request=request,
        state=STATES[request.state],
        title=pieces(shown.title),
        fields=tuple((label_of(field.label), pieces(clipped(field.value, FIELD))) for field in shown.fields),
        arguments=laid(
            shown.arguments if isinstance(shown.arguments, dict) else {"arguments": shown.arguments}, shown.masked, "args"
        ),
        rest=laid(shown.rest, shown.masked, "rest"),
        ruled=sum(item.by is Cause.RULE for item in shown.masked),
        secrets=shown.secrets,
        whole=shown.whole,
        needs=needs(request, people),
        answers=tuple(_answer(review, people) for review in request.reviews),
        barred=tuple(people.person(person).shown for person in sorted(caller.people)),
        standing=standing,
        known=known,
        agent=pieces(caller.agent or caller.workload or caller.user or "unnamed"),
        client=pieces(" ".join(part for part in (caller.client, caller.client_version) if part)),
        stated=pieces(said.stated),
        asked=tuple((pieces(name), pieces(words)) for name, words in said.asked.items()),
        reasons=shown.reasons,
        owner=people.person(caller.owner).shown if caller.owner else "",
        user=people.person(caller.user).shown if caller.user else "",
        soon=request.state is RequestState.PENDING and request.expires_at - now < SOON,
        view=view_digest(request, shown),
        now=now,
    )


def laid(values: Mapping[str, Any], masked: Sequence[Masked], root: str) -> Laid:
    """Lay out what fits a page, and heads and tails of what does not."""
    return excerpt(values) if too_large(values) else lay_out(values, masked, root)


def is_cut(shown: Shown) -> bool:
    """Does a page show only heads and tails of this call?"""
    return too_large(shown.arguments) or too_large(shown.rest)


def view_digest(request: ApprovalRequest, shown: Shown) -> str:
    """Return the digest of what a person was shown: the call's digest, the arguments as redacted, what agent and server say."""
    seen = {"request": request.digest, "title": shown.title, "args": shown.arguments, "rest": shown.rest}
    said = {"stated": request.origin.stated, "asked": request.origin.asked}
    return digest_of(seen | {name: words for name, words in said.items() if words})


def needs(request: ApprovalRequest, people: People) -> tuple[Need, ...]:
    """Return how far each requirement is, and who could still fill it: the requester and the agent's owner can't."""
    barred = request.call.caller.people
    return tuple(
        Need(
            rule=item.rule,
            group=item.need.group,
            count=item.need.count,
            have=item.have,
            members=tuple(sorted(people.person(who).shown for who in people.members(item.need.group) - barred)),
        )
        for item in progress(request.plan.asks, request.approvals, frozenset(request.escalated))
    )


def label_of(path: str) -> str:
    """Return a decisive field's path as a label: `args.customer_id` reads `customer id`."""
    return path.removeprefix("$.").removeprefix("args.").replace("_", " ").replace(".", " › ")


def _answer(review: Review, people: People) -> Answer:
    return Answer(
        who=people.person(review.reviewer).shown,
        approved=review.verdict == "approve",
        at=review.at,
        channel=review.channel,
        reason=pieces(review.reason),
    )
