"""What people are asked: one plan out of all asking rules, which somebody has to be able to meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.domain.calls import Caller
from broker.domain.decisions import (
    ApprovalPlan,
    Escalation,
    Reason,
    RequireApproval,
    Requirement,
    RuleApproval,
    Severity,
)
from broker.domain.people import Group
from broker.policy.model import Policy
from broker.policy.plans import unsatisfiable

ASK = "approval: {all_of: [{group: leads}]}"
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def verdict(decision: Any) -> tuple[str, tuple[str, ...]]:
    return decision.effect.value, decision.rules


JOINED = """
rules:
  - id: low
    effect: require_approval
    title: "Low {args.x}"
    severity: low
    approval:
      all_of: [{group: leads}, {group: finance}]
      timeout: 10m
      channels: [slack:#b]
      show: [args.x]
      escalate: [{after: 5m, to: [{group: finance}]}]
    redact: ["$.args.b"]
  - id: high
    effect: require_approval
    title: "High {args.x} by {caller.user} of {server.name}/{tool.name}"
    severity: high
    approval:
      all_of: [{group: finance, count: 2}]
      timeout: 2h
      channels: ["slack:#a", "slack:#b"]
      show: [args.y, args.x]
      step_up: true
      type_to_confirm: args.x
      caller: true
      escalate: [{after: 1m, to: [{group: all}]}, {after: 5m, to: [{group: leads}]}]
    redact: ["$.args.a"]
"""


def test_several_asking_rules_become_one_plan_in_which_each_holds(policy_of: Any, judge: Any) -> None:
    decision = judge(policy_of(JOINED), {"x": 7})
    assert isinstance(decision, RequireApproval)
    assert decision.plan == ApprovalPlan(
        title="High 7 by alice@example.com of payments/refund",
        asks=(
            RuleApproval("high", (Requirement("finance", 2),)),
            RuleApproval("low", (Requirement("leads"), Requirement("finance"))),
        ),
        timeout=timedelta(minutes=10),
        severity=Severity.HIGH,
        channels=("slack:#a", "slack:#b"),
        show=("args.y", "args.x"),
        redact=("$.args.a", "$.args.b"),
        escalate=(Escalation(timedelta(minutes=1), ("all",)), Escalation(timedelta(minutes=5), ("finance", "leads"))),
        step_up=True,
        caller_confirms=False,
        type_to_confirm="args.x",
    )


@pytest.mark.parametrize(
    ("severity", "written", "step_up"),
    [("critical", "", True), ("critical", "step_up: false, ", False), ("high", "", False), ("low", "step_up: true, ", True)],
)
def test_a_critical_rule_asks_for_a_passkey_unless_it_says_otherwise(
    policy_of: Any, judge: Any, severity: str, written: str, step_up: bool
) -> None:
    rule = f"{{id: r1, effect: require_approval, severity: {severity}, approval: {{{written}all_of: [{{group: leads}}]}}}}"
    assert judge(policy_of(f"rules: [{rule}]")).plan.step_up is step_up


def test_the_callers_own_user_decides_where_every_rule_says_so_and_groups_stand_in(policy_of: Any, judge: Any) -> None:
    policy = policy_of(
        f"defaults: {{{ASK}}}\nrules: [{{id: r1, effect: require_approval, approval: {{caller: true, timeout: 1m}}}}]"
    )
    plan = judge(policy).plan
    assert (plan.caller_confirms, plan.groups, plan.timeout) == (True, ("leads",), timedelta(minutes=1))


def test_the_callers_own_user_decides_nothing_where_one_rule_asks_groups_or_wants_a_passkey(policy_of: Any, judge: Any) -> None:
    leads = "all_of: [{group: leads}]"
    mine = f"{{id: r1, effect: require_approval, approval: {{caller: true, {leads}}}}}"
    groups = f"{{id: r2, effect: require_approval, approval: {{{leads}}}}}"
    passkey = f"{{id: r2, effect: require_approval, approval: {{caller: true, step_up: true, {leads}}}}}"
    for other in (groups, passkey):
        assert judge(policy_of(f"rules: [{mine}, {other}]")).plan.caller_confirms is False


@pytest.mark.parametrize(
    ("all_of", "caller", "told"),
    [
        ("{group: leads, count: 2}", Caller(user="alice@example.com"), ""),
        ("{group: leads, count: 2}", Caller(user="lea@example.com"), "rule `r1` asks 2 of `leads`, where 1 may approve"),
        ("{group: leads, count: 2}", Caller(agent="a", owner="lea@example.com"),
         "rule `r1` asks 2 of `leads`, where 1 may approve"),
        ("{group: leads}", Caller(user="lea@example.com", owner="liam@example.com"),
         "rule `r1` asks 1 of `leads`, where 0 may approve"),
        ("{group: nobody}", Caller(user="alice@example.com"), "rule `r1` asks 1 of `nobody`, where 0 may approve"),
        ("{group: all, count: 20}", Caller(user="alice@example.com"), ""),
        ("{group: leads, count: 2}, {group: leads}", Caller(user="alice@example.com"),
         "rule `r1` asks 3 different people, and its groups don't have them"),
        ("{group: leads, count: 2}, {group: finance, count: 3}", Caller(user="alice@example.com"), ""),
        ("{group: leads, count: 2}, {group: all, count: 9}", Caller(user="alice@example.com"), ""),
    ],
)  # fmt: skip
def test_what_nobody_can_approve_is_denied_at_once(policy_of: Any, judge: Any, all_of: str, caller: Caller, told: str) -> None:
    policy = policy_of(f"rules: [{{id: r1, effect: require_approval, approval: {{all_of: [{all_of}]}}}}]")
    decision = judge(policy, caller=caller)
    if told:
        assert (verdict(decision), decision.reasons) == (("deny", ("unsatisfiable",)), (Reason("unsatisfiable", told),))
    else:
        assert verdict(decision) == ("require_approval", ("r1",))


def test_members_from_outside_count_once_the_directory_has_them(policy_of: Any, judge: Any) -> None:
    policy: Policy = policy_of(
        "groups: {one: [me@example.com]}",
        "rules: [{id: r1, effect: require_approval, approval: {all_of: [{group: one, count: 2}]}}]",
    )
    plan = ApprovalPlan("", (RuleApproval("r1", (Requirement("one", 2),)),), timedelta(minutes=1))
    assert unsatisfiable(plan, policy.people, frozenset()) != ""
    more = policy.people.with_members({"one": frozenset({"you@example.com"})})
    assert more.groups["one"] == Group("one", ("me@example.com", "you@example.com"))
    assert unsatisfiable(plan, more, frozenset()) == ""


def test_the_callers_groups_are_those_of_its_credentials_else_of_the_directory(policy_of: Any, judge: Any) -> None:
    policy = policy_of("rules: [{id: r1, match: {groups_any: [finance]}, effect: allow}]")
    assert verdict(judge(policy, caller=Caller(user="fay@example.com"))) == ("allow", ("r1",))
    assert verdict(judge(policy, caller=Caller(user="fay@example.com", groups=("support",)))) == ("deny", ("unmatched",))
    assert verdict(judge(policy, caller=Caller(agent="a", owner="fay@example.com"))) == ("deny", ("unmatched",))
