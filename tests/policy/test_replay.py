"""Recorded calls against a candidate policy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker.domain.calls import Caller, ToolCall
from broker.policy.replay import Change, Example, Load, Recorded, Was, lines, read, replay

START = datetime(2026, 11, 1, tzinfo=UTC)
OLD = """
rules:
  - {id: free, when: args.x <= 100, effect: allow}
  - {id: ask, when: args.x > 100, effect: require_approval, approval: {all_of: [{group: leads}]}}
  - {id: never, when: args.x > 10000, effect: deny}
"""
NEW = """
rules:
  - {id: free, when: args.x <= 50, effect: allow}
  - {id: ask, when: args.x > 50, effect: require_approval, approval: {all_of: [{group: finance, count: 2}]}}
  - {id: trusted, when: args.x == 7000, effect: allow}
  - {id: never, when: args.x > 20000, effect: deny}
"""


def recorded(x: Any, hours: float = 0, was: Was | None = None) -> Recorded:
    call = ToolCall("payments", "refund", {"name": "refund", "arguments": {"x": x}}, Caller(user="alice@example.com"))
    return Recorded(START + timedelta(hours=hours), call, was=was)


def test_each_kind_of_change_is_counted_with_rules_and_examples(policy_of: Any) -> None:
    calls = [recorded(x, hours=index) for index, x in enumerate((40, 60, 70, 200, 15_000, 30_000))]
    report = replay(calls, policy_of(NEW), policy_of(OLD), examples=1)
    assert (report.calls, report.unreadable, report.days, report.looser) == (6, 0, 1.0, 2)
    assert report.matrix == {
        "allow": {"allow": 1, "require_approval": 2},
        "require_approval": {"require_approval": 1},
        "deny": {"require_approval": 1, "deny": 1},
    }
    assert report.changes == {
        "no_longer_denied": Change(1, {"ask": 1}, (example(5, 4, 15_000, "deny"),)),
        "fewer_approvers": Change(1, {"ask": 1}, (example(4, 3, 200, "require_approval"),)),
        "newly_asked": Change(2, {"ask": 2}, (example(2, 1, 60, "allow"),)),
    }
    assert report.people == {"finance": Load(0.0, 4.0, None), "leads": Load(1.0, 0.0, None)}


def example(line: int, hours: float, x: int, before: str) -> Example:
    at = START + timedelta(hours=hours)
    return Example(line, at, "payments", "refund", "alice@example.com", f'{{"x":{x}}}', before, "require_approval", ("ask",))


def test_what_a_person_rejected_and_would_now_pass_comes_first(policy_of: Any) -> None:
    loose = "rules: [{id: open, effect: allow}]"
    asked = Was("require_approval", ("ask",), {"leads": 1}, ending="completed", seconds=60)
    rejected = msgspec.structs.replace(asked, ending="rejected", seconds=180)
    report = replay([recorded(200, was=asked), recorded(300, was=rejected)], policy_of(loose))
    assert {kind: change.count for kind, change in report.changes.items()} == {"rejected_now_passing": 1, "newly_allowed": 1}
    assert next(iter(report.changes)) == "rejected_now_passing"
    assert report.people == {"leads": Load(2.0, 0.0, 120.0)}
    assert report.people["leads"].added_wait_a_day == -240.0
    assert list(lines(report)) == [
        "2 calls over 1.0 days",
        "  require_approval  -> allow                    2",
        "rejected now passing: 1",
        "    by open: 1",
        '    line 2: alice@example.com payments/refund {"x":300}',
        "newly allowed: 1",
        "    by open: 1",
        '    line 1: alice@example.com payments/refund {"x":200}',
        "leads: 2.0 -> 0.0 asks a day, usually waits 2 min",
        "looser: 2",
    ]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({"leads": 1}, {"leads": 1}, ""),
        ({"leads": 1}, {"leads": 2}, "other_approvers"),
        ({"leads": 2}, {"leads": 1}, "fewer_approvers"),
        ({"leads": 1}, {"leads": 1, "finance": 1}, "other_approvers"),
        ({"leads": 1, "finance": 1}, {"leads": 1}, "fewer_approvers"),
    ],
)
def test_fewer_approvers_are_looser(policy_of: Any, before: dict[str, int], after: dict[str, int], kind: str) -> None:
    needs = ", ".join(f"{{group: {group}, count: {count}}}" for group, count in after.items())
    policy = policy_of(f"rules: [{{id: ask, effect: require_approval, approval: {{all_of: [{needs}]}}}}]")
    report = replay([recorded(1, was=Was("require_approval", asked=before))], policy)
    assert list(report.changes) == ([kind] if kind else [])
    assert report.looser == (kind == "fewer_approvers")


def test_a_passkey_that_is_no_longer_asked_is_looser(policy_of: Any) -> None:
    policy = policy_of("rules: [{id: ask, effect: require_approval, approval: {all_of: [{group: leads}]}}]")
    report = replay([recorded(1, was=Was("require_approval", asked={"leads": 1}, step_up=True))], policy)
    assert list(report.changes) == ["fewer_approvers"]


def test_a_new_limit_is_counted_along_the_recorded_calls(policy_of: Any) -> None:
    limited = """
counters: {day: {window: 24h, sum: args.x}}
rules:
  - {id: much, effect: limit, limit: {counter: day, max: 100, then: require_approval}, approval: {all_of: [{group: leads}]}}
  - {id: open, effect: allow}
"""
    calls = [recorded(40, hours=hours, was=Was("allow")) for hours in (0, 1, 2, 3, 25, 26)]
    report = replay(calls, policy_of(limited))
    assert report.matrix == {"allow": {"allow": 4, "require_approval": 2}}
    assert [item.line for item in report.changes["newly_asked"].examples] == [3, 4]


def test_lines_that_can_not_be_read_are_counted_and_skipped(policy_of: Any) -> None:
    good = msgspec.json.encode(recorded(1, was=Was("allow")))
    text = [good, b"", b"\n", b"{", b'{"at": "x"}', b"\xff\xfe", msgspec.json.encode(recorded(1)), b"[" * 100_000]
    report = replay(read(text), policy_of("rules: [{id: open, effect: allow}]"))
    assert (report.calls, report.unreadable) == (1, 5)


def test_a_recorded_call_that_would_break_the_engine_is_denied(policy_of: Any) -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    report = replay([recorded(deep, was=Was("allow"))], policy_of(NEW))
    assert report.matrix == {"allow": {"deny": 1}}


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_twenty_thousand_calls_are_replayed_within_ten_seconds(policy_of: Any, count: int) -> None:
    def many() -> Iterator[bytes]:
        for index in range(count):
            yield msgspec.json.encode(recorded(index % 300, hours=index / 100, was=Was("allow", seconds=None)))

    old, new, calls = policy_of(OLD), policy_of(NEW), list(many())
    started = time.process_time()
    report = replay(read(calls), new, old)
    assert (report.calls, time.process_time() - started < count / 2_000) == (count, True)
