"""What a policy says that its writer hardly meant: rules that can't win, names that nobody uses, doors left open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from urllib.parse import urlsplit

from broker.domain.decisions import Effect
from broker.domain.servers import Server
from broker.policy.cel_text import chains
from broker.policy.conditions import zone_data
from broker.policy.findings import Finding, Level, at
from broker.policy.model import Policy
from broker.policy.rule_lints import EACH, on
from broker.policy.rules import Match, Mode, Names, Rule
from broker.policy.ruleset import RuleSet, ruleset

_STRENGTH = {Effect.DENY: 3, Effect.REQUIRE_APPROVAL: 2, Effect.ALLOW: 1}
_LONG = timedelta(days=90)
_REFERENCE = re.compile(r"(?i)(?:bearer |basic )?(?:(?:env|file):\S+|command:\S.*)")


def lints(policy: Policy, today: date) -> list[Finding]:
    """Return what is odd about a policy."""
    rules = ruleset(policy)
    live = [rule for rule in rules.rules if rule.mode is not Mode.DISABLED]
    found = [finding for rule in live for lint in EACH for finding in lint(rule, policy)]
    together = [*_shadowed(live), *_exceptions(rules, today), *_unused(rules), *_defaults(rules), *_zones(live)]
    return [*found, *together, *_directory(policy)]


def _shadowed(rules: list[Rule]) -> Iterator[Finding]:
    """A rule never wins where a stronger one, without conditions, is about all of its calls. (By match alone, not by CEL.)"""
    certain = [rule for rule in rules if _certain(rule)]
    for rule in rules:
        if rule.mode is not Mode.ENFORCE:
            continue
        for other in certain:
            if other.id != rule.id and _STRENGTH[other.outcome] > _STRENGTH[rule.outcome] and _within(rule.match, other.match):
                yield on(
                    rule, "shadowed", f"never wins: `{other.id}` is stronger and about all its calls", "take one of them away"
                )
                break


_NAMED = ("server", "tool", "users", "clients", "workloads", "surfaces", "conversations")
_LEFT_OUT = ("not_tool", "not_surfaces", "not_conversations")


def _certain(rule: Rule) -> bool:
    return rule.mode is Mode.ENFORCE and not rule.conditions and rule.limit is None


def _within(inner: Match, outer: Match) -> bool:
    """Is every call that meets `inner` one that meets `outer`? Only a yes is certain."""
    names = all(_names_within(getattr(inner, key), getattr(outer, key)) for key in _NAMED)
    groups = (not outer.groups_any or (bool(inner.groups_any) and inner.groups_any <= outer.groups_any)) and (
        outer.groups_all <= inner.groups_all and outer.groups_none <= inner.groups_none
    )
    rest = (not outer.env or (bool(inner.env) and inner.env <= outer.env)) and set(outer.hints) <= set(inner.hints)
    left_out = (getattr(outer, key) in (Names(), getattr(inner, key)) for key in _LEFT_OUT)
    return names and groups and rest and all(left_out)


def _names_within(inner: Names, outer: Names) -> bool:
    if not outer or set(inner.written) <= set(outer.written) != set():
        return bool(inner) or not outer
    return inner.pattern is None and bool(inner) and all(outer.has(name) for name in inner.exact)


def _exceptions(rules: RuleSet, today: date) -> Iterator[Finding]:
    for entry in rules.exemptions:
        if entry.expires < today:
            told = f"the exception `{entry.id}` expired on {entry.expires}"
            yield at("exception-expired", Level.WARNING, entry.where, told, "take it away", column=entry.column)
        elif entry.expires - today > _LONG:
            told = f"the exception `{entry.id}` lasts longer than 90 days"
            yield at("exception-long", Level.NOTE, entry.where, told, "change the rule, or end it sooner", column=entry.column)


def _unused(rules: RuleSet) -> Iterator[Finding]:
    """Names that nothing uses."""
    conditions = [item for rule in rules.rules for item in rule.conditions]
    used = {chain.names[:2] for item in conditions for chain in (*chains(item.text), *chains(item.source))}
    limits = {("counters", rule.limit.counter) for rule in rules.rules if rule.limit is not None}
    everything = [("consts", name) for name in rules.consts] + [("counters", name) for name in rules.counters]
    for kind, name in [*everything, *(("lib", name) for name in rules.snippets)]:
        if (kind, name) not in used | limits:
            where, column = rules.places[f"{kind}.{name}"]
            yield at("unused", Level.WARNING, where, f"`{kind}.{name}` is used by no rule", "take it away", column=column)


def _defaults(rules: RuleSet) -> Iterator[Finding]:
    if rules.defaults.unmatched is Effect.ALLOW:
        where, column = rules.places["defaults"]
        told = "`unmatched: allow` lets through what no rule is about"
        yield at("open-default", Level.WARNING, where, told, "write deny or require_approval", column=column)


def _zones(rules: list[Rule]) -> Iterator[Finding]:
    """Conditions that ask the time in a zone fail where there is no zone data, and so tighten."""
    if zone_data():
        return
    for rule in rules:
        if any(re.search(r"\.get(Hours|Minutes|Date|DayOf\w+|Month)\(", item.source) for item in rule.conditions):
            yield on(rule, "no-zone-data", "asks the time, and this machine has no zone data", "install tzdata", Level.ERROR)


def _directory(policy: Policy) -> Iterator[Finding]:
    for person in policy.people.persons:
        if person != person.lower():
            where, column = ruleset(policy).places[f"people.{person}"]
            told = f"`{person}` has upper-case letters"
            yield at("upper-case-person", Level.WARNING, where, told, "write ids in lower case", column=column)
    for server in policy.servers.values():
        for name, value in server.headers.items():
            if name.lower() in ("authorization", "cookie", "x-api-key") and not _REFERENCE.fullmatch(value):
                told = f"`{server.name}` has its {name} written down"
                yield at("secret-in-file", Level.ERROR, server.where, told, "write env:NAME, file:PATH or command:PROGRAM")
        if server.auth and server.auth.client_secret and not _REFERENCE.fullmatch(server.auth.client_secret):
            told = f"`{server.name}` has its client_secret written down"
            yield at("secret-in-file", Level.ERROR, server.where, told, "write env:NAME, file:PATH or command:PROGRAM")
        if _in_the_clear(server):
            told = f"`{server.name}` gets its credentials over a connection that is not encrypted"
            yield at("credentials-in-the-clear", Level.WARNING, server.where, told, "write its https address")


def _in_the_clear(server: Server) -> bool:
    parts = urlsplit(server.url)
    secrets = server.auth is not None or any(map(_REFERENCE.fullmatch, server.headers.values()))
    return secrets and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")
