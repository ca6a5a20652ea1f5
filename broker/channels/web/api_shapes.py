"""What the HTTP API takes and gives, as data. Texts of agents come redacted, else as they are: whoever shows them makes
the invisible visible."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from broker.channels.web.standing import Standing
from broker.channels.web.timeline import Moment
from broker.channels.web.views import needs
from broker.domain.people import People
from broker.domain.redaction import Shown
from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Verdict
from broker.insights.usage import Estimate, ServerUse, Usage


class Me(msgspec.Struct, frozen=True):
    """Whose token it is, with the groups of this moment."""

    person: str
    groups: tuple[str, ...]
    scopes: tuple[str, ...]


class Summary(msgspec.Struct, frozen=True):
    """One request in a list. `digest` binds a review to what was shown, and in a batch `version` as well."""

    id: str
    state: str
    title: str
    severity: str
    server: str
    tool: str
    agent: str
    owner: str
    groups: tuple[str, ...]
    opened_at: datetime
    expires_at: datetime
    digest: str
    version: int


class Listed(msgspec.Struct, frozen=True):
    """One page, newest first. `cursor` continues, empty at the end; a page may be short and still continue."""

    requests: list[Summary]
    cursor: str


class Used(msgspec.Struct, frozen=True):
    """The use of one month. `hours_saved` is directional: what the tools' owners say a call saves, times those that succeeded.

    `estimates` set these minutes beside the median of what people say themselves, who are asked after a result.
    """

    month: str
    calls: int
    failed: int
    people: int
    tools: int
    hours_saved: int
    servers: tuple[ServerUse, ...]
    days: dict[str, int]
    estimates: tuple[Estimate, ...]


def used(use: Usage) -> Used:
    days = {day.isoformat(): calls for day, calls in use.days}
    return Used(use.month, use.calls, use.failed, use.people, use.tools, use.hours, use.servers, days, use.estimates)


class Progress(msgspec.Struct, frozen=True):
    rule: str
    group: str
    have: int
    need: int


class Reviewed(msgspec.Struct, frozen=True):
    reviewer: str
    verdict: str
    at: datetime
    channel: str
    reason: str
    batch: str


class Said(msgspec.Struct, frozen=True):
    who: str
    at: datetime
    channel: str
    text: str


class Happened(msgspec.Struct, frozen=True):
    at: datetime
    what: str
    said: str


class Whole(msgspec.Struct, frozen=True):
    """One request. `arguments` and `rest` are redacted; `whole` is False where more is hidden than a rule covers, and then
    it can't be approved by a token. `blocked` says why you can't review it, empty where you can. `to_type` is the path of
    the argument whose value has to be typed to approve. `stated` is why the agent says it calls: nobody has verified it.
    """

    request: Summary
    arguments: Any
    rest: dict[str, Any]
    whole: bool
    rules: tuple[str, ...]
    reasons: list[str]
    progress: list[Progress]
    reviews: list[Reviewed]
    comments: list[Said]
    timeline: list[Happened]
    blocked: str
    step_up: bool
    to_type: str
    note: str
    decided_by: str
    ended_at: datetime | None
    policy: str
    definition: str
    stated: str


class ReviewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`digest` as it was shown. `reason` is told to the agent, and needed to reject. `typed` confirms, where a rule asks."""

    verdict: str
    digest: str
    reason: str = ""
    typed: str = ""


class ItemBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One verdict of a batch. `digest` and `version` as they were shown: a request that has moved since is not touched."""

    request: str
    digest: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    verdict: Verdict


class BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Verdicts on requests of one caller, at most 50. What is not listed is not touched. `reason` is told to the agent with each
    rejection, and needed where there is one.
    """

    items: list[ItemBody]
    reason: str = ""


class ItemAnswer(msgspec.Struct, frozen=True):
    """What became of one verdict. `counted` is False where it changed nothing: `code` and `detail` say why. `state` is the
    request's after it, empty where it did not count.
    """

    request: str
    counted: bool
    state: str
    code: str
    detail: str


class BatchAnswer(msgspec.Struct, frozen=True):
    """One answer for each verdict, in their order. `batch` stands in the audit with each that counted."""

    batch: str
    items: list[ItemAnswer]


class CommentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A note for the people who look at the request. The agent never sees it."""

    text: str


class RecordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a request whose result nobody knows."""

    ran: bool
    why: str


def summary(request: ApprovalRequest, title: str) -> Summary:
    caller, plan = request.call.caller, request.plan
    return Summary(
        id=request.id, state=request.state.value, title=title, severity=plan.severity.value, server=request.call.server,
        tool=request.call.tool, agent=caller.agent, owner=caller.owner, groups=(*plan.groups, *request.escalated),
        opened_at=request.opened_at, expires_at=request.expires_at, digest=request.digest,
        version=request.version,
    )  # fmt: skip


def whole(
    request: ApprovalRequest, shown: Shown, *, stated: str, people: People, standing: Standing, moments: Sequence[Moment]
) -> Whole:
    return Whole(
        request=summary(request, shown.title),
        arguments=shown.arguments,
        rest=shown.rest,
        whole=shown.whole,
        rules=request.rules,
        reasons=[f"{reason.rule}: {reason.text}" if reason.text else reason.rule for reason in shown.reasons],
        progress=[Progress(need.rule, need.group, need.have, need.count) for need in needs(request, people)],
        reviews=[
            Reviewed(one.reviewer, one.verdict.value, one.at, one.channel, one.reason, one.batch) for one in request.reviews
        ],
        comments=[Said(one.who, one.at, one.channel, one.text) for one in request.comments],
        timeline=[Happened(moment.at, moment.what, moment.said) for moment in moments],
        blocked=standing.blocked,
        step_up=standing.step_up,
        to_type=request.plan.type_to_confirm,
        note=request.note,
        decided_by=request.decided_by,
        ended_at=request.ended_at,
        policy=request.policy,
        definition=request.definition,
        stated=stated,
    )
