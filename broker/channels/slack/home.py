"""App Home, the personal inbox; the digest, many requests in one message; and the list of the command. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from broker.channels.slack import blocks
from broker.channels.slack.batch import together_buttons
from broker.channels.slack.blocks import Block
from broker.channels.slack.card import Card, buttons
from broker.channels.slack.face import Face
from broker.channels.slack.facts import facts
from broker.channels.slack.status import STATES, standing
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestState

# Slack takes 100 blocks in a home; each request takes 5.
IN_HOME, IN_DIGEST = 12, 30


def home(waiting: Sequence[ApprovalRequest], face: Face, *, more: bool = False) -> Block:
    """Return the personal inbox: the requests that wait for one person, the most urgent first."""
    parts = [blocks.header(_counted(len(waiting), more))]
    for request in waiting[:IN_HOME]:
        shown = shown_call(request.call, request.plan, face.key)
        parts += [
            blocks.divider(),
            blocks.header(shown.title),
            blocks.rich(*facts(request, shown, face)),
            blocks.rich(standing(request, face)),
            *buttons(request, shown, face),
        ]
    return {"type": "home", "blocks": [*parts, *_foot(waiting, face)]}


def unknown_home(words: str) -> Block:
    """Return the home of somebody whom the broker doesn't know: why, and what to do."""
    return {"type": "home", "blocks": [blocks.header("Approvals"), blocks.rich(blocks.section(blocks.text(words)))]}


def digest(requests: Sequence[ApprovalRequest], face: Face) -> Card:
    """Return one message for many requests that came at once: decided in a form for a batch, in App Home or on their pages."""
    waiting = sum(request.state is RequestState.PENDING for request in requests)
    words = f"{waiting} of {len(requests)} requests wait" if waiting else f"{len(requests)} requests, all decided"
    latest = sorted(requests, key=lambda request: (request.state is not RequestState.PENDING, request.opened_at))
    lines = [_line(request, face) for request in latest[:IN_DIGEST]]
    if len(requests) > IN_DIGEST:
        lines.append(blocks.section(blocks.text(f"and {len(requests) - IN_DIGEST} more")))
    hint = blocks.section(
        blocks.text("They came faster than cards are read: decide together, in this app's Home, or on the pages.", italic=True)
    )
    parts = [blocks.header(words), blocks.rich(blocks.bullets(lines), hint)]
    return Card(words, [*parts, *_foot(requests, face)])


def listing(waiting: Sequence[ApprovalRequest], face: Face, *, more: bool = False) -> list[Block]:
    """Return the answer to `/approvals list`."""
    heading = blocks.section(blocks.text(_counted(len(waiting), more), bold=True))
    lines = [_line(request, face) for request in waiting[:IN_DIGEST]]
    return [blocks.rich(heading, *([blocks.bullets(lines)] if lines else [])), *_foot(waiting, face)]


def _foot(requests: Sequence[ApprovalRequest], face: Face) -> list[Block]:
    """Return the buttons under a list: for each batch among what waits, and for the inbox."""
    inbox = face.inbox()
    elements = [*together_buttons(requests), *([blocks.open_button(inbox, "Open the inbox")] if inbox else [])]
    return [blocks.actions("inbox", *elements)] if elements else []


def urgent_first(requests: Sequence[ApprovalRequest]) -> list[ApprovalRequest]:
    return sorted(requests, key=lambda request: (-request.plan.severity.rank, request.expires_at))


def _line(request: ApprovalRequest, face: Face) -> Block:
    title = shown_call(request.call, request.plan, face.key).title
    words = blocks.line(title, 150)
    page = face.page(request.id)
    opened = [blocks.text("  "), blocks.link(page, "open")] if page else []
    state = blocks.text(f"  {STATES[request.state]}" if request.state is not RequestState.PENDING else "", italic=True)
    return blocks.section(blocks.text(f"{request.plan.severity.value.upper()}  ", bold=True), words, state, *opened)


def _counted(count: int, more: bool) -> str:
    if not count:
        return "Nothing waits for you"
    return f"{count}{' or more' if more else ''} {'requests wait' if count > 1 else 'request waits'} for you"
