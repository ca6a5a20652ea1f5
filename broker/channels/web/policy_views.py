"""Rules as a page shows them: in words, with what they did. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from broker.insights.figures import Rule as Hits
from broker.policy.model import Policy
from broker.policy.rules import Match, Mode, Rule
from broker.policy.ruleset import ruleset
from broker.policy.suite import Report


class RuleRow(msgspec.Struct, frozen=True):
    """One rule: what it is about, on which condition, what it does and whom it asks; and how often it did.

    `untested` is what no test reaches of it; None where the tests are not known, or it is disabled.
    """

    id: str
    effect: str
    mode: str
    severity: str
    title: str
    about: tuple[tuple[str, str], ...]
    when: str
    unless: str
    asks: tuple[str, ...]
    where: str
    guardrail: bool
    hits: Hits | None
    untested: tuple[str, ...] | None


def rows(policy: Policy, hits: Sequence[Hits], tests: Report | None = None) -> tuple[RuleRow, ...]:
    """Return every rule, guardrails and denials first, as they decide."""
    by_rule = {one.rule: one for one in hits}
    untested: dict[str, list[str]] = {}
    for item in tests.uncovered if tests is not None else ():
        untested.setdefault(item.rule, []).append(UNTESTED.get(item.what, f"`{item.what}`"))
    order = {"deny": 0, "limit": 1, "require_approval": 2, "allow": 3}
    rules = sorted(ruleset(policy).rules, key=lambda rule: (not rule.guardrail, order[rule.effect.value], rule.id))
    missing = {
        rule.id: tuple(untested.get(rule.id, ())) for rule in rules if tests is not None and rule.mode is not Mode.DISABLED
    }
    return tuple(_row(rule, by_rule.get(rule.id), missing.get(rule.id)) for rule in rules)


UNTESTED = {"won": "that it decides"}


def _row(rule: Rule, hits: Hits | None, untested: tuple[str, ...] | None) -> RuleRow:
    approval = rule.approval
    asks = tuple(f"{need.count} of {need.group}" for need in approval.all_of) if approval is not None and approval.all_of else ()
    return RuleRow(
        id=rule.id,
        effect=rule.effect.value.replace("_", " "),
        mode=rule.mode.value if rule.mode is not Mode.ENFORCE else "",
        severity=rule.severity.value if rule.severity is not None else "",
        title=rule.title,
        about=tuple(about(rule.match)),
        when=rule.when.text if rule.when is not None else "",
        unless=rule.unless.text if rule.unless is not None else "",
        asks=asks,
        where=rule.where,
        guardrail=rule.guardrail,
        hits=hits,
        untested=untested,
    )


_NAMES = (
    "server", "tool", "not_tool", "users", "clients", "workloads", "surfaces", "not_surfaces", "conversations",
    "not_conversations",
)  # fmt: skip


def about(match: Match) -> list[tuple[str, str]]:
    """Return which calls a rule is about, key by key as it is written."""
    told = []
    for key in _NAMES:
        written = getattr(match, key).written
        if written:
            told.append((key, ", ".join(written)))
    told += [
        (key, ", ".join(sorted(getattr(match, key))))
        for key in ("groups_any", "groups_all", "groups_none", "env")
        if getattr(match, key)
    ]
    return told + [("hints", ", ".join(f"{name}: {str(value).lower()}" for name, value in match.hints))] * bool(match.hints)
