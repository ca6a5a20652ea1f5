"""The shipped policies: they load without a finding, their tests cover everything, and no rule can be changed unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from broker.assets import shipped
from broker.errors import PolicyInvalid
from broker.policy import nodes
from broker.policy.cases import load_cases
from broker.policy.cel_text import tokens
from broker.policy.check import check
from broker.policy.load import compose, load
from broker.policy.rules import names
from broker.policy.schema import policy_schema
from broker.policy.schema import tests_schema as schema_of_tests
from broker.policy.shapes import Anything
from broker.policy.sheet import Sheet
from broker.policy.suite import run

ROOT = shipped("policies")
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
FOLDERS = [ROOT, ROOT / "compose", ROOT / "demo", *EXAMPLES]
NAMES = [folder.name for folder in FOLDERS]

FLIPS = {"<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": ("!=",), "!=": ("==",)}
EFFECTS = {"allow": "deny", "deny": "allow", "require_approval": "allow"}


def plain(folder: Path) -> dict[str, Any]:
    """All files of a folder as one document of plain values."""
    joined: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        if not path.name.endswith(".test.yaml"):
            document = nodes.read(path.name, path.read_bytes())
            assert document.root is not None
            joined |= Anything().read(document.root, Sheet(document))
    return joined


def conditions(text: str) -> Iterator[str]:
    """A condition with one comparison flipped, one joint turned, one clause dropped or one negation taken away."""
    found = list(tokens(text))
    for token in found:
        for other in FLIPS.get(token.text, ()):
            yield text[: token.start] + other + text[token.end :]
        if token.text in ("&&", "||"):
            yield text[: token.start] + ("||" if token.text == "&&" else "&&") + text[token.end :]
        if token.text == "!":
            yield text[: token.start] + text[token.end :]
    yield from dropped(text)
    yield f"!({text})"


def dropped(text: str) -> Iterator[str]:
    """A condition without one of the clauses that its outermost && or || joins."""
    depth, joints = 0, []
    for token in tokens(text):
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        if not depth and token.text in ("&&", "||"):
            joints.append(token)
    starts, ends = [0, *(joint.end for joint in joints)], [*(joint.start for joint in joints), len(text)]
    clauses = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    for gone in range(len(clauses) if joints else 0):
        kept = [clause for index, clause in enumerate(clauses) if index != gone]
        words = [joint.text for joint in joints][: len(kept) - 1]
        yield kept[0] + "".join(f" {word} {clause}" for word, clause in zip(words, kept[1:], strict=True))


def elsewhere(rule: dict[str, Any], servers: dict[str, Any]) -> bool:
    """Does a server that the rule is not about list a tool of a name that it is about?"""
    match = rule.get("match", {})
    about, tools = names(listed(match.get("server", "*"))), names(listed(match.get("tool", "*")))
    return any(tools.has(tool) for name in servers if not about.has(name) for tool in servers[name].get("tools", {}))


def listed(written: Any) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else tuple(written)


def changes(rule: dict[str, Any], servers: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rule with one thing changed or gone."""
    for key in ("when", "unless"):
        if key in rule:
            yield without(rule, key)
            yield from ({**rule, key: text} for text in conditions(rule[key]))
    # What a shadow rule would do shows nowhere; that it would, does.
    if rule.get("mode") == "shadow":
        yield {**rule, "mode": "enforce"}
    elif rule["effect"] in EFFECTS:
        yield {**without(rule, "approval", "guardrail"), "effect": EFFECTS[rule["effect"]]}
    # Where no other server has such a tool, a rule without `server` is about the same calls.
    keys = [key for key in rule.get("match", {}) if key != "server" or elsewhere(rule, servers)]
    yield from ({**rule, "match": without(rule["match"], key)} for key in keys)
    yield from ({**rule, "limit": {**rule["limit"], "max": rule["limit"]["max"] + step}} for step in (-1, 1) if "limit" in rule)
    needs = rule.get("approval", {}).get("all_of", [])
    for index, need in enumerate(needs):
        other = {**need, "count": 3 - need.get("count", 1)}
        yield {**rule, "approval": {**rule["approval"], "all_of": [*needs[:index], other, *needs[index + 1 :]]}}


def without(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in keys}


def put(listed: list[Any], index: int, *items: Any) -> list[Any]:
    return [*listed[:index], *items, *listed[index + 1 :]]


def mutants(policy: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The policy with one rule, exception or snippet changed or gone."""
    rules, exceptions, lib = policy["rules"], policy.get("exceptions", []), policy.get("lib", {})
    for index, rule in enumerate(rules):
        yield {**policy, "rules": put(rules, index)}
        yield from ({**policy, "rules": put(rules, index, other)} for other in changes(rule, policy["servers"]))
    for index, entry in enumerate(exceptions):
        yield {**policy, "exceptions": put(exceptions, index)}
        for text in conditions(entry["when"]):
            yield {**policy, "exceptions": put(exceptions, index, {**entry, "when": text})}
    yield from ({**policy, "lib": {**lib, name: text}} for name, old in lib.items() for text in conditions(old))


def survives(folder: Path, changed: dict[str, Any]) -> bool:
    """Do the tests of the folder pass with the changed policy? One that does not load was noticed."""
    try:
        policy = compose({"policy.yaml": msgspec.json.encode(changed)})
        return not run(policy, load_cases(folder, policy)).failures
    except PolicyInvalid:
        return False


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The parts of the new policy that the old one does not have, for the message."""
    parts = [*new["rules"], *new.get("exceptions", []), *new.get("lib", {}).items()]
    known = [*old["rules"], *old.get("exceptions", []), *old.get("lib", {}).items()]
    return [str(part) for part in parts if part not in known] or ["something is gone"]


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_shipped_policy_passes_its_tests_with_full_coverage(folder: Path) -> None:
    policy = load(folder)
    report = run(policy, load_cases(folder, policy))
    assert (report.failures, report.uncovered, report.coverage) == ((), (), 100.0)


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_shipped_policy_has_nothing_that_check_finds(folder: Path) -> None:
    assert check(folder, date(2026, 11, 24)) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_no_rule_of_a_shipped_policy_can_be_changed_unnoticed(folder: Path) -> None:
    policy = plain(folder)
    assert survives(folder, policy), "the unchanged policy passes"
    unnoticed = [difference(policy, changed) for changed in mutants(policy) if survives(folder, changed)]
    assert unnoticed == []


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_every_shipped_file_names_its_schema(folder: Path) -> None:
    depth = "../" * len(folder.relative_to(ROOT).parts)
    for path in folder.glob("*.yaml"):
        name = "tests" if path.name.endswith(".test.yaml") else "policy"
        first = path.read_text().splitlines()[0]
        assert first == f"# yaml-language-server: $schema={depth}schema/{name}.schema.json"


@pytest.mark.parametrize(("name", "schema"), [("policy", policy_schema()), ("tests", schema_of_tests())])
def test_the_shipped_schemas_are_those_of_the_grammar(name: str, schema: dict[str, Any]) -> None:
    assert msgspec.json.decode((ROOT / "schema" / f"{name}.schema.json").read_bytes()) == schema


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_every_shipped_file_fits_its_schema(folder: Path) -> None:
    for path in folder.glob("*.yaml"):
        schema = schema_of_tests() if path.name.endswith(".test.yaml") else policy_schema()
        document = nodes.read(path.name, path.read_bytes())
        assert document.root is not None
        errors = jsonschema.Draft202012Validator(schema).iter_errors(Anything().read(document.root, Sheet(document)))
        assert [error.message for error in errors] == []


@pytest.mark.parametrize(
    "document",
    [
        {"rules": [{"id": "aa"}]},
        {"rules": [{"id": "aa", "effect": "denied"}]},
        {"rules": [{"id": "aa", "effect": "deny", "wen": "true"}]},
        {"consts": {"1x": 1}},
        {"servers": {"a": {"tools": {"t": {"readOnly": True}}}}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(document: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(policy_schema()).is_valid(document)
    with pytest.raises(PolicyInvalid):
        compose({"a.yaml": msgspec.json.encode(document)})
