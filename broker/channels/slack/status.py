"""How a request stands, in words: the status line of its card, and what each state is called."""

from __future__ import annotations

from collections.abc import Iterable

from broker.channels.slack import blocks
from broker.channels.slack.blocks import Block
from broker.channels.slack.face import Face
from broker.domain.confirmations import told
from broker.domain.redaction import covered
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Progress, Review, progress

STATES = {
    RequestState.PENDING: "Approval needed",
    RequestState.APPROVED: "Approved, about to run",
    RequestState.EXECUTING: "Approved, running",
    RequestState.COMPLETED: "Approved and ran",
    RequestState.FAILED: "Approved, and failed",
    RequestState.UNKNOWN: "Approved and started, outcome unknown",
    RequestState.REJECTED: "Rejected",
    RequestState.EXPIRED: "Expired",
    RequestState.CANCELLED: "Withdrawn by the agent",
    RequestState.VOIDED: "Void",
}
NOTE = 300
_NEWLINE: Block = {"type": "text", "text": "\n"}


def standing(request: ApprovalRequest, face: Face) -> Block:
    """Return what is still needed and until when, or how it ended; then the marks that every face shares."""
    parts = _needed(request, face) if request.state is RequestState.PENDING else _status(request, face)
    return blocks.section(*parts, _NEWLINE, *marks(request))


def needs(request: ApprovalRequest) -> tuple[Progress, ...]:
    """Return how far each requirement is."""
    return progress(request.plan.asks, request.approvals, frozenset(request.escalated))


def needed_words(request: ApprovalRequest) -> str:
    """Return `1 of 2 from finance, 0 of 1 from leads`."""
    return ", ".join(f"{item.have} of {item.need.count} from {item.need.group}" for item in needs(request))


def may_see(request: ApprovalRequest, person: str, groups: Iterable[str]) -> bool:
    """Those who are asked, who asked, and who answered."""
    involved = {*request.call.caller.people, *(review.reviewer for review in request.reviews)}
    return person in involved or bool(set(groups) & {*request.plan.groups, *request.escalated})


def marks(request: ApprovalRequest) -> list[Block]:
    """Request id and digest prefix: the same on every channel, so that people can compare."""
    return [blocks.line(f"{request.id} · digest {request.digest.removeprefix('sha256:')[:12]}", 120, italic=True)]


def _needed(request: ApprovalRequest, face: Face) -> list[Block]:
    so_far = [blocks.text(", so far:"), *_people(request.approvals, face)] if request.approvals else []
    also = [part for group in request.escalated for part in (blocks.text(" "), face.group(group))]
    asked = [blocks.text(", by now as well:"), *also] if also else []
    deadline = [blocks.text("Rejected unless decided by "), blocks.date(request.expires_at)]
    return [blocks.line(needed_words(request), 400, bold=True), *so_far, *asked, _NEWLINE, *deadline]


def _status(request: ApprovalRequest, face: Face) -> list[Block]:
    """The line that stands where the buttons were."""
    parts = [blocks.text(STATES[request.state], bold=True)]
    if request.confirmation is not None and request.state is not RequestState.REJECTED:
        parts += [blocks.text(" · confirmed by "), face.person(told(request.confirmation))]
    elif request.state is RequestState.REJECTED and request.decided_by:
        parts += [blocks.text(" by "), face.person(request.decided_by)]
    elif request.approvals:
        parts += [blocks.text(" · approvals:"), *_people(request.approvals, face)]
    if request.ended_at is not None:
        parts += [blocks.text(" · "), blocks.date(request.ended_at)]
    if request.ended_at is not None and request.note:
        parts += [_NEWLINE, blocks.line(covered(request.note, face.key), NOTE)]
    return parts


def _people(reviews: Iterable[Review], face: Face) -> list[Block]:
    return [element for review in reviews for element in (blocks.text(" "), face.person(review.reviewer))]
