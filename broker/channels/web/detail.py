"""One request, as one person may see it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import structlog

from broker.approvals.feedback import Answer
from broker.approvals.ports import Query
from broker.channels.web.arguments import pieces
from broker.channels.web.board import Row
from broker.channels.web.differences import Compared, differences
from broker.channels.web.parts import Web
from broker.channels.web.ports import SignedIn
from broker.channels.web.registry_views import Support, support_of
from broker.channels.web.standing import may_see, sees, standing
from broker.channels.web.timeline import Moment, from_record, timeline
from broker.channels.web.verdicts import to_type
from broker.channels.web.views import NOTHING, Background, RequestView, Said, request_view
from broker.channels.web.visitors import AnyRequest, named_address, origin_of, visitor
from broker.domain.batches import proposal
from broker.domain.comments import may_comment
from broker.domain.redaction import Shown, covered, shown_call
from broker.domain.redaction import shown as redacted
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import PolicyInvalid, StoreUnavailable, UnknownRequest
from broker.insights.feedback import CHOICES, words
from broker.insights.signals import Past, past, signals

log = structlog.get_logger()

EARLIER = 100
REMEMBERED = 500
# An open page says every 5 seconds that somebody is there: two of them may get lost.
LOOKS = timedelta(seconds=15)


class Asked(msgspec.Struct, frozen=True):
    """The question about a result. `answer` is what the person said before, None where they said nothing yet."""

    answer: Answer | None
    choices: tuple[tuple[int, str], ...] = tuple((minutes, words(minutes)) for minutes in CHOICES)


async def seen(web: Web, who: SignedIn, request_id: str) -> ApprovalRequest:
    """Return a request that `who` may see. Unknown ids and other people's requests read alike: `UnknownRequest`."""
    request = await web.parts.desk.look(RequestId(request_id))
    if not may_see(request, who.person, web.groups(who), web.parts.observers):
        raise UnknownRequest(request_id)
    return request


def shown_to(web: Web, who: SignedIn, request: ApprovalRequest) -> Shown:
    """Return the call as this person sees it now: redacted, but for what they uncovered."""
    uncovered = web.uncovered.of(who.id, request.id)
    return shown_call(request.call, request.plan, web.parts.mask_key, uncovered=uncovered, reasons=request.reasons)


async def view_of(web: Web, who: SignedIn, request: ApprovalRequest) -> RequestView:
    own = web.groups(who)
    shown, earlier = shown_to(web, who, request), await _past(web, request)
    known = Background(await moments(web, request))
    if earlier is not None:
        visible = [one for one in earlier.requests if may_see(one, who.person, own, web.parts.observers)]
        read = web.bookkeeper.reads.before(request.call.caller.principal, request.opened_at, partial(_reaches_outside, web))
        known = Background(
            known.moments,
            signals(request, earlier, web.now(), read),
            _compared(web, request, shown, Past(tuple(visible)).last_approved),
        )
    return plain_view(web, who, request, shown, known)


def plain_view(web: Web, who: SignedIn, request: ApprovalRequest, shown: Shown, known: Background = NOTHING) -> RequestView:
    """Return a request as this person sees it: its call as `shown_to` them, with what is `known` around it."""
    now, key = web.now(), web.parts.mask_key
    stands = standing(request, who.person, web.groups(who), now)
    asked = {name: covered(said, key) for name, said in request.origin.asked.items()}
    said = Said(covered(request.origin.stated, key), asked)
    return request_view(request, shown, known, people=web.people(), standing=stands, now=now, said=said)


def _reaches_outside(web: Web, server: str, tool: str) -> bool:
    """Does somebody say that the tool reaches an open world? What nobody said is no signal: it would be one of every call."""
    try:
        known = web.parts.policies.current.servers.get(server)
    except PolicyInvalid:
        known = None
    facts = known.tools.get(tool) if known is not None else None
    if facts is not None and facts.open_world is not None:
        return facts.open_world
    last = web.parts.offers.last(server)
    definition = last[0].tool(tool) if last is not None else None
    return definition is not None and definition.annotations.get("openWorldHint") is True


def _support(web: Web, server: str) -> Support | None:
    """Where people ask about a server, None where nobody said."""
    try:
        known = web.parts.policies.current.servers.get(server)
    except PolicyInvalid:
        known = None
    return support_of(known.owner.contact) if known is not None and known.owner.contact else None


async def _past(web: Web, request: ApprovalRequest) -> Past | None:
    """What came before, for those who still have to judge. Remembered, since it hardly changes and pages are read often."""
    if request.state is not RequestState.PENDING:
        return None
    known = web.pasts.get(request.id)
    if known is None:
        call = request.call
        query = Query(principal=call.caller.principal, server=call.server, tool=call.tool)
        page = await web.parts.requests.find(query, limit=EARLIER)
        known = web.pasts[request.id] = past(request, page.requests, all=not page.cursor)
        if len(web.pasts) > REMEMBERED:
            web.pasts.pop(next(iter(web.pasts)))
    return known


def _compared(web: Web, request: ApprovalRequest, shown: Shown, last: ApprovalRequest | None) -> Compared | None:
    """The differences to the last approved call, redacted by the rules of both."""
    if last is None or not isinstance(shown.arguments, dict):
        return None
    paths = (*last.plan.redact, *request.plan.redact)
    before = redacted(last.call.arguments, paths, web.parts.mask_key)
    return Compared(last.id, last.opened_at, differences(before.arguments, shown.arguments))


async def moments(web: Web, request: ApprovalRequest) -> tuple[Moment, ...]:
    """The request's story from the audit; from the record alone where the audit can't be read."""

    def name(person: str) -> str:
        return web.people().person(person).shown

    try:
        entries = await web.parts.timeline(request.id)
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("web.timeline_failed", request=request.id)
        entries = ()
    return timeline(entries, name) if entries else from_record(request, name)


def members(web: Web, who: SignedIn, request: ApprovalRequest) -> list[Row]:
    """Return the rows of a request's batch that still wait and that this person sees, the oldest first."""
    own, observers = web.groups(who), web.parts.observers
    rows = web.board.batch(proposal(request))
    return [row for row in rows if sees(row.people, row.groups, row.reviewers, who.person, own, observers)]


async def lookers(web: Web, who: SignedIn, request_id: str) -> tuple[str, ...]:
    """Say that this person looks at the request, and return the names of the others who do."""
    people = tuple(await web.parts.presence.here(f"request:{request_id}", who.person, LOOKS))
    web.board.looked_at(RequestId(request_id), people)
    return tuple(web.people().person(person).shown for person in people if person != who.person)


async def _feedback(web: Web, who: SignedIn, found: ApprovalRequest) -> Asked | None:
    """What a person behind a call that ran is asked about its result; None where there is nothing to ask."""
    if not await web.parts.feedback.asks(found, who.person):
        return None
    return Asked(await web.parts.feedback.answer(found, who.person))


async def detail_values(request: AnyRequest, web: Web, request_id: str) -> dict[str, Any]:
    """Return what the detail's template needs. Raises `UnknownRequest`."""
    who = visitor(request)
    found = await seen(web, who, request_id)
    detail = await view_of(web, who, found)
    origin = origin_of(request, web.parts.public_url)
    return {
        "detail": detail,
        "support": _support(web, found.call.server),
        "together": len(members(web, who, found)),
        "wrong": "",
        "draft": "",
        "named": named_address(origin),
        "comment_draft": "",
        "member": bool(web.groups(who)),
        "may_comment": may_comment(found, who.person, web.groups(who)),
        "lookers": await lookers(web, who, found.id),
        "feedback": await _feedback(web, who, found),
        "passkeys": len(await web.parts.passkeys.of(who.person)) if detail.standing.step_up else 0,
        "to_type": pieces(to_type(found)) if found.plan.type_to_confirm else (),
    }
