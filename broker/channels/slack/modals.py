"""Modals: all of a call with its reasons and its story, and the form for a rejection. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from broker.channels.slack import blocks
from broker.channels.slack.blocks import Block
from broker.channels.slack.face import Face, Pressed
from broker.channels.slack.status import STATES, standing
from broker.domain.redaction import Shown, covered, shown_call
from broker.domain.requests import ApprovalRequest
from broker.domain.reviews import Verdict
from broker.domain.text import visible

REJECTION = "rejection"
# Slack: 100 blocks and 250 KB in a modal, 24 characters in its title, 3,000 in its metadata.
TITLE, BLOCKS, BYTES, METADATA, WORDS = 24, 100, 180_000, 3_000, 1_000
PRESETS = (
    "The arguments are wrong",
    "Not now",
    "It needs another person's request",
    "The agent should not do this",
)


def details(request: ApprovalRequest, face: Face) -> Block:
    """Return the modal with all of the call, as far as a modal holds it, and says where the rest is."""
    shown = shown_call(request.call, request.plan, face.key, reasons=request.reasons)
    head = [
        blocks.header(shown.title),
        blocks.rich(standing(request, face)),
        blocks.rich(blocks.section(blocks.text("Everything that would run", bold=True))),
    ]
    tail = [*_reasons(shown), *_story(request, face), *_page(request, face)]
    room = BLOCKS - len(head) - len(tail) - 1
    runs = blocks.chunks(visible(shown.written[:BYTES]))
    held = _held(runs, room)
    body = [blocks.rich(blocks.preformatted(run)) for run in held]
    if len(runs) > len(held) or len(shown.written) > BYTES:
        body.append(blocks.rich(blocks.section(blocks.text("The rest does not fit in Slack: open its page.", bold=True))))
    return modal("Details", [*head, *body, *tail])


def rejection(request: ApprovalRequest, face: Face, value: Pressed, answer_url: str = "") -> Block:
    """Return the form that asks why. What the agent will read is said. It carries what was pressed, and where to answer."""
    shown = shown_call(request.call, request.plan, face.key, reasons=request.reasons)
    presets = [{"text": blocks.plain(words, blocks.LABEL), "value": str(index)} for index, words in enumerate(PRESETS)]
    parts = [
        blocks.header(shown.title),
        {
            "type": "input", "block_id": "preset", "optional": True, "label": blocks.plain("Why", 200),
            "element": {"type": "radio_buttons", "action_id": "preset", "options": presets},
        },
        {
            "type": "input", "block_id": "words", "optional": True, "label": blocks.plain("In your words", 200),
            "hint": blocks.plain("The agent reads this.", 200),
            "element": {"type": "plain_text_input", "action_id": "words", "multiline": True, "max_length": WORDS},
        },
    ]  # fmt: skip
    form = {
        "submit": blocks.plain("Reject", TITLE),
        "callback_id": REJECTION,
        "private_metadata": f"{value.value}\n{answer_url}"[:METADATA],
    }
    return modal("Reject this call?", parts) | form


def reason_of(values: Mapping[str, Any]) -> str:
    """Return the reason that a submitted form gives: a preset, words, or both. Empty where it gives none."""
    chosen = ((values.get("preset") or {}).get("preset") or {}).get("selected_option") or {}
    index = str(chosen.get("value", ""))
    preset = PRESETS[int(index)] if index.isdecimal() and int(index) < len(PRESETS) else ""
    words = str(((values.get("words") or {}).get("words") or {}).get("value") or "").strip()[:WORDS]
    return ". ".join(part for part in (preset, words) if part)


def notice(title: str, words: str) -> Block:
    """Return a modal that says one thing: for places where Slack lets us answer in no other way."""
    return modal(title, [blocks.rich(blocks.section(blocks.text(words)))])


def modal(title: str, parts: list[Block]) -> Block:
    """Return a modal without a form."""
    return {"type": "modal", "title": blocks.plain(title, TITLE), "close": blocks.plain("Close", TITLE), "blocks": parts}


def _reasons(shown: Shown) -> Iterator[Block]:
    yield blocks.rich(blocks.section(blocks.text("Why people are asked", bold=True)))
    for reason in shown.reasons[:20]:
        where = [blocks.line(f"  {reason.where}", 200, italic=True)] if reason.where else []
        words = [blocks.line(f"  {reason.text}", 600)] if reason.text else []
        yield blocks.rich(blocks.section(blocks.line(reason.rule, 100, code=True), *words, *where))


def _story(request: ApprovalRequest, face: Face) -> Iterator[Block]:
    lines = [blocks.section(blocks.date(request.opened_at), blocks.text("  asked"))]
    for review in request.reviews[:30]:
        verb = "approved" if review.verdict is Verdict.APPROVE else "rejected"
        said = [blocks.line(f": {covered(review.reason, face.key)}", 300)] if review.reason else []
        who = face.person(review.reviewer)
        words = blocks.text(f" {verb} ({review.channel})")
        lines.append(blocks.section(blocks.date(review.at), blocks.text("  "), who, words, *said))
    if request.escalated:
        lines.append(blocks.section(blocks.line(f"asked as well: {', '.join(request.escalated)}", 300)))
    if request.ended_at is not None:
        note = [blocks.line(f": {covered(request.note, face.key)}", 600)] if request.note else []
        lines.append(blocks.section(blocks.date(request.ended_at), blocks.text(f"  {STATES[request.state]}"), *note))
    yield blocks.rich(blocks.section(blocks.text("What happened", bold=True)), blocks.bullets(lines))


def _page(request: ApprovalRequest, face: Face) -> Iterator[Block]:
    if page := face.page(request.id):
        yield blocks.actions("page", blocks.open_button(page, "Open its page"))


def _held(runs: list[str], room: int) -> list[str]:
    """Return the runs that a modal has room for, in blocks and in bytes."""
    held, size = [], 0
    for run in runs[:room]:
        size += len(json.dumps(run))
        if size > BYTES:
            break
        held.append(run)
    return held
