"""How tools stand: each in one of five ways, told in a line that a person reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from broker.domain.servers import ToolDefinition, ToolFacts
from broker.registry.listing_text import facts_line, listing_lines, offer_lines
from broker.registry.pins import Pin
from broker.registry.ports import Listing
from broker.registry.standing import Standing, stands

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def tool(name: str, **members: Any) -> ToolDefinition:
    return ToolDefinition("files", name, {"name": name, **members})


def pin(definition: ToolDefinition) -> Pin:
    return Pin("files", definition.name, definition.digest(), definition.raw, "jane@example.com", NOON)


KEPT, LISTED, NEW = tool("kept"), tool("listed"), tool("new", description="New\u202e!", annotations={"readOnlyHint": True})
CHANGED = tool("changed", description="Now", inputSchema={"properties": {"amount": {"type": "number"}}, "required": ["amount"]})
SPOILT = tool("spoilt", inputSchema={"maximum": 2**60})
LISTING = Listing(
    "files", (KEPT, CHANGED, LISTED, NEW, SPOILT), "2026-07-28", {"name": "Files", "version": "1\x1b[31m"}, "", 0.0124
)
PINS = {
    held.name: pin(held) for held in (KEPT, tool("changed", description="Before"), tool("gone"), tool("spoilt", inputSchema={}))
}
STANDS = stands(LISTING, PINS, {"listed", "kept", "changed"})


def test_each_tool_stands_in_one_way() -> None:
    told = [(stand.tool, stand.standing.value, stand.standing.known, stand.standing.drifted) for stand in STANDS]
    assert told == [
        ("kept", "pinned", True, False),
        ("changed", "changed", False, True),
        ("listed", "listed", True, False),
        ("new", "new", False, False),
        ("spoilt", "changed", False, True),
        ("gone", "gone", False, True),
    ]
    assert [str(change) for change in STANDS[0].changes] == []


def test_a_listing_is_told_in_lines_with_what_is_invisible_made_visible() -> None:
    assert list(listing_lines(LISTING, STANDS)) == [
        "files: 5 tools in 12 ms, MCP 2026-07-28, says it is Files 1\\u{1b}[31m",
        "  kept: unchanged since it was accepted by jane@example.com on 2026-11-20",
        "  changed: CHANGED since it was accepted by jane@example.com on 2026-11-20:",
        "    description: Before → Now",
        '    inputSchema: new, {"properties":{"amount":{"type":"number"}},"required":["amount"]}'.replace(
            "inputSchema", "arguments"
        ),
        "  listed: listed in servers.yaml, its definition is not pinned",
        "  new: new: nobody has accepted it",
        "  spoilt: CHANGED since it was accepted by jane@example.com on 2026-11-20:",
        "    arguments, maximum: new, 1152921504606846976",
        "  gone: GONE, it was accepted by jane@example.com on 2026-11-20",
    ]


def test_what_nobody_accepted_is_offered_whole_and_what_changed_by_its_change() -> None:
    new, changed = STANDS[3], STANDS[1]
    assert list(offer_lines(new)) == [
        "new: new: nobody has accepted it",
        "    says: New\\u{202e}!",
        "    claims readOnlyHint: true",
        f"    digest: {NEW.digest()}",
    ]
    assert [line.strip() for line in offer_lines(changed)][1] == "description: Before → Now"
    (fresh,) = stands(Listing("files", (CHANGED,)), {}, ())
    assert list(offer_lines(fresh))[2] == "    argument amount: number, required"
    assert fresh.standing is Standing.NEW


def test_the_operators_words_and_the_acceptance_share_a_line() -> None:
    facts = ToolFacts(read_only=True, destructive=False)
    accepted = "accepted by jane@example.com on 2026-11-20"
    assert facts_line(facts, None) == "read only yes, destructive no"
    assert facts_line(ToolFacts(), PINS["kept"]) == f"listed, {accepted}"
    assert facts_line(None, PINS["kept"]) == accepted
