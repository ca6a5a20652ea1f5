"""One call with everything that came of it: each rule, and each condition with the values of its parts.

The values are the call's own: whoever shows them has to cover secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from broker.domain.calls import ToolCall
from broker.domain.decisions import Decision, Effect, RequireApproval
from broker.policy.asking import Asked, Said
from broker.policy.conditions import Answer, compiled
from broker.policy.context import Context
from broker.policy.evaluate import decide, trace
from broker.policy.model import Facts, Policy
from broker.policy.parts import Part, taken_apart, worded
from broker.policy.rules import Mode, Rule
from broker.policy.ruleset import ruleset
from broker.policy.writing import with_snippets


class ConditionTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one condition answered: `of` is `when`, `unless` or an exception's id; `why` says what went wrong."""

    of: str
    answer: str
    part: Part
    why: str = ""


class RuleTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule and this call. `role`: won, lost (it matched, and a stronger effect won), shadow, no, or disabled."""

    rule: str
    effect: str
    where: str
    role: str
    why: str = ""
    conditions: tuple[ConditionTold, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    decision: Decision
    rules: tuple[RuleTold, ...]


def explain(policy: Policy, call: ToolCall, facts: Facts, groups: tuple[str, ...] | None = None) -> Explanation:
    """Return the decision on a call, and what every rule of the policy says about it."""
    decision = decide(policy, call, facts, groups)
    found = {item.rule.id: item for item in trace(policy, call, facts, groups)}
    server = policy.servers.get(call.server)
    if server is None or not (found or isinstance(call.params.get("arguments", {}), dict)):
        return Explanation(decision, ())
    value_of = _values(Context(policy, call, facts, server, groups)) if found else (lambda text: "")
    told = [_told(rule, found.get(rule.id), call, decision, value_of) for rule in ruleset(policy).rules]
    return Explanation(decision, tuple(sorted(told, key=lambda item: (_ORDER.index(item.role), item.rule))))


_ORDER = ("won", "lost", "shadow", "no", "disabled")


def _told(rule: Rule, found: Asked | None, call: ToolCall, decision: Decision, value_of: Callable[[str], str]) -> RuleTold:
    said = tuple(
        ConditionTold(item.of, item.answer.value, taken_apart(item.condition.text, value_of), item.why)
        for item in (found.said if found is not None else ())
    )
    return RuleTold(rule.id, rule.effect.value, rule.where, _role(rule, found, decision), _why(rule, found, call), said)


def _role(rule: Rule, found: Asked | None, decision: Decision) -> str:
    if rule.mode is Mode.DISABLED:
        return "disabled"
    if found is None or not found.applies:
        return "no"
    if rule.mode is Mode.SHADOW:
        return "shadow"
    return "won" if rule.id in decision.rules else "lost"


def _why(rule: Rule, found: Asked | None, call: ToolCall) -> str:
    if rule.mode is Mode.DISABLED:
        return "its mode is disabled"
    if found is None:
        return "nothing was asked" if rule.match.covers(call.server, call.tool) else "it is about other servers or tools"
    if found.unmet:
        return f"`match.{found.unmet}` does not hold"
    if found.exempted_by:
        return f"the exception `{found.exempted_by}` takes it away"
    if found.broken:
        return found.broken
    return _why_asked(rule, found)


def _why_asked(rule: Rule, found: Asked) -> str:
    broken = next((item for item in found.said if item.answer is Answer.ERROR), None)
    if broken is not None:
        return f"`{broken.of}` failed ({broken.why}): {_counts(rule, broken)}"
    if found.applies:
        return "everything holds" if found.said else "it has no condition"
    last: Said | None = found.said[-1] if found.said else None
    if rule.limit is not None and (last is None or (last.of, last.answer) in _PASSED):
        return f"the limit of `{rule.limit.counter}` is not reached"
    return f"`{last.of}` is {'true' if last.answer is Answer.YES else 'false'}" if last is not None else ""


_PASSED = (("when", Answer.YES), ("unless", Answer.NO))


def _counts(rule: Rule, broken: Said) -> str:
    if rule.outcome is Effect.ALLOW:
        return "an error never allows"
    return "an error counts as a yes" if broken.of == "when" else "an error does not help"


def _values(context: Context) -> Callable[[str], str]:
    """Return how to word the value of a part: what can't stand alone (a name of a macro's own) has none."""
    snippets = {name: condition.text for name, condition in context.rules.snippets.items()}

    def value_of(text: str) -> str:
        program = compiled(context.rules.vocabulary, with_snippets(text, snippets), False)
        if isinstance(program, tuple):
            return ""
        return _evaluated(program, context)

    return value_of


def _evaluated(program: Any, context: Context) -> str:
    try:
        value = program.eval(context.activation)
        return worded(value.plain_value()) if value.type().name() != "ERROR" else "(error)"
    except Exception:  # whatever the engine raises: the part has no value
        return "(error)"


# -- as lines for a terminal ------------------------------------------------------------------------------


def lines(told: Explanation) -> Iterator[str]:
    """The explanation as lines of text."""
    decision = told.decision
    yield f"{decision.effect.value} by {', '.join(decision.rules)}"
    for reason in decision.reasons:
        yield f"  {reason.rule}: {reason.text}" + (f"  ({reason.where})" if reason.where else "")
    if isinstance(decision, RequireApproval):
        yield from _plan_lines(decision)
    for item in told.rules:
        yield f"{item.role:8} {item.rule} ({item.effect}, {item.where}): {item.why}"
        for condition in item.conditions:
            yield f"           {condition.of} is {condition.answer}" + (f": {condition.why}" if condition.why else "")
            yield from _part_lines(condition.part, "             ")


def _plan_lines(decision: RequireApproval) -> Iterator[str]:
    plan = decision.plan
    yield f"  title: {plan.title}"
    for ask in plan.asks:
        yield f"  {ask.rule} asks " + " and ".join(f"{need.count} of {need.group}" for need in ask.all_of)
    if plan.caller_confirms:
        yield "  or the caller's own user confirms it"
    passkey = ", with a passkey" if plan.step_up else ""
    yield f"  within {plan.timeout}, severity {plan.severity.value}{passkey}"


def _part_lines(part: Part, indent: str) -> Iterator[str]:
    if part.value:
        yield f"{indent}{part.text}  =  {part.value}"
    for below in part.parts:
        yield from _part_lines(below, indent + "  ")
