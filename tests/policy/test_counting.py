"""Counters and limits: what a call touches, and when it is too much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.domain.calls import Caller, ToolCall
from broker.policy.evaluate import counters_for, evaluate
from broker.policy.model import CounterUse, Facts

ASK = "approval: {all_of: [{group: leads}]}"
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def verdict(decision: Any) -> tuple[str, tuple[str, ...]]:
    return decision.effect.value, decision.rules


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
