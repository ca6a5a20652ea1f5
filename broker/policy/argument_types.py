"""Conditions against the types of arguments: what compiles for any value, and fails for every value that a tool takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import structs

from broker.policy.cel_text import Chain, chains
from broker.policy.conditions import Mistake, Vocabulary, compiled
from broker.policy.findings import Finding, Level, at
from broker.policy.rules import Condition, Rule

# Numbers are one kind here: CEL compares across them once arguments arrive, though its checker does not.
_WORDS = {"string": "str", "boolean": "bool", "array": "list", "object": "map", "integer": "int", "number": "int"}
# Put before an argument's name, it makes a name that a type can be declared for; `has(args.x)` keeps its own.
_TYPED = "typed."
_NUMBERS_ALONE = re.compile(r"no matching overload for '[^']*' applied to '[(.,) ]*((list\()?(int|uint|double)\)?[(.,) ]*)+'")


def type_lints(rule: Rule, condition: Condition, tool: str, schema: Mapping[str, Any], names: Vocabulary) -> Iterator[Finding]:
    """Yield a finding where a condition can't be right for any arguments that the schema of `tool` lets through."""
    source, kinds = _typed(condition.source, schema)
    if not kinds:
        return
    arguments = tuple(sorted((_TYPED + name, _WORDS[kind]) for name, kind in kinds.items()))
    program = compiled(structs.replace(names, arguments=arguments), source)
    for mistake in program if isinstance(program, tuple) else ():
        if _NUMBERS_ALONE.search(mistake.message) is None:
            yield _finding(rule, condition, tool, kinds, mistake)
            return


def _typed(source: str, schema: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The source with names that have a type in place of arguments that it names outright, and the JSON types of those."""
    kinds: dict[str, str] = {}
    written, done = "", 0
    for chain in chains(source):
        found = dict(_along(chain, schema)) if chain.names[0] == "args" and not chain.optional else {}
        if found:
            written += source[done : chain.start] + _TYPED + ".".join(chain.names)
            kinds, done = kinds | found, chain.end
    return written + source[done:], kinds


def _along(chain: Chain, schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The JSON types along a name, as far as the schema tells them without a gap."""
    for depth, name in enumerate(chain.names[1:], 2):
        kind, schema = _member(schema, name)
        if not kind:
            return
        yield ".".join(chain.names[:depth]), kind


def _member(schema: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """The JSON type of a property, empty where it may have several or none is told, and its schema."""
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, dict) else None
    if not isinstance(found, dict):
        return "", {}
    kind = found.get("type")
    return (kind if isinstance(kind, str) and kind in _WORDS else ""), found


def _finding(rule: Rule, condition: Condition, tool: str, kinds: Mapping[str, str], mistake: Mistake) -> Finding:
    declared = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    told = f"`{rule.id}` does not fit the arguments of {tool} ({declared}): {mistake.message.removeprefix('CEL: ')}"
    where = f"{condition.file}:{condition.line}"
    mend = "compare it with a value of its own type"
    return at("wrong-argument-type", Level.WARNING, where, told, mend, column=condition.column)
