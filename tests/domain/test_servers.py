"""Hints start from the worst case, facts replace it, claims only tighten; what counts as a change of a tool."""

from itertools import combinations, product
from typing import Any

import pytest

from broker.domain.servers import (
    Hints,
    ToolDefinition,
    ToolFacts,
    effective_hints,
    joint_name,
    mixed_up,
    split_name,
)

CASES: list[tuple[ToolFacts | None, dict[str, Any], Hints]] = [
    (None, {}, Hints(False, True, False, True)),
    (None, {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}, Hints()),
    (ToolFacts(read_only=True), {}, Hints(True, False, False, True)),
    (ToolFacts(read_only=True), {"readOnlyHint": False}, Hints(False, True, False, True)),
    (ToolFacts(read_only=True), {"destructiveHint": True}, Hints(False, True, False, True)),
    (ToolFacts(read_only=True, destructive=True), {}, Hints(False, True, False, True)),
    (ToolFacts(destructive=False), {}, Hints(False, False, False, True)),
    (ToolFacts(destructive=False), {"destructiveHint": True}, Hints(False, True, False, True)),
    (ToolFacts(idempotent=True), {}, Hints(False, True, True, True)),
    (ToolFacts(idempotent=True), {"idempotentHint": False}, Hints(False, True, False, True)),
    (ToolFacts(open_world=False), {}, Hints(False, True, False, False)),
    (ToolFacts(open_world=False), {"openWorldHint": True}, Hints(False, True, False, True)),
]


@pytest.mark.parametrize(("facts", "claims", "hints"), CASES)
def test_effective_hints(facts: ToolFacts | None, claims: dict[str, Any], hints: Hints) -> None:
    assert effective_hints(facts, claims) == hints


def test_two_servers_are_mixed_up_where_some_tools_of_theirs_would_share_a_joint_name() -> None:
    words = ["".join(letters) for length in (1, 2, 3, 4, 5) for letters in product("a_", repeat=length)]
    servers = [word for word in words if word[0] == "a" and len(word) < 5]
    for one, other in combinations(servers, 2):
        joint = [joint_name(server, tool) for server in (one, other) for tool in words]
        shared = len(set(joint)) < len(joint)
        assert (mixed_up(one, [other]) == other) is (mixed_up(other, [one]) == one) is shared
        assert (max(len(split_name(name, (one, other))) for name in joint) > 1) is shared


def test_no_claim_ever_loosens() -> None:
    told = (None, True, False)
    for facts in (ToolFacts(*values) for values in product(told, repeat=4)):
        quiet = effective_hints(facts, {})
        for values in product((None, True, False, "yes", 1), repeat=4):
            names = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
            loud = effective_hints(facts, dict(zip(names, values, strict=True)))
            assert loud.read_only <= quiet.read_only
            assert loud.idempotent <= quiet.idempotent
            assert loud.destructive >= quiet.destructive
            assert loud.open_world >= quiet.open_world
            assert not (loud.read_only and loud.destructive)


def a_tool(**raw: Any) -> ToolDefinition:
    return ToolDefinition("s", "t", {"name": "t", "description": "d", "inputSchema": {"type": "object"}, **raw})


@pytest.mark.parametrize(
    "raw",
    [
        {"description": "D"},
        {"inputSchema": {"type": "object", "properties": {}}},
        {"annotations": {"readOnlyHint": True}},
        {"title": "T"},
        {"outputSchema": {}},
        {"icons": []},
    ],
)
def test_everything_that_tells_people_or_models_something_is_a_change(raw: dict[str, Any]) -> None:
    assert a_tool(**raw).digest() != a_tool().digest()


def test_meta_is_no_change() -> None:
    assert a_tool(_meta={"version": 2}).digest() == a_tool().digest()


@pytest.mark.parametrize("raw", [{"annotations": ["readOnlyHint"]}, {"annotations": None}, {"annotations": "x"}])
def test_annotations_of_another_kind_claim_nothing(raw: dict[str, Any]) -> None:
    assert a_tool(**raw).annotations == {}


@pytest.mark.parametrize("schema", [None, [], True, "object"])
def test_a_schema_that_is_no_object_accepts_nothing(schema: Any) -> None:
    assert a_tool(inputSchema=schema).input_schema == {"not": {}}
    assert ToolDefinition("s", "t", {}).input_schema == {}
