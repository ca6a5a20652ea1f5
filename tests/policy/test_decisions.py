"""What rules decide: more than two hundred decisions as a table."""

from __future__ import annotations

from typing import Any

import pytest

from broker.domain.calls import Caller
from broker.domain.decisions import Effect
from broker.policy.model import Policy

YES, NO, ERROR = "yes", "no", "error"

# (condition, arguments, what it says)
CONDITIONS: list[tuple[str, Any, str]] = [
    ("args.amount > 100", {"amount": 101}, YES),
    ("args.amount > 100", {"amount": 100}, NO),
    ("args.amount > 100", {"amount": 100.5}, YES),
    ("args.amount > 100.0", {"amount": 101}, YES),
    ("args.amount > 100", {"amount": "101"}, ERROR),
    ("args.amount > 100", {"amount": True}, ERROR),
    ("args.amount > 100", {"amount": None}, ERROR),
    ("args.amount > 100", {"amount": [101]}, ERROR),
    ("args.amount > 100", {}, ERROR),
    ("args.amount == 100", {"amount": 100.0}, YES),
    ("args.amount == 100", {"amount": "100"}, NO),
    ("args.amount >= consts.limit", {"amount": 50}, YES),
    ("args.amount + 1 > 10", {"amount": 10}, YES),
    ("double(args.amount) + 1.0 > 10.0", {"amount": 10}, YES),
    ("double(args.amount) > 10.0", {"amount": "40"}, YES),
    ("args.amount / 0 == 1", {"amount": 1}, ERROR),
    ("args.amount > 1 || args.missing > 1", {"amount": 2}, YES),
    ("args.amount > 1 || args.missing > 1", {"amount": 1}, ERROR),
    ("args.amount > 1 && args.missing > 1", {"amount": 1}, NO),
    ("args.amount > 1 && args.missing > 1", {"amount": 2}, ERROR),
    ("has(args.note)", {"note": None}, YES),
    ("has(args.note)", {}, NO),
    ("args.?note.orValue('none') == 'none'", {}, YES),
    ("args.?note.orValue('none') == 'none'", {"note": "x"}, NO),
    ("args.flag == true", {"flag": True}, YES),
    ("args.flag == true", {"flag": "true"}, NO),
    ("args.list.exists(x, x > 2)", {"list": [1, 2, 3]}, YES),
    ("args.list.exists(x, x > 2)", {"list": [1, "a"]}, ERROR),
    ("args.list.exists(x, x > 2)", {"list": ["a", 3]}, YES),
    ("args.list.all(x, x > 2)", {"list": []}, YES),
    ("args.list.all(x, x > 2)", {"list": {"a": 1}}, ERROR),
    ("args.list.all(x, x > 2)", {"list": None}, ERROR),
    ("size(args.text) > 3", {"text": "Größe"}, YES),
    ("args.text.startsWith('a')", {"text": "abc"}, YES),
    ("args.text.startsWith('a')", {"text": 7}, ERROR),
    ("args.text.matches('^[a-z]+$')", {"text": "abc"}, YES),
    ("args.text.matches('^[a-z]+$')", {"text": "abc1"}, NO),
    ("args.text.lowerAscii() == 'abc'", {"text": "ABC"}, YES),
    ("args.card.number == '4'", {"card": {"number": "4"}}, YES),
    ("args.card.number == '4'", {"card": "4"}, ERROR),
    ("args['with space'] == 1", {"with space": 1}, YES),
    ("args.to in consts.domains", {"to": "example.com"}, YES),
    ("args.to in consts.domains", {"to": "example.org"}, NO),
    ("email_domain(args.to) in consts.domains", {"to": "bob@example.com"}, YES),
    ("email_domain(args.to) in consts.domains", {"to": "bob"}, ERROR),
    ("path_within(args.path, '/w')", {"path": "/w/../etc"}, NO),
    ("host(args.url) == 'example.com'", {"url": "https://EXAMPLE.com:443/x"}, YES),
    ("cidr_contains('10.0.0.0/8', args.ip)", {"ip": "10.1.2.3"}, YES),
    ("cidr_contains('10.0.0.0/8', args.ip)", {"ip": "localhost"}, ERROR),
    ("sql_kinds(args.sql) == ['select']", {"sql": "select 1"}, YES),
    ("sql_kinds(args.sql) == ['select']", {"sql": "selec"}, NO),
    ("caller.user == 'alice@example.com'", {}, YES),
    ("'support' in caller.groups", {}, YES),
    ("caller.workload == ''", {}, YES),
    ("client.name == 'claude-code' && client.version == '2.1'", {}, YES),
    ("server.name == 'payments' && server.trust == 'untrusted'", {}, YES),
    ("tool.name == 'refund' && tool.known && tool.destructive && !tool.read_only", {}, YES),
    ("!tool.idempotent && tool.open_world", {}, YES),
    ("env == 'prod'", {}, YES),
    ("now < timestamp('2026-11-24T10:00:01Z')", {}, YES),
    ("now.getHours('Europe/Berlin') == 11", {}, YES),
    ("now.getDayOfWeek() == 2", {}, YES),
    ("lib.rich", {"amount": 1000}, YES),
    ("!lib.rich", {"amount": 1000}, NO),
    ("counters.sums + double(args.amount) > 100.0", {"amount": 60}, YES),
    ("counters.sums + double(args.amount) > 100.0", {"amount": 50}, NO),
    ("counters.sums > 0.0", {"amount": -1}, ERROR),
    ("counters.sums > 0.0", {"amount": "5"}, ERROR),
    ("counters.sums > 0.0", {}, ERROR),
]
EFFECTS = ("allow", "require_approval", "deny")
NAMES = """
defaults: {unmatched: deny, unknown_tool: require_approval, approval: {all_of: [{group: finance}]}}
consts: {limit: 50, domains: [example.com, example.de]}
counters: {sums: {window: 1h, match: {server: payments}, sum: args.amount}}
lib: {rich: "args.amount > 500 // comment"}
"""
CALLER = Caller(user="alice@example.com", agent="helper", groups=("support", "staff"), client="claude-code", client_version="2.1")

TABLE = [
    (condition, arguments, says, effect) for condition, arguments, says in CONDITIONS if says != "load" for effect in EFFECTS
]


def expected(says: str, effect: str) -> tuple[str, tuple[str, ...], bool]:
    """Effect, reported rules, and whether an error is recorded."""
    applies = says == YES or (says == ERROR and effect != "allow")
    return (effect, ("r1",), says == ERROR) if applies else ("deny", ("unmatched",), says == ERROR)


@pytest.mark.parametrize(("condition", "arguments", "says", "effect"), TABLE)
def test_a_condition_decides_by_its_effect_and_an_error_tightens(
    policy_of: Any, judge: Any, condition: str, arguments: Any, says: str, effect: str
) -> None:
    policy = policy_of(NAMES, f'rules: [{{id: r1, when: "{condition}", effect: {effect}}}]', environment="prod")
    decision = judge(policy, arguments, caller=CALLER, counters={"sums": 45.0})
    assert (decision.effect.value, decision.rules, bool(decision.errors)) == expected(says, effect)


def test_the_table_has_more_than_two_hundred_decisions() -> None:
    assert len(TABLE) + len(MATCHES) > 200


# (match, who calls, server, tool, does it hold?)
BOB = Caller(user="bob@example.com", groups=("contractors",))
ROBOT = Caller(workload="ci/deploy", agent="robot")
MATCHES: list[tuple[str, Caller, str, str, bool]] = [
    ("{}", CALLER, "payments", "refund", True),
    ("{server: payments}", CALLER, "payments", "refund", True),
    ("{server: payments}", CALLER, "files", "write", False),
    ("{server: [files, payments]}", CALLER, "payments", "refund", True),
    ('{server: "pay*"}', CALLER, "payments", "refund", True),
    ('{server: "pay"}', CALLER, "payments", "refund", False),
    ('{server: "p?yments"}', CALLER, "payments", "refund", True),
    ("{tool: refund}", CALLER, "payments", "refund", True),
    ("{tool: REFUND}", CALLER, "payments", "refund", False),
    ('{tool: "re*"}', CALLER, "payments", "refund", True),
    ('{tool: "*und"}', CALLER, "payments", "refund", True),
    ("{tool: [report, refund]}", CALLER, "payments", "refund", True),
    ("{not_tool: refund}", CALLER, "payments", "refund", False),
    ("{not_tool: report}", CALLER, "payments", "refund", True),
    ('{tool: "re*", not_tool: report}', CALLER, "payments", "refund", True),
    ('{tool: "re*", not_tool: "ref*"}', CALLER, "payments", "refund", False),
    ("{groups_any: support}", CALLER, "payments", "refund", True),
    ("{groups_any: [finance, staff]}", CALLER, "payments", "refund", True),
    ("{groups_any: [finance]}", CALLER, "payments", "refund", False),
    ("{groups_all: [support, staff]}", CALLER, "payments", "refund", True),
    ("{groups_all: [support, finance]}", CALLER, "payments", "refund", False),
    ("{groups_none: [contractors]}", CALLER, "payments", "refund", True),
    ("{groups_none: [contractors]}", BOB, "payments", "refund", False),
    ("{groups_none: [contractors]}", ROBOT, "payments", "report", True),
    ("{groups_any: [support]}", ROBOT, "payments", "report", False),
    ("{users: alice@example.com}", CALLER, "payments", "refund", True),
    ('{users: "*@example.com"}', BOB, "payments", "refund", True),
    ("{users: alice@example.com}", BOB, "payments", "refund", False),
    ('{users: "*"}', ROBOT, "payments", "report", True),
    ("{clients: claude-code}", CALLER, "payments", "refund", True),
    ("{clients: claude-code}", BOB, "payments", "refund", False),
    ('{workloads: "ci/*"}', ROBOT, "payments", "report", True),
    ("{}", ROBOT, "payments", "report", True),
    ('{workloads: "ci/*"}', CALLER, "payments", "refund", False),
    ("{env: prod}", CALLER, "payments", "refund", True),
    ("{env: [dev, test]}", CALLER, "payments", "refund", False),
    ("{hints: {read_only: false}}", CALLER, "payments", "refund", True),
    ("{hints: {read_only: true}}", CALLER, "payments", "refund", False),
    ("{hints: {read_only: true}}", CALLER, "payments", "report", True),
    ("{hints: {read_only: true, destructive: false}}", CALLER, "payments", "report", True),
    ("{hints: {destructive: true}}", CALLER, "payments", "note", False),
    ("{hints: {destructive: true}}", CALLER, "files", "write", True),
    ("{hints: {idempotent: false, open_world: true}}", CALLER, "files", "write", True),
    ("{server: payments, tool: refund, groups_any: [support], env: prod}", CALLER, "payments", "refund", True),
    ("{server: payments, tool: refund, groups_any: [support], env: dev}", CALLER, "payments", "refund", False),
]


@pytest.mark.parametrize(("match", "caller", "server", "tool", "holds"), MATCHES)
def test_a_match_holds_for_what_it_names(
    policy_of: Any, judge: Any, match: str, caller: Caller, server: str, tool: str, holds: bool
) -> None:
    policy: Policy = policy_of(
        "defaults: {unmatched: deny}", f"rules: [{{id: r1, match: {match}, effect: allow}}]", environment="prod"
    )
    decision = judge(policy, {}, server, tool, caller=caller)
    assert (decision.effect, decision.rules) == ((Effect.ALLOW, ("r1",)) if holds else (Effect.DENY, ("unmatched",)))
