"""Severities are ordered, groups are asked once, a decision keeps its kind on the wire."""

from datetime import timedelta

import msgspec
import pytest

from broker.domain.decisions import (
    Allow,
    ApprovalPlan,
    Decision,
    Deny,
    Effect,
    Reason,
    RequireApproval,
    Requirement,
    RuleApproval,
    Severity,
)

PLAN = ApprovalPlan(
    "t",
    (RuleApproval("r1", (Requirement("b", 2), Requirement("a"))), RuleApproval("r2", (Requirement("c"), Requirement("b")))),
    timedelta(minutes=5),
)


def test_severities_are_ranked() -> None:
    assert sorted(Severity, key=lambda severity: -severity.rank)[::-1] == ["low", "medium", "high", "critical"]


def test_each_group_is_asked_once_in_the_order_of_the_rules() -> None:
    assert PLAN.groups == ("b", "a", "c")


@pytest.mark.parametrize(
    "decision",
    [
        Allow(policy="p", rules=("r",)),
        Deny(policy="p", rules=("r",), reasons=(Reason("r", "text", "f:1"),), errors=(Reason("e"),), shadow=("s",)),
        RequireApproval(policy="p", rules=("r",), plan=PLAN),
    ],
)
def test_a_decision_keeps_its_kind_on_the_wire(decision: Decision) -> None:
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision
    assert decision.effect in Effect
