"""Conditions against the input schemas of the tools they are about: arguments that don't exist, or may be absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from broker.domain.decisions import Effect
from broker.policy.cel_text import Chain, chains
from broker.policy.findings import Finding, Level, at
from broker.policy.model import Policy
from broker.policy.rules import Condition, Mode, Rule
from broker.policy.ruleset import ruleset

Definitions = Mapping[str, Sequence[Mapping[str, Any]]]
"""Server -> the tools that it lists, as in `tools/list`."""


def argument_lints(policy: Policy, definitions: Definitions) -> Iterator[Finding]:
    """Return what conditions get wrong about arguments, by the schemas given."""
    for rule in ruleset(policy).rules:
        if rule.mode is Mode.DISABLED:
            continue
        for server, tools in definitions.items():
            for tool in tools:
                if rule.match.covers(server, str(tool.get("name", ""))):
                    yield from _tool_lints(rule, f"{server}/{tool.get('name')}", tool.get("inputSchema") or {})


def _tool_lints(rule: Rule, tool: str, schema: Mapping[str, Any]) -> Iterator[Finding]:
    for condition in rule.conditions:
        found = [chain for chain in chains(condition.source) if chain.names[0] == "args" and len(chain.names) > 1]
        guarded = {chain.names[1] for chain in found if chain.optional}
        for chain in {chain.names[1]: chain for chain in found}.values():
            yield from _argument_lints(rule, condition, chain, tool, schema, guarded)


def _argument_lints(
    rule: Rule, condition: Condition, chain: Chain, tool: str, schema: Mapping[str, Any], guarded: set[str]
) -> Iterator[Finding]:
    name, where = chain.names[1], f"{condition.file}:{condition.line}"
    if name not in schema.get("properties", {}):
        if schema.get("additionalProperties") is False or "properties" in schema:
            told = f"`{rule.id}` asks about args.{name}, which {tool} does not take"
            yield at("no-such-argument", Level.WARNING, where, told, "mend the name", column=condition.column)
    elif name not in schema.get("required", ()) and name not in guarded:
        then = "does not allow" if rule.outcome is Effect.ALLOW else "counts as a yes"
        told = f"`{rule.id}` asks about args.{name}, which {tool} may leave out: the condition then fails and {then}"
        mend = f"write args.?{name}.orValue(…) or has(args.{name})"
        yield at("unguarded-argument", Level.WARNING, where, told, mend, column=condition.column)
