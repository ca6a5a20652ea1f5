"""What may come of a call before its arguments are known: for those who ask whether a tool is worth offering. Pure.

Every answer is one that `evaluate` can give: what is said here of a tool holds for each call that fits its input schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from broker.domain.calls import ToolCall
from broker.domain.decisions import Decision, Deny, Effect
from broker.policy.context import Context
from broker.policy.evaluate import Judgement, closed
from broker.policy.model import Facts, Policy
from broker.policy.plans import Ask, joined, unsatisfiable
from broker.policy.rules import Approval, Rule
from broker.policy.ruleset import Candidates


class Outlook(msgspec.Struct, frozen=True):
    """What calls may lead to. `decision` is set where that is one effect: its rules are those that no argument changes."""

    effects: frozenset[Effect]
    decision: Decision | None = None


def outlook(policy: Policy, call: ToolCall, facts: Facts) -> Outlook:
    """Return what may come of the tool and caller of `call`; its arguments are not looked at."""
    why = closed(policy, call.server, call.tool, call.caller, now=facts.now)
    if why is not None:
        return _settled(Deny(policy=policy.digest, rules=(why.rule,), reasons=(why,)))
    context = Context(policy, msgspec.structs.replace(call, params={"name": call.tool}), facts, policy.servers[call.server])
    found = context.rules.candidates(call.server, call.tool)
    near = _kept(found, lambda rule: not context.unmet(rule.match))
    sure = _kept(near, lambda rule: not rule.conditions and rule.limit is None)
    if sure.denying or _count(sure) == _count(near) or _unknown_denied(context):
        return _settled(Judgement(context, sure if sure.denying else msgspec.structs.replace(near, denying=())).decision())
    return Outlook(frozenset(_effects(near, sure, context)))


def _settled(decision: Decision) -> Outlook:
    return Outlook(frozenset((decision.effect,)), decision)


def _kept(rules: Candidates, keeps: Callable[[Rule], bool]) -> Candidates:
    """The rules that meet a test; shadow rules decide nothing."""
    denying, asking, allowing = (tuple(filter(keeps, some)) for some in (rules.denying, rules.asking, rules.allowing))
    return Candidates(denying, asking, allowing, (), ())


def _count(rules: Candidates) -> int:
    return len(rules.denying) + len(rules.asking) + len(rules.allowing)


def _effects(near: Candidates, sure: Candidates, context: Context) -> Iterable[Effect]:
    """Every effect that some arguments may lead to, the loosest way through each class of rules."""
    asks = [rule.approval for rule in near.asking] + [None] * (not context.facts.known)
    if near.denying or any(_short(approval, context) for approval in asks):
        yield Effect.DENY
    if near.asking:
        yield Effect.REQUIRE_APPROVAL
    if sure.asking:
        return
    rest = Judgement(context, Candidates((), (), sure.allowing, (), ())).decision()
    yield rest.effect
    if near.allowing and context.facts.known:
        yield Effect.ALLOW


def _unknown_denied(context: Context) -> bool:
    defaults = context.rules.defaults
    return not context.facts.known and (defaults.unknown_tool is Effect.DENY or defaults.approval is None)


def _short(written: Approval | None, context: Context) -> bool:
    """May nobody be there to approve what is asked? The caller's own word counts only where every rule takes it."""
    approval = written or context.rules.defaults.approval
    if approval is None:
        return True
    plan = joined([Ask("", msgspec.structs.replace(approval, caller=False))], context)
    return bool(unsatisfiable(plan, context.policy.people, context.call.caller.people))
