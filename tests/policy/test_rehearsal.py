"""A changed rule before it is committed: what it would do, and the patch with a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Allow, Decision
from broker.policy import nodes
from broker.policy.case_text import case_line, with_case
from broker.policy.cases import cases_in, load_cases
from broker.policy.load import compose, load
from broker.policy.rehearsal import Order, Tried, rehearse
from broker.policy.replay import Recorded, Was
from broker.policy.source import rule_text
from broker.policy.suite import run
from tests.policy.conftest import BASE

START = datetime(2026, 11, 1, 8, 30, 15, 999, tzinfo=UTC)
RULES = """rules:
  - id: small
    match: {server: payments, tool: refund}
    when: args.x <= 100
    effect: allow
  - {id: large, match: {server: payments, tool: refund}, when: args.x > 100, effect: require_approval, approval: {all_of: [{group: finance}]}}
"""  # noqa: E501 - as people write it
TESTS = """cases:
  - {name: small runs, call: [payments, refund, {x: 80}], expect: allow, rules: [small]}
  - {name: wrong before, call: [payments, refund, {x: 5}], expect: deny}
"""
LARGE = "  - {id: large, match: {server: payments, tool: refund}, when: args.x > 50, effect: require_approval, approval: {all_of: [{group: finance}]}}"  # noqa: E501


def recorded(x: Any, hours: int = 0, ending: str = "") -> bytes:
    call = ToolCall("payments", "refund", {"name": "refund", "arguments": {"x": x}}, Caller(user="alice@example.com"))
    was = Was("require_approval", ("large",), {"finance": 1}, ending=ending, seconds=60.0) if ending else None
    return msgspec.json.encode(Recorded(START + timedelta(hours=hours), call, was=was))


def order(text: str, rule: str = "large", **more: Any) -> Order:
    contents = {"base.yaml": BASE.encode(), "rules.yaml": RULES.encode()}
    servers = compose(contents).servers
    return Order(contents, {"rules.test.yaml": TESTS.encode()}, rule, text, servers, **more)


def test_the_change_is_replayed_its_tests_run_and_a_patch_comes_with_a_case_of_a_call_that_changes(tmp_path: Path) -> None:
    asked = order(LARGE, lines=[recorded(20), recorded(70, 1), recorded(900, 30)])
    told = rehearse(asked)
    assert told.replay is not None
    assert {kind: change.count for kind, change in told.replay.changes.items()} == {"newly_asked": 1}
    assert (told.cases, [failure.name for failure in told.failures]) == (2, ["small runs"])
    assert told.case == "refund by large: require approval"
    patched = applied(asked, told.patch, tmp_path)
    cases = {case.name: case for case in load_cases(patched, load(patched))}
    added = cases[told.case]
    assert (added.call.arguments, added.now, added.call.caller) == (
        {"x": 70}, START.replace(microsecond=0) + timedelta(hours=1), Caller(user="alice@example.com"),
    )  # fmt: skip
    assert told.case not in {failure.name for failure in run(load(patched), cases.values()).failures}


def applied(asked: Order, patch: str, folder: Path) -> Path:
    import subprocess  # noqa: PLC0415

    for name, content in {**asked.contents, **asked.tests}.items():
        (folder / name).write_bytes(content)
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=folder, check=True)
    return folder


def test_a_call_that_somebody_names_becomes_the_case_whatever_the_replay_says() -> None:
    call = ToolCall("payments", "refund", {"name": "refund", "arguments": {"x": 60}}, Caller(user="bo@example.com"))
    told = rehearse(order(LARGE, tried=Tried(Recorded(START, call), ("support",))))
    assert '"bo@example.com", "groups": ["support"]' in told.patch
    assert '+  - {name: "refund by large: require approval"' in told.patch


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  - {id: large, effect: alow}", "`alow`"),
        ("  - {id: large", "YAML"),
        ("  - {id: large, when: args.x >, effect: deny}", "rules.yaml:6"),
        ("  - {id: small, effect: deny}", "small"),
    ],
)
def test_a_text_that_is_no_good_rule_is_told_with_its_place(text: str, told: str) -> None:
    found = rehearse(order(text))
    assert (found.replay, found.patch) == (None, "")
    assert told in " ".join(str(problem) for problem in found.problems)


def test_where_nothing_changes_there_is_a_patch_without_a_case_or_none_at_all() -> None:
    assert rehearse(order(LARGE, lines=[recorded(20)])).case == ""
    same = rule_text({"rules.yaml": RULES.encode()}, "large")
    assert same is not None
    assert rehearse(order(same.text)).patch == ""


def test_a_tests_own_rules_may_go_with_the_change_and_then_it_says_so() -> None:
    told = rehearse(order("  - {id: larger, effect: deny}", rule="small"))
    assert "there is no rule `small`" in str(told.problems[0])


AWKWARD: list[Any] = [
    "a\u2028b\u0085c",
    "\U0001f600 é \ufeff \U000e0041",
    '"}] # no: comment',
    {"no": None, "k: v": [1.5, -3, True, 1e300]},
    "",
]


def test_whatever_an_agent_wrote_reads_back_as_it_was() -> None:
    call = ToolCall(
        "payments", "refund", {"name": "refund", "arguments": {"x": AWKWARD}}, Caller(user="a@b.example", client="c: d")
    )
    decision: Decision = Allow(policy="p", rules=("small",))
    line = case_line("n: #1", call, START, decision)
    [case] = cases_in(
        {"t.test.yaml": f"cases:\n  {line}\n".encode()}, compose({"b.yaml": BASE.encode(), "r.yaml": RULES.encode()})
    )
    assert (case.name, case.call) == ("n: #1", call)


@pytest.mark.parametrize(
    ("tests", "file", "before"),
    [
        ({"rules.test.yaml": b"cases:\n    - {a: 1}\n    # more\n"}, "rules.test.yaml", "    - {a: 1}\n"),
        ({"other.test.yaml": b"cases:\n- {a: 1}"}, "other.test.yaml", "- {a: 1}\n"),
        ({"rules.test.yaml": b"cases: [{a: 1}]"}, "rules-more.test.yaml", "cases:\n"),
        ({}, "rules.test.yaml", "cases:\n"),
    ],
)
def test_a_case_goes_where_the_others_are(tests: dict[str, bytes], file: str, before: str) -> None:
    text = with_case(tests, "rules.yaml", "- {b: 2}")[file].decode()
    assert f"{before}{' ' * (len(before) - len(before.lstrip(' ')) if 'a' in before and '-' in before else 2)}- {{b: 2}}" in text
    assert nodes.read(file, text.encode()).problems == ()
