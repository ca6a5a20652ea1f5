"""Batches: the buttons on a digest, and the modal in which what one agent proposed together is decided, item by item. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from broker.approvals.batches import Answered, Item
from broker.channels.slack import blocks
from broker.channels.slack.blocks import Block
from broker.channels.slack.card import may_approve_here, view_of
from broker.channels.slack.face import Face, Pressed
from broker.channels.slack.facts import act
from broker.channels.slack.modals import BLOCKS, BYTES, METADATA, TITLE, WORDS, modal
from broker.channels.slack.status import needed_words
from broker.domain.batches import AT_MOST, batches, proposal
from broker.domain.redaction import covered, shown_call
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.domain.reviews import Verdict

TOGETHER, BATCH = "together", "batch"
# Batches that one message offers, and blocks that an item takes at most.
OFFERED, OF_AN_ITEM = 4, 3
LEAVE = "leave"


class Choice(msgspec.Struct, frozen=True):
    """One item of a submitted form: what its block carried, and what was chosen. A version that is none never fits."""

    request: RequestId
    digest: str
    view: str
    version: int
    verdict: Verdict

    @property
    def item(self) -> Item:
        return Item(self.request, self.digest, self.version, self.verdict)


def together_buttons(requests: Sequence[ApprovalRequest]) -> list[Block]:
    """Return a button for each batch among what waits."""
    waiting = {request.id: request for request in requests if request.state is RequestState.PENDING}
    found = [batch for batch in batches(proposal(request) for request in waiting.values()) if len(batch) > 1]
    return [
        blocks.button(f"{TOGETHER}{index}", _offer(waiting[batch[0].id]), Pressed(batch[0].id).value)
        for index, batch in enumerate(found[:OFFERED])
    ]


def batch_form(requests: Sequence[ApprovalRequest], face: Face, person: str, pressed: Pressed, answer_url: str = "") -> Block:
    """Return the form with each request whole and a choice beside it, as far as a modal holds them.

    Where this person has nothing to choose, it is no form.
    """
    items: list[Block] = []
    size = held = 0
    for request in requests[:AT_MOST]:
        made = list(_item(request, face, person))
        size += len(json.dumps(made))
        if len(items) + len(made) > BLOCKS - 3 or size > BYTES:
            break
        items += made
        held += 1
    head = [blocks.rich(*_head(requests, held, face))]
    if not any(part["type"] == "input" for part in items):
        return modal("Decide together", [*head, *items])
    form = {
        "submit": blocks.plain("Send", TITLE),
        "callback_id": BATCH,
        "private_metadata": f"{pressed.value}\n{answer_url}"[:METADATA],
    }
    return modal("Decide together", [*head, *items, _reason()]) | form


def choices_of(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what was chosen in each item's block, as Slack sends it; what was left is not in it."""
    chosen = {
        str(block): str(((given.get("verdict") or {}).get("selected_option") or {}).get("value", ""))
        for block, given in values.items()
        if isinstance(given, dict) and "verdict" in given
    }
    return tuple((block, verdict) for block, verdict in chosen.items() if verdict in tuple(Verdict))


def choices(told: Sequence[tuple[str, str]]) -> list[Choice]:
    """Read the choices of a form; what is none of ours is left out."""
    found = []
    for block, verdict in told:
        parts = block.split(" ")
        if len(parts) == 4:
            version = int(parts[3]) if parts[3].isascii() and parts[3].isdigit() and len(parts[3]) < 10 else 0
            found.append(Choice(RequestId(parts[0]), parts[1], parts[2], version or -1, Verdict(verdict)))
    return found


def answers(told: Sequence[tuple[Answered, str]]) -> list[Block]:
    """Return what became of each item; with each answer comes the title of its request, as its person may see it."""
    return [blocks.rich(blocks.bullets([_answer(answer, title) for answer, title in told]))]


def _answer(answer: Answered, title: str) -> Block:
    name = blocks.line(f"{title}: ", 150, bold=True)
    if answer.error is not None:
        return blocks.section(name, blocks.line(f"not counted: {answer.error.message}", 300))
    if answer.item.verdict is Verdict.REJECT:
        return blocks.section(name, blocks.text("rejected"))
    after = answer.after
    waits = after is not None and after.state is RequestState.PENDING
    words = f"your approval counts: {needed_words(after)}" if after is not None and waits else "approved"
    return blocks.section(name, blocks.line(words, 300))


def _offer(request: ApprovalRequest) -> str:
    caller = request.call.caller
    return f"Decide together: {caller.agent or caller.workload or 'an agent'}"


def _head(requests: Sequence[ApprovalRequest], held: int, face: Face) -> Iterator[Block]:
    words = (
        f"{len(requests)} requests of one agent. Each is counted by itself." if requests else "Nothing of this waits any more."
    )
    yield blocks.section(blocks.text(words))
    if held < len(requests):
        yield blocks.section(blocks.text(f"{len(requests) - held} more do not fit here: decide these first.", bold=True))
    if requests and (label := requests[0].origin.batch):
        said = blocks.line(covered(label, face.key), 200)
        yield blocks.quote(blocks.text("The agent calls this batch, unverified: ", italic=True), said)


def _item(request: ApprovalRequest, face: Face, person: str) -> Iterator[Block]:
    shown = shown_call(request.call, request.plan, face.key, reasons=request.reasons)
    here = may_approve_here(request, shown)
    own = request.call.caller.backed_by(person)
    name = blocks.section(
        blocks.text(f"{request.plan.severity.value.upper()}  ", bold=True),
        blocks.line(shown.title, blocks.HEADER, bold=True),
        blocks.line(f"  {act(request.call)}", 200, code=True),
    )
    if own or not here:
        why = "You asked for it: somebody else decides." if own else "It is decided alone, on its page."
        page = face.page(request.id)
        more = [blocks.text("  "), blocks.link(page, "open")] if page else []
        yield blocks.rich(name, blocks.section(blocks.text(why, italic=True), *more))
        return
    fields = [
        blocks.section(
            blocks.line(f"{field.label.removeprefix('$.').removeprefix('args.')}: ", 80), blocks.line(field.value, 300)
        )
        for field in shown.fields
    ]
    stated = [
        blocks.quote(
            blocks.text("The agent says, unverified: ", italic=True), blocks.line(covered(request.origin.stated, face.key), 400)
        )
    ]
    whole = blocks.preformatted(blocks.seen(shown.written, blocks.RUN, keep="\n\t"))
    mark = blocks.section(blocks.line(f"digest {request.digest.removeprefix('sha256:')[:12]}", 40, italic=True))
    yield blocks.rich(name, *fields, *(stated if request.origin.stated else []), whole, mark)
    yield _choice(request, f"{request.id} {request.digest} {view_of(request, shown)} {request.version}", shown.title)


def _choice(request: ApprovalRequest, carried: str, title: str) -> Block:
    words = ((Verdict.APPROVE.value, "Approve"), (Verdict.REJECT.value, "Reject"), (LEAVE, "Leave"))
    options = [{"text": blocks.plain(word, blocks.LABEL), "value": value} for value, word in words]
    element = {"type": "radio_buttons", "action_id": "verdict", "options": options, "initial_option": options[-1]}
    return {"type": "input", "block_id": carried, "optional": True, "label": blocks.plain(title, 150), "element": element}


def _reason() -> Block:
    return {
        "type": "input", "block_id": "words", "optional": True, "label": blocks.plain("Why are some rejected?", 200),
        "hint": blocks.plain("Their agent reads this.", 200),
        "element": {"type": "plain_text_input", "action_id": "words", "multiline": True, "max_length": WORDS},
    }  # fmt: skip
