"""What is said in a card's thread, each thing once: reviews, escalations, reminders, the result. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from broker.channels.slack import blocks
from broker.channels.slack.blocks import Block
from broker.channels.slack.face import Face
from broker.channels.slack.status import STATES, needed_words
from broker.domain.redaction import covered
from broker.domain.requests import ApprovalRequest, RequestState
from broker.domain.reviews import Verdict

REMINDERS = (50, 90)


class Reply(msgspec.Struct, frozen=True):
    """One message of the thread. `key` names it: what was said is not said again."""

    key: str
    text: str
    parts: list[Block]


def replies(request: ApprovalRequest, face: Face, now: datetime, shown_at: datetime) -> tuple[Reply, ...]:
    """Return everything that the thread should hold by `now`; `shown_at` is when its card was posted."""
    said = (*_reviews(request, face), *_comments(request, face))
    return (*said, *_escalations(request, face), *_due(request, face, now, shown_at), *_ending(request, face))


def next_reminder(request: ApprovalRequest, now: datetime) -> datetime | None:
    """Return when a reminder is due next, None when none is left."""
    ahead = [at for at in reminder_times(request).values() if at > now]
    return min(ahead, default=None)


def reminder_times(request: ApprovalRequest) -> dict[int, datetime]:
    """Return when which share of the time to decide is over; nothing when nobody can decide any more."""
    if request.state is not RequestState.PENDING:
        return {}
    start = request.expires_at - request.plan.timeout
    return {share: start + request.plan.timeout * share / 100 for share in REMINDERS}


def _reviews(request: ApprovalRequest, face: Face) -> Iterator[Reply]:
    for review in request.reviews:
        verb = "approved" if review.verdict is Verdict.APPROVE else "rejected"
        said = [blocks.line(f": {covered(review.reason, face.key)}", 1_000)] if review.reason else []
        words = blocks.text(f" {verb} on {review.channel}")
        key = f"review:{review.reviewer}:{int(review.at.timestamp())}"
        yield Reply(key, f"One review: {verb}", [blocks.rich(blocks.section(face.person(review.reviewer), words, *said))])


def _comments(request: ApprovalRequest, face: Face) -> Iterator[Reply]:
    for number, comment in enumerate(request.comments):
        words = [blocks.text(" wrote: "), blocks.line(covered(comment.text, face.key), 2_000)]
        yield Reply(f"comment:{number}", "A comment", [blocks.rich(blocks.section(face.person(comment.who), *words))])


def _escalations(request: ApprovalRequest, face: Face) -> Iterator[Reply]:
    for group in request.escalated:
        parts = [blocks.text("Nobody has decided yet. Now "), face.group(group), blocks.text(" can decide as well.")]
        yield Reply(f"escalated:{group}", "Escalated", [blocks.rich(blocks.section(*parts))])


def _due(request: ApprovalRequest, face: Face, now: datetime, shown_at: datetime) -> Iterator[Reply]:
    """The latest reminder alone, and none for a time before the card was there."""
    past = {share: at for share, at in reminder_times(request).items() if shown_at < at <= now < request.expires_at}
    if past:
        left = f"{spelled(request.expires_at - now)} left to decide"
        key = f"reminder:{max(past)}:{int(request.expires_at.timestamp())}"
        yield Reply(key, left, [blocks.rich(blocks.section(blocks.text(f"{left}: "), *_asked(request, face)))])


def _asked(request: ApprovalRequest, face: Face) -> list[Block]:
    groups = [part for group in (*request.plan.groups, *request.escalated) for part in (blocks.text(" "), face.group(group))]
    return [blocks.line(needed_words(request), 400), *groups]


def _ending(request: ApprovalRequest, face: Face) -> Iterator[Reply]:
    if request.ended_at is None:
        return
    said_before = request.state is RequestState.REJECTED  # by the review, or in the words themselves
    note = [blocks.line(f": {covered(request.note, face.key)}", 1_000)] if request.note and not said_before else []
    words = blocks.text(result_words(request), bold=True)
    yield Reply(f"ended:{request.state}", STATES[request.state], [blocks.rich(blocks.section(words, *note))])


def result_words(request: ApprovalRequest) -> str:
    """Return the result in words: what became of the call."""
    match request.state:
        case RequestState.COMPLETED:
            return "It ran"
        case RequestState.FAILED:
            return "It failed"
        case RequestState.UNKNOWN:
            return (
                "It was started, and nobody knows whether it ran. Look at the other side, then record what happened on its page"
            )
        case RequestState.REJECTED if not request.decided_by:
            return f"Rejected: {request.note}"[:300]
        case _:
            return f"{STATES[request.state]}. Nothing ran"


def spelled(span: timedelta) -> str:
    """Return `2 h`, `35 min` or `40 s`: rounded down, so that nobody counts on more."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
