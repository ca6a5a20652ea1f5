"""What other terms of a server would change: by the rules that are enforced, for groups and for the people of people.yaml."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.domain.decisions import Effect
from broker.domain.servers import Server, ToolDefinition, ToolFacts
from broker.policy.load import load
from broker.policy.model import Policy
from broker.policy.widening import Change, Offered, Widening, widening

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RULES = """
defaults: {unmatched: allow, unknown_tool: deny}
rules:
  - {id: transfers, match: {tool: transfer}, effect: require_approval, approval: {all_of: [{group: finance}]}}
  - {id: contractors-never, guardrail: true, match: {groups_any: [contractors], tool: transfer}, effect: deny}
"""
PEOPLE = (
    "people: {ann@example.com: {}, cy@example.com: {}}\n"
    "groups: {finance: [ann@example.com, bo@example.com], support: [eve@example.com], contractors: [cy@example.com]}\n"
)
READ, MOVE = (
    ToolDefinition("payments", "balance", {"name": "balance"}),
    ToolDefinition("payments", "transfer", {"name": "transfer"}),
)
KNOWN = (Offered(READ, True), Offered(MOVE, True))
DENY, ASK, ALLOW = Effect.DENY, Effect.REQUIRE_APPROVAL, Effect.ALLOW


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = tmp_path_factory.mktemp("policy")
    for name, text in (("rules.yaml", RULES), ("people.yaml", PEOPLE), ("servers.yaml", "servers: {}\n")):
        (folder / name).write_text(text)
    return load(folder)


def server(*groups: str, **more: Any) -> Server:
    return Server("payments", groups=dict.fromkeys(groups, ("*",)), **more)


GAINED = (Change("balance", DENY, ALLOW), Change("transfer", DENY, ASK))


def test_a_group_that_is_let_in_gains_what_the_rules_leave_it(policy: Policy) -> None:
    found = widening(policy, server("support"), server("support", "finance", "contractors"), KNOWN, NOW)
    assert found == Widening(
        groups={"contractors": GAINED[:1], "finance": GAINED},
        people={"ann@example.com": GAINED, "bo@example.com": GAINED, "cy@example.com": GAINED[:1]},
    )
    assert found.told == "this widens access by contractors, finance and 3 people of people.yaml"


def test_what_is_taken_away_is_told_as_well(policy: Policy) -> None:
    found = widening(policy, server("finance"), server("support"), KNOWN, NOW)
    assert (list(found.groups), list(found.people), list(found.lost_groups), len(found.lost_people)) == (
        ["support"], ["eve@example.com"], ["finance"], 2,
    )  # fmt: skip
    assert found.told.endswith("; it narrows that of 2 people of people.yaml")


def test_the_same_terms_change_nobodys_access(policy: Policy) -> None:
    found = widening(policy, server("finance"), server("finance"), KNOWN, NOW)
    assert (found, found.widens, found.told) == (Widening(), False, "this widens nobody's access")


def test_a_tool_that_nobody_had_accepted_is_gained_by_the_groups_that_get_it(policy: Policy) -> None:
    found = widening(policy, server("finance"), server("finance"), (Offered(READ, True), Offered(MOVE, False)), NOW)
    assert found.people == dict.fromkeys(("ann@example.com", "bo@example.com"), (Change("transfer", DENY, ASK),))


def test_a_server_that_is_opened_to_everybody_says_so(policy: Policy) -> None:
    found = widening(policy, None, server("*"), KNOWN, NOW)
    assert found.everyone
    assert found.told == "this opens the server to everybody with good credentials and 4 people of people.yaml"


def test_a_sign_in_mode_that_no_longer_needs_a_person_changes_no_persons_access(policy: Policy) -> None:
    before, after = server("finance", sign_in="person"), server("finance", sign_in="any")
    assert widening(policy, before, after, KNOWN, NOW) == Widening()


def test_hints_that_a_rule_decides_by_count_as_a_change(tmp_path: Path) -> None:
    for name, text in (("people.yaml", PEOPLE), ("servers.yaml", "servers: {}\n")):
        (tmp_path / name).write_text(text)
    reading = "{id: reading, match: {hints: {read_only: true}}, effect: allow}"
    (tmp_path / "rules.yaml").write_text(f"defaults: {{unmatched: deny, unknown_tool: deny}}\nrules:\n  - {reading}\n")
    told = server("finance", tools={"balance": ToolFacts(read_only=True, destructive=False)})
    found = widening(load(tmp_path), server("finance"), told, KNOWN, NOW)
    assert list(found.groups) == ["finance"]
    assert found.people["bo@example.com"] == (Change("balance", DENY, ALLOW),)


def test_a_person_whom_a_rule_names_is_judged_alone(tmp_path: Path) -> None:
    for name, text in (("people.yaml", PEOPLE), ("servers.yaml", "servers: {}\n")):
        (tmp_path / name).write_text(text)
    never = "{id: not-bo, guardrail: true, match: {users: [bo@example.com]}, effect: deny}"
    (tmp_path / "rules.yaml").write_text(f"defaults: {{unmatched: allow, unknown_tool: deny}}\nrules:\n  - {never}\n")
    assert list(widening(load(tmp_path), None, server("finance"), KNOWN, NOW).people) == ["ann@example.com"]


def test_many_people_are_judged_by_their_kind_so_that_nobody_waits(tmp_path: Path) -> None:
    members = {group: [f"p{n}@example.com" for n in range(group * 30, group * 30 + 60)] for group in range(28)}
    groups = ", ".join(f"g{group}: [{', '.join(people)}]" for group, people in members.items())
    (tmp_path / "people.yaml").write_text(f"people: {{}}\ngroups: {{{groups}}}\n")
    (tmp_path / "servers.yaml").write_text("servers: {}\n")
    never = "{id: not-p7, guardrail: true, match: {users: [p7@example.com]}, effect: deny}"
    (tmp_path / "rules.yaml").write_text(f"defaults: {{unmatched: allow, unknown_tool: deny}}\nrules:\n  - {never}\n")
    policy = load(tmp_path)
    tools = [Offered(ToolDefinition("payments", f"t{n}", {"name": f"t{n}"}), True) for n in range(20)]
    began = time.process_time()
    found = widening(policy, None, server("g0", "g1", "g5"), tools, NOW)
    spent = time.process_time() - began
    assert "p7@example.com" not in found.people
    assert len(found.people) == 149
    assert spent < 2, spent  # 870 people, 20 tools: a tenth of it on a machine that does nothing else
