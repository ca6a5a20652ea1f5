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


class Said(msgspec.Struct, frozen=True, eq=False):
    """What one condition answered, and why it is an error. `of` is `when`, `unless` or the exception's id."""

    of: str
    condition: Condition
    answer: Answer
    why: str = ""


class Asked(msgspec.Struct, frozen=True, eq=False):
    """What came of asking one rule. `applies` is the answer after errors were counted and exceptions heard.

    `unmet` is the key of `match` that does not hold; then nothing else was asked. `broken` says why its limit can't be judged.
    `errors` tell of every part that could not be judged.
    """

    rule: Rule
    applies: bool
    unmet: str = ""
    said: tuple[Said, ...] = ()
    exempted_by: str = ""
    broken: str = ""
    errors: tuple[Reason, ...] = ()


def asked(rule: Rule, context: Context) -> Asked:
    """Ask a rule that is about this server and tool. An error tightens: it is a yes for all but allow, and never helps."""
    unmet = "" if rule.match.anybody else context.unmet(rule.match)
    if unmet:
        return Asked(rule, False, unmet)
    if not rule.simple:
        return _Asking(rule, context).result()
    if rule.when is None:
        return Asked(rule, True)
    answer, why = ask(rule.when.program, context.activation)
    said = Said("when", rule.when, answer, why)
    if answer is Answer.ERROR:
        return Asked(rule, rule.outcome is not Effect.ALLOW, "", (said,), errors=(_error(rule, said),))
    return Asked(rule, answer is Answer.YES, "", (said,))


def _error(rule: Rule, said: Said) -> Reason:
    return Reason(rule.id, said.why, f"{said.condition.file}:{said.condition.line}")


class _Asking:
    """Asks the conditions of one rule in order, and keeps what they said."""

    def __init__(self, rule: Rule, context: Context) -> None:
        self._rule = rule
        self._context = context
        self._said: list[Said] = []
        self._strict = rule.outcome is not Effect.ALLOW

    def result(self) -> Asked:
        rule = self._rule
        applies = rule.when is None or self._holds("when", rule.when, error=self._strict)
        if applies and rule.unless is not None:
            # For allow, an error in `unless` must not let through; for the rest, it must not help.
            applies = not self._holds("unless", rule.unless, error=not self._strict)
        trips, broken = self._tripped() if applies else (False, "")
        helped = self._exempted_by() if trips and self._strict else ""
        errors = [_error(rule, said) for said in self._said if said.answer is Answer.ERROR]
        if broken:
            errors.append(Reason(rule.id, broken, rule.where))
        return Asked(rule, trips and not helped, "", tuple(self._said), helped, broken, tuple(errors))

    def _holds(self, of: str, condition: Condition, *, error: bool) -> bool:
        answer, why = ask(condition.program, self._context.activation)
        self._said.append(Said(of, condition, answer, why))
        return error if answer is Answer.ERROR else answer is Answer.YES

    def _tripped(self) -> tuple[bool, str]:
        """Would this call bring the counter beyond the limit? One that is not known trips. Without a limit, yes."""
        limit = self._rule.limit
        if limit is None:
            return True, ""
        own = self._context.counted(self._context.rules.counters[limit.counter])
        before = self._context.facts.counters.get(limit.counter)
        if before is None or own is None:
            return True, f"the counter `{limit.counter}` is not known for this call"
        return before + own > limit.max, ""

    def _exempted_by(self) -> str:
        entries = (entry for entry in self._rule.exemptions if _in_force(entry, self._context))
        return next((entry.id for entry in entries if self._holds(entry.id, entry.when, error=False)), "")


def _in_force(entry: Exemption, context: Context) -> bool:
    """Is it still before the end of the exception's last day?"""
    return context.facts.now < _ends(entry.expires.isoformat(), context.rules.defaults.timezone)


@lru_cache(maxsize=512)
def _ends(day: str, timezone: str) -> datetime:
    zone: tzinfo = UTC if timezone == "UTC" else ZoneInfo(timezone)
    midnight = datetime.fromisoformat(day) + timedelta(days=1)
    return midnight.replace(tzinfo=zone).astimezone(UTC)
