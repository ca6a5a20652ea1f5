"""What a caller's calls to a tool can become, whatever the arguments are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.policy.model import Facts
from broker.policy.reach import reach

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
ASK = "approval: {all_of: [{group: leads}]}"
SMALL = "{id: small, match: {server: payments, tool: refund}, when: args.x < 9, effect: allow}"
OUT = "{id: no, match: {groups_any: [out]}, effect: deny}"
MANY = "{id: no, effect: deny, when: args.x > 1}"
ALL = "{id: aa, effect: allow}"
LARGE = "{id: large, match: {server: payments, tool: refund}, when: args.x > 8, effect: require_approval, " + ASK + "}"


@pytest.mark.parametrize(
    ("text", "known", "groups", "effects", "rules"),
    [
        ("defaults: {unmatched: allow}", True, (), ["allow"], []),
        ("rules: [{id: aa, effect: allow}]", True, (), ["allow"], ["aa"]),
        ("rules: [{id: aa, effect: allow}]", False, (), ["deny"], []),
        (f"rules: [{SMALL}, {LARGE}]", True, (), ["deny", "require_approval", "allow"], ["large", "small"]),
        (f"rules: [{OUT}, {ALL}]", True, ("out",), ["deny"], ["no"]),
        (f"rules: [{OUT}, {ALL}]", True, (), ["allow"], ["aa"]),
        (f"rules: [{MANY}, {ALL}]", True, (), ["deny", "allow"], ["no", "aa"]),
        ("rules: [{id: no, effect: deny, mode: shadow}, {id: aa, effect: allow}]", True, (), ["allow"], ["aa"]),
        ("defaults: {unmatched: deny, unknown_tool: require_approval, " + ASK + "}", False, (), ["require_approval"], []),
    ],
)
def test_every_effect_that_may_come_is_named_with_the_rules_that_decide(
    policy_of: Any, text: str, known: bool, groups: tuple[str, ...], effects: list[str], rules: list[str]
) -> None:
    call = ToolCall("payments", "refund", {"name": "refund"}, Caller(user="alice@example.com"))
    found = reach(policy_of(text), call, Facts(NOW, known, None), groups)
    assert ([effect.value for effect in found.effects], [item.rule for item in found.rules]) == (effects, rules)


def test_a_server_that_is_not_there_and_a_service_alone_reach_nothing(policy_of: Any) -> None:
    policy = policy_of("defaults: {unmatched: allow}")
    for call in (
        ToolCall("elsewhere", "refund", {}, Caller(user="al@example.com")),
        ToolCall("payments", "refund", {}, Caller(workload="cron")),
    ):
        assert [effect.value for effect in reach(policy, call, Facts(NOW, True, None)).effects] == ["deny"]
