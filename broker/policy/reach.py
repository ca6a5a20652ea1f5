"""What a policy can make of a caller's calls to one tool, whatever the arguments are. Pure."""

from __future__ import annotations

import msgspec

from broker.domain.calls import ToolCall
from broker.domain.decisions import Effect
from broker.policy.access import refusal, standing_of
from broker.policy.context import Context
from broker.policy.evaluate import barred
from broker.policy.model import Facts, Policy
from broker.policy.rules import Defaults, Rule
from broker.policy.ruleset import ruleset


class Reaching(msgspec.Struct, frozen=True):
    """One rule that can decide. `always`: it holds for every call of the tool, so nothing weaker comes into question."""

    rule: str
    effect: Effect
    where: str
    always: bool


class Reach(msgspec.Struct, frozen=True):
    """`effects` that a call may have, the strictest first, and the rules that decide between them; one effect is certain."""

    effects: tuple[Effect, ...]
    rules: tuple[Reaching, ...]


def reach(policy: Policy, call: ToolCall, facts: Facts, groups: tuple[str, ...] | None = None) -> Reach:
    """Return what may become of calls like `call`, whose arguments are left aside. `groups` stand in for the caller's own."""
    server, rules = policy.servers.get(call.server), ruleset(policy)
    own = standing_of(policy, call.caller) if groups is None else groups
    if server is None or barred(policy, call.server, call.tool, call.caller):
        return Reach((Effect.DENY,), ())
    if refusal(server, call.caller, own, tool=call.tool, now=facts.now):
        return Reach((Effect.DENY,), ())
    context = Context(policy, call, facts, server, groups)
    found = rules.candidates(call.server, call.tool)
    told: list[Reaching] = []
    # nothing but a denial counts for a tool that nobody has accepted
    for rule in (*found.denying, *(() if not facts.known else (*found.asking, *found.allowing))):
        if not context.unmet(rule.match):
            told.append(Reaching(rule.id, rule.outcome, rule.where, _free(rule)))
            if told[-1].always:
                break
    certain = bool(told) and told[-1].always
    effects = {item.effect for item in told} | (set() if certain else {_otherwise(rules.defaults, facts.known)})
    return Reach(tuple(sorted(effects, key=_STRICT.index)), tuple(told))


def _otherwise(defaults: Defaults, known: bool) -> Effect:
    effect = defaults.unmatched if known else defaults.unknown_tool
    return Effect.DENY if effect is Effect.REQUIRE_APPROVAL and defaults.approval is None else effect


_STRICT = (Effect.DENY, Effect.REQUIRE_APPROVAL, Effect.ALLOW)


def _free(rule: Rule) -> bool:
    return rule.when is None and rule.unless is None and rule.limit is None and not rule.exemptions
