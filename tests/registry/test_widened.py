"""Edits of policy files: whom they let in, for each server; and that brokers compare them once."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from broker.domain.servers import ToolDefinition
from broker.policy.load import load
from broker.policy.model import Policy
from broker.policy.widening import Widening
from broker.registry.widened import Offer, Widened, Widenings, differences
from broker.store.open import Store

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PEOPLE = "people: {ann@example.com: {}}\ngroups: {finance: [ann@example.com], support: [eve@example.com, fay@example.com]}\n"
RULES = "defaults: {unmatched: allow, unknown_tool: deny}\nrules:\n  - {id: no-void, match: {tool: void}, effect: deny}\n"
TOOLS = "tools: {read: {}}"


def policy(folder: Path, servers: str, *, people: str = PEOPLE, rules: str = RULES) -> Policy:
    folder.mkdir(exist_ok=True)
    for name, text in (("servers", servers), ("people", people), ("rules", rules)):
        (folder / f"{name}.yaml").write_text(text)
    return load(folder)


def payments(groups: str, tools: str = TOOLS) -> str:
    return f"servers: {{payments: {{url: 'http://127.0.0.1:9/mcp', {tools}{f', groups: {groups}' if groups else ''}}}}}\n"


def told(found: dict[str, Widening]) -> dict[str, str]:
    return {server: change.told for server, change in found.items()}


BEFORE = payments("{finance: ['*']}")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BEFORE, {}),
        (
            payments("{finance: ['*'], support: ['*']}"),
            {"payments": "this widens access by support and 2 people of people.yaml"},
        ),
        (payments("{finance: ['*'], support: ['nothing']}"), {}),
        (
            payments(""),
            {"payments": "this opens the server to everybody with good credentials and 2 people of people.yaml"},
        ),
        (payments("{}"), {"payments": "this widens nobody's access and narrows that of 1 person of people.yaml"}),
        ("servers: {}\n", {"payments": "this widens nobody's access and narrows that of 1 person of people.yaml"}),
    ],
)
def test_other_groups_of_a_server_let_others_in(tmp_path: Path, after: str, expected: dict[str, str]) -> None:
    old, new = policy(tmp_path / "old", BEFORE), policy(tmp_path / "new", after)
    assert told(differences(old, new, {}, NOW)) == expected


def test_other_people_and_other_rules_let_others_in_as_well(tmp_path: Path) -> None:
    old = policy(tmp_path / "old", BEFORE)
    joined = policy(tmp_path / "people", BEFORE, people=PEOPLE.replace("[ann@example.com]", "[ann@example.com, gus@example.com]"))
    assert told(differences(old, joined, {}, NOW)) == {"payments": "this widens access by 1 person of people.yaml"}
    left = told(differences(joined, old, {}, NOW))
    assert left == {"payments": "this widens nobody's access and narrows that of 1 person of people.yaml"}
    offers: dict[str, list[Offer]] = {"payments": [(ToolDefinition("payments", "void", {"name": "void"}), True)]}
    looser = policy(tmp_path / "rules", BEFORE, rules=RULES.replace("effect: deny", "effect: allow"))
    assert told(differences(old, looser, offers, NOW)) == {
        "payments": "this widens access by finance and 1 person of people.yaml"
    }


def test_a_server_of_which_no_tool_is_known_does_not_hide_whom_it_lets_in(tmp_path: Path) -> None:
    old = policy(tmp_path / "old", payments("{finance: ['*']}", "headers: {}"))
    new = policy(tmp_path / "new", payments("{finance: ['*'], support: ['*']}", "headers: {}"))
    assert list(differences(old, new, {}, NOW)["payments"].groups) == ["support"]


async def test_one_broker_compares_and_what_narrows_takes_back(store: Store, tmp_path: Path) -> None:
    one, other = Widenings(store.widened), Widenings(store.widened)
    assert [await one.turn("p1"), await other.turn("p1"), await one.turn("p2"), await other.turn("p2")] == [
        None,
        None,
        "p1",
        None,
    ]
    old, new = policy(tmp_path / "old", BEFORE), policy(tmp_path / "new", payments("{finance: ['*'], support: ['*']}"))
    wider, narrower = differences(old, new, {}, NOW)["payments"], differences(new, old, {}, NOW)["payments"]
    kept = Widened(NOW, "p2", wider.told, ("support",), 2)
    assert await one.keep("payments", wider, NOW, "p2") == kept == await other.of("payments")
    assert await one.keep("payments", narrower, NOW, "p3") is None
    assert await other.of("payments") is None


def test_servers_that_are_the_same_are_not_looked_at_where_rules_and_people_are(tmp_path: Path) -> None:
    """Out of 300 servers with 20 tools one is edited: its callers are judged, and nobody else's."""
    tools = ", ".join(f"t{number}: {{}}" for number in range(20))
    line = "  s{}: {{url: 'http://127.0.0.1:9/mcp', tools: {{{}}}, groups: {{finance: ['*']{}}}}}\n"
    old, new = (
        policy(tmp_path / name, "servers:\n" + "".join(line.format(i, tools, more if i == 7 else "") for i in range(300)))
        for name, more in (("old", ""), ("new", ", support: ['*']"))
    )

    def took(new: Policy) -> float:
        began = time.process_time()
        assert list(differences(old, new, {}, NOW)) == ["s7"]
        return time.process_time() - began

    assert took(new) * 5 < took(msgspec.structs.replace(new, beside="other rules"))
