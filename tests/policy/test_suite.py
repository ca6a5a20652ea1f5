"""Policy tests: what a case asserts, what it covers, and what is wrong with a test file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.domain.calls import Caller
from broker.domain.decisions import Effect, Requirement
from broker.errors import PolicyInvalid
from broker.policy.cases import load_cases
from broker.policy.model import Policy
from broker.policy.suite import Failure, Report, Uncovered, lines, run

RULES = """\
defaults: {approval: {all_of: [{group: leads}]}}
counters: {sums: {window: 1h, sum: args.x}}
rules:
  - id: big
    when: args.x > 10
    unless: args.ok == true
    effect: deny
  - id: ask
    title: "Ask {args.x}"
    when: args.x == 5 || counters.sums > 100.0
    effect: require_approval
  - {id: seen, mode: shadow, when: args.x == 1, effect: deny}
  - {id: off, mode: disabled, effect: deny}
  - {id: open, effect: allow}
exceptions: [{id: ex, rules: big, when: args.x == 99, expires: 2026-12-31, owner: me@example.com}]
"""


@pytest.fixture
def policy(policy_of: Any) -> Policy:
    made: Policy = policy_of(RULES)
    return made


def cases(tmp_path: Path, policy: Policy, text: str) -> Any:
    (tmp_path / "a.test.yaml").write_text(text)
    return load_cases(tmp_path, policy)


FULL = """\
given: {caller: {user: alice@example.com}, now: 2026-11-24T10:00:00Z}
cases:
  - {name: big, call: [payments, refund, {x: 11, ok: false}], expect: deny, rules: [big], errors: false}
  - {name: helped, call: [payments, refund, {x: 11, ok: true}], expect: allow, rules: [open]}
  - {name: exempt, call: [payments, refund, {x: 99, ok: false}], expect: allow, rules: [open]}
  - {name: asked, call: [payments, refund, {x: 5}], expect: require_approval, rules: [ask], title: Ask 5,
     requirements: [{group: leads}]}
  - {name: counted, call: [payments, refund, {x: 2}], given: {counters: {sums: 101}}, expect: require_approval}
  - {name: shadow, call: [payments, refund, {x: 1}], expect: allow, shadow: [seen]}
"""


def test_a_suite_that_reaches_everything_is_covered_whole(policy: Policy, tmp_path: Path) -> None:
    report = run(policy, cases(tmp_path, policy, FULL))
    assert report == Report(cases=6, failures=(), uncovered=(), covered=14, coverable=14)
    assert list(lines(report)) == ["6 of 6 cases passed, coverage 100 % (14 of 14)"]


def test_what_no_case_reaches_is_named_with_its_place(policy: Policy, tmp_path: Path) -> None:
    text = "cases: [{name: one, call: [payments, refund, {x: 1}], expect: allow}]"
    report = run(policy, cases(tmp_path, policy, text))
    assert report.uncovered == (
        Uncovered("ask", "won", "f1.yaml:8"),
        Uncovered("ask", "when true", "f1.yaml:10"),
        Uncovered("big", "won", "f1.yaml:4"),
        Uncovered("big", "when true", "f1.yaml:5"),
        Uncovered("big", "unless true", "f1.yaml:6"),
        Uncovered("big", "unless false", "f1.yaml:6"),
        Uncovered("big", "exception ex true", "f1.yaml:15"),
        Uncovered("big", "exception ex false", "f1.yaml:15"),
        Uncovered("seen", "won", "f1.yaml:12"),
        Uncovered("seen", "when false", "f1.yaml:12"),
    )
    assert round(report.coverage) == 29


def test_a_case_that_fails_covers_nothing_and_says_every_difference(policy: Policy, tmp_path: Path) -> None:
    text = """\
cases:
  - name: wrong
    call: [payments, refund, {x: 5}]
    expect: allow
    rules: [open]
    shadow: [seen]
    errors: true
    requirements: [{group: leads, count: 2}]
    title: Ask 6
"""
    report = run(policy, cases(tmp_path, policy, text))
    assert report.failures == (
        Failure("wrong", "a.test.yaml:2", (
            "effect: expected allow, got require_approval",
            "rules: expected [open], got [ask]",
            "shadow: expected [seen], got []",
            "errors: expected True, got False",
            "requirements: expected [2 of leads], got [1 of leads]",
            "title: expected Ask 6, got Ask 5",
        )),
    )  # fmt: skip
    assert report.covered == 0


def test_given_of_a_case_replaces_that_of_the_file_key_by_key(policy: Policy, tmp_path: Path) -> None:
    text = """\
given:
  caller: {user: a@example.com, groups: [x], agent: helper, owner: o@example.com}
  client: {name: code, version: "2"}
  counters: {sums: 5}
  env: prod
  now: 2026-11-24T10:00:00+01:00
cases:
  - {name: one, call: [payments, refund], expect: deny}
  - {name: two, call: [payments, refund, {}], given: {caller: {workload: ci}, client: other, annotations: {readOnlyHint: true},
     digest: "sha256:x", env: dev}, expect: deny}
"""
    one, two = cases(tmp_path, policy, text)
    assert one.call.caller == Caller("helper", "a@example.com", "", ("x",), "o@example.com", "code", "2")
    assert (one.call.params, one.groups, one.env, one.counters, one.now.hour) == (
        {"name": "refund"},
        ("x",),
        "prod",
        {"sums": 5},
        9,
    )
    assert two.call.caller == Caller(workload="ci", client="other")
    assert (two.groups, two.env, two.counters, two.annotations, two.changed) == (
        None,
        "dev",
        {"sums": 5},
        {"readOnlyHint": True},
        True,
    )


def test_groups_win_over_the_directory_even_when_there_are_none(policy_of: Any, tmp_path: Path) -> None:
    policy = policy_of("rules: [{id: lead, match: {groups_any: [leads]}, effect: allow}]")
    text = """\
cases:
  - {name: directory, call: [payments, refund], given: {caller: {user: lea@example.com}}, expect: allow}
  - {name: none, call: [payments, refund], given: {caller: {user: lea@example.com, groups: []}}, expect: deny}
  - {name: given, call: [payments, refund], given: {caller: {user: x, groups: [leads]}}, expect: allow}
"""
    assert run(policy, cases(tmp_path, policy, text)).failures == ()


def test_the_environment_of_a_case_is_what_rules_see(policy_of: Any, tmp_path: Path) -> None:
    policy = policy_of("rules: [{id: prod, match: {env: prod}, when: 'env == \"prod\"', effect: allow}]", environment="dev")
    text = """\
cases:
  - {name: here, call: [payments, refund], expect: deny}
  - {name: there, call: [payments, refund], given: {env: prod}, expect: allow}
"""
    assert run(policy, cases(tmp_path, policy, text)).failures == ()


def test_a_case_with_arguments_that_would_break_the_engine_is_judged_safely(policy: Policy, tmp_path: Path) -> None:
    text = """\
cases:
  - {name: no object, call: [payments, refund, null], expect: deny, rules: [arguments]}
  - {name: no number, call: [payments, refund, {x: 9007199254740993}], expect: deny, rules: [arguments]}
  - {name: elsewhere, call: [nowhere, refund, {}], expect: deny, rules: [unknown_server]}
"""
    assert run(policy, cases(tmp_path, policy, text)).failures == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a.test.yaml:1:1: the file is empty; write `cases:`"),
        ("cases: [{name: x, call: [payments], expect: deny}]",
         "a.test.yaml:1:25: a call is server, tool and arguments; write [payments, refund_create, {amount: 40}]"),
        ("cases: [{name: x, call: [payments, refund], expect: maybe}]",
         "a.test.yaml:1:53: `maybe` is not one of allow, require_approval, deny; write one of `allow`, `require_approval`, "
         "`deny`"),
        ("cases: [{name: x, call: [payments, refund], expect: deny, rules: [nothing]}]",
         "a.test.yaml:1:66: there is no rule `nothing`; write a rule's id, or unmatched, unknown_tool, …"),
        ("given: {now: yesterday}\ncases: [{name: x, call: [payments, refund], expect: deny}]",
         "a.test.yaml:1:14: `yesterday` is no moment; write it with its zone: 2026-11-24T10:00:00Z"),
        ("given: {now: 2026-11-24T10:00:00}\ncases: [{name: x, call: [payments, refund], expect: deny}]",
         "a.test.yaml:1:14: `2026-11-24T10:00:00` has no time zone; end it with Z or +01:00"),
        ("cases: [{name: x, call: [payments, refund], given: {counters: {none: 1}}, expect: deny}]",
         "a.test.yaml:1:64: there is no counter `none`; define it, or leave it out"),
        ("cases: [{name: x, call: [payments, refund], given: {annotations: {readonly: true}}, expect: deny}]",
         "a.test.yaml:1:67: `readonly` is no key of `annotations`; did you mean `readOnlyHint`?"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_test_file_is_told_where_it_stands(policy: Policy, tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(PolicyInvalid) as raised:
        cases(tmp_path, policy, text)
    assert [str(item) for item in raised.value.problems] == [problem]


def test_requirements_of_all_asking_rules_are_compared_together(policy_of: Any, tmp_path: Path) -> None:
    policy = policy_of(
        "rules: [{id: aa, effect: require_approval, approval: {all_of: [{group: leads}]}},"
        " {id: bb, effect: require_approval, approval: {all_of: [{group: finance, count: 2}, {group: leads}]}}]"
    )
    needs = "requirements: [{group: finance, count: 2}, {group: leads}, {group: leads}]"
    (case,) = cases(tmp_path, policy, f"cases: [{{name: x, call: [payments, refund], expect: require_approval, {needs}}}]")
    assert case.requirements == (Requirement("finance", 2), Requirement("leads"), Requirement("leads"))
    assert (case.expect, run(policy, [case]).failures) == (Effect.REQUIRE_APPROVAL, ())
