"""One call in, one decision out: what POLICY.md says under "Deciding", point by point."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import (
    Allow,
    ApprovalPlan,
    Deny,
    Escalation,
    Reason,
    RequireApproval,
    Requirement,
    RuleApproval,
    Severity,
)
from broker.domain.people import Group
from broker.policy.evaluate import counters_for, evaluate, shows
from broker.policy.model import CounterUse, Facts, Policy
from broker.policy.plans import unsatisfiable

ASK = "approval: {all_of: [{group: leads}]}"
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def verdict(decision: Any) -> tuple[str, tuple[str, ...]]:
    return decision.effect.value, decision.rules


# -- which effect wins ------------------------------------------------------------------------------------


def test_deny_beats_asking_beats_allowing_and_only_the_winners_are_reported(policy_of: Any, judge: Any) -> None:
    rules = [
        "{id: allow-1, effect: allow}",
        "{id: ask-1, effect: require_approval, " + ASK + "}",
        "{id: ask-2, effect: require_approval, " + ASK + "}",
        "{id: deny-1, effect: deny, title: 'No {args.x}'}",
        "{id: deny-2, effect: deny, description: Never.}",
    ]
    policy = policy_of(f"rules: [{', '.join(rules)}]")
    assert judge(policy, {"x": 1}) == Deny(
        policy=policy.digest,
        rules=("deny-1", "deny-2"),
        reasons=(Reason("deny-1", "No 1", "f1.yaml:1"), Reason("deny-2", "Never.", "f1.yaml:1")),
    )
    assert verdict(judge(policy_of(f"rules: [{', '.join(rules[:3])}]"))) == ("require_approval", ("ask-1", "ask-2"))
    assert judge(policy_of(f"rules: [{rules[0]}]")).reasons == (Reason("allow-1", "rule allow-1", "f1.yaml:1"),)


@pytest.mark.parametrize(
    ("defaults", "expected"),
    [
        ("", ("deny", ("unmatched",))),
        ("defaults: {unmatched: deny}", ("deny", ("unmatched",))),
        ("defaults: {unmatched: allow}", ("allow", ("unmatched",))),
        ("defaults: {unmatched: require_approval, " + ASK + "}", ("require_approval", ("unmatched",))),
    ],
)
def test_what_no_rule_is_about_follows_the_defaults(
    policy_of: Any, judge: Any, defaults: str, expected: tuple[str, tuple[str, ...]]
) -> None:
    assert verdict(judge(policy_of(defaults or "consts: {x: 1}"))) == expected


@pytest.mark.parametrize(
    ("unknown_tool", "rules", "expected"),
    [
        ("deny", "", ("deny", ("unknown_tool",))),
        ("deny", "{id: allow-1, effect: allow}", ("deny", ("unknown_tool",))),
        ("deny", "{id: deny-1, effect: deny}", ("deny", ("deny-1",))),
        ("require_approval", "", ("require_approval", ("unknown_tool",))),
        ("require_approval", "{id: allow-1, effect: allow}", ("require_approval", ("unknown_tool",))),
        ("require_approval", "{id: deny-1, effect: deny}", ("deny", ("deny-1",))),
        ("require_approval", "{id: ask-1, effect: require_approval}", ("require_approval", ("ask-1", "unknown_tool"))),
    ],
)
def test_an_unknown_tool_asks_or_is_denied_whatever_allows(
    policy_of: Any, judge: Any, unknown_tool: str, rules: str, expected: tuple[str, tuple[str, ...]]
) -> None:
    policy = policy_of(f"defaults: {{unmatched: allow, unknown_tool: {unknown_tool}, {ASK}}}\nrules: [{rules}]")
    assert verdict(judge(policy, known=False)) == expected


def test_an_unknown_server_is_denied_whatever_allows(policy_of: Any, judge: Any) -> None:
    policy = policy_of("defaults: {unmatched: allow}\nrules: [{id: allow-1, effect: allow}]")
    assert judge(policy, server="elsewhere") == Deny(
        policy=policy.digest, rules=("unknown_server",), reasons=(Reason("unknown_server", "the server is not in the catalogue"),)
    )


@pytest.mark.parametrize("arguments", [[], "x", 1, {"a": 2**60}, {"a": float("nan")}, {"a": "\ud800"}])
def test_arguments_that_can_not_be_judged_are_denied_whatever_allows(policy_of: Any, judge: Any, arguments: Any) -> None:
    policy = policy_of("defaults: {unmatched: allow}")
    assert verdict(judge(policy, arguments)) == ("deny", ("arguments",))


def test_arguments_null_is_refused_and_absent_is_empty(policy_of: Any) -> None:
    policy = policy_of("rules: [{id: allow-1, when: 'size(args) == 0', effect: allow}]")
    facts = Facts(NOW, True, None)
    caller = Caller(user="alice@example.com")
    absent = evaluate(policy, ToolCall("payments", "refund", {"name": "refund"}, caller), facts)
    null = evaluate(policy, ToolCall("payments", "refund", {"name": "refund", "arguments": None}, caller), facts)
    assert (verdict(absent), verdict(null)) == (("allow", ("allow-1",)), ("deny", ("arguments",)))


def test_arguments_that_miss_the_accepted_schema_are_denied_before_any_rule(policy_of: Any, judge: Any) -> None:
    policy = policy_of("rules: [{id: free, when: 'double(args.amount) <= 100.0', effect: allow}]")
    schema = {"inputSchema": {"type": "object", "properties": {"amount": {"type": "number"}}}}
    assert verdict(judge(policy, {"amount": "40"}, definition=schema)) == ("deny", ("arguments",))
    assert verdict(judge(policy, {"amount": 40}, definition=schema)) == ("allow", ("free",))


# -- hints ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "claims", "hints"),
    [
        ("refund", {}, (False, True, False, True)),
        ("refund", {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False},
         (False, True, False, True)),
        ("report", {}, (True, False, False, True)),
        ("report", {"readOnlyHint": False}, (False, True, False, True)),
        ("report", {"destructiveHint": True}, (False, True, False, True)),
        ("note", {}, (False, False, False, True)),
        ("note", {"destructiveHint": True}, (False, True, False, True)),
        ("unlisted", {"readOnlyHint": True}, (False, True, False, True)),
        ("note", {"readOnlyHint": "yes", "destructiveHint": 1}, (False, False, False, True)),
    ],
)  # fmt: skip
def test_a_servers_claim_only_tightens(
    policy_of: Any, judge: Any, tool: str, claims: dict[str, Any], hints: tuple[bool, ...]
) -> None:
    names = ("read_only", "destructive", "idempotent", "open_world")
    wanted = ", ".join(f"{name}: {str(value).lower()}" for name, value in zip(names, hints, strict=True))
    policy = policy_of(f"rules: [{{id: seen, match: {{hints: {{{wanted}}}}}, effect: allow}}]")
    assert verdict(judge(policy, tool=tool, definition={"annotations": claims})) == ("allow", ("seen",))


def test_annotations_that_are_no_object_are_no_claim(policy_of: Any, judge: Any) -> None:
    policy = policy_of("rules: [{id: seen, match: {hints: {read_only: true}}, effect: allow}]")
    assert verdict(judge(policy, tool="report", definition={"annotations": ["readOnlyHint"]})) == ("allow", ("seen",))


# -- unless, errors, exceptions, shadow -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "when", "unless", "applies", "errors"),
    [
        ("deny", "true", "true", False, 0),
        ("deny", "true", "false", True, 0),
        ("deny", "true", "args.x > 1", True, 1),
        ("deny", "args.x > 1", "false", True, 1),
        ("deny", "args.x > 1", "true", False, 1),
        ("deny", "args.x > 1", "args.x > 1", True, 2),
        ("deny", "false", "args.x > 1", False, 0),
        ("allow", "true", "true", False, 0),
        ("allow", "true", "false", True, 0),
        ("allow", "true", "args.x > 1", False, 1),
        ("allow", "args.x > 1", "false", False, 1),
        ("require_approval", "true", "args.x > 1", True, 1),
    ],
)
def test_unless_helps_only_when_it_holds(
    policy_of: Any, judge: Any, effect: str, when: str, unless: str, applies: bool, errors: int
) -> None:
    policy = policy_of(f"defaults: {{{ASK}}}\nrules: [{{id: r1, when: '{when}', unless: '{unless}', effect: {effect}}}]")
    decision = judge(policy)
    assert (decision.rules, len(decision.errors)) == (("r1",) if applies else ("unmatched",), errors)


def test_an_error_says_which_rule_failed_where_and_why(policy_of: Any, judge: Any) -> None:
    policy = policy_of("rules:\n  - id: r1\n    when: args.x > 1\n    effect: deny")
    assert judge(policy, {"x": "hunter2"}).errors == (Reason("r1", "`>` does not take string, int64", "f1.yaml:3"),)


EXEMPT = """
defaults: {unmatched: allow, timezone: Europe/Berlin}
rules: [{id: deny-1, effect: deny}]
exceptions: [{id: ex, rules: deny-1, when: 'args.x == 1', expires: 2026-12-31, owner: me@example.com}]
"""


@pytest.mark.parametrize(
    ("arguments", "now", "expected"),
    [
        ({"x": 1}, "2026-11-24T10:00:00Z", ("allow", ("unmatched",))),
        ({"x": 2}, "2026-11-24T10:00:00Z", ("deny", ("deny-1",))),
        ({}, "2026-11-24T10:00:00Z", ("deny", ("deny-1",))),
        ({"x": 1}, "2026-12-31T22:59:59Z", ("allow", ("unmatched",))),
        ({"x": 1}, "2026-12-31T23:00:00Z", ("deny", ("deny-1",))),
        ({"x": 1}, "2027-06-01T00:00:00Z", ("deny", ("deny-1",))),
    ],
)
def test_an_exception_holds_to_the_end_of_its_last_day_in_the_policys_time_zone(
    policy_of: Any, judge: Any, arguments: Any, now: str, expected: tuple[str, tuple[str, ...]]
) -> None:
    assert verdict(judge(policy_of(EXEMPT), arguments, now=datetime.fromisoformat(now))) == expected


def test_shadow_rules_are_reported_and_never_decide(policy_of: Any, judge: Any) -> None:
    rules = [
        "{id: aa, mode: shadow, effect: deny}",
        "{id: bb, mode: shadow, effect: deny, when: 'args.x > 1'}",
        "{id: cc, mode: shadow, effect: deny, when: 'false'}",
        "{id: dd, mode: shadow, effect: deny, when: 'true'}",
        "{id: ee, mode: disabled, effect: deny}",
        "{id: ff, effect: allow}",
        "{id: gg, effect: deny, when: 'false'}",
    ]
    exception = "exceptions: [{id: ex, rules: dd, when: 'true', expires: 2026-12-31, owner: me@example.com}]"
    decision = judge(policy_of(f"rules: [{', '.join(rules)}]\n{exception}"))
    assert (verdict(decision), decision.shadow, len(decision.errors)) == (("allow", ("ff",)), ("aa", "bb"), 1)
    denied = judge(policy_of(f"rules: [{', '.join(rules)}, {{id: hh, effect: deny}}]\n{exception}"))
    assert (verdict(denied), denied.shadow) == (("deny", ("hh",)), ("aa", "bb"))


# -- what people are asked --------------------------------------------------------------------------------

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


# -- counters and limits ----------------------------------------------------------------------------------

COUNTERS = """
counters:
  sums: {window: 24h, key: [caller], match: {server: payments, tool: refund}, sum: args.refund.amount}
  calls: {window: 1h, key: [agent, tool], match: {server: payments, groups_none: [staff]}}
  asks: {window: 10m, key: caller, of: asked}
  unused: {window: 1m, match: {server: files}}
rules:
  - {id: sum, match: {server: payments}, effect: limit, limit: {counter: sums, max: 100, then: deny}}
  - {id: asked, match: {tool: note}, when: counters.asks > 5.0, effect: deny}
  - {id: open, effect: allow}
"""


def call(arguments: Any = None, tool: str = "refund", **caller: Any) -> ToolCall:
    who = {"user": "alice@example.com", "agent": "helper", **caller}
    return ToolCall("payments", tool, {"name": tool, "arguments": arguments or {}}, Caller(**who))


def use(name: str, key: str, hours: float, amount: float | None, of: str = "all") -> CounterUse:
    return CounterUse(name, f"{name}|{key}", timedelta(hours=hours), amount, of)


@pytest.mark.parametrize(
    ("made", "uses"),
    [
        (call({"refund": {"amount": 40}}),
         [use("asks", "user:alice@example.com", 1 / 6, 1, "asked"), use("calls", "helper|payments/refund", 1, 1),
          use("sums", "user:alice@example.com", 24, 40)]),
        (call({"refund": {"amount": "40"}}),
         [use("asks", "user:alice@example.com", 1 / 6, 1, "asked"), use("calls", "helper|payments/refund", 1, 1),
          use("sums", "user:alice@example.com", 24, None)]),
        (call({}, user="", workload="ci|x", groups=("staff",)),
         [use("asks", "workload:ci\\|x", 1 / 6, 1, "asked"), use("calls", "helper|payments/refund", 1, 0),
          use("sums", "workload:ci\\|x", 24, None)]),
        (call({}, tool="note", user="", agent="robot"),
         [use("asks", "agent:robot", 1 / 6, 1, "asked"), use("calls", "robot|payments/note", 1, 1),
          use("sums", "agent:robot", 24, 0)]),
    ],
)  # fmt: skip
def test_a_call_touches_the_counters_that_count_it_and_those_that_its_rules_read(
    policy_of: Any, made: ToolCall, uses: list[CounterUse]
) -> None:
    assert sorted(counters_for(policy_of(COUNTERS), made), key=lambda item: item.name) == uses


def test_a_call_that_can_not_be_judged_touches_no_counter(policy_of: Any) -> None:
    assert counters_for(policy_of(COUNTERS), ToolCall("payments", "refund", {"arguments": None}, Caller())) == ()
    assert counters_for(policy_of(COUNTERS), ToolCall("nowhere", "refund", {}, Caller())) == ()


@pytest.mark.parametrize(
    ("arguments", "before", "expected"),
    [
        ({"refund": {"amount": 40}}, {"sums": 60}, ("allow", ("open",))),
        ({"refund": {"amount": 40}}, {"sums": 60.01}, ("deny", ("sum",))),
        ({"refund": {"amount": 101}}, {"sums": 0}, ("deny", ("sum",))),
        ({"refund": {"amount": 0}}, {"sums": 100}, ("allow", ("open",))),
        ({"refund": {"amount": 1}}, {}, ("deny", ("sum",))),
        ({"refund": {"amount": -1}}, {"sums": 0}, ("deny", ("sum",))),
        ({"refund": {"amount": True}}, {"sums": 0}, ("deny", ("sum",))),
        ({"refund": 5}, {"sums": 0}, ("deny", ("sum",))),
        ({}, {"sums": 0}, ("deny", ("sum",))),
    ],
)
def test_a_limit_counts_this_call_and_trips_when_it_can_not(
    policy_of: Any, arguments: Any, before: dict[str, float], expected: tuple[str, tuple[str, ...]]
) -> None:
    assert verdict(evaluate(policy_of(COUNTERS), call(arguments), Facts(NOW, True, None, before))) == expected


def test_twelve_refunds_of_400_pass_a_limit_of_5000_and_the_thirteenth_does_not(policy_of: Any) -> None:
    policy = policy_of(COUNTERS.replace("max: 100", "max: 5000"))
    passed = [
        evaluate(policy, call({"refund": {"amount": 400}}), Facts(NOW, True, None, {"sums": 400.0 * earlier})).effect.value
        for earlier in range(14)
    ]
    assert passed == ["allow"] * 12 + ["deny"] * 2


def test_a_limit_may_ask(policy_of: Any, judge: Any) -> None:
    policy = policy_of(
        f"counters: {{calls: {{window: 1h}}}}\ndefaults: {{{ASK}}}\n"
        "rules: [{id: many, effect: limit, limit: {counter: calls, max: 2, then: require_approval}}, {id: open, effect: allow}]"
    )
    assert [verdict(judge(policy, counters={"calls": count})) for count in (1.0, 2.0)] == [
        ("allow", ("open",)),
        ("require_approval", ("many",)),
    ]


# -- what a caller is shown -------------------------------------------------------------------------------


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


def test_an_allowed_call_says_by_which_rule_and_policy(policy_of: Any, judge: Any) -> None:
    policy = policy_of("rules: [{id: open, effect: allow, description: Because.}]")
    assert judge(policy) == Allow(policy=policy.digest, rules=("open",), reasons=(Reason("open", "Because.", "f1.yaml:1"),))
