"""Why a call was decided as it was: every rule, and every part of every condition."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.policy.explain import ConditionTold, RuleTold, explain, lines
from broker.policy.model import Facts
from broker.policy.parts import Part, taken_apart

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
RULES = """\
lib: {rich: "args.x > 100"}
counters: {sums: {window: 1h}}
rules:
  - {id: big, when: "lib.rich || args.y == 1", effect: deny}
  - {id: broken, when: args.z > 1, effect: allow}
  - {id: capped, effect: limit, limit: {counter: sums, max: 10, then: deny}}
  - {id: elsewhere, match: {tool: other}, effect: deny}
  - {id: exempt, effect: deny}
  - {id: group, match: {groups_any: [x]}, effect: deny}
  - {id: off, mode: disabled, effect: deny}
  - {id: open, effect: allow}
  - {id: shadow, mode: shadow, effect: deny}
exceptions: [{id: ex, rules: exempt, when: args.y == 2, expires: 2026-12-31, owner: me@example.com}]
"""


def told(policy: Any, arguments: Any, **facts: Any) -> Any:
    call = ToolCall("payments", "refund", {"name": "refund", "arguments": arguments}, Caller(user="alice@example.com"))
    return explain(policy, call, Facts(NOW, True, None, {"sums": 1.0}))


def test_every_rule_says_what_came_of_it(policy_of: Any) -> None:
    found = told(policy_of(RULES), {"x": 5, "y": 2})
    assert [(item.rule, item.role, item.why) for item in found.rules] == [
        ("open", "won", "it has no condition"),
        ("shadow", "shadow", "it has no condition"),
        ("big", "no", "`when` is false"),
        ("broken", "no", "`when` failed (a key is missing in the arguments): an error never allows"),
        ("capped", "no", "the limit of `sums` is not reached"),
        ("elsewhere", "no", "it is about other servers or tools"),
        ("exempt", "no", "the exception `ex` takes it away"),
        ("group", "no", "`match.groups_any` does not hold"),
        ("off", "disabled", "its mode is disabled"),
    ]


def test_a_condition_is_told_with_the_values_of_its_parts(policy_of: Any) -> None:
    found = told(policy_of(RULES), {"x": 5, "y": 1})
    big = next(item for item in found.rules if item.rule == "big")
    parts = (
        Part("lib.rich", "false"),
        Part("args.y == 1", "true", (Part("args.y", "1"),)),
    )
    condition = ConditionTold("when", "yes", Part("lib.rich || args.y == 1", "true", parts))
    assert big == RuleTold("big", "deny", "f1.yaml:4", "won", "everything holds", (condition,))
    assert next(item.role for item in found.rules if item.rule == "open") == "lost"


def test_the_lines_for_a_terminal_hold_no_control_characters(policy_of: Any) -> None:
    policy = policy_of("rules: [{id: aa, title: 'Delete {args.x}', when: 'args.x != 1', effect: deny}]")
    text = "\n".join(lines(told(policy, {"x": "\x1b[2J\u202e" * 200})))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert max(map(len, text.splitlines())) < 300


def test_arguments_that_can_not_be_judged_are_not_taken_apart(policy_of: Any) -> None:
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    found = told(policy_of(RULES), {"x": deep})
    assert found.decision.rules == ("arguments",)
    assert {item.role for item in found.rules} == {"no", "disabled"}
    assert told(policy_of(RULES), None).rules == ()


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("a > 1", ["a"]),
        ("args.a > 1 && !(args.b == 'x || y')", ["args.a > 1", "!(args.b == 'x || y')"]),
        ("args.a || args.b || args.c", ["args.a", "args.b", "args.c"]),
        ("(args.a && (args.b))", ["args.a", "(args.b)"]),
        ("!args.a", ["args.a"]),
        ("args.a ? args.b : args.c", ["args.a", "args.b", "args.c"]),
        ("args.a + args.b > 3", ["args.a + args.b"]),
        ("-args.a > 3", ["-args.a"]),
        ("args.x in ['a', 'b']", ["args.x", "['a', 'b']"]),
        ("args.list.exists(x, x > args.y && true)", ["args.list", "args.y"]),
        ("email_domain(args.to) == 'x'", ["email_domain(args.to)"]),
        ("args.?cc.orValue([]) == []", ["args.?cc.orValue([])", "[]"]),
        ("'args.a' == \"args.b\"", []),
        ("args.a", []),
        ("true", []),
        ("args['a'] == 1 // args.b", ["args['a']"]),
        ("", []),
        ("((((", []),
    ],
)
def test_a_condition_is_taken_apart_as_it_is_written(source: str, parts: list[str]) -> None:
    assert [part.text for part in taken_apart(source, lambda text: "").parts] == parts


def test_a_deeply_nested_condition_is_taken_apart_to_an_end() -> None:
    part, depth = taken_apart("!" * 200 + "args.a", lambda text: ""), 0
    while part.parts:
        part, depth = part.parts[0], depth + 1
    assert depth == 6
