"""One call in, one decision out: what POLICY.md says under "Deciding", point by point."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import (
    Allow,
    Deny,
    Reason,
)
from broker.policy.conditions import VARIABLES
from broker.policy.evaluate import evaluate
from broker.policy.model import Facts

ASK = "approval: {all_of: [{group: leads}]}"
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def verdict(decision: Any) -> tuple[str, tuple[str, ...]]:
    return decision.effect.value, decision.rules


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


def test_a_call_that_brings_a_million_values_beside_its_arguments_is_denied_whatever_allows(policy_of: Any) -> None:
    policy, facts, caller = policy_of("defaults: {unmatched: allow}"), Facts(NOW, True, None), Caller(user="alice@example.com")
    params: dict[str, Any] = {"name": "refund", "arguments": {}}
    verdicts = [
        verdict(evaluate(policy, ToolCall("payments", "refund", params | {"x": [0] * many}, caller), facts))
        for many in (9, 10**6)
    ]
    assert verdicts == [("allow", ("unmatched",)), ("deny", ("arguments",))]


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


def test_an_allowed_call_says_by_which_rule_and_policy(policy_of: Any, judge: Any) -> None:
    policy = policy_of("rules: [{id: open, effect: allow, description: Because.}]")
    assert judge(policy) == Allow(policy=policy.digest, rules=("open",), reasons=(Reason("open", "Because.", "f1.yaml:1"),))


@pytest.mark.parametrize("name", [*VARIABLES, "consts.most", "counters.calls"])
def test_every_name_is_known_to_a_condition_that_is_the_only_one(policy_of: Any, judge: Any, name: str) -> None:
    """What conditions don't name is not made for them: a name that is left out would be an error."""
    policy = policy_of(f"""
consts: {{most: 5}}
counters: {{calls: {{window: 1h, key: [caller]}}}}
rules: [{{id: r1, effect: deny, when: '[{name}].size() == 2', match: {{server: payments}}}}, {{id: r2, effect: allow}}]
""")
    assert judge(policy, {"x": 1}, counters={"calls": 1.0}) == Allow(
        policy=policy.digest, rules=("r2",), reasons=(Reason("r2", "rule r2", "f1.yaml:4"),)
    )
