"""The compiled part of a policy: its rules with an index, so that a call meets only the rules that may be about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from broker.domain.decisions import Effect
from broker.policy.model import Policy
from broker.policy.rules import Condition, Counter, Defaults, Exemption, Mode, Rule

_REMEMBERED = 4096


class Candidates(msgspec.Struct, frozen=True, eq=False):
    """The rules that may be about one tool, by what they would do. `counters` names those that a decision may need."""

    denying: tuple[Rule, ...]
    asking: tuple[Rule, ...]
    allowing: tuple[Rule, ...]
    shadow: tuple[Rule, ...]
    counters: tuple[Counter, ...]


class RuleSet(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Everything the files say beside people and servers. `rules` holds disabled ones too."""

    rules: tuple[Rule, ...]
    defaults: Defaults
    consts: dict[str, Any]
    counters: dict[str, Counter]
    exemptions: tuple[Exemption, ...]
    snippets: dict[str, Condition]
    environment: str
    engine: Any
    candidates: Callable[[str, str], Candidates]


def index(rules: tuple[Rule, ...], counters: dict[str, Counter]) -> Callable[[str, str], Candidates]:
    """Return the look-up (server, tool) -> Candidates. It remembers 4,096 of them: names come from agents, without end."""
    exact: dict[tuple[str, str], list[Rule]] = {}
    loose: list[Rule] = []
    for rule in rules:
        if rule.mode is Mode.DISABLED:
            continue
        match = rule.match
        if match.server.pattern or match.tool.pattern or not match.server or not match.tool:
            loose.append(rule)
            continue
        for server in match.server.exact:
            for tool in match.tool.exact:
                exact.setdefault((server, tool), []).append(rule)

    @lru_cache(maxsize=_REMEMBERED)
    def candidates(server: str, tool: str) -> Candidates:
        near = [*exact.get((server, tool), ()), *loose]
        return _sorted([rule for rule in near if rule.match.covers(server, tool)], counters, server, tool)

    return candidates


def _sorted(rules: list[Rule], counters: dict[str, Counter], server: str, tool: str) -> Candidates:
    enforced = [rule for rule in rules if rule.mode is Mode.ENFORCE]
    read = {name for rule in rules for name in rule.counters}
    touched = tuple(counter for name, counter in sorted(counters.items()) if name in read or counter.match.covers(server, tool))
    return Candidates(
        denying=tuple(rule for rule in enforced if rule.outcome is Effect.DENY),
        asking=tuple(rule for rule in enforced if rule.outcome is Effect.REQUIRE_APPROVAL),
        allowing=tuple(rule for rule in enforced if rule.outcome is Effect.ALLOW),
        shadow=tuple(rule for rule in rules if rule.mode is Mode.SHADOW),
        counters=touched,
    )


def ruleset(policy: Policy) -> RuleSet:
    """The rules of a loaded policy."""
    compiled: RuleSet = policy.compiled
    return compiled
