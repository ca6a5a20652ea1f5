"""What is said of a tool before its arguments are known holds for every call of it: for random people, servers and policies."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Effect
from broker.domain.servers import ToolDefinition
from broker.policy.evaluate import evaluate, shows
from broker.policy.load import compose
from broker.policy.model import Facts, Policy
from broker.policy.outlook import outlook
from tests.policy.conftest import NOW, Load, alice

SERVERS: dict[str, Any] = {
    name: {"url": "http://127.0.0.1:1/mcp", "tools": tools}
    for name, tools in {
        "presto": {"list_tables": {"read_only": True}, "run_query": {}, "overwrite_table": {"destructive": True}},
        "spark": {"diagnose_job": {"read_only": True}, "record_rca": {"destructive": False}},
        "knowledge": {"search": {"read_only": True}},
    }.items()
}
TOOLS = [(server, tool) for server, entry in SERVERS.items() for tool in (*entry["tools"], "unlisted")] + [("nowhere", "x")]
ASK = {"all_of": [{"group": "approvers"}]}
BIG_ASK = {"all_of": [{"group": "approvers", "count": 2}]}
NAMES = ["ann@example.com", "fin@example.com", "eve@example.com", "sam@example.com"]
MATCH = st.fixed_dictionaries(
    {},
    optional={
        "server": st.sampled_from(["presto", "spark", "*", ["presto", "knowledge"]]),
        "tool": st.sampled_from(["run_query", "list_*", "overwrite_table", "search", "unlisted"]),
        "not_tool": st.sampled_from(["run_query", "search"]),
        "groups_any": st.sampled_from([["ads-eng"], ["finance"], ["ads-eng", "finance"]]),
        "groups_none": st.sampled_from([["contractors"], ["finance"]]),
        "users": st.sampled_from(["ann@*", "sam@example.com"]),
        "workloads": st.sampled_from(["svc", "*"]),
        "surfaces": st.sampled_from([["webapp"], ["bot"]]),
        "not_conversations": st.sampled_from([["C1"], ["C2"]]),
        "hints": st.sampled_from([{"read_only": True}, {"destructive": True}, {"destructive": False}]),
    },
)
CONDITION = st.sampled_from(["true", "false", "args.x > 1", "args.text > 1", "args.missing == 1", 'caller.surface == "webapp"'])


@st.composite
def rule(draw: st.DrawFn) -> dict[str, Any]:
    effect = draw(st.sampled_from(["allow", "allow", "require_approval", "deny"]))
    made: dict[str, Any] = {
        "effect": effect,
        "match": draw(MATCH),
        "mode": draw(st.sampled_from(["enforce", "enforce", "shadow"])),
    }
    made |= {key: draw(CONDITION) for key in ("when", "unless") if draw(st.integers(0, 3)) == 0}
    if effect == "require_approval":
        made["approval"] = draw(st.sampled_from([ASK, BIG_ASK, {"caller": True, **ASK}]))
    return made


DEFAULTS = st.sampled_from([
    {"unmatched": "deny"}, {"unmatched": "allow"}, {"unmatched": "require_approval", "approval": ASK},
    {"unmatched": "allow", "unknown_tool": "require_approval", "approval": BIG_ASK},
])  # fmt: skip
CALLERS = st.builds(
    Caller,
    agent=st.just("bot"),
    user=st.sampled_from(["", *NAMES]),
    workload=st.sampled_from(["", "", "svc"]),
    groups=st.sets(st.sampled_from(["ads-eng", "finance", "contractors"]), max_size=2).map(lambda names: tuple(sorted(names))),
    surface=st.sampled_from(["", "webapp", "bot"]),
    conversation=st.sampled_from(["", "C1", "C2"]),
)
POLICIES = st.tuples(st.lists(rule(), max_size=7), DEFAULTS)
ARGUMENTS: tuple[dict[str, Any], ...] = ({}, {"x": 1, "text": "a"}, {"x": 2}, {"missing": 1, "x": 1, "text": 2})
DEFINITIONS = st.sampled_from([None, {}, {"readOnlyHint": False}, {"destructiveHint": True}])


def composed(rules: list[dict[str, Any]], defaults: dict[str, Any]) -> Policy:
    text = {
        "defaults": defaults, "servers": SERVERS, "groups": {"approvers": NAMES[2:], "finance": [NAMES[1]]},
        "rules": [{"id": f"rule-{index}", **one} for index, one in enumerate(rules)],
    }  # fmt: skip
    return compose({"rules.yaml": msgspec.json.encode(text)})


@settings(max_examples=120, deadline=None)
@given(written=POLICIES, callers=st.lists(CALLERS, min_size=5, max_size=5), claims=DEFINITIONS, known=st.booleans())
def test_what_is_foreseen_is_what_is_enforced_and_what_is_hidden_is_always_denied(
    written: tuple[list[dict[str, Any]], dict[str, Any]], callers: list[Caller], claims: dict[str, Any] | None, known: bool
) -> None:
    """Each example is a policy, 5 people or services, and 10 tools in 4 calls each: 24,000 calls in all."""
    policy = composed(*written)
    for caller in callers:
        for server, tool in TOOLS:
            definition = ToolDefinition(server, tool, {"annotations": claims}) if claims is not None else None
            facts = Facts(NOW, known and tool != "unlisted", definition, {})
            foreseen = outlook(policy, ToolCall(server, tool, {"name": tool}, caller), facts)
            hidden = not shows(policy, server, tool, caller, known=facts.known)
            for arguments in ARGUMENTS:
                enforced = evaluate(policy, ToolCall(server, tool, {"name": tool, "arguments": arguments}, caller), facts)
                assert enforced.effect in foreseen.effects
                if foreseen.decision is not None:
                    assert set(foreseen.decision.rules) <= {*enforced.rules, *(["unknown_tool"] if not facts.known else [])}
                if hidden:
                    assert enforced.effect is Effect.DENY
            if hidden:
                assert foreseen.effects == {Effect.DENY}


def foresee(policy: Policy, tool: str = "refund", **caller: Any) -> Any:
    found = outlook(policy, ToolCall("payments", tool, {"name": tool}, alice(**caller)), Facts(NOW, True, None))
    return found.decision.rules if found.decision else sorted(found.effects)


def test_a_tool_whose_arguments_change_nothing_is_foreseen_with_its_rules(policy_of: Load) -> None:
    policy = policy_of(
        "rules: [{id: reads, match: {tool: report}, effect: allow},"
        " {id: never, match: {groups_any: [contractors]}, effect: deny}]"
    )
    assert foresee(policy, "report") == ("reads",)
    assert foresee(policy, "report", groups=("contractors",)) == ("never",)
    assert foresee(policy) == ("unmatched",)


def test_where_the_arguments_decide_every_effect_that_they_may_lead_to_is_named(policy_of: Load) -> None:
    policy = policy_of(
        "defaults: {unmatched: deny}\n"
        "rules:\n"
        "  - {id: small, when: args.amount < 10, effect: allow}\n"
        "  - {id: large, when: args.amount > 99, effect: require_approval, approval: {all_of: [{group: finance}]}}\n"
    )
    assert foresee(policy) == [Effect.ALLOW, Effect.DENY, Effect.REQUIRE_APPROVAL]


def test_a_tool_that_is_asked_about_in_any_case_is_never_foreseen_as_allowed(policy_of: Load) -> None:
    policy = policy_of(
        "rules:\n"
        "  - {id: asks, effect: require_approval, approval: {all_of: [{group: finance}]}}\n"
        "  - {id: free, when: args.x == 1, effect: allow}\n"
        "  - {id: bad, when: args.x == 2, effect: deny}\n"
    )
    assert foresee(policy) == [Effect.DENY, Effect.REQUIRE_APPROVAL]
