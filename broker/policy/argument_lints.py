"""A policy against what servers offer: tools that don't exist, arguments that don't, may be absent, or are of another type."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from broker.domain.decisions import Effect
from broker.domain.servers import ToolDefinition, ToolFacts
from broker.policy.argument_types import type_lints
from broker.policy.cel_text import Chain, chains
from broker.policy.findings import Finding, Level, at
from broker.policy.model import Policy
from broker.policy.rules import Condition, Mode, Rule
from broker.policy.ruleset import ruleset

Definitions = Mapping[str, Sequence[Mapping[str, Any]]]
"""Server -> the tools that it lists, as in `tools/list`."""


def with_tools(policy: Policy, definitions: Definitions) -> Policy:
    """Return the policy as if servers.yaml listed these tools too, without a word about them: they are known as well."""
    servers = dict(policy.servers)
    for name in definitions.keys() & servers.keys():
        offered = {_name(tool): ToolFacts() for tool in definitions[name]}
        servers[name] = structs.replace(servers[name], tools=offered | servers[name].tools)
    return structs.replace(policy, servers=servers)


def unpinned(policy: Policy, definitions: Definitions) -> Iterator[Finding]:
    """Tools that servers.yaml lists and that are not among those of their server, where some of it are at hand."""
    for name in sorted(definitions.keys() & policy.servers.keys()):
        server, offered = policy.servers[name], {_name(tool) for tool in definitions[name]}
        for tool in sorted(server.tools.keys() - offered if offered else ()):
            told = f"servers.yaml lists {name}/{tool}, which is not among the server's accepted tools"
            yield at("unpinned-tool", Level.NOTE, server.where, told, "mend the name, or pin the tool")


def argument_lints(policy: Policy, definitions: Definitions) -> Iterator[Finding]:
    """Return what conditions get wrong about arguments, by the schemas given."""
    rules = ruleset(policy)
    for rule in rules.rules:
        if rule.mode is Mode.DISABLED:
            continue
        for server, tools in definitions.items():
            for tool in (tool for tool in tools if rule.match.covers(server, _name(tool))):
                schema = ToolDefinition(server, _name(tool), dict(tool)).input_schema
                yield from _tool_lints(rule, f"{server}/{_name(tool)}", schema)
                for condition in rule.conditions:
                    yield from type_lints(rule, condition, f"{server}/{_name(tool)}", schema, rules.vocabulary)


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("name", ""))


def _members(schema: Mapping[str, Any], key: str) -> Collection[str]:
    """A server may write anything there."""
    found = schema.get(key)
    return found if isinstance(found, (dict, list)) else ()


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
    if name not in _members(schema, "properties"):
        if schema.get("additionalProperties") is False or "properties" in schema:
            told = f"`{rule.id}` asks about args.{name}, which {tool} does not take"
            yield at("no-such-argument", Level.WARNING, where, told, "mend the name", column=condition.column)
    elif name not in _members(schema, "required") and name not in guarded:
        then = "does not allow" if rule.outcome is Effect.ALLOW else "counts as a yes"
        told = f"`{rule.id}` asks about args.{name}, which {tool} may leave out: the condition then fails and {then}"
        mend = f"write args.?{name}.orValue(…) or has(args.{name})"
        yield at("unguarded-argument", Level.WARNING, where, told, mend, column=condition.column)
