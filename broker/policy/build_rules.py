"""One rule or exception as read, made into data and checked against the rest of the policy."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.domain.decisions import Effect, Escalation, Requirement, Severity
from broker.domain.locations import check_path
from broker.policy.nodes import Place
from broker.policy.rules import (
    Approval,
    Defaults,
    Exemption,
    Limit,
    Match,
    Mode,
    Rule,
    RuleEffect,
    names,
)
from broker.policy.shapes import Read
from broker.policy.sheet import BAD, Sheet, likely, nearest
from broker.policy.titles import bad_holes
from broker.policy.writing import Writer

_RESERVED = frozenset(("unmatched", "arguments", "unsatisfiable"))
_PLACES = ("surfaces", "not_surfaces", "conversations", "not_conversations")
_GLOBBED = frozenset(("server", "tool", "not_tool", "users", "clients", "workloads", *_PLACES))
_EXACT = frozenset(("groups_any", "groups_all", "groups_none", "env"))
_SPARED = ("timeout", "channels", "show", "step_up", "type_to_confirm", "caller")
_ASKS = (RuleEffect.REQUIRE_APPROVAL, RuleEffect.LIMIT)


def match(read: Read) -> Match:
    """Return the match of a rule or counter."""
    values: dict[str, Any] = {key: names(value) for key, value in read.values.items() if key in _GLOBBED}
    values |= {key: frozenset(value) for key, value in read.values.items() if key in _EXACT}
    hints = read.get("hints")
    return Match(**values, hints=tuple(sorted(hints.values.items())) if hints is not None else ())


def approval(read: Read, defaults: Approval | None, place: Place, sheet: Sheet) -> Any:
    """Return who is asked, or BAD. Without `all_of` (for `caller: true`) the groups of the defaults stand in."""
    needs = _needs(read.get("all_of", ())) or (defaults.all_of if defaults and read.get("caller") else ())
    if not needs:
        if "all_of" not in read.node.value:
            sheet.wrong(place, "`approval` asks nobody", "add `all_of: [{group: finance}]`")
        return BAD
    steps = sorted(
        (Escalation(step.get("after"), tuple(need.get("group") for need in step.get("to"))) for step in read.get("escalate", ())),
        key=lambda step: step.after,
    )
    spared = {key: read.values[key] for key in _SPARED if key in read.values}
    return Approval(all_of=needs, escalate=tuple(steps), **spared)


def _needs(reads: tuple[Read, ...]) -> tuple[Requirement, ...]:
    return tuple(Requirement(group=need.get("group"), count=need.get("count", 1)) for need in reads)


class RuleBuilder:
    """Builds the rules of one policy. Problems go to the sheet of the file that holds the rule.

    `counters` and `rules` are all names that are written, wrong entries too: a mistake is told once.
    """

    def __init__(self, writer: Writer, defaults: Defaults, counters: frozenset[str], rules: frozenset[str]) -> None:
        self._writer = writer
        self._defaults = defaults
        self._counters = counters
        self._known = rules

    def rule(self, read: Read, sheet: Sheet) -> Any:
        """Return the rule, or BAD."""
        before = len(sheet.problems)
        if "effect" not in read.values or "id" not in read.values:
            return self._rest(read, sheet)
        effect = RuleEffect(read.get("effect"))
        self._shape(read, effect, sheet)
        limit = self._limit(read.get("limit"), sheet) if effect is RuleEffect.LIMIT and read.get("limit") else None
        asks = effect is RuleEffect.REQUIRE_APPROVAL or (limit is not None and limit.then is Effect.REQUIRE_APPROVAL)
        asked = self._approval(read, sheet) if asks else None
        when, unless = (self._condition(read, key, sheet) for key in ("when", "unless"))
        self._texts(read, sheet)
        if len(sheet.problems) > before or when is BAD or unless is BAD:
            return BAD
        own = read.get("match")
        return Rule(
            id=read.get("id"), effect=effect, where=f"{sheet.document.file}:{read.at('id').line}",
            column=read.at("id").column, match=match(own) if own is not None else Match(), when=when, unless=unless,
            title=read.get("title", ""), description=read.get("description", ""),
            severity=Severity(read.get("severity", "medium")), mode=Mode(read.get("mode", "enforce")),
            guardrail=read.get("guardrail", False), approval=asked, limit=limit, redact=read.get("redact", ()),
        )  # fmt: skip

    def _rest(self, read: Read, sheet: Sheet) -> Any:
        """A rule without effect or id: the mistakes of its other parts are told all the same."""
        self._texts(read, sheet)
        for key in ("when", "unless"):
            self._condition(read, key, sheet)
        return BAD

    def _shape(self, read: Read, effect: RuleEffect, sheet: Sheet) -> None:
        """Keys that don't fit the effect."""
        written = read.node.value
        if read.get("id") in _RESERVED:
            sheet.wrong(read.at("id"), f"`{read.get('id')}` is a word of the broker", "choose another id")
        if effect is RuleEffect.LIMIT and "limit" not in written:
            sheet.wrong(read.at("effect"), "the rule lacks `limit`", "add `limit: {counter: …, max: …, then: deny}`")
        unfit = {
            "limit": effect is not RuleEffect.LIMIT,
            "approval": effect not in _ASKS,
            "guardrail": effect is RuleEffect.ALLOW,
        }
        for key, misplaced in unfit.items():
            if misplaced and key in written and read.get(key) is not False:
                sheet.wrong(read.node.keys[key], f"`{key}` has no meaning with `effect: {effect.value}`", f"take `{key}` away")

    def _limit(self, read: Read, sheet: Sheet) -> Limit | None:
        if read.get("counter") not in self._counters:
            mend = nearest(read.get("counter"), self._counters) if self._counters else "define it under `counters`"
            sheet.wrong(read.at("counter"), f"there is no counter `{read.get('counter')}`", mend)
            return None
        return Limit(read.get("counter"), float(read.get("max")), Effect(read.get("then")))

    def _approval(self, read: Read, sheet: Sheet) -> Approval | None:
        own = read.get("approval")
        if own is not None:
            made = approval(own, self._defaults.approval, own.node.place, sheet)
            return None if made is BAD else made
        if self._defaults.approval is None and "approval" not in read.node.value:
            sheet.wrong(read.at("effect"), "the rule asks nobody", "add `approval`, or `approval` under `defaults`")
        return self._defaults.approval

    def _condition(self, read: Read, key: str, sheet: Sheet) -> Any:
        text = read.get(key)
        return None if text is None else self._writer.condition(text, read.node.value[key], sheet)

    def _texts(self, read: Read, sheet: Sheet) -> None:
        for hole in bad_holes(read.get("title", "")):
            mend = "write {args.name}, {caller.user}, {tool.name} or {server.name}"
            sheet.wrong(read.at("title"), f"`{hole[:60]}` can't be filled into a title", mend)
        for node in read.node.value["redact"].value if read.get("redact") else ():
            told = check_path(node.value) if node.value in read.get("redact") else ""
            if told:
                sheet.wrong(node.place, f"`{node.value[:60]}` is no JSONPath: {told}", "write it as $.args.card.*")

    def exempted(
        self, rules: tuple[Rule, ...], written: list[tuple[Sheet, Read]]
    ) -> tuple[tuple[Rule, ...], tuple[Exemption, ...]]:
        """Return the rules with their exceptions, and all exceptions."""
        by_id = {rule.id: rule for rule in rules}
        made: dict[str, Exemption] = {}
        for sheet, read in written:
            entry = self._exemption(read, by_id, sheet)
            if entry is BAD:
                continue
            if entry.id in made:
                first = made[entry.id].where
                sheet.wrong(read.at("id"), f"the exception `{entry.id}` is defined twice", f"rename one; the first is {first}")
            made.setdefault(entry.id, entry)
        helped = [
            msgspec.structs.replace(rule, exemptions=tuple(entry for entry in made.values() if rule.id in entry.rules))
            for rule in rules
        ]
        return tuple(helped), tuple(made.values())

    def _exemption(self, read: Read, rules: dict[str, Rule], sheet: Sheet) -> Any:
        for name in read.get("rules", ()):
            rule = rules.get(name)
            if rule is None and name in self._known:
                continue
            if rule is None:
                sheet.wrong(read.at("rules"), f"there is no rule `{name}`", likely(name, self._known) or "write the id of a rule")
            elif rule.guardrail:
                sheet.wrong(read.at("rules"), f"`{name}` is a guardrail: nothing takes it away", "change the rule itself")
            elif rule.effect is RuleEffect.ALLOW:
                sheet.wrong(read.at("rules"), f"`{name}` allows: an exception takes away what asks or denies", "leave it out")
        when = self._condition(read, "when", sheet)
        if when is BAD or not {"id", "rules", "when", "expires", "owner"} <= read.values.keys():
            return BAD
        return Exemption(
            id=read.get("id"), rules=read.get("rules"), when=when, expires=read.get("expires"),
            owner=read.get("owner"), ticket=read.get("ticket", ""), where=f"{sheet.document.file}:{read.at('id').line}",
            column=read.at("id").column,
        )  # fmt: skip
