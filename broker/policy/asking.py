"""One rule, asked about one call: yes, no or error, and what took it away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from broker.domain.decisions import Effect, Reason
from broker.policy.conditions import Answer, ask
from broker.policy.context import Context
from broker.policy.rules import Condition, Exemption, Rule


class Asked(msgspec.Struct, frozen=True, eq=False):
    """What came of asking one rule. `applies` is the answer after errors were counted and exceptions heard."""

    rule: Rule
    applies: bool
    errors: tuple[Reason, ...] = ()
    exempted_by: str = ""


def asked(rule: Rule, context: Context) -> Asked:
    """Ask a rule that is about this server and tool. An error tightens: it is a yes for all but allow, and never helps."""
    if not context.meets(rule.match):
        return Asked(rule, False)
    if rule.when is None and rule.unless is None and rule.limit is None and not rule.exemptions:
        return Asked(rule, True)
    return _asked(rule, context)


def _asked(rule: Rule, context: Context) -> Asked:
    errors: list[Reason] = []
    strict = rule.outcome is not Effect.ALLOW

    def answer(condition: Condition) -> Answer:
        said, why = ask(condition.program, context.activation)
        if said is Answer.ERROR:
            errors.append(Reason(rule.id, why, f"{condition.file}:{condition.line}"))
        return said

    said = answer(rule.when) if rule.when is not None else Answer.YES
    applies = said is Answer.YES or (strict and said is Answer.ERROR)
    if applies and rule.unless is not None:
        helped = answer(rule.unless)
        applies = helped is Answer.NO or (strict and helped is Answer.ERROR)
    if applies and rule.limit is not None:
        applies = _tripped(rule, context, errors)
    if applies and strict:
        for entry in rule.exemptions:
            if _in_force(entry, context) and answer(entry.when) is Answer.YES:
                return Asked(rule, False, tuple(errors), entry.id)
    return Asked(rule, applies, tuple(errors))


def _tripped(rule: Rule, context: Context, errors: list[Reason]) -> bool:
    """Would this call bring the counter beyond its limit? A counter that is not known trips."""
    limit = rule.limit
    if limit is None:
        return False
    counter = context.rules.counters[limit.counter]
    before, own = context.facts.counters.get(limit.counter), context.counted(counter)
    if before is None or own is None:
        errors.append(Reason(rule.id, f"the counter `{limit.counter}` is not known for this call", rule.where))
        return True
    return before + own > limit.max


def _in_force(entry: Exemption, context: Context) -> bool:
    """Is it still before the end of the exception's last day?"""
    return context.facts.now < _ends(entry.expires.isoformat(), context.rules.defaults.timezone)


@lru_cache(maxsize=512)
def _ends(day: str, timezone: str) -> datetime:
    zone: tzinfo = UTC if timezone == "UTC" else ZoneInfo(timezone)
    midnight = datetime.fromisoformat(day) + timedelta(days=1)
    return midnight.replace(tzinfo=zone).astimezone(UTC)
