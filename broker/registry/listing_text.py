"""What a server offers, as lines for people. Whatever the server wrote is shown with what is invisible made visible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from broker.domain.enrolment import Enrolment
from broker.domain.servers import ToolDefinition, ToolFacts
from broker.domain.text import clipped, visible
from broker.registry.pins import Pin
from broker.registry.ports import Listing
from broker.registry.standing import Stand, Standing

# Characters of a description, and of a name that a server gives itself.
LONG, SHORT = 500, 60


def listing_lines(listing: Listing, stands: Sequence[Stand]) -> Iterator[str]:
    """One server: who it says it is, then each tool and how it stands."""
    name = _shown(f"{listing.info.get('name', '')} {listing.info.get('version', '')}".strip(), SHORT)
    yield f"{listing.server}: {len(listing.tools)} tools in {listing.seconds * 1000:.0f} ms, MCP {listing.era}, says it is {name}"
    for stand in stands:
        yield f"  {_shown(stand.tool, SHORT)}: {_standing(stand)}"
        yield from _indented(map(str, stand.changes))


def offer_lines(stand: Stand) -> Iterator[str]:
    """One tool, as somebody is asked to accept it: what changed, or all of it where nothing was accepted before."""
    yield f"{_shown(stand.tool, SHORT)}: {_standing(stand)}"
    if stand.pin is not None:
        yield from _indented(map(str, stand.changes))
    elif stand.definition is not None:
        yield from _indented(_definition(stand.definition))


def enrolled_lines(enrolment: Enrolment, pins: Mapping[str, Pin]) -> Iterator[str]:
    """An enrolled server: its state, what is in force, who reviewed it, its tools."""
    live, grant = enrolment.live, enrolment.grant
    yield f"{enrolment.local}: {enrolment.name}, {enrolment.lifecycle}, {f'calls go to {live.version}' if live else 'no call'}"
    keeper = enrolment.keeper
    yield f"owner: {keeper.group} {keeper.team}".rstrip() + f", ask {', '.join(keeper.support) or 'nobody'}"
    if grant is not None:
        yield f"in force: version {grant.version}, number {grant.number}, by {grant.by} on {grant.at:%Y-%m-%d}"
        groups = [f"{group} ({' '.join(tools)})" for group, tools in grant.terms.groups.items()]
        yield f"groups: {', '.join(groups) or 'nobody'}"
        yield f"sign-in: {grant.terms.sign_in or 'any'}"
    slots = enrolment.proposal.slots if enrolment.proposal else grant.slots if grant else {}
    yield from (f"{slot}: {review.state} {review.by} {_shown(review.ticket, LONG)}".rstrip() for slot, review in slots.items())
    facts = grant.terms.tools if grant else {}
    for tool in sorted({*facts, *pins}):
        yield f"  {_shown(tool, SHORT)}: {facts_line(facts.get(tool), pins.get(tool))}"


def facts_line(facts: ToolFacts | None, pin: Pin | None) -> str:
    """What the operator says about a tool, and who accepted it."""
    said = [
        f"{name.replace('_', ' ')} {'yes' if value else 'no'}"
        for name in ("read_only", "destructive", "idempotent", "open_world")
        if (value := getattr(facts, name, None)) is not None
    ]
    accepted = [f"accepted by {pin.by} on {pin.at:%Y-%m-%d}"] if pin else []
    listed = ["listed"] if facts is not None and not said else []
    return ", ".join((*listed, *said, *accepted))


def _standing(stand: Stand) -> str:
    who = f"{stand.pin.by} on {stand.pin.at:%Y-%m-%d}" if stand.pin else ""
    match stand.standing:
        case Standing.PINNED:
            return f"unchanged since it was accepted by {who}"
        case Standing.CHANGED:
            return f"CHANGED since it was accepted by {who}:"
        case Standing.GONE:
            return f"GONE, it was accepted by {who}"
        case Standing.LISTED:
            return "listed in servers.yaml, its definition is not pinned"
        case Standing.NEW:
            return "new: nobody has accepted it"


def _definition(definition: ToolDefinition) -> Iterator[str]:
    description = definition.raw.get("description")
    if isinstance(description, str):
        yield f"says: {_shown(description, LONG)}"
    schema = definition.input_schema
    required = schema.get("required") or ()
    properties = schema.get("properties")
    for name, told in properties.items() if isinstance(properties, Mapping) else ():
        yield f"argument {_shown(name, SHORT)}: {_kind(told)}{', required' if name in required else ''}"
    for claim, value in definition.annotations.items():
        yield f"claims {_shown(claim, SHORT)}: {_shown(msgspec.json.encode(value).decode(), SHORT)}"
    yield f"digest: {definition.digest()}"


def _kind(told: Any) -> str:
    kind = told.get("type", "anything") if isinstance(told, Mapping) else "anything"
    return _shown(kind if isinstance(kind, str) else str(kind), SHORT)


def _indented(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield "    " + line.replace("\n", "\n    ")


def _shown(text: str, width: int) -> str:
    return clipped(visible(text), width)
