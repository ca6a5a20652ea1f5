"""Which tools a caller is shown: all but those that every call of is denied."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.domain.calls import Caller
from broker.policy.evaluate import shows

ASK = "approval: {all_of: [{group: leads}]}"
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def verdict(decision: Any) -> tuple[str, tuple[str, ...]]:
    return decision.effect.value, decision.rules


@pytest.mark.parametrize(
    ("text", "tool", "known", "shown"),
    [
        ("rules: [{id: aa, effect: deny}]", "refund", True, False),
        ("rules: [{id: aa, effect: deny, when: 'args.x > 1'}, {id: bb, effect: allow}]", "refund", True, True),
        ("rules: [{id: aa, effect: deny, mode: shadow}, {id: bb, effect: allow}]", "refund", True, True),
        ("rules: [{id: aa, effect: deny, match: {groups_any: [x]}}, {id: bb, effect: allow}]", "refund", True, True),
        ("rules: [{id: aa, effect: deny, match: {users: alice@example.com}}, {id: bb, effect: allow}]", "refund", True, False),
        ("rules: [{id: bb, effect: allow, match: {tool: report}}]", "refund", True, False),
        ("rules: [{id: bb, effect: allow, match: {tool: refund}, when: 'args.x > 1'}]", "refund", True, True),
        ("rules: [{id: bb, effect: allow, match: {groups_any: [x]}}]", "refund", True, False),
        ("rules: [{id: bb, effect: allow, match: {hints: {read_only: true}}}]", "report", True, True),
        ("rules: [{id: aa, effect: deny, match: {hints: {read_only: false}}}, {id: bb, effect: allow}]", "refund", True, False),
        ("rules: [{id: aa, effect: deny, match: {hints: {read_only: true}}}, {id: bb, effect: allow}]", "report", True, True),
        ("defaults: {unmatched: allow}", "refund", True, True),
        ("defaults: {unmatched: allow}", "refund", False, False),
        ("defaults: {unmatched: deny, unknown_tool: require_approval, " + ASK + "}", "refund", False, True),
        ("defaults: {unmatched: deny}", "refund", True, False),
    ],
)
def test_a_tool_is_hidden_only_if_every_call_of_it_is_denied(
    policy_of: Any, text: str, tool: str, known: bool, shown: bool
) -> None:
    assert shows(policy_of(text), "payments", tool, Caller(user="alice@example.com"), known=known) is shown


def test_a_tool_of_an_unknown_server_is_hidden(policy_of: Any) -> None:
    assert not shows(policy_of("defaults: {unmatched: allow}"), "elsewhere", "refund", Caller())
