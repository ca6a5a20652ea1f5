"""The compiled part of a policy: its rules with an index, so that a call meets only the rules that may be about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from broker.domain.decisions import Effect
from broker.policy.conditions import Vocabulary, either
from broker.policy.model import Policy
from broker.policy.rules import Condition, Counter, Defaults, Exemption, Mode, Rule

_REMEMBERED = 4096
# Conditions that are asked together: each costs a way into the engine and back, which is most of asking it.
_TOGETHER = 16
# What a condition may name, by the first word of it.
ROOTS = frozenset(("args", "caller", "client", "server", "tool", "env", "now", "consts", "counters"))


class Candidates(msgspec.Struct, frozen=True, eq=False):
    """The rules that may be about one tool, by what they would do. `counters` names those that a decision may need.

    `roots` are the first words of all that their conditions can name: nothing else has to be made for them.
    """

    denying: tuple[Rule, ...]
    asking: tuple[Rule, ...]
    allowing: tuple[Rule, ...]
    shadow: tuple[Rule, ...]
    counters: tuple[Counter, ...]
    roots: frozenset[str] = ROOTS


class RuleSet(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Everything the files say beside people and servers. `rules` holds disabled ones too.

    `places` says `file:line` and column of `defaults`, `consts.x`, `counters.x`, `lib.x`, `groups.x` and `people.x`.
    """

    rules: tuple[Rule, ...]
    defaults: Defaults
    consts: dict[str, Any]
    counters: dict[str, Counter]
    exemptions: tuple[Exemption, ...]
    snippets: dict[str, Condition]
    environment: str
    places: dict[str, tuple[str, int]]
    vocabulary: Vocabulary
    engine: Any
    candidates: Callable[[str, str], Candidates]
    screens: Mapping[Rule, Any] = {}
    """A program that says no only where the rule's condition does, and that of every other rule with the same program."""


def screens(rules: tuple[Rule, ...], vocabulary: Vocabulary) -> dict[Rule, Any]:
    """Return what is asked before the conditions of rules about the same calls, most of which say no to most calls.

    Only of rules of which nothing comes where `when` says no. Those that allow are most often asked in order to hear a yes.
    """
    alike: dict[Any, list[tuple[Rule, str]]] = defaultdict(list)
    for rule in rules:
        if rule.when is not None and rule.simple and rule.match.anybody and rule.outcome is not Effect.ALLOW:
            match = rule.match
            about = (rule.outcome, rule.mode, match.server.written, match.tool.written, match.not_tool.written)
            alike[about].append((rule, rule.when.source))
    found: dict[Rule, Any] = {}
    for together in alike.values():
        for start in range(0, len(together), _TOGETHER):
            some = dict(together[start : start + _TOGETHER])
            if len(some) > 1 and (program := either(vocabulary, tuple(some.values()))) is not None:
                found |= dict.fromkeys(some, program)
    return found


def index(rules: tuple[Rule, ...], counters: dict[str, Counter]) -> Callable[[str, str], Candidates]:
    """Return the look-up (server, tool) -> Candidates. It remembers 4,096 of them: names come from agents, without end."""
    shelves: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for place in _shelves(rule) if rule.mode is not Mode.DISABLED else ():
            shelves.setdefault(place, []).append(rule)
    reads = {rule.id: rule.counters for rule in rules} if counters else {}

    @lru_cache(maxsize=_REMEMBERED)
    def candidates(server: str, tool: str) -> Candidates:
        near = [rule for place in ((server, tool), (server, ""), ("", "")) for rule in shelves.get(place, ())]
        found = [rule for rule in near if rule.match.covers(server, tool)]
        read = {name for rule in found for name in reads.get(rule.id, ())}
        touched = [counter for name, counter in sorted(counters.items()) if name in read or counter.match.covers(server, tool)]
        return _sorted(found, tuple(touched))

    return candidates


def _shelves(rule: Rule) -> list[tuple[str, str]]:
    """Where a rule lies: by its exact servers and tools, by its exact servers, or on the shelf for all (empty names)."""
    server, tool = rule.match.server, rule.match.tool
    if not server or server.pattern is not None:
        return [("", "")]
    if not tool or tool.pattern is not None:
        return [(name, "") for name in server.exact]
    return [(name, other) for name in server.exact for other in tool.exact]


def _sorted(rules: list[Rule], touched: tuple[Counter, ...]) -> Candidates:
    enforced = [rule for rule in rules if rule.mode is Mode.ENFORCE]
    return Candidates(
        denying=tuple(rule for rule in enforced if rule.outcome is Effect.DENY),
        asking=tuple(rule for rule in enforced if rule.outcome is Effect.REQUIRE_APPROVAL),
        allowing=tuple(rule for rule in enforced if rule.outcome is Effect.ALLOW),
        shadow=tuple(rule for rule in rules if rule.mode is Mode.SHADOW),
        counters=touched,
        roots=_roots(rules),
    )


def _roots(rules: list[Rule]) -> frozenset[str]:
    """A word that stands nowhere in a source can't be named by it; one that stands in a text only is made in vain."""
    sources = [condition.source for rule in rules for condition in rule.conditions]
    return frozenset(root for root in ROOTS if any(root in source for source in sources))


def ruleset(policy: Policy) -> RuleSet:
    """The rules of a loaded policy."""
    compiled: RuleSet = policy.compiled
    return compiled
