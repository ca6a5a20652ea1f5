"""One call in, one decision out. Pure: all it needs comes in, and whatever it can't know tightens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Allow, Decision, Deny, Effect, Reason, RequireApproval
from broker.domain.servers import Hints, ToolDefinition
from broker.policy.access import refusal, standing_of
from broker.policy.arguments import overfull, unfit
from broker.policy.asking import Asked, asked
from broker.policy.conditions import Answer, ask
from broker.policy.context import Context
from broker.policy.counting import bucket
from broker.policy.model import CounterUse, Facts, Policy
from broker.policy.plans import Ask, joined, titled, unsatisfiable
from broker.policy.rules import Rule
from broker.policy.ruleset import Candidates, ruleset
from broker.policy.schemas import misfit

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_UNMATCHED = Reason("unmatched", "no rule is about this call")
_UNKNOWN_TOOL = Reason("unknown_tool", "nobody has accepted this tool as it is now")
_SERVICE_ALONE = Reason("service_alone", "a service that calls for nobody may only use tools marked read_only in servers.yaml")
_UNKNOWN_SERVER = Reason("unknown_server", "the server is not in the catalogue")


def evaluate(policy: Policy, call: ToolCall, facts: Facts) -> Decision:
    """Return what the policy says about one call. Never raises for any call, and no error allows."""
    return decide(policy, call, facts)


def decide(policy: Policy, call: ToolCall, facts: Facts, groups: tuple[str, ...] | None = None) -> Decision:
    """`evaluate`, with the caller's groups given: what credentials and directory say is left aside."""
    refused = _refused_unseen(policy, call, facts, groups)
    if refused is not None:
        return Deny(policy=policy.digest, rules=(refused.rule,), reasons=(refused,))
    context = Context(policy, call, facts, policy.servers[call.server], groups)
    return Judgement(context, context.rules.candidates(call.server, call.tool)).decision()


def _refused_unseen(policy: Policy, call: ToolCall, facts: Facts, groups: tuple[str, ...] | None) -> Reason | None:
    """Why the call is denied before any rule is asked."""
    told = unfit(call.params.get("arguments", {})) or overfull(call.params) or misfit(facts.definition, call.arguments)
    if told:
        return Reason("arguments", told)
    return closed(policy, call.server, call.tool, call.caller, groups, facts.now)


def closed(
    policy: Policy, server: str, tool: str, caller: Caller, groups: tuple[str, ...] | None = None, now: datetime | None = None
) -> Reason | None:  # fmt: skip
    """Why every call of a tool is denied before any rule is asked, whatever its arguments. `groups` None: the caller's own."""
    found = policy.servers.get(server)
    if found is None:
        return _UNKNOWN_SERVER
    groups = standing_of(policy, caller) if groups is None else groups
    if (refused := refusal(found, caller, groups, tool=tool, now=now)) is not None:
        return refused
    return _SERVICE_ALONE if barred(policy, server, tool, caller) else None


def barred(policy: Policy, server: str, tool: str, caller: Caller) -> bool:
    """A service that calls for nobody may only read, and only what an operator has marked so: nobody answers for more."""
    facts = policy.servers[server].tools.get(tool)
    return bool(caller.workload) and not (caller.user or caller.owner) and not (facts is not None and facts.read_only is True)


class Judgement:
    """Asks the rules of one call class by class: deny, then ask, then allow. Shadow rules are asked too, and decide nothing."""

    def __init__(self, context: Context, candidates: Candidates) -> None:
        self._context = context
        self._candidates = candidates
        self._errors: list[Reason] = []
        self._screened: dict[Any, bool] = {}
        self._shadow: tuple[str, ...] = ()

    def decision(self) -> Decision:
        if self._candidates.shadow:
            self._shadow = tuple(sorted(found.rule.id for found in self._matching(self._candidates.shadow)))
        denying = self._matching(self._candidates.denying)
        if denying:
            return self._deny([self._why(found.rule) for found in denying])
        asking = [self._ask(found.rule) for found in self._matching(self._candidates.asking)]
        if not self._context.facts.known:
            return self._unknown_tool(asking)
        if asking:
            return self._require(asking)
        allowing = self._matching(self._candidates.allowing)
        if allowing:
            return Allow(**self._told([self._why(found.rule) for found in allowing]))
        return self._unmatched()

    def _matching(self, rules: Sequence[Rule]) -> list[Asked]:
        found = []
        screens, given = self._context.rules.screens, self._context.arguments.keys()
        for rule in rules:
            if rule.when is not None and not rule.when.demands <= given:
                continue
            screen = screens.get(rule)
            if screen is not None and self._silent(screen):
                continue
            item = asked(rule, self._context)
            if item.errors:
                self._errors += item.errors
            if item.applies:
                found.append(item)
        return found

    def _silent(self, screen: Any) -> bool:
        """Is it heard at once of all rules behind a screen that nothing comes of them?"""
        known = self._screened.get(screen)
        if known is None:
            known = self._screened[screen] = ask(screen, self._context.activation)[0] is Answer.NO
        return known

    def _unknown_tool(self, asking: list[Ask]) -> Decision:
        defaults = self._context.rules.defaults
        if defaults.unknown_tool is Effect.DENY or defaults.approval is None:
            return self._deny([_UNKNOWN_TOOL])
        return self._require([*asking, Ask("unknown_tool", defaults.approval)])

    def _unmatched(self) -> Decision:
        defaults = self._context.rules.defaults
        if defaults.unmatched is Effect.ALLOW:
            return Allow(**self._told([_UNMATCHED]))
        if defaults.unmatched is Effect.DENY or defaults.approval is None:
            return self._deny([_UNMATCHED])
        return self._require([Ask("unmatched", defaults.approval)])

    def _deny(self, reasons: list[Reason]) -> Deny:
        return Deny(**self._told(reasons))

    def _require(self, asks: list[Ask]) -> Decision:
        plan = joined(asks, self._context)
        short = unsatisfiable(plan, self._context.policy.people, self._context.call.caller.people)
        if short:
            return self._deny([Reason("unsatisfiable", short)])
        rules = {rule.id: rule for rule in self._candidates.asking}
        fixed = {reason.rule: reason for reason in (_UNMATCHED, _UNKNOWN_TOOL)}
        reasons = [fixed.get(ask.rule) or self._why(rules[ask.rule]) for ask in asks]
        return RequireApproval(**self._told(reasons), plan=plan, counters=dict(self._context.facts.counters))

    def _told(self, reasons: list[Reason]) -> dict[str, Any]:
        ordered = tuple(sorted(reasons, key=lambda reason: reason.rule) if len(reasons) > 1 else reasons)
        return {
            "policy": self._context.policy.digest,
            "rules": tuple(reason.rule for reason in ordered),
            "reasons": ordered,
            "errors": tuple(sorted(self._errors, key=lambda error: (error.rule, error.where))) if self._errors else (),
            "shadow": self._shadow,
        }

    def _ask(self, rule: Rule) -> Ask:
        approval = rule.approval or self._context.rules.defaults.approval
        assert approval is not None, "the loader refuses a rule that asks nobody"
        return Ask(rule.id, approval, rule.title, rule.severity, rule.redact)

    def _why(self, rule: Rule) -> Reason:
        return Reason(rule.id, titled(rule.title, self._context) or rule.description or f"rule {rule.id}", rule.where)


def trace(policy: Policy, call: ToolCall, facts: Facts, groups: tuple[str, ...] | None = None) -> tuple[Asked, ...]:
    """Return what came of every rule about this tool, also of those that could no longer win; nothing if none was asked."""
    if _refused_unseen(policy, call, facts, groups) is not None:
        return ()
    context = Context(policy, call, facts, policy.servers[call.server], groups)
    found = context.rules.candidates(call.server, call.tool)
    return tuple(asked(rule, context) for rule in (*found.denying, *found.asking, *found.allowing, *found.shadow))


def counters_for(policy: Policy, call: ToolCall) -> tuple[CounterUse, ...]:
    """Return the counters that a call adds to or whose sums its rules may read, to be reserved before `evaluate`.

    An amount of 0.0 is only read; None can't be told: it adds nothing, and its rules tighten.
    """
    server = policy.servers.get(call.server)
    touched = ruleset(policy).candidates(call.server, call.tool).counters
    if server is None or not touched or unfit(call.params.get("arguments", {})):
        return ()
    context = Context(policy, call, Facts(now=_NEVER, known=False, definition=None), server)
    return tuple(
        CounterUse(counter.name, bucket(counter, call), counter.window, context.counted(counter), counter.of)
        for counter in touched
    )


def shows(
    policy: Policy, server: str, tool: str, caller: Caller, definition: ToolDefinition | None = None, *, known: bool = True
) -> bool:
    """Might the policy ever let this caller call this tool? False only if it denies whatever the arguments are."""
    found = policy.servers.get(server)
    rules = ruleset(policy)
    if found is None or (not known and rules.defaults.unknown_tool is Effect.DENY):
        return False
    if barred(policy, server, tool, caller) or refusal(found, caller, standing_of(policy, caller), tool=tool) is not None:
        return False
    call = ToolCall(server, tool, {}, caller)
    context = Context(policy, call, Facts(now=_NEVER, known=known, definition=definition), found)
    candidates = rules.candidates(server, tool)
    if any(_always(rule, context, definition is not None) for rule in candidates.denying):
        return False
    if not known or rules.defaults.unmatched is not Effect.DENY:
        return True
    return any(_ever(rule, context, definition is not None) for rule in (*candidates.asking, *candidates.allowing))


def _always(rule: Rule, context: Context, hinted: bool) -> bool:
    """Does a rule hold for this caller in every call of the tool? Claims not yet seen can only move hints to their worst."""
    free = rule.when is None and rule.unless is None and rule.limit is None and not rule.exemptions
    settled = hinted or all(getattr(Hints(), name) is wanted for name, wanted in rule.match.hints)
    return free and settled and not context.unmet(rule.match)


def _ever(rule: Rule, context: Context, hinted: bool) -> bool:
    match = rule.match if hinted else msgspec.structs.replace(rule.match, hints=())
    return not context.unmet(match)
