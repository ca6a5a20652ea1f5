"""Through which surface a call comes, and from which conversation: only what the credential vouches for counts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Effect
from broker.policy.cases import load_cases
from broker.policy.evaluate import evaluate, shows
from broker.policy.load import compose
from broker.policy.model import Facts, Policy
from broker.policy.suite import run
from tests.policy.conftest import NOW, Judge, Load, alice

AIRFLOW = "C0AIRFLOW"
SPARK = f"""
defaults: {{unmatched: deny}}
rules:
  - {{id: spark-in-its-channel, match: {{server: payments, surfaces: [support-bot], conversations: [{AIRFLOW}]}}, effect: allow}}
"""
GUARDED = f"""
defaults: {{unmatched: allow}}
rules:
  - {{id: elsewhere, guardrail: true, match: {{server: payments, not_conversations: [{AIRFLOW}]}}, effect: deny}}
  - {{id: not-the-chat, match: {{tool: report, not_surfaces: ["ide-*"]}}, effect: deny}}
"""


@pytest.mark.parametrize(
    ("surface", "conversation", "effect"),
    [
        ("support-bot", AIRFLOW, Effect.ALLOW),
        ("support-bot", "C0RANDOM", Effect.DENY),
        ("support-bot", "", Effect.DENY),
        ("", AIRFLOW, Effect.DENY),
        ("other-bot", AIRFLOW, Effect.DENY),
    ],
)
def test_a_tool_bound_to_a_conversation_is_listed_and_runs_there_only(
    policy_of: Load, judge: Judge, surface: str, conversation: str, effect: Effect
) -> None:
    policy, caller = policy_of(SPARK), alice(surface=surface, conversation=conversation)
    assert judge(policy, caller=caller).effect is effect
    assert shows(policy, "payments", "refund", caller) is (effect is Effect.ALLOW)


@pytest.mark.parametrize(
    ("tool", "surface", "conversation", "rules"),
    [
        ("refund", "support-bot", AIRFLOW, ("unmatched",)),
        ("refund", "support-bot", "C0RANDOM", ("elsewhere",)),
        ("refund", "", "", ("elsewhere",)),
        ("report", "ide-code", AIRFLOW, ("unmatched",)),
        ("report", "webapp", AIRFLOW, ("not-the-chat",)),
        ("report", "", AIRFLOW, ("not-the-chat",)),
    ],
)
def test_what_is_left_out_leaves_out_nobody_without_a_surface(
    policy_of: Load, judge: Judge, tool: str, surface: str, conversation: str, rules: tuple[str, ...]
) -> None:
    caller = alice(surface=surface, conversation=conversation)
    assert judge(policy_of(GUARDED), tool=tool, caller=caller).rules == rules


def test_no_surface_meets_no_name_not_even_a_star(policy_of: Load, judge: Judge) -> None:
    policy = policy_of('rules: [{id: any, match: {surfaces: "*", conversations: "*"}, effect: allow}]')
    assert judge(policy, caller=alice()).effect is Effect.DENY
    assert judge(policy, caller=alice(surface="s", conversation="c")).effect is Effect.ALLOW


def test_what_an_agent_says_of_itself_is_no_surface(policy_of: Load, judge: Judge) -> None:
    caller = alice(client="support-bot", client_version=AIRFLOW)
    told: dict[str, Any] = {"surface": "support-bot", "conversation": AIRFLOW, "caller": {"surface": "support-bot"}}
    assert judge(policy_of(SPARK), told, caller=caller).effect is Effect.DENY


def test_conditions_read_surface_and_conversation(policy_of: Load, judge: Judge) -> None:
    policy = policy_of(
        'rules: [{id: there, when: \'caller.surface == "bot" && caller.conversation.startsWith("C")\', effect: allow}]'
    )
    assert judge(policy, caller=alice(surface="bot", conversation="C1")).effect is Effect.ALLOW
    assert judge(policy, caller=alice(surface="bot")).effect is Effect.DENY


def test_a_policys_tests_may_give_surface_and_conversation(policy_of: Load, tmp_path: Any) -> None:
    (tmp_path / "spark.test.yaml").write_text(
        f"given: {{caller: {{user: ann@example.com, surface: support-bot, conversation: {AIRFLOW}}}}}\n"
        "cases:\n"
        "  - {name: there, call: [payments, refund], expect: allow, rules: [spark-in-its-channel]}\n"
        "  - {name: not elsewhere, given: {caller: {surface: support-bot}}, call: [payments, refund], expect: deny}\n"
    )
    policy = policy_of(SPARK)
    report = run(policy, load_cases(tmp_path, policy))
    assert (report.cases, report.failures) == (2, ())


# -- a new surface widens nothing else ----------------------------------------------------------------------

TOOLS = {"presto": ("list_tables", "run_query", "get_revenue_metrics"), "spark": ("diagnose_job",)}
GROUPS = ("ads-eng", "finance", "support")
BASE: dict[str, Any] = {
    "defaults": {"unmatched": "deny", "approval": {"all_of": [{"group": "approvers"}]}},
    "groups": {"approvers": ["sam@example.com", "kim@example.com"]},
    "servers": {name: {"url": "http://127.0.0.1:1/mcp", "tools": {tool: {} for tool in tools}} for name, tools in TOOLS.items()},
}
CALLERS = st.builds(
    Caller,
    agent=st.just("bot"),
    user=st.sampled_from(["ann@example.com", "fin@example.com", "eve@example.com"]),
    groups=st.lists(st.sampled_from(GROUPS), min_size=1, unique=True).map(tuple),
    surface=st.sampled_from(["", "webapp", "ide", "support-bot"]),
    conversation=st.sampled_from(["", "C1", "C2"]),
)
OLD_RULES = st.lists(
    st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["allow", "require_approval", "deny"]),
            "match": st.fixed_dictionaries(
                {},
                optional={
                    "server": st.sampled_from(["presto", "spark", "*"]),
                    "tool": st.sampled_from([tool for tools in TOOLS.values() for tool in tools]),
                    "groups_any": st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True),
                    "surfaces": st.sampled_from([["ide"], ["support-bot"], ["ide", "support-bot"]]),
                    "not_conversations": st.sampled_from([["C1"], ["C2"]]),
                },
            ),
        }
    ),
    max_size=6,
)


def composed(rules: list[dict[str, Any]]) -> Policy:
    numbered = [{"id": f"rule-{index}", **rule} for index, rule in enumerate(rules)]
    return compose({"rules.yaml": msgspec.json.encode({**BASE, "rules": numbered})})


def effect(policy: Policy, server: str, tool: str, caller: Caller) -> Effect:
    return evaluate(policy, ToolCall(server, tool, {"name": tool}, caller), Facts(NOW, True, None, {})).effect


@settings(max_examples=60, deadline=None)
@given(old=OLD_RULES, callers=st.lists(CALLERS, min_size=8, max_size=8))
def test_enabling_a_server_on_a_new_surface_changes_no_access_to_tools_that_the_surface_is_not_allowed(
    old: list[dict[str, Any]], callers: list[Caller]
) -> None:
    enabling = {"match": {"server": "presto", "tool": "list_tables", "surfaces": ["webapp"]}, "effect": "allow"}
    before, after = composed(old), composed([*old, enabling])
    for caller in callers:
        for server, tools in TOOLS.items():
            for tool in tools:
                if (server, tool, caller.surface) == ("presto", "list_tables", "webapp"):
                    continue
                assert effect(before, server, tool, caller) is effect(after, server, tool, caller)
                assert shows(before, server, tool, caller) is shows(after, server, tool, caller)
