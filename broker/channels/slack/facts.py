"""What a card says of the call: the act, who calls for whom, why people are asked, and everything that would run."""

from __future__ import annotations

from broker.channels.slack import blocks
from broker.channels.slack.blocks import Block
from broker.channels.slack.face import Face
from broker.domain.calls import ToolCall
from broker.domain.redaction import Shown, covered
from broker.domain.requests import ApprovalRequest, RequestState

# What one field, one reason, the agent's own words and the tool's name may take; how many fields and reasons there is room for.
FIELD, REASON, STATED, NAME = 300, 300, 400, 200
FIELDS, REASONS = 10, 5


def facts(request: ApprovalRequest, shown: Shown, face: Face) -> list[Block]:
    """Return the parts of the card's rich text, the most decisive first."""
    return [
        _act(request),
        *_fields(shown),
        _who(request, face),
        *_why(shown),
        *_stated(request, face),
        _arguments(shown),
        *_support(request, face),
        *_held_back(request, shown),
    ]


def fits(call: ToolCall, shown: Shown) -> bool:
    """Does a card hold title, tool, fields and all of the call without a cut?"""
    fields = len(shown.fields) <= FIELDS and all(blocks.holds(field.value, FIELD) for field in shown.fields)
    whole = blocks.holds(shown.written, blocks.RUN, keep="\n\t")
    return fields and whole and blocks.holds(shown.title, blocks.HEADER) and blocks.holds(act(call), NAME)


def act(call: ToolCall) -> str:
    """Return what is called, as every face names it."""
    return f"{call.server} → {call.tool}"


def _act(request: ApprovalRequest) -> Block:
    name = blocks.line(act(request.call), NAME, code=True)
    return blocks.section(blocks.text(f"{request.plan.severity.value.upper()}  ", bold=True), name)


def _who(request: ApprovalRequest, face: Face) -> Block:
    caller = request.call.caller
    parts = [blocks.text("Agent "), blocks.line(caller.agent or caller.workload or "without a name", 120, bold=True)]
    if caller.surface:
        parts.append(blocks.line(f" through {caller.surface}", 80))
    if caller.client:
        parts.append(blocks.line(f" ({caller.client} {caller.client_version}".rstrip() + ", by its own account)", 160))
    if caller.user:
        parts += [blocks.text(" for "), face.person(caller.user)]
    if caller.owner and caller.owner != caller.user:
        parts += [blocks.text(", owned by "), face.person(caller.owner)]
    return blocks.section(*parts)


def _why(shown: Shown) -> list[Block]:
    lines = []
    for reason in shown.reasons[:REASONS]:
        words = [blocks.line(f"  {reason.text}", REASON)] if reason.text else []
        lines.append(blocks.section(blocks.text("Asked by rule "), blocks.line(reason.rule, 100, code=True), *words))
    return lines


def _stated(request: ApprovalRequest, face: Face) -> list[Block]:
    if not request.origin.stated:
        return []
    words = covered(request.origin.stated, face.key)
    return [blocks.quote(blocks.text("The agent says, unverified: ", italic=True), blocks.line(words, STATED))]


def _fields(shown: Shown) -> list[Block]:
    lines = []
    for field in shown.fields[:FIELDS]:
        label = field.label.removeprefix("$.").removeprefix("args.")
        lines.append(blocks.section(blocks.line(f"{label}: ", 80, bold=True), blocks.line(field.value, FIELD)))
    return lines


def _arguments(shown: Shown) -> Block:
    return blocks.preformatted(blocks.seen(shown.written, blocks.RUN, keep="\n\t"))


def _support(request: ApprovalRequest, face: Face) -> list[Block]:
    where = face.support.get(request.call.server, "")
    return [blocks.section(blocks.text("Questions about this server: "), blocks.line(where, 200))] if where else []


def _held_back(request: ApprovalRequest, shown: Shown) -> list[Block]:
    """Say what is not here, and so why there is no Approve button."""
    if request.state is not RequestState.PENDING:
        return []
    notes = []
    if not fits(request.call, shown):
        notes.append(f"Not all of the call fits here ({len(shown.written):,} characters): open it to approve.")
    if not shown.whole:
        notes.append("Values that look like secrets are covered: open it to look at them and to approve.")
    if request.plan.alone:
        notes.append("This one is decided on its page.")
    return [blocks.section(blocks.text(note, bold=True)) for note in notes]
