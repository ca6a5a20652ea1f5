"""The card: what one request looks like in a conversation. A pure function of the request and who is who in Slack."""

from __future__ import annotations

import hashlib
import json

import msgspec

from broker.channels.slack import blocks
from broker.channels.slack.blocks import Block
from broker.channels.slack.face import Face, Pressed
from broker.channels.slack.facts import act, facts, fits
from broker.channels.slack.status import STATES, standing
from broker.channels.slack.thread import result_words
from broker.domain.redaction import Shown, shown_call
from broker.domain.requests import ApprovalRequest, RequestState

APPROVE, REJECT, DETAILS = "approve", "reject", "details"


class Card(msgspec.Struct, frozen=True):
    """One message. `text` is the notification: the title and no argument. `approvable`: it has an Approve button."""

    text: str
    parts: list[Block]
    approvable: bool = False

    @property
    def mark(self) -> str:
        """Cards with the same mark look the same: no update is needed."""
        return digest_of([self.text, blocks.bare(self.parts)])[:16]


def card(request: ApprovalRequest, face: Face, place: str = "") -> Card:
    """Return the card of a request as it stands. `place` is where it hangs: its buttons say so."""
    shown = shown_call(request.call, request.plan, face.key, reasons=request.reasons)
    parts = [
        blocks.header(shown.title),
        blocks.rich(*facts(request, shown, face), block_id=f"f:{request.id}:{request.version}"),
        blocks.rich(standing(request, face), block_id=f"s:{request.id}:{request.version}"),
    ]
    if request.state is RequestState.PENDING:
        parts += buttons(request, shown, face, place)
    return Card(notification(request, shown.title), parts, may_approve_here(request, shown))


def bare_parts(request: ApprovalRequest, face: Face) -> list[Block]:
    """Return what Slack can't refuse for its blocks, in place of a card's: the title and the way to the page."""
    parts = [blocks.header(shown_call(request.call, request.plan, face.key).title)]
    page = face.page(request.id)
    return [*parts, blocks.actions(f"a:{request.id}", blocks.open_button(page))] if page else parts


def outcome(request: ApprovalRequest, face: Face) -> Card:
    """Return what the person is told for whom it was asked: the title, and what became of it."""
    title = shown_call(request.call, request.plan, face.key).title
    said = blocks.section(blocks.line(f"{title}: ", 200, bold=True), blocks.text(result_words(request)))
    return Card(notification(request, title), [blocks.rich(said)])


def notification(request: ApprovalRequest, title: str) -> str:
    """Return the line that phones show: state and title, escaped."""
    return f"{STATES[request.state]}: {blocks.mrkdwn(title[:300])}"


def may_approve_here(request: ApprovalRequest, shown: Shown) -> bool:
    """Only what is shown whole may be approved here, and only where the rule does not ask for the page."""
    here = request.state is RequestState.PENDING and not request.plan.alone
    return here and shown.whole and fits(request.call, shown)


def view_of(request: ApprovalRequest, shown: Shown) -> str:
    """Return the mark of what is decided on: call and agent as shown, and what is demanded. Progress is no part of it."""
    asks = [[ask.rule, [[need.group, need.count] for need in ask.all_of]] for ask in request.plan.asks]
    fields = [[field.label, field.value] for field in shown.fields]
    said = request.origin.stated
    return digest_of([request.digest, shown.title, fields, shown.written, asks, request.policy, said])[:16]


def buttons(request: ApprovalRequest, shown: Shown, face: Face, place: str = "") -> list[Block]:
    """Return the row of buttons; Approve is there only where `may_approve_here`, and asks once more with the act."""
    value = Pressed(request.id, request.digest, view_of(request, shown), place).value
    elements: list[Block] = []
    if may_approve_here(request, shown):
        again = f"{shown.title}: {act(request.call)} runs once, exactly as shown."
        sure = blocks.confirm("Approve this call?", again, "Approve")
        elements.append(blocks.button(APPROVE, "Approve", value, style="primary", confirm=sure))
    if not request.plan.alone:
        elements += [blocks.button(REJECT, "Reject…", value, style="danger"), blocks.button(DETAILS, "Details", value)]
    if page := face.page(request.id):
        elements.append(blocks.open_button(page))
    return [blocks.actions(f"a:{request.id}:{request.version}", *elements)] if elements else []


def digest_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
