"""What holds for every policy and every call: no order, no way to loosen by adding or by failing, no crash."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.assets import shipped
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Allow, Decision, Effect, RequireApproval
from broker.policy.cel_text import demanded
from broker.policy.conditions import Answer, Vocabulary, ask, compiled, environment
from broker.policy.evaluate import counters_for, evaluate, shows
from broker.policy.load import compose, load
from broker.policy.model import Facts, Policy
from broker.policy.ruleset import ruleset

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
STRICTNESS = {Effect.ALLOW: 0, Effect.REQUIRE_APPROVAL: 1, Effect.DENY: 2}
CALLERS = [Caller(user="alice@example.com", groups=("support",)), Caller(user="bob@example.com"), Caller(workload="ci")]
CALL = ToolCall("s", "t", {"arguments": {"x": 1, "text": "a"}}, CALLERS[0])
BASE = {"groups": {"g": ["a@example.com", "b@example.com"]}, "servers": {"s": {"command": ["x"], "tools": {"t": {}, "u": {}}}}}
ASK = {"all_of": [{"group": "g"}]}

CONDITIONS = st.sampled_from([
    "true", "false", "args.x == 1", "args.x > 1", "args.text > 1", "args.missing == 1", "has(args.x) && args.x == 1",
    "has(args.missing) && args.missing > 1", "args.text > 1 && has(args.missing)", "has(args.missing) || args.x == 1",
])  # fmt: skip
MATCHES = st.sampled_from([
    {}, {"server": "s"}, {"tool": "t"}, {"tool": "u"}, {"tool": "*"}, {"not_tool": "t"}, {"groups_any": ["support"]},
    {"groups_none": ["support"]}, {"hints": {"destructive": True}}, {"hints": {"read_only": True}}, {"users": "alice*"},
])  # fmt: skip


@st.composite
def rule(draw: st.DrawFn) -> dict[str, Any]:
    effect = draw(st.sampled_from(["allow", "require_approval", "deny"]))
    made: dict[str, Any] = {
        "effect": effect,
        "match": draw(MATCHES),
        "mode": draw(st.sampled_from(["enforce", "enforce", "shadow"])),
    }
    for key in ("when", "unless"):
        if draw(st.booleans()):
            made[key] = draw(CONDITIONS)
    if effect == "require_approval":
        made["approval"] = ASK
    return made


RULES = st.lists(rule(), max_size=8).map(lambda rules: [{"id": f"r{index}", **item} for index, item in enumerate(rules)])
DEFAULTS = st.sampled_from([
    {"unmatched": "deny"}, {"unmatched": "allow"}, {"unmatched": "require_approval", "approval": ASK},
    {"unmatched": "allow", "unknown_tool": "require_approval", "approval": ASK},
])  # fmt: skip


def policy_of(rules: list[dict[str, Any]], defaults: dict[str, Any], *, files: int = 1) -> Policy:
    """A policy with its rules dealt out over some files."""
    parts = {f"{index}.yaml": msgspec.json.encode({"rules": rules[index::files]}) for index in range(files)}
    return compose({"base.yaml": msgspec.json.encode({**BASE, "defaults": defaults}), **parts})


def judged(policy: Policy, *, known: bool = True) -> Decision:
    return evaluate(policy, CALL, Facts(NOW, known, None, {}))


def without_places(decision: Decision) -> Decision:
    """Where rules stand, and the digest over the files, are the only things that order may change."""
    reasons = tuple(msgspec.structs.replace(reason, where="") for reason in decision.reasons)
    errors = sorted((msgspec.structs.replace(error, where="") for error in decision.errors), key=str)
    return msgspec.structs.replace(decision, policy="", reasons=reasons, errors=tuple(errors))


@settings(max_examples=80, deadline=None)
@given(rules=RULES, defaults=DEFAULTS, known=st.booleans(), files=st.integers(1, 4), data=st.data())
def test_no_order_of_rules_and_files_changes_a_decision(
    rules: list[dict[str, Any]], defaults: dict[str, Any], known: bool, files: int, data: st.DataObject
) -> None:
    other = data.draw(st.permutations(rules))
    first, second = judged(policy_of(rules, defaults), known=known), judged(policy_of(other, defaults, files=files), known=known)
    assert without_places(first) == without_places(second)


# Rules about the same calls, which are asked together: none, one and several of them may say yes, or can't say.
ALIKE = st.lists(
    st.fixed_dictionaries({
        "effect": st.sampled_from(["deny", "deny", "require_approval"]), "when": CONDITIONS | st.just("args.x == 2 // never"),
        "mode": st.sampled_from(["enforce", "enforce", "shadow"]),
    }),
    min_size=2, max_size=16,
).map(lambda rules: [{"id": f"r{index}", "match": {"server": "s"}, **item} for index, item in enumerate(rules)])  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(rules=ALIKE, defaults=DEFAULTS, known=st.booleans())
def test_rules_say_together_what_each_says_alone(rules: list[dict[str, Any]], defaults: dict[str, Any], known: bool) -> None:
    policy = policy_of([{**rule, "approval": ASK} if rule["effect"] == "require_approval" else rule for rule in rules], defaults)
    read = ruleset(policy)
    alike = Counter((rule.outcome, rule.mode) for rule in read.rules)
    assert read.screens.keys() == {rule for rule in read.rules if alike[rule.outcome, rule.mode] > 1}
    alone = msgspec.structs.replace(policy, compiled=msgspec.structs.replace(read, screens={}))
    assert judged(policy, known=known) == judged(alone, known=known)


HAS = st.sampled_from([
    "has(args.x)", "has(args . x )", "!has(args.x)", "(has(args.x))", "has(args.x) == false", "has(args.y)", "has(args.x.deep)",
    "has(args.y.x)", "args.x == 1", "args.text > 1", "args.y == 'has(args.x)'", "size('&& has(args.y) ||') > 3", "true",
    "has(args.x) // && has(args.y)\n", "[has(args.x)].exists(one, one)", "(args.x == 1 ? true : has(args.y))",
    "args[?'x'].orValue(2) == 2", "{'a//b': true}.`a//b`",
])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    parts=st.lists(HAS, min_size=1, max_size=4),
    marks=st.lists(st.sampled_from([" && ", "&&", " && ", " || ", " ? true : ", "\n&&\n"]), min_size=3, max_size=3),
    arguments=st.fixed_dictionaries({}, optional={"x": st.sampled_from([1, None, "a", {"deep": 1}]), "y": st.just("b")}),
)
def test_a_condition_says_no_without_the_arguments_that_it_demands(
    parts: list[str], marks: list[str], arguments: dict[str, Any]
) -> None:
    source = "".join(part + mark for part, mark in zip(parts, marks, strict=False)) + parts[-1]
    program = compiled(Vocabulary(), source)
    if not isinstance(program, tuple) and not demanded(source) <= arguments.keys():
        assert ask(program, environment(Vocabulary()).Activation({"args": arguments})) == (Answer.NO, "")


def test_what_a_condition_demands() -> None:
    assert demanded("has(args.amount) && args.amount > 10 && (has(args.a) || true) && has( args.b )") == {"amount", "b"}
    assert demanded("has(args.a) && true || true") == demanded("has(args.a) && args.b ? true : true") == frozenset()
    assert demanded("args.`a//b` == 1 || true\n && has(args.a)") == demanded("has(args.`a`) && true") == frozenset()
    assert demanded("!has(args.a) && has(args.b.c) && has(consts.d) && has(args.e) == false") == frozenset()


@settings(max_examples=80, deadline=None)
@given(rules=RULES, defaults=DEFAULTS, known=st.booleans(), added=rule())
def test_adding_a_rule_that_denies_or_asks_never_loosens(
    rules: list[dict[str, Any]], defaults: dict[str, Any], known: bool, added: dict[str, Any]
) -> None:
    before = judged(policy_of(rules, defaults), known=known)
    strict = {**added, "id": "added", "effect": "deny"}
    strict.pop("approval", None)
    after = judged(policy_of([*rules, strict], defaults), known=known)
    assert STRICTNESS[after.effect] >= STRICTNESS[before.effect]
    if before.effect is Effect.ALLOW:
        asks = judged(policy_of([*rules, {**strict, "effect": "require_approval", "approval": ASK}], defaults), known=known)
        assert STRICTNESS[asks.effect] >= STRICTNESS[before.effect]


@settings(max_examples=80, deadline=None)
@given(rules=RULES.filter(bool), defaults=DEFAULTS.filter(lambda item: item["unmatched"] != "deny"), data=st.data())
def test_an_error_is_as_strict_as_the_stricter_answer(
    rules: list[dict[str, Any]], defaults: dict[str, Any], data: st.DataObject
) -> None:
    index, key = data.draw(st.integers(0, len(rules) - 1)), data.draw(st.sampled_from(["when", "unless"]))

    def strictness(condition: str) -> int:
        changed = [*rules[:index], {**rules[index], key: condition}, *rules[index + 1 :]]
        return STRICTNESS[judged(policy_of(changed, defaults)).effect]

    # Without a rule that allows, the default may allow: then to apply is the looser answer of no rule.
    answers = strictness("true"), strictness("false")
    if rules[index]["effect"] == "allow" and key == "when":
        assert strictness("args.text > 1") == answers[1]
    elif rules[index]["effect"] == "allow":
        assert strictness("args.text > 1") == answers[0]
    else:
        assert strictness("args.text > 1") == max(answers)


@settings(max_examples=80, deadline=None)
@given(rules=RULES, defaults=DEFAULTS, known=st.booleans(), caller=st.sampled_from(CALLERS), tool=st.sampled_from("tuv"))
def test_what_is_hidden_is_always_denied(
    rules: list[dict[str, Any]], defaults: dict[str, Any], known: bool, caller: Caller, tool: str
) -> None:
    policy = policy_of(rules, defaults)
    if not shows(policy, "s", tool, caller, known=known):
        for arguments in ({}, {"x": 1, "text": "a"}, {"x": 2}, {"missing": 1, "x": 1, "text": 2}):
            call = ToolCall("s", tool, {"arguments": arguments}, caller)
            assert evaluate(policy, call, Facts(NOW, known, None, {})).effect is Effect.DENY


# -- hostile documents ------------------------------------------------------------------------------------

FOLDERS = [*sorted((shipped("policies") / "examples").glob("*/")), Path(__file__).parent / "specimens" / "company"]
NAMES = [
    "amount", "currency", "sql", "path", "destination", "recursive", "to", "cc", "bcc", "branch", "files", "force", "target",
    "version", "customer", "card", "arguments", "args", "", "\u202e", "a" * 5000, "__proto__",
]  # fmt: skip
TEXTS = [
    "", "40", "-1", "NaN", "1e400", "main", "/workspace/a", "/workspace/../etc", "/w\0", "%2e%2e/", "bob@example.com", "a@b@c",
    "\u202e", "\ud800", "SELECT 1", "select 1;" * 2000, "(" * 6000, "'" * 999, "/*" * 999, "DROP TABLE x", "x" * 200_000,
    "SELECT '\\''; DROP TABLE x --'", "é" * 100_000, "\x00" * 1000, "a" * 30_000 + "!", "{args.amount}", "'; --", "\n" * 5000,
]  # fmt: skip
NUMBERS = [
    0, -0.0, 1, -1, 40, 100, 100.01, 5000, 100_000, 2**53 - 1, -(2**53) + 1, 2**53, 2**63, 2**70, 1e308, 5e-324, float("nan"),
    float("inf"), True, False, None,
]  # fmt: skip


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


DEEP = [nested(levels) for levels in (10, 31, 33, 3000, 20_000)]


def hostile(chance: random.Random, depth: int = 0) -> Any:
    """A value that somebody would send to get past a rule, or to break the broker."""
    kind = chance.random()
    if depth > 3 or kind < 0.4:
        return chance.choice(TEXTS)
    if kind < 0.6:
        return chance.choice(NUMBERS)
    if kind < 0.75:
        return [hostile(chance, depth + 1) for _ in range(chance.choice((0, 1, 3)))]
    if kind < 0.8:
        return chance.choice(DEEP)
    return {chance.choice(NAMES): hostile(chance, depth + 1) for _ in range(chance.choice((0, 1, 4)))}


def documents(count: int) -> Iterator[Any]:
    chance = random.Random(7)
    for _ in range(count):
        members = {chance.choice(NAMES): hostile(chance) for _ in range(chance.randrange(1, 6))}
        yield members if chance.random() < 0.97 else hostile(chance)


def test_a_thousand_hostile_documents_crash_nothing_none_is_allowed_by_an_error_and_all_are_decided_in_time() -> None:
    policies = [load(folder) for folder in FOLDERS]
    tools = [(policy, server.name, tool) for policy in policies for server in policy.servers.values() for tool in server.tools]
    slowest = 0.0
    for index, document in enumerate(documents(1000)):
        policy, server, tool = tools[index % len(tools)]
        call = ToolCall(server, tool, {"name": tool, "arguments": document}, CALLERS[index % len(CALLERS)])
        facts = Facts(NOW, True, None, dict.fromkeys(ruleset(policy).counters, 0.0))
        started = time.process_time()
        decision = evaluate(policy, call, facts)
        slowest = max(slowest, time.process_time() - started)
        counters_for(policy, call)
        if isinstance(decision, Allow):
            assert not {error.rule for error in decision.errors} & set(decision.rules)
        if isinstance(decision, RequireApproval):
            assert len(decision.plan.title) < 600
    assert slowest < 0.05, f"the slowest decision took {slowest * 1000:.0f} ms"
